"""The API's side of a connection: uvicorn's, with deadlines and bounds where uvicorn has none.

A head has to arrive in time and within a size, an answer has to be taken in time, and there is only so
much of everything. For bodies see ``upload``. Under uvicorn's own command:
``uvicorn tq.server:app --http tq.protocol:HttpProtocol``.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tq import problems
from tq.errors import HeadersTooLarge, MalformedRequest, Overloaded, RequestTimeout, TqError
from tq.gate import OVERLOADED
from tq.limits import Limits

#: Connections beyond the limit that are kept open for one request each, which `GET /health` may be.
_SPARE: Final = 64
#: Seconds that those get for their head.
_SPARE_HEAD: Final = 2.0
#: Seconds between two looks at a connection's deadlines.
_ROUND: Final = 1.0


class _Refused(Exception):
    """Stops the parser."""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    limits: ClassVar[Limits] = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ws_protocol_class = None
        self._refusal: TqError | None = None
        #: Nothing that comes from now on is looked at: the connection ends with the answer under way.
        self._over = False
        self._watch: asyncio.TimerHandle | None = None
        #: Since when a head is awaited; None while there is none to wait for.
        self._head_since: float | None = None
        #: Bytes since the last part of a request that was complete in itself: a head, a piece of a body, its end.
        self._fed = 0
        #: Since when, and from how many bytes on, the client does not take what was written.
        self._stalled: tuple[float, int] | None = None
        self._spare = False

    # -- the transport's calls ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's, too
        """Begin to wait for the first head, unless there are too many connections."""
        super().connection_made(transport)
        beyond = len(self.connections) - self.limits.connections
        self._spare = beyond > 0
        self._head_since = self.loop.time()
        self._look_later()
        if beyond > _SPARE:
            self._say(Overloaded("the API has as many connections as it may", fix="ask again in a moment"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; refuse what grows without becoming anything."""
        if self._over:
            return
        if self._head_since is None and (self.cycle is None or self.cycle.response_complete):
            self._head_since = self.loop.time()
        self._fed += len(data)
        super().data_received(data)
        if self._fed > self.limits.head_bytes and not self.transport.is_closing():
            self._say(self._too_large())

    def resume_writing(self) -> None:
        """The client takes what was written."""
        self._stalled = None
        super().resume_writing()

    # -- the parser's calls ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Mark the request if its connection is one too many."""
        super().on_message_begin()
        if self._spare and len(self.connections) > self.limits.connections:
            # A member that uvicorn's own type of a scope, which is not the whole of ASGI, does not know.
            self.scope["extensions"] = {OVERLOADED: {}}

    def on_headers_complete(self) -> None:
        """Start the request, if it is within all bounds."""
        if self._fed > self.limits.head_bytes:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.limits.head_bytes:
                self._refuse(self._too_large())
        if len(self.pipeline) >= self.limits.pipelined:
            self._refuse(Overloaded(f"more than {self.limits.pipelined} requests of one connection wait for answers"))
        super().on_headers_complete()
        # Trailers are no headers: they came after all checks.
        self.headers = []
        self._head_since = None
        self._fed = 0

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._fed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of the request."""
        self._fed = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What could not be parsed; uvicorn's own answer would be plain text."""
        self._say(self._refusal or MalformedRequest("this is not a request that HTTP/1.1 knows", why=msg.rstrip(".")))

    # -- deadlines ---------------------------------------------------------------------------------

    def _look_later(self) -> None:
        limits = self.limits
        self._watch = self.loop.call_later(min(_ROUND, limits.head / 4, limits.answer / 4), self._look)

    def _look(self) -> None:
        now = self.loop.time()
        self._look_later()
        if self._is_stuck(now):
            self.transport.abort()
        elif self._head_since is not None and not self.transport.is_closing():
            patience = min(_SPARE_HEAD, self.limits.head) if self._spare else self.limits.head
            if now - self._head_since > patience:
                self._give_up(patience)

    def _is_stuck(self, now: float) -> bool:
        if not self.flow.write_paused and not self.transport.is_closing():
            self._stalled = None
            return False
        # Nothing is added to what is written while writing is paused: what is less has been taken.
        left = self.transport.get_write_buffer_size()
        since, first = self._stalled = self._stalled or (now, left)
        return now - since > self.limits.answer + (first - left) / self.limits.rate

    def _give_up(self, patience: float) -> None:
        if self._fed:
            self._say(RequestTimeout("the head of the request did not arrive in time", why=f"it has {patience:g} s"))
        else:
            self.transport.close()

    # -- refusals ----------------------------------------------------------------------------------

    def _too_large(self) -> TqError:
        return HeadersTooLarge(f"the request line and the headers are larger than {self.limits.head_bytes} bytes")

    def _refuse(self, error: TqError) -> None:
        self._refusal = error
        raise _Refused

    def _say(self, error: TqError) -> None:
        """Answer what has not become a request, and close. An answer under way is finished first, or cut off."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                # What comes after that request is the trouble.
                self._over = True
                cycle.keep_alive = False
                return
            if cycle.response_started:
                self.transport.abort()
                return
        answer = problems.response(error, "")
        status = b"HTTP/1.1 %d %s" % (answer.status_code, error.title.encode())
        headers = [b"%s: %s" % header for header in answer.raw_headers]
        self.transport.write(b"\r\n".join([status, *headers, b"connection: close", b"", bytes(answer.body)]))
        self.transport.close()


def bounded(limits: Limits) -> type[HttpProtocol]:
    """The protocol with other limits: uvicorn takes a class."""

    class Bounded(HttpProtocol):
        pass

    Bounded.limits = limits
    return Bounded
