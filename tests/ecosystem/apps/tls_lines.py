"""python -m tls_lines PORT CERTIFICATE: a TLS server on moodloop that answers lines in capitals."""

import asyncio
import contextlib
import signal
import ssl
import sys

import moodloop


async def serve(reader, writer):
    with contextlib.suppress(ConnectionError):
        async for line in reader:
            writer.write(line.upper())
            await writer.drain()
            if line == b"end\n":
                break
        writer.close()
        await writer.wait_closed()


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2])
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), ssl=context)
    await ended.wait()
    server.close()


moodloop.run(main())
