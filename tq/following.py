"""Routes on which a client follows what becomes of messages: streams of events, and timelines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tq.apidocs import event_stream, failures
from tq.events import Place, Streams
from tq.filters import ChangeFilter
from tq.messages import CURSOR_PATTERN, MAX_PRIORITY, MIN_PRIORITY, Change, Status, newer
from tq.routing import STRICT, MessageId, answer, queue_of, streams_of
from tq.timeline import Timeline

router = APIRouter(generate_unique_id_function=lambda route: route.name)

_Status = Annotated[Status | None, Query(description="Only changes to this status.")]
_LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", pattern=CURSOR_PATTERN, description="Wins over `after`: a browser sends it."),
]
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM = {
    "description": "Server-sent events: the id is a cursor, the event the status entered, the data a Change. An event "
    "`gap` says that changes were lost, because nobody read them while they were kept: look at the messages again.",
    "content": event_stream(Change, name=Status),
}


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: _STREAM, **failures(422, 429)},
    dependencies=STRICT,
    tags=["messages"],
)
async def events(
    request: Request,
    status: _Status = None,
    to: Annotated[
        str | None,
        Query(min_length=1, max_length=128, description="Only those of this target language; `fr` has `fr-CA`, too."),
    ] = None,
    priority: Annotated[int | None, Query(ge=MIN_PRIORITY, le=MAX_PRIORITY)] = None,
    after: Annotated[
        str | None, Query(pattern=CURSOR_PATTERN, description="Go on after this cursor; from now on when absent.")
    ] = None,
    last_event_id: _LastEventId = None,
) -> Response:
    """The stream of changes, as long as the client listens."""
    streams = streams_of(request)
    with _placed(streams) as place:
        # Asked here, while a Redis that does not answer can still become a 503.
        newest = await queue_of(request).store.newest_cursor()
        found = streams.events(last_event_id or after or newest, ChangeFilter(status, to, priority))
        return place(found)


@router.get(
    "/messages/{message_id}/events",
    response_class=StreamingResponse,
    responses={
        200: _STREAM,
        204: {"description": "It has ended, and `Last-Event-ID` was the last: an EventSource stops asking."},
        **failures(404, 422, 429),
    },
    dependencies=STRICT,
    tags=["messages"],
)
async def events_of_message(
    request: Request,
    message_id: MessageId,
    status: _Status = None,
    after: Annotated[
        str | None,
        Query(pattern=CURSOR_PATTERN, description="Go on after this cursor; from the beginning when absent."),
    ] = None,
    last_event_id: _LastEventId = None,
) -> Response:
    """What became of a message, and what becomes of it: the stream ends when the message has ended."""
    last_event_id = last_event_id or after
    streams, queue = streams_of(request), queue_of(request)
    with _placed(streams) as place:
        message = await queue.get(message_id)
        if last_event_id is not None and newer(last_event_id, await queue.store.newest_cursor()):
            last_event_id = None  # of a time that this Redis has not seen
        if last_event_id is not None:
            last = (await queue.timeline(message_id))[-1]
            if last.ended and not newer(last.cursor, last_event_id):
                return Response(status_code=204)
        return place(streams.events_of(message, last_event_id, ChangeFilter(status)))


@router.get("/messages/{message_id}/timeline", response_model=Timeline, responses=failures(404), tags=["messages"])
async def timeline(request: Request, message_id: MessageId) -> Response:
    """Every status that the message entered, and what each attempt came to."""
    return answer(Timeline(message_id=message_id, entries=await queue_of(request).timeline(message_id)))


class _EventStream(StreamingResponse):
    """Events, until either side ends them; then their place is given back, whether they had begun or not."""

    def __init__(self, found: AsyncIterator[bytes], place: Place) -> None:
        super().__init__(found, headers=_HEADERS, media_type="text/event-stream")
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._place.leave()


@contextmanager
def _placed(streams: Streams) -> Iterator[Callable[[AsyncIterator[bytes]], Response]]:
    """A place for a stream, which is given back when none is made of it."""
    place = streams.enter()
    made = False

    def make(found: AsyncIterator[bytes]) -> Response:
        nonlocal made
        made = True
        return _EventStream(found, place)

    try:
        yield make
    finally:
        if not made:
            place.leave()
