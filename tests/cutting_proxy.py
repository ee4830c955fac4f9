"""A TCP proxy that breaks connections where a test wants it, and counts the requests that pass."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from servers import free_port


class CuttingProxy:
    """Forwards a port of the loopback to another, a thread a direction; a context manager.

    Args:
        target: the port of the server behind it.

    Attributes:
        requests: HTTP requests that were begun, whether or not they got through.
        answers_to_cut: how many answers are still to be cut off before their first byte.
        requests_to_cut: how many large requests are still to be cut off in their middle.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests = 0
        self.answers_to_cut = 0
        self.requests_to_cut = 0
        self._target = target
        self._lock = threading.Lock()
        self._open: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", self.port))

    @property
    def open(self) -> int:
        """Connections that are open now."""
        with self._lock:
            return len(self._open)

    def cut(self) -> None:
        """Break all connections."""
        with self._lock:
            pairs = list(self._open)
        for pair in pairs:
            _end(*pair)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                _end(client)
                continue
            with self._lock:
                self._open.add((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(client, server, source, sink), daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket, source: socket.socket, sink: socket.socket) -> None:
        taken = 0
        try:
            while data := source.recv(65536):
                if source is client:
                    begins = data.count(b" HTTP/1.1\r\n")
                    taken = len(data) if begins else taken + len(data)
                    with self._lock:
                        self.requests += begins
                        if cut := self.requests_to_cut > 0 and taken > 65536:
                            self.requests_to_cut -= 1
                else:
                    with self._lock:
                        if cut := self.answers_to_cut > 0:
                            self.answers_to_cut -= 1
                if cut:
                    break
                sink.sendall(data)
        except OSError:
            pass
        _end(client, server)
        with self._lock:
            self._open.discard((client, server))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A shutdown wakes the thread that accepts.
        _end(self._listener)
        self.cut()


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
