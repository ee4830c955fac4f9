"""Routes of an operator: queues are paused and resumed, failures looked at and retried, webhooks sent again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from tq.apidocs import body, failures
from tq.bodies import FailureSelection, QueueState, most_bytes, parse, read_json
from tq.failures import Failures, Retried
from tq.messages import QUARANTINE, QUEUES, Message
from tq.routing import MessageId, answer, queue_of

router = APIRouter(generate_unique_id_function=lambda route: route.name)

_Queue = Annotated[str, Path(json_schema_extra={"enum": [*QUEUES, QUARANTINE]})]


@router.post("/queues/{queue}/pause", response_model=QueueState, responses=failures(404), tags=["queue"])
async def pause(request: Request, queue: _Queue) -> Response:
    """Have nothing more of a queue begin until it is resumed, however long that is.

    What runs goes on, and messages are accepted.
    """
    await queue_of(request).pause(queue)
    return answer(QueueState(queue=queue, paused=True))


@router.post("/queues/{queue}/resume", response_model=QueueState, responses=failures(404), tags=["queue"])
async def resume(request: Request, queue: _Queue) -> Response:
    """Go on with a queue that was paused."""
    await queue_of(request).resume(queue)
    return answer(QueueState(queue=queue, paused=False))


@router.post(
    "/messages/{message_id}/callback",
    status_code=202,
    response_model=Message,
    responses=failures(404, 409),
    tags=["messages"],
)
async def send_callback(request: Request, message_id: MessageId) -> Response:
    """Send the webhook of a message that has ended again: one that was given up, or that got lost behind its receiver.

    It is due at once, under the same `webhook-id`, and is sent again as often as a new one.
    """
    return answer(await queue_of(request).send_callback(message_id), 202)


@router.get("/queue/failures", response_model=Failures, tags=["queue"])
async def list_failures(request: Request) -> Response:
    """Failed messages by reason, the most frequent first."""
    return answer(await queue_of(request).failures())


@router.post(
    "/queue/failures/retry",
    response_model=Retried,
    responses=failures(415, 422),
    openapi_extra=body(FailureSelection, example={}, required=False),
    tags=["queue"],
)
async def retry_failures(request: Request) -> Response:
    """Queue failed messages again, up to 1,000, newest first: all, or those with one type of error."""
    queue = queue_of(request)
    wanted = parse(FailureSelection, await read_json(request, most_bytes(queue.settings), optional=True))
    return answer(await queue.retry_failures(wanted.type, wanted.cursor))
