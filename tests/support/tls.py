"""Certificates and contexts for TLS, and peers that are plain sockets in threads."""

import contextlib
import socket
import ssl
import threading
from pathlib import Path

from support.loops import TIMEOUT

# Each file is a key and its self-signed certificate, valid from 2020 to 2120, made by "openssl ca
# -selfsign" with subjectAltName DNS:localhost,IP:127.0.0.1,IP:::1, and DNS:other.example.
CERTS = Path(__file__).resolve().parent.parent / "certs"


def server_context(name="localhost"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTS / f"{name}.pem")
    return context


def client_context(name="localhost"):
    """Trusts that one certificate, and checks the host's name."""
    return ssl.create_default_context(cafile=str(CERTS / f"{name}.pem"))


def unchecked_context():
    """Believes anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def peer(serve):
    """A server for one connection, serve(sock) in a thread; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(TIMEOUT)
        failed = []

        def work():
            try:
                sock, _ = listening.accept()
                with sock:
                    sock.settimeout(TIMEOUT)
                    serve(sock)
            except BaseException as exc:
                failed.append(exc)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            thread.join()
        if failed:
            raise failed[0]


@contextlib.contextmanager
def client(work, address, context=None, **kwargs):
    """work(sock) in a thread, on a TLS connection to the address; its result is in the list."""
    results = []

    def run():
        try:
            with socket.create_connection(address, TIMEOUT) as sock:
                if context is None:
                    results.append(work(sock))
                else:
                    with context.wrap_socket(sock, **kwargs) as tls:
                        results.append(work(tls))
        except Exception as exc:
            results.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        thread.join()
