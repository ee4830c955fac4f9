"""The routes of the HTTP API: DESIGN's table of methods and paths, each with the answers it declares."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import StringConstraints

from tq import __version__, exposition, page, problems
from tq.apidocs import ACCEPTED, COMING_BACK, PAUSED, ROOM, body, failures, links
from tq.attempts import Attempts
from tq.bodies import (
    Accepted,
    ApiStatus,
    Batch,
    BatchResults,
    Found,
    Liveness,
    Lookup,
    MessagePage,
    Readiness,
    Refused,
    Revival,
    Selection,
    StatusChange,
    most_bytes,
    parse,
    read_json,
)
from tq.errors import QueueFull, TqError
from tq.figures import Stats
from tq.filters import MessageFilter
from tq.messages import MAX_PRIORITY, MIN_PRIORITY, Message, Status, Submission, parse_submission
from tq.metrics import figures, this_process
from tq.providers.pseudo import WARNING as PSEUDO_NOTE
from tq.queue import TranslationQueue
from tq.routing import STRICT, MessageId, answer, left, probe_of, queue_of, streams_of
from tq.statuses import CallbackStatus
from tq.tallies import History

_Word = Annotated[str, StringConstraints(min_length=1, max_length=128)]

_EXAMPLE: Final = {
    "content": "Hello",
    "priority": 10,
    "metadata": {"source_language": "en", "target_language": "fr", "domain": "general"},
}

#: What a message that is queued, and one that a program outside has taken, lead to.
_QUEUED: Final = links(
    look=("get_message", None),
    cancel=("cancel", None),
    take=("set_status", {"status": "running"}),
)
_TAKEN: Final = links(
    complete=("set_status", {"status": "completed", "translation": "Bonjour"}),
    fail=("set_status", {"status": "failed", "error": "no luck"}),
    try_again=("set_status", {"status": "retrying"}),
    put_back=("set_status", {"status": "queued"}),
    retry=("retry", None),
)

router = APIRouter(generate_unique_id_function=lambda route: route.name)


def _room(queue: TranslationQueue) -> dict[str, str]:
    """How much room is left in the queue, where that is known (draft-ietf-httpapi-ratelimit-headers)."""
    left = queue.room.left
    policy = {"RateLimit-Policy": f'"queued";q={queue.settings.max_queued}'}
    return policy if left is None else policy | {"RateLimit": f'"queued";r={left}'}


def _paused(queue: TranslationQueue, messages: Iterable[object]) -> dict[str, str]:
    """Of which queues that these messages wait in nothing begins."""
    waiting = {each.queue for each in messages if isinstance(each, Message) and each.status is Status.QUEUED}
    paused = ", ".join(name for name in sorted(waiting) if queue.room.is_paused(name))
    return {PAUSED: paused} if paused else {}


def _coming_back(results: Iterable[object]) -> dict[str, str]:
    """When to submit those again that found no room."""
    full = next((each for each in results if isinstance(each, QueueFull)), None)
    return {} if full is None else problems.coming_back(full)


# -- messages --------------------------------------------------------------------------------------


@router.post(
    "/messages",
    status_code=202,
    response_model=Message,
    responses={
        202: {
            "description": "Stored.",
            "headers": {
                "Location": {"required": True, "schema": {"type": "string", "format": "uri-reference"}},
                **ACCEPTED,
            },
            "links": _QUEUED,
        },
        **failures(402, 409, 413, 415, 422, 503, headers=ROOM),
    },
    openapi_extra=body(Submission, example=_EXAMPLE),
    tags=["messages"],
)
async def submit(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[ -~]*$",
            description="The same key and body again answer the message that is there.",
        ),
    ] = None,
) -> Response:
    """Submit a message. It is stored durably when this answers.

    The same `message_id` with the same body answers the message that is there.
    """
    queue = queue_of(request)
    try:
        submission = parse_submission(await read_json(request, most_bytes(queue.settings)))
        message = await queue.submit(submission, idempotency_key)
    except TqError as error:
        return problems.response(error, problems.instance_of(request.scope), _room(queue))
    location = {"Location": f"/messages/{message.message_id}"}
    return answer(message, 202, location | _room(queue) | _paused(queue, [message]))


@router.post(
    "/messages/batch",
    status_code=202,
    response_model=BatchResults,
    responses={202: {"headers": {**ACCEPTED, **COMING_BACK}}, **failures(413, 415, 422, 503, headers=ROOM)},
    openapi_extra=body(Batch, example={"messages": [_EXAMPLE]}),
    tags=["messages"],
)
async def submit_batch(request: Request) -> Response:
    """Submit up to 1,000 messages, or fewer in several languages.

    One result each, in order: the message or why it was refused.
    """
    queue = queue_of(request)
    try:
        batch = parse(Batch, await read_json(request, most_bytes(queue.settings, batch=True)))
        items = batch.submissions()
    except TqError as error:
        return problems.response(error, problems.instance_of(request.scope), _room(queue))
    results = await queue.submit_many([submission for _, submission in items])
    return answer(
        BatchResults(
            results=[
                Accepted(message=result)
                if isinstance(result, Message)
                else Refused(error=problems.problem_of(result, f"/messages/batch#/messages/{index}"))
                for (index, _), result in zip(items, results, strict=True)
            ]
        ),
        202,
        _room(queue) | _paused(queue, results) | _coming_back(results),
    )


@router.get("/messages", response_model=MessagePage, responses=failures(422), tags=["messages"], dependencies=STRICT)
async def list_messages(  # noqa: PLR0913, PLR0917 - FastAPI takes the parameters from the signature
    request: Request,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[
        str | None, Query(pattern=r"^[0-9]{1,18}$", description="`next_cursor` of the page before.")
    ] = None,
    to: Annotated[_Word | None, Query(description="Target language; `fr` finds `fr-CA` too.")] = None,
    source: Annotated[_Word | None, Query(description="Source language, given or detected.")] = None,
    priority: Annotated[int | None, Query(ge=MIN_PRIORITY, le=MAX_PRIORITY)] = None,
    model: Annotated[_Word | None, Query(description="The model that is, or was, asked.")] = None,
    error: Annotated[_Word | None, Query(description="Type of the error.")] = None,
    q: Annotated[_Word | None, Query(description="Text in the id or in a value of the metadata.")] = None,
    prefix: Annotated[_Word | None, Query(description="How the id begins.")] = None,
    callback: Annotated[CallbackStatus | None, Query(description="How it stands with the webhook.")] = None,
) -> Response:
    """List messages, newest first.

    With a filter a page may have fewer than `limit`, even none, although `next_cursor` names one after it: some
    thousand messages are looked at for each.
    """
    given = {"to": to, "source": source, "model": model, "error": error, "q": q, "prefix": prefix}
    matching = MessageFilter(priority=priority, callback=callback, **given)
    messages, more = await queue_of(request).list(status, limit=limit, cursor=cursor, matching=matching)
    return answer(MessagePage(messages=messages, next_cursor=more))


@router.get(
    "/messages/next",
    response_model=Message,
    responses={204: {"description": "Nothing waits."}},
    tags=["messages"],
)
async def next_message(request: Request) -> Response:
    """The message that a worker would take next, untouched."""
    message = await queue_of(request).next()
    return Response(status_code=204) if message is None else answer(message)


@router.post(
    "/messages/lookup",
    response_model=Found,
    responses=failures(415, 422),
    openapi_extra=body(Lookup, example={"message_ids": ["01K3ZQ7D0000000000000000AA"]}),
    tags=["messages"],
)
async def look_up(request: Request) -> Response:
    """The messages with these ids, up to 200; an id that is not known is left out."""
    queue = queue_of(request)
    wanted = parse(Lookup, await read_json(request, most_bytes(queue.settings)))
    results = await queue.get_many(wanted.message_ids)
    return answer(Found(messages=[result for result in results if isinstance(result, Message)]))


@router.post(
    "/messages/process",
    response_model=Message,
    responses={204: {"description": "Nothing waits."}, **failures(404, 409, 415, 422)},
    openapi_extra=body(Selection, example={}, required=False),
    tags=["messages"],
)
async def process(request: Request) -> Response:
    """Take the next message, or the one named, and translate it in this request.

    The message answered says how that ended: `completed`, `failed` or `retrying`.
    """
    queue = queue_of(request)
    wanted = parse(Selection, await read_json(request, most_bytes(queue.settings), optional=True))
    attempts: Attempts = request.state.attempts
    message = await attempts.process(wanted.message_id)
    return Response(status_code=204) if message is None else answer(message)


@router.get("/messages/{message_id}", response_model=Message, responses=failures(404, 422, 429), tags=["messages"])
async def get_message(
    request: Request,
    message_id: MessageId,
    wait: Annotated[
        float, Query(ge=0, le=60, description="Seconds to wait for its end; answered as soon as it has ended.")
    ] = 0.0,
) -> Response:
    """The message document."""
    if wait:
        return answer(await streams_of(request).ended(message_id, wait, left(request)))
    return answer(await queue_of(request).get(message_id))


@router.post(
    "/messages/{message_id}/status",
    response_model=Message,
    responses={200: {"links": _TAKEN}, **failures(404, 409, 415, 422)},
    openapi_extra=body(StatusChange, example={"status": "completed", "translation": "Bonjour"}),
    tags=["messages"],
)
async def set_status(request: Request, message_id: MessageId) -> Response:
    """Move a message on, for a program that translates outside of tq's workers.

    `running` is kept for TQ_LEASE or TQ_REQUEST_TIMEOUT, whichever is longer; then the message is
    queued again. Only ways of the state machine are open.
    """
    queue = queue_of(request)
    change = parse(StatusChange, await read_json(request, most_bytes(queue.settings)))
    error = change.error
    return answer(
        await queue.set_status(
            message_id,
            change.status,
            translation=change.translation,
            error={"type": error.type, "message": error.message, "retryable": error.retryable} if error else None,
        )
    )


@router.post("/messages/{message_id}/cancel", response_model=Message, responses=failures(404, 409), tags=["messages"])
async def cancel(request: Request, message_id: MessageId) -> Response:
    """Cancel a message that has not ended. A running attempt is aborted."""
    return answer(await queue_of(request).cancel(message_id))


@router.post(
    "/messages/{message_id}/retry",
    response_model=Message,
    responses=failures(402, 404, 409, 415, 422),
    openapi_extra=body(Revival, example={}, required=False),
    tags=["messages"],
)
async def retry(request: Request, message_id: MessageId) -> Response:
    """Queue a failed or cancelled message again."""
    queue = queue_of(request)
    revival = parse(Revival, await read_json(request, most_bytes(queue.settings), optional=True))
    key = revival.api_key.get_secret_value() if revival.api_key else None
    return answer(await queue.retry(message_id, key))


# -- the queue and the process ---------------------------------------------------------------------


@router.get("/queue/stats", response_model=Stats, tags=["queue"])
async def stats(request: Request) -> Response:
    """Depths, waits, counts, workers, throughput, what was spent today, and the providers' limits."""
    return answer(await queue_of(request).stats())


@router.get("/queue/history", response_model=History, tags=["queue"])
async def history(request: Request) -> Response:
    """What came of messages and attempts in each minute of the last hour, oldest first."""
    return answer(await queue_of(request).history())


@router.get("/", response_model=ApiStatus, tags=["process"])
async def root(request: Request) -> Response:
    """What answers here, and whether it reaches its broker.

    Browsers, which ask for `text/html`, get a page.
    """
    if page.wanted(request):
        return await page.respond(request)
    queue = queue_of(request)
    provider = queue.settings.provider_name
    trouble = await probe_of(request).trouble()
    paused: list[str] = []
    if not trouble:
        # What answered a moment ago may not any more: the page below says so the next time.
        with suppress(TqError):
            paused = await queue.store.paused()
    status = ApiStatus(
        version=__version__,
        broker=f"unreachable: {trouble}" if trouble else "connected",
        paused=paused,
        provider=provider,
        note=PSEUDO_NOTE if provider == "pseudo" else None,
    )
    return answer(status, headers={"Vary": "Accept"})


@router.get("/health", response_model=Liveness, tags=["process"])
async def health() -> Response:
    """The process lives; says nothing about Redis or workers."""
    return answer(Liveness(version=__version__))


@router.get(
    "/ready",
    response_model=Readiness,
    responses={503: {"description": "Not ready; `reasons` says why.", "model": Readiness}},
    tags=["process"],
)
async def ready(request: Request) -> Response:
    """Whether messages are stored and translated now: Redis and the broker answer, and a worker lives.

    A queue that somebody has paused is named, and is no reason to send requests elsewhere.
    """
    queue = queue_of(request)
    reasons, paused = [], []
    if trouble := await probe_of(request).trouble():
        reasons.append(trouble)
    else:
        stats = await queue.stats()
        paused = stats.paused
        if not stats.workers:
            reasons.append("no live worker: start one with `tq worker`")
    status = Readiness(status="not ready" if reasons else "ready", reasons=reasons, paused=paused)
    return answer(status, 503 if reasons else 200)


@router.get(
    "/metrics",
    responses={
        200: {
            "content": {
                kind.partition(";")[0]: {"schema": {"type": "string"}}
                for kind in (exposition.TEXT, exposition.OPEN_METRICS)
            }
        }
    },
    response_class=Response,
    tags=["process"],
)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus, in its text format or in OpenMetrics."""
    queue = queue_of(request)
    streams = streams_of(request)
    store = queue.store
    stats, totals, backlog = await asyncio.gather(queue.stats(), store.totals(), store.backlog())
    media = exposition.media_type(request.headers.get("accept", ""))
    process = this_process(streams.open)
    text = figures(
        stats, totals, process, backlog, settings=queue.settings, version=__version__, media=media, known=queue.known
    )
    return Response(text, headers={"Content-Type": media, "Vary": "Accept"})
