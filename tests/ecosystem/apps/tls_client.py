"""python -m tls_client PORT CERTIFICATE: a client on moodloop of a TLS server that echoes lines."""

import asyncio
import ssl
import sys

import moodloop


async def main():
    context = ssl.create_default_context(cafile=sys.argv[2])
    for _ in range(3):
        reader, writer = await asyncio.open_connection("localhost", int(sys.argv[1]), ssl=context)
        for size in (1, 100, 1000, 8000):
            line = b"x" * size + b"\n"
            writer.write(line)
            assert await reader.readexactly(len(line)) == line
        writer.close()
        await writer.wait_closed()
    print("echoed")


moodloop.run(asyncio.wait_for(main(), 60))
