"""Redis and PostgreSQL servers of a test's own, from Debian's packages."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from support.programs import Program, free_port
from support.tls import CERTS


def unprivileged():
    """How Popen becomes another user, which PostgreSQL demands where this is root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def directory():
    """A temporary directory that the servers' user owns and can reach; short, for socket paths."""
    with tempfile.TemporaryDirectory(prefix="moodloop-") as path:
        if user := unprivileged():
            os.chown(path, user["user"], user["group"])
        yield Path(path)


def find(name, *folders):
    """The path of a server's program, in the Debian package's folders or on PATH."""
    path = os.pathsep.join([*map(str, folders), "/usr/bin", os.environ.get("PATH", os.defpath)])
    found = shutil.which(name, path=path)
    assert found, f"{name} is not installed: `make ecosystem` installs Debian's package"
    return found


def certificate(path):
    """The tests' certificate and its key in one file, where a server finds it and nobody else."""
    file = path / "localhost.pem"
    shutil.copy(CERTS / "localhost.pem", file)
    file.chmod(0o600)
    if user := unprivileged():
        os.chown(file, user["user"], user["group"])
    return file


@contextlib.contextmanager
def redis(tls=False):
    """A Redis server that keeps nothing: (port, maybe one of TLS, path of its Unix socket)."""
    with directory() as path:
        port = free_port()
        argv = [find("redis-server"), "--bind", "127.0.0.1", "--save", ""]
        argv += ["--unixsocket", path / "socket", "--dir", path]
        if tls:
            file = certificate(path)
            argv += ["--port", 0, "--tls-port", port, "--tls-auth-clients", "no"]
            argv += ["--tls-cert-file", file, "--tls-key-file", file, "--tls-ca-cert-file", file]
        else:
            argv += ["--port", port]
        server = Program(argv, path, **unprivileged())
        try:
            server.says("eady to accept connections")
            yield port, str(path / "socket")
            server.end()
        finally:
            server.kill()


def postgres_folders():
    """Where Debian has the servers' programs, the newest version first."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(found, key=lambda p: float(p.parent.name), reverse=True)


@contextlib.contextmanager
def postgres(tls=False):
    """A PostgreSQL server with the superuser `moodloop`: (directory of its socket, port). Its port
    may have TLS, too.
    """
    with directory() as path:
        port = free_port()
        data = path / "data"
        options = ["--auth=trust", "--username=moodloop", "--no-sync", "--encoding=UTF8"]
        subprocess.run(
            [find("initdb", *postgres_folders()), *options, "--locale=C", "--pgdata", data],
            check=True,
            cwd=path,
            stdout=subprocess.DEVNULL,
            timeout=120,
            **unprivileged(),
        )
        argv = [find("postgres", *postgres_folders()), "-D", data, "-k", path, "-p", port]
        argv += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        if tls:
            file = certificate(path)
            argv += ["-c", "ssl=on", "-c", f"ssl_cert_file={file}", "-c", f"ssl_key_file={file}"]
        server = Program(argv, path, **unprivileged())
        try:
            server.says("ready to accept connections")
            yield path, port
            server.end()
        finally:
            server.kill()
