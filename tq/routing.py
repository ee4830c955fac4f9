"""What all routes share: how they reach the queue, and how they answer."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Final

from fastapi import Depends, Path, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from tq.errors import InvalidMessage
from tq.events import Streams
from tq.fields import ID_PATTERN
from tq.messages import field_error
from tq.probe import Probe
from tq.queue import TranslationQueue


def only_known_parameters(request: Request) -> None:
    """Refuse a query that would be answered as if a part of it were not there: misspelt filters find everything.

    Raises:
        InvalidMessage: it has a parameter that the route does not, or one twice.
    """
    route: APIRoute = request.scope["route"]
    known = {parameter.alias for parameter in route.dependant.query_params}
    given = Counter(name for name, _ in request.query_params.multi_items())
    words = {name: "there is no such parameter" if name not in known else "it is given twice" for name in given}
    wrong = [name for name, count in given.items() if name not in known or count > 1]
    if wrong:
        errors = [field_error(("query", name), words[name]) for name in wrong[:_MOST_NAMED]]
        raise InvalidMessage(
            "the request is not valid",
            why="; ".join(f"{each['field']}: {each['message']}" for each in errors),
            fix=f"one each of {', '.join(sorted(known))}",
            errors=errors,
        )


#: For routes whose filters nobody wants to see ignored.
STRICT: Final = [Depends(only_known_parameters)]
#: Parameters that are named one by one.
_MOST_NAMED: Final = 20

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
