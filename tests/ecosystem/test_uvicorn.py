"""uvicorn, and through it what only sees ASGI: Starlette, FastAPI, Django."""

import asyncio
import signal
import ssl

import aiohttp
import pytest
import trustme

from .traffic import ask, check_http, drive, echo, stream, talk


@pytest.mark.parametrize("ws", ["websockets", "websockets-sansio", "wsproto"])
@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_command(line, app, start, port, http, ws):
    app()
    command = line("uvicorn", "sh")
    server = start(command, "--port", str(port), "--http", http, "--ws", ws).listens(port)
    check_http(f"http://127.0.0.1:{port}")
    # It finishes first and then has the signal end the process.
    out = server.end(status=[-signal.SIGTERM])
    assert "lifespan.startup moodloop" in out and "lifespan.shutdown moodloop" in out


def test_in_code(line, script, port):
    server = script("import uvicorn\nfrom asgi import app", line("uvicorn", "python")).listens(port)
    check_http(f"http://127.0.0.1:{port}")
    server.end(signal.SIGINT, status=[-signal.SIGINT, 0, 1])


def test_two_workers(line, app, start, port):
    app()
    server = start(line("uvicorn", "sh"), "--port", str(port), "--workers", "2").listens(port)
    check_http(f"http://127.0.0.1:{port}", processes=2)
    # uvicorn's supervisor, which runs no loop, leaves its listening socket to the exit.
    server.end(known="unclosed <socket.* proto=0, laddr")


def test_tls(line, app, start, port, tmp_path):
    app()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    server = start(
        line("uvicorn", "sh"), "--port", str(port), "--ssl-certfile", "server.pem"
    ).listens(port)

    async def main(session):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as trusting:
            await ask(trusting, url)
            await asyncio.gather(
                *(echo(trusting, url, n) for n in range(50)),
                *(talk(trusting, url, n) for n in range(5)),
            )

    url = f"https://localhost:{port}"
    drive(main)
    server.end(status=[-signal.SIGTERM])


def test_fastapi(line, app, start, port):
    app(of="fastapi_app")
    server = start(line("uvicorn", "sh"), "--port", str(port)).listens(port)
    url = f"http://127.0.0.1:{port}"

    async def main(session):
        async def fetch(method, path):
            async with session.request(method, url + path) as response:
                assert response.status == 200
                return await response.json()

        await ask(session, url)
        found = await asyncio.gather(*(fetch("GET", f"/thread/{n}") for n in range(40)))
        assert found == [[n, False] for n in range(40)]
        await asyncio.gather(*(fetch("POST", f"/note/{n}") for n in range(40)))
        while len(noted := await fetch("GET", "/noted")) < 40:
            pass
        assert sorted(noted) == list(range(40))
        async with session.ws_connect(url + "/ws") as ws:
            await ws.send_json({"a": [1]})
            assert await ws.receive_json() == {"a": [1]}

    drive(main)
    server.end(status=[-signal.SIGTERM])


def test_django(line, write, start, port, tmp_path):
    (tmp_path / "project").mkdir()
    write("project/asgi.py", "from django_app import application as application")
    options = ["--port", str(port), "--lifespan", "off"]
    server = start(line("Django", "sh"), *options).listens(port)
    url = f"http://127.0.0.1:{port}"

    async def main(session):
        async def fetch(path):
            async with session.get(url + path) as response:
                assert response.status == 200
                return await response.text()

        await ask(session, url)
        paths = ["/sync", "/nested"] * 10
        assert set(await asyncio.gather(*map(fetch, paths))) == {"moodloop.loop"}
        await asyncio.gather(*(stream(session, url) for _ in range(5)))

    drive(main)
    server.end(status=[-signal.SIGTERM])
