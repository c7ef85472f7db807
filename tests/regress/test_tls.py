"""TLS. What others had, and the test of tests/tls that has it:

- uvloop 471, a closed connection that went on downloading: test_tls.py, test_stops_the_download
- uvloop 220 and 565, memory that grew: test_tls.py, TestMemory
- uvloop, an IndexError at a write inside of a write: test_tls.py, test_write_in_a_callback
- rsloop, settings of the SSLContext without effect: test_tls.py, TestNames, from
  test_context_chosen_by_name to test_settings_of_the_context_count
- CVE-2026-19553, no check without a server_hostname: test_tls.py, test_none_though_it_is_checked;
  test_start_tls.py
- CVE-2026-19445, the context of an SNI callback was freed: test_tls.py, test_context_chosen_by_name
- CVE-2023-40217, plain text before the handshake: test_tls.py, test_nothing_before_it
- CVE-2024-34083, plain text behind STARTTLS: test_start_tls.py, from
  test_reads_nothing_until_it_begins to test_unread_plain_text_is_not_taken_for_decrypted
- CVE-2024-24806, names cut short: test_tls.py, test_that_are_none; tests/loop/test_names.py
- CVE-2024-12254, writelines() that never paused: test_tls.py, test_writelines_pauses
"""

import asyncio
import ssl

import pytest
from support.net import Record, tcp_pair
from support.tls import client_context, server_context

pytestmark = pytest.mark.tls


def test_error_was_a_runtime_error(loop, run):
    """rsloop: a certificate nobody trusts is an ssl.SSLError, and so an OSError."""

    async def main():
        a, b = tcp_pair()
        server, client = await asyncio.gather(
            loop.connect_accepted_socket(Record, a, ssl=server_context()),
            loop.create_connection(
                Record, sock=b, ssl=client_context("other"), server_hostname="localhost"
            ),
            return_exceptions=True,
        )
        assert isinstance(server, OSError)
        assert isinstance(client, ssl.SSLCertVerificationError)
        assert isinstance(client, ssl.SSLError) and isinstance(client, OSError)
        await asyncio.sleep(0.01)

    run(main())


@pytest.mark.parametrize("lines", [[b"a", b"b"], [b""] * 3 + [b"ab"], (b"a", bytearray(b"b"))])
def test_writelines(loop, run, lines):
    async def main():
        a, b = tcp_pair()
        (ta, pa), (tb, pb) = await asyncio.gather(
            loop.connect_accepted_socket(Record, a, ssl=server_context()),
            loop.create_connection(
                Record, sock=b, ssl=client_context(), server_hostname="localhost"
            ),
        )
        ta.writelines(lines)
        assert await pb.received(2) == b"ab"
        tb.close()
        await asyncio.gather(pa.lost, pb.lost)
        await asyncio.sleep(0)

    run(main())
