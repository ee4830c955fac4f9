"""The connections of a client are ended while a thread waits on them, encrypted ones too."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from certificates import self_signed
from servers import wait_until

from tq.errors import ClientClosed
from tq.sockets import Sockets

#: Seconds in which a thread has found out, on a busy machine; it would wait for a minute.
SOON = 8.0


class Mute:
    """A server that takes connections and requests, and answers none.

    Attributes:
        heard: bytes of all requests.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.heard = bytearray()
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}/"

    def serve(self) -> None:
        """One connection, until the client ends it."""
        taken, _ = self._listener.accept()
        with closing(self._tls.wrap_socket(taken, server_side=True) if self._tls else taken) as connection:
            while data := connection.recv(65536):
                self.heard += data

    def close(self) -> None:
        """Take no more."""
        self._listener.close()


@contextmanager
def mute(tls: ssl.SSLContext | None) -> Iterator[Mute]:
    """Such a server; it has seen its connection end when this ends."""
    with closing(Mute(tls)) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        yield server
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_connection_ends_under_a_request(tmp_path: Path, *, encrypted: bool) -> None:
    """Who waits for an answer hears that the client was closed, and so does the server; no further one is opened."""
    ours = theirs = None
    if encrypted:
        certificate, key = self_signed(tmp_path, "localhost")
        ours = ssl.create_default_context(cafile=str(certificate))
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs.load_cert_chain(certificate, key)
    sockets = Sockets()
    ends: list[BaseException] = []
    with mute(theirs) as server, httpx.Client(event_hooks=sockets.hooks, verify=ours or True, timeout=60) as http:

        def ask() -> None:
            try:
                with sockets.in_use():
                    http.get(server.url)
            except BaseException as error:  # noqa: BLE001 - it is what the test is about
                ends.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: server.heard.endswith(b"\r\n\r\n"), "the request was heard")
        began = time.monotonic()
        sockets.close()
        thread.join(60)
        assert time.monotonic() - began < SOON
        assert [type(end) for end in ends] == [ClientClosed]
        with pytest.raises(ClientClosed):
            http.get(server.url)


def test_a_sleep_ends() -> None:
    """So does a pause, and after it there is none."""
    sockets = Sockets()
    timer = threading.Timer(0.3, sockets.close)
    timer.start()
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(ClientClosed):
            sockets.sleep(60)
    timer.join()
    assert time.monotonic() - began < SOON
