"""TLS with others at the other end, on each engine: GnuTLS, curl, nginx, databases, libraries."""

import re
import shutil
import subprocess
import threading

import pytest
from support import databases
from support.tls import CERTS

from .traffic import STREAM

pytestmark = [pytest.mark.tls, pytest.mark.moodloop_only]

CERTIFICATE = str(CERTS / "localhost.pem")
PATH = "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"


def program(name):
    """The path of a program, or the test is skipped."""
    found = shutil.which(name) or shutil.which(name, path=PATH)
    return found or pytest.skip(f"{name} is not installed")


@pytest.fixture
def lines(write, start, port):
    """A server that answers lines in capitals, and ends the connection after "end"."""
    server = start(f"python -m tls_lines {port} {CERTIFICATE}").listens(port)
    yield port
    server.end()


def say(command, text):
    """What a program prints that is given the text."""
    done = subprocess.run(
        list(map(str, command)), input=text, capture_output=True, text=True, timeout=60
    )
    return done.stdout, done.stderr


def talk(command, text):
    """What a program prints that is given the text, and no end of input before its answer."""
    with subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        writer = threading.Thread(target=lambda: (process.stdin.write(text), process.stdin.flush()))
        writer.start()
        timer = threading.Timer(60, process.kill)
        timer.start()
        out = process.stdout.read()
        timer.cancel()
        writer.join()
    return out


class TestGnuTLS:
    @pytest.mark.parametrize("version", ["TLS1.2", "TLS1.3"])
    @pytest.mark.parametrize(
        "ciphers", ["NORMAL", "NONE:+AES-128-GCM:+AES-256-GCM", "NONE:+CHACHA20-POLY1305"]
    )
    def test_client(self, lines, version, ciphers):
        priority = f"NORMAL:-VERS-ALL:+VERS-{version}"
        if ciphers != "NORMAL":
            priority += ciphers.replace("NONE", ":-CIPHER-ALL")
        command = [program("gnutls-cli"), "--x509cafile", CERTIFICATE, "--priority", priority]
        text = b"".join(b"line %d %s\n" % (n, b"x" * 500) for n in range(500)) + b"end\n"
        out = talk([*command, "--logfile", "/dev/null", "-p", lines, "localhost"], text)
        assert out == text.upper()

    @pytest.mark.parametrize("version", ["TLS1.2", "TLS1.3"])
    def test_server(self, start, script, port, version):
        command = [program("gnutls-serv"), "--echo", "--x509certfile", CERTIFICATE]
        command += ["--x509keyfile", CERTIFICATE, "--port", str(port), "--quiet"]
        command += ["--priority", f"NORMAL:-VERS-ALL:+VERS-{version}"]
        server = start(" ".join(command)).listens(port)
        client = start(f"python -m tls_client {port} {CERTIFICATE}")
        assert client.end(None) == "echoed\n"
        server.kill()


class TestCurl:
    @pytest.mark.parametrize("options", [["--tls-max", "1.2"], ["--tlsv1.3"], ["--http1.0"]])
    @pytest.mark.parametrize("kind", ["aiohttp", "aiohttp-alone"])
    def test_pages(self, https, tmp_path, options, kind):
        url = https(kind)
        command = [program("curl"), "-sS", "--cacert", CERTIFICATE, *options]
        body = tmp_path / "body"
        body.write_bytes(bytes(range(256)) * 2000)
        got = tmp_path / "got"
        upload = ["--data-binary", f"@{body}", f"{url}/echo"]
        for arguments, expected in (
            ([f"{url}/stream"], STREAM),
            (upload, body.read_bytes()),
        ):
            _, err = say([*command, "-o", got, *arguments], "")
            assert got.read_bytes() == expected, err


@pytest.fixture
def https(script, line, port):
    """Start a web server over TLS: its URL."""
    servers = []

    def https(kind):
        servers.append(
            script(
                "import sys",
                line("aiohttp", "without aiofastnet") if kind == "aiohttp-alone" else "",
                "import moodloop, ssl",
                "from aiohttp import web",
                "from aiohttp_app import app",
                "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)",
                f"context.load_cert_chain({CERTIFICATE!r})",
                "options = {'ssl_context': context, 'loop': moodloop.new_event_loop()}",
                "web.run_app(app, host='127.0.0.1', port=port, **options)",
            ).listens(port)
        )
        return f"https://localhost:{port}"

    yield https
    for server in servers:
        assert "cleaned up on moodloop" in server.end()


@pytest.mark.parametrize("kind", ["aiohttp", "aiohttp-alone"])
@pytest.mark.parametrize("client", ["aiohttp", "aiohttp-alone", "httpx"])
def test_clients(https, start, kind, client):
    url = https(kind)
    asking = start(f"python -m https_client {client} {url} {CERTIFICATE}")
    assert "all right on moodloop" in asking.end(None)


NGINX = """
daemon off; master_process off; pid {path}/pid; error_log stderr;
events {{ worker_connections 200; }}
http {{
    access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
    fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
    client_max_body_size 10m;
    server {{
        listen 127.0.0.1:{front} ssl;
        ssl_certificate {certificate}; ssl_certificate_key {certificate};
        location / {{
            proxy_pass https://127.0.0.1:{back}; proxy_http_version 1.1; proxy_ssl_name localhost;
            proxy_ssl_trusted_certificate {certificate}; proxy_ssl_verify on;
            proxy_ssl_session_reuse on; proxy_buffering {buffering};
        }}
    }}
}}
"""


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_nginx_between(https, start, write, port, tmp_path, buffering):
    """Clients on moodloop ask nginx, which asks a server on moodloop; TLS both ways."""
    nginx = program("nginx")
    https("aiohttp-alone")
    front = databases.free_port()
    settings = {"path": tmp_path, "front": front, "back": port, "buffering": buffering}
    path = write("nginx.conf", NGINX.format(certificate=CERTIFICATE, **settings))
    proxy = start(f"{nginx} -c {path} -p {tmp_path} -e stderr").listens(front)
    for client in ("aiohttp", "httpx"):
        asking = start(f"python -m https_client {client} https://localhost:{front} {CERTIFICATE}")
        assert "all right on moodloop" in asking.end(None)
    proxy.end()


@pytest.fixture(scope="module")
def redis():
    with databases.redis(tls=True) as address:
        yield address


@pytest.fixture(scope="module")
def postgres():
    with databases.postgres(tls=True) as (directory, port):
        yield str(directory), port


@pytest.mark.parametrize("app", ["redis_client", "asyncpg_client"])
def test_databases(request, write, start, app):
    address = request.getfixturevalue({"redis_client": "redis", "asyncpg_client": "postgres"}[app])
    write(
        "program.py",
        "import moodloop",
        f"from {app} import main",
        f"moodloop.run(main(*{(*address, CERTIFICATE)!r}))",
        "print('done')",
    )
    assert start("python program.py").end(None) == "done\n"


def test_smtp(start, port):
    """STARTTLS: aiosmtpd serves, smtplib asks."""
    pytest.importorskip("aiosmtpd")
    program = start(f"python -m smtp_server {port} {CERTIFICATE}")
    out = program.end(None)
    assert re.search(r"refused in plain text\n.*sent over TLS\n.*moodloop", out, re.DOTALL), out
