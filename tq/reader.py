"""The stream of changes over a connection that blocks; and read in a thread, for who wants to look up in between."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import httpx

from tq.backend import Changes
from tq.errors import TqError, Unreachable
from tq.eventstream import EventStream
from tq.messages import Change
from tq.remote import Remote

#: Batches of changes read ahead of a slow caller.
_MAX_WAITING: Final = 10_000
#: Seconds in which a reader notices that nobody reads any more.
_ROUND: Final = 0.2


def follow(
    http: httpx.Client,
    remote: Remote,
    stream: EventStream,
    opened: Callable[[httpx.Response], Any] = lambda _: None,
) -> Iterator[list[Change]]:
    """What comes on one connection, as it comes; nothing when there will be no more.

    Raises:
        Unreachable: the connection broke, or the API ended it.
    """
    with remote.reaching(), http.stream(**remote.stream_arguments(stream.request())) as answer:
        if not answer.is_success:
            answer.read()
        opened(answer)
        remote.begin(stream, answer)
        if stream.over:
            return
        for data in answer.iter_bytes():
            yield remote.feed(stream, data)
    raise remote.ended()


class ChangeReader(Changes):
    """Reads ahead, so that a round can end while nothing comes.

    Args:
        http: the connections.
        remote: the API.
        after: a cursor; from now on when None.
        block: seconds of a round in which nothing comes.
    """

    def __init__(self, http: httpx.Client, remote: Remote, after: str | None, block: float) -> None:
        self._http = http
        self._remote = remote
        self._stream = EventStream(after)
        self._block = block
        self._inbox: queue.Queue[list[Change] | TqError] = queue.Queue(_MAX_WAITING)
        self._closed = threading.Event()
        self._answer: httpx.Response | None = None
        self._thread: threading.Thread | None = None
        self._ready: list[Change] = []

    def connect(self, within: float | None) -> None:
        """Returns when the stream has begun: whatever happens from now on will be seen.

        Raises:
            Unreachable: the API did not answer, within so many seconds if given.
        """
        self._thread = threading.Thread(target=self._read, name="tq-events", daemon=True)
        self._thread.start()
        try:
            first = self._inbox.get(timeout=within)
        except queue.Empty:
            self.close()
            raise self._remote.silent() from None
        except BaseException:
            self.close()
            raise
        if isinstance(first, TqError):
            self._thread = None
            raise first
        self._ready = first

    def _read(self) -> None:
        try:
            for changes in follow(self._http, self._remote, self._stream, self._open):
                self._put(changes)
                if self._closed.is_set():
                    return
        except TqError as error:
            self._put(error)
        except Exception as error:  # noqa: BLE001 - a client closed under us fails in many ways; our reader must hear of it
            self._put(Unreachable("the stream of changes broke", why=type(error).__name__))
        finally:
            self._answer = None

    def _open(self, answer: httpx.Response) -> None:
        self._answer = answer

    def _put(self, item: list[Change] | TqError) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._inbox.put(item, timeout=_ROUND)
                return

    def __next__(self) -> list[Change]:
        return self.hear(None)

    def hear(self, within: float | None) -> list[Change]:
        """As ``next``; a connection that is opened anew may take so many seconds."""
        if self._closed.is_set():
            raise StopIteration
        if self._thread is None:
            self.connect(within)
        batch, self._ready = self._ready, []
        with suppress(queue.Empty):
            item = self._inbox.get(timeout=0 if batch else self._block)
            while not isinstance(item, TqError):
                batch += item
                item = self._inbox.get_nowait()
            self._thread = None
            if not batch:
                raise item
        return batch

    def close(self) -> None:
        """End the thread and its connection."""
        self._closed.set()
        answer = self._answer
        if answer is not None:
            # It waits in a read of its socket, which a close would not end.
            with suppress(OSError, KeyError, AttributeError):
                answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            if self._thread is not None:
                self._thread.join(_ROUND * 5)
