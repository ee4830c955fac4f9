"""HTTP byte by byte, for requests that no HTTP client would send."""

from __future__ import annotations

import io
import json
import socket
from http.client import HTTPResponse
from typing import Any, NamedTuple, Self, cast


class Answer(NamedTuple):
    """One answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> str:
        """The slug of its problem document, which has to be one."""
        assert self.headers["content-type"] == "application/problem+json", (self.status, self.body[:200])
        document: dict[str, Any] = json.loads(self.body)
        assert (document["status"], bool(document["title"])) == (self.status, True)
        return str(document["type"]).removeprefix("urn:tq:problem:")


class _Reader(io.BufferedReader):
    """Outlives the answers that are read from it: the next one may be in it already."""

    def makefile(self, _: str) -> Self:
        """As of a socket."""
        return self

    def close(self) -> None:
        """Not before the connection is."""


class Connection:
    """A TCP connection to an API; a context manager.

    Args:
        port: of the API.
        host: its address.
        receive_buffer: bytes that the kernel takes for a program that does not read; 0 = as many as it likes.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", *, receive_buffer: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect((host, port))
        except BaseException:
            self.socket.close()
            raise
        self._reader = _Reader(cast("io.RawIOBase", socket.SocketIO(self.socket, "r")))

    def send(self, data: bytes) -> None:
        """All of it; whether the other side still listens does not matter."""
        try:
            self.socket.sendall(data)
        except (ConnectionError, TimeoutError):
            return

    def ask(
        self, target: str, *headers: str, method: str = "GET", body: bytes = b"", host: str = "localhost"
    ) -> Answer:
        """One request, as it is given, and its answer. No Host header with ``host=""``."""
        self.begin(target, *headers, method=method, host=host, body=body)
        return self.answer(method)

    def begin(
        self, target: str, *headers: str, method: str = "GET", body: bytes = b"", host: str = "localhost"
    ) -> None:
        """One request without waiting."""
        lines = [f"{method} {target} HTTP/1.1", *([f"Host: {host}"] if host else []), *headers]
        self.send("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body)

    def status(self) -> int:
        """That of the next answer, whose body is left unread."""
        return int(self._reader.readline().split()[1])

    def answer(self, method: str = "GET") -> Answer:
        """The next answer.

        Raises:
            OSError: the connection was closed, or nothing came.
        """
        response = HTTPResponse(cast("socket.socket", self._reader), method=method)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())

    def is_closed(self) -> bool:
        """Whether the other side has closed the connection, read to the end of what it sent."""
        self.socket.settimeout(0.01)
        try:
            while self.socket.recv(2**20):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        finally:
            self.socket.settimeout(30)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
