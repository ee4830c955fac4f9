"""The stream of changes over a connection that blocks, read in a thread: who listens can look up, and be called off."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import httpx

from tq.backend import Changes
from tq.errors import ChangesMissed, TqError, Unreachable
from tq.eventstream import EventStream, News
from tq.messages import Change
from tq.remote import Remote
from tq.sockets import shut

#: Batches of changes read ahead of a slow caller.
_MAX_WAITING: Final = 10_000
#: Seconds in which a reader notices that nobody reads any more.
_ROUND: Final = 0.2


def follow(
    http: httpx.Client, remote: Remote, stream: EventStream, opened: Callable[[httpx.Response], Any]
) -> Iterator[News]:
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
            yield from remote.feed(stream, data)
    raise remote.ended()


class ChangeReader(Changes):
    """Reads ahead, so that a round can end while nothing comes.

    Args:
        http: the connections.
        remote: the API.
        stream: what is read.
        block: seconds of a round in which nothing comes; None: it has no end.
    """

    def __init__(self, http: httpx.Client, remote: Remote, stream: EventStream, block: float | None) -> None:
        self._http = http
        self._remote = remote
        self._stream = stream
        self._block = block
        self._pid = os.getpid()
        #: None: there will be no more.
        self._inbox: queue.Queue[News | TqError | None] = queue.Queue(_MAX_WAITING)
        self._closed = threading.Event()
        self._answer: httpx.Response | None = None
        self._thread: threading.Thread | None = None
        self._ready: list[Change] = []
        self._missed: ChangesMissed | None = None

    def connect(self, within: float | None = None) -> None:
        """Returns when the stream has begun: whatever happens from now on will be seen.

        Raises:
            TqError: it does not: what the API says; or nothing, within so many seconds if given.
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
        if isinstance(first, list):
            self._ready = first
        else:
            self._end(first, [])

    def _read(self) -> None:
        end: TqError | None = None
        try:
            for news in follow(self._http, self._remote, self._stream, self._open):
                self._put(news)
                if self._closed.is_set():
                    return
        except TqError as error:
            end = error
        except Exception as error:  # noqa: BLE001 - a client closed under us fails in many ways; our reader must hear of it
            end = Unreachable("the stream of changes broke", why=type(error).__name__)
        finally:
            self._answer = None
        self._put(end)

    def _open(self, answer: httpx.Response) -> None:
        self._answer = answer
        if self._closed.is_set():
            raise self._remote.ended()  # nobody saw the connection that was to be ended

    def _put(self, item: News | TqError | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._inbox.put(item, timeout=_ROUND)
                return

    def __next__(self) -> list[Change]:
        batch = self.hear()
        if batch is None:
            raise StopIteration
        return batch

    def hear(self, within: float | None = None) -> list[Change] | None:
        """As ``next``, but None at the end; a connection that is opened anew may take so many seconds."""
        if self._pid != os.getpid():
            raise RuntimeError("this stream of changes belongs to the process that opened it: open another one")
        if self._closed.is_set():
            return None
        if self._missed is not None:
            missed, self._missed = self._missed, None
            raise missed
        if self._thread is None:
            self.connect(within)
            if self._closed.is_set():
                return None
        batch, self._ready = self._ready, []
        with suppress(queue.Empty):
            item = self._inbox.get(timeout=0 if batch else self._block)
            while isinstance(item, list):
                batch += item
                item = self._inbox.get_nowait()
            return self._end(item, batch)
        return batch

    def _end(self, item: TqError | None, batch: list[Change]) -> list[Change] | None:
        """What the caller is told of what came after these changes: they come first."""
        if item is None:
            self._closed.set()
            return batch or None
        if not isinstance(item, ChangesMissed):
            self._thread = None  # a new connection begins where this one broke, and says so if it does not
        if not batch:
            raise item
        if isinstance(item, ChangesMissed):
            self._missed = item
        return batch

    def rest(self, seconds: float) -> None:
        """Sleep, unless it is closed meanwhile."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """End the thread and its connection; whoever waits for changes hears that there are no more."""
        if self._pid != os.getpid():
            return  # neither the thread nor the connection is ours
        self.call_off()
        answer, thread = self._answer, self._thread
        if answer is not None:
            shut(answer.extensions["network_stream"])
            if thread is not None:
                thread.join(_ROUND * 5)

    def call_off(self) -> None:
        """Tell whoever waits for changes that there are no more; the connection stays."""
        self._closed.set()
        with suppress(queue.Full):
            self._inbox.put_nowait(None)
