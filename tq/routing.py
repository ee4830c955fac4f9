"""What all routes share: how they reach the queue, and how they answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request
from fastapi.responses import Response
from pydantic import BaseModel

from tq.events import Streams
from tq.fields import ID_PATTERN
from tq.probe import Probe
from tq.queue import TranslationQueue

MessageId = Annotated[str, Path(json_schema_extra={"pattern": f"^{ID_PATTERN}$"})]


def queue_of(request: Request) -> TranslationQueue:
    """The queue of this process."""
    queue: TranslationQueue = request.state.queue
    return queue


def probe_of(request: Request) -> Probe:
    """What asks whether Redis and the broker answer."""
    probe: Probe = request.state.probe
    return probe


def streams_of(request: Request) -> Streams:
    """The open event streams of this process."""
    streams: Streams = request.state.streams
    return streams


async def left(request: Request) -> None:
    """Return when the client has left; for a request without a body."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer of the declared model, which FastAPI would validate a second time."""
    return Response(model.model_dump_json(), status, headers, "application/json")
