"""python -m smtp_server PORT CERTIFICATE: aiosmtpd on moodloop, asked by smtplib in a thread."""

import asyncio
import smtplib
import ssl
import sys

from aiosmtpd.smtp import SMTP

import moodloop

PORT, CERTIFICATE = int(sys.argv[1]), sys.argv[2]
TEXT = "Subject: hello\r\n\r\n" + "a line of text\r\n" * 5000


class Handler:
    received = b""

    async def handle_DATA(self, server, session, envelope):
        assert session.ssl
        Handler.received = envelope.content
        return "250 OK"


def ask():
    with smtplib.SMTP("127.0.0.1", PORT, timeout=30) as client:
        try:
            client.sendmail("me@example.com", ["you@example.com"], TEXT)
        except smtplib.SMTPException:
            print("refused in plain text")
        client._host = "localhost"
        client.starttls(context=ssl.create_default_context(cafile=CERTIFICATE))
        client.sendmail("me@example.com", ["you@example.com"], TEXT)
    print("sent over TLS")


async def main():
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def make():
        return SMTP(Handler(), tls_context=context, require_starttls=True, hostname="localhost")

    server = await loop.create_server(make, "127.0.0.1", PORT)
    await asyncio.wait_for(asyncio.to_thread(ask), 60)
    server.close()
    assert Handler.received.count(b"a line of text") == 5000
    print("received on", type(loop).__module__)
    await asyncio.sleep(0.05)


moodloop.run(main())
