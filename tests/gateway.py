"""A proxy of HTTP before an API that answers some requests itself, as proxies do, and notes all of them."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx

#: Headers of one connection, which are not passed on.
_OF_A_CONNECTION = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})


_CHANGE = (
    '{"cursor":"%s","at":"2026-01-01T00:00:00Z","message_id":"mine","status":"queued","priority":0,"languages":"→fr",'
    '"attempts":0}'
)


def event(cursor: str) -> bytes:
    """A change, as a stream tells it."""
    return f"id: {cursor}\nevent: queued\ndata: {_CHANGE % cursor}\n\n".encode()


def gap(after: str, cursor: str) -> bytes:
    """That changes are missing between these."""
    return f'id: {cursor}\nevent: gap\ndata: {{"after": "{after}", "next": "{cursor}"}}\n\n'.encode()


@dataclass
class Refusal:
    """What the gateway answers itself.

    Attributes:
        path: requests whose path has this in it.
        count: how many of them, from now on.
        status: of HTTP.
        slug: of tq's problem document; a page when "".
        headers: of the answer.
    """

    path: str
    count: int
    status: int
    slug: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """What is answered."""
        if not self.slug:
            return b"<html><head><title>Sorry</title></head></html>"
        return json.dumps({"type": f"urn:tq:problem:{self.slug}", "title": "Sorry", "status": self.status}).encode()


class Gateway:
    """What a test sees of it.

    Attributes:
        url: where it listens.
        refusals: what it answers itself; the first that matches.
        seen: method and target of each request, in order.
        cursors: the Last-Event-ID of each stream that was asked for.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.refusals: list[Refusal] = []
        self.seen: list[str] = []
        self.cursors: list[str | None] = []
        self._told: queue.Queue[bytes] | None = None
        self._over = threading.Event()

    def tell(self, *events: bytes, anew: bool = False) -> None:
        """Serve the stream of changes itself, from the first call on: these events; ``anew``: on another connection."""
        if self._told is None or anew:
            self._told = queue.Queue()
        for each in events:
            self._told.put(each)

    def stream(self) -> Iterator[bytes] | None:
        """What it tells, as it does; None when the API is asked."""
        return None if self._told is None else self._stream(self._told)

    def _stream(self, told: queue.Queue[bytes]) -> Iterator[bytes]:
        while told is self._told and not self._over.is_set():
            with suppress(queue.Empty):
                yield told.get(timeout=0.05)

    def close(self) -> None:
        """End all streams."""
        self._over.set()

    def refuse(self, path: str, count: int, status: int, slug: str = "", **headers: str) -> Refusal:
        """Answer so many requests with a refusal; ``retry_after="1"`` is a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.refusals.append(Refusal(path, count, status, slug, named))
        return self.refusals[-1]

    def count(self, start: str) -> int:
        """How many requests began so."""
        return sum(each.startswith(start) for each in self.seen)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: ClassVar[str]
    gateway: ClassVar[Gateway]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.gateway.seen.append(f"{self.command} {self.path}")
        for refusal in self.gateway.refusals:
            if refusal.count > 0 and refusal.path in self.path:
                refusal.count -= 1
                self._answer(refusal.status, refusal.headers, refusal.body())
                return
        told = self.gateway.stream() if self.path.startswith("/events") else None
        if told is None:
            self._forward(body)
        else:
            self._begin_stream(200, {"Content-Type": "text/event-stream"})
            for data in told:
                self.wfile.write(data)

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _forward(self, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_A_CONNECTION}
        with (
            httpx.Client(base_url=self.target, timeout=60, trust_env=False) as http,
            http.stream(self.command, self.path, headers=headers, content=body) as answer,
        ):
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_A_CONNECTION}
            if "text/event-stream" not in answer.headers.get("Content-Type", ""):
                self._answer(answer.status_code, kept, answer.read())
                return
            self._begin_stream(answer.status_code, kept)
            for data in answer.iter_raw():
                self.wfile.write(data)

    def _begin_stream(self, status: int, headers: dict[str, str]) -> None:
        self.gateway.cursors.append(self.headers.get("Last-Event-ID"))
        self.close_connection = True
        self.send_response(status)
        for name, value in (headers | {"Connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()

    def handle(self) -> None:
        # Clients and the API leave as they like.
        with suppress(OSError, httpx.TransportError):
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def gateway(target: str) -> Iterator[Gateway]:
    """Before the API of this URL; it ends with the ``with``."""

    class Handler(_Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        seen = Gateway(f"http://127.0.0.1:{server.server_address[1]}")
        Handler.target, Handler.gateway = target, seen
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield seen
        finally:
            seen.close()
            server.shutdown()
            thread.join()
