"""The connections of a client of httpx that blocks, which can be ended while threads wait for answers on them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol
from weakref import WeakSet

import httpx

from tq.errors import ClientClosed

#: What httpcore calls the steps that bring a connection about, whoever takes them: itself, or for a proxy.
_OPENING: Final = ("connect_tcp", "start_tls")


class Stream(Protocol):
    """A connection of httpcore's."""

    def get_extra_info(self, info: str) -> Any:
        """Its ``socket``, among others."""


def shut(stream: Stream) -> None:
    """End a connection. Who waits for data in another thread hears of it, as of a close they would not."""
    with suppress(OSError):
        # Not that of a TLS socket, which would take from under a reader what it reads with.
        socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)


class Sockets:
    """All connections of one client; give it ``hooks``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._streams: WeakSet[Any] = WeakSet()

    @property
    def hooks(self) -> dict[str, Any]:
        """For ``httpx.Client(event_hooks=…)``."""
        return {"request": [self._follow]}

    def _follow(self, request: httpx.Request) -> None:
        request.extensions["trace"] = self._note

    def _note(self, name: str, info: Mapping[str, Any]) -> None:
        *_, step, state = name.split(".")
        if step == "connect_tcp" and state == "started":
            self.require_open()
        elif step in _OPENING and state == "complete":
            stream = info["return_value"]
            with self._lock:
                self._streams.add(stream)
            if self._closed.is_set():
                shut(stream)  # not refused: nobody would close it

    def require_open(self) -> None:
        """Return unless they were ended.

        Raises:
            ClientClosed: they were.
        """
        if self._closed.is_set():
            raise ClientClosed

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Around a request.

        Raises:
            ClientClosed: they were ended, before it or during it.
        """
        self.require_open()
        try:
            yield
        except Exception:
            # What was ended under it fails in many ways.
            if self._closed.is_set():
                raise ClientClosed from None
            raise

    def sleep(self, seconds: float) -> None:
        """Sleep.

        Raises:
            ClientClosed: they were ended before that was over.
        """
        self._closed.wait(seconds)
        self.require_open()

    def close(self) -> None:
        """End them all, and those to come."""
        self._closed.set()
        with self._lock:
            streams = [*self._streams]
        for stream in streams:
            shut(stream)
