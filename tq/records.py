"""Records: how messages, tokens, changes and figures look in Redis, and what they are outside of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tq.messages import (
    QUARANTINE,
    QUEUES,
    Change,
    Message,
    QueueDepth,
    Stats,
    Status,
    WorkerInfo,
    get_queue_for_priority,
    utc,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that this process owns until its lease runs out; ``epoch`` is the fence."""

    message: Message
    epoch: int
    sealed: str = field(repr=False)
    retries: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Token:
    """What a wake-up needs: the id, and the Celery queue and priority to publish it with."""

    message_id: str
    queue: str | None
    priority: int


def as_mapping(answer: Any) -> dict[str, str]:
    """A hash, however the protocol brought it."""
    # RESP3 and redis-py's own reply parsing give a dict, scripts on RESP2 a flat list.
    return dict(answer) if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))


def as_tokens(flat: Sequence[str]) -> list[Token]:
    """Tokens from a flat list of id, queue ('' = by priority), priority."""
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [Token(message_id, queue or None, int(priority)) for message_id, queue, priority in triples]


def as_message(message_id: str, record: Mapping[str, str]) -> Message:
    """The message of a record (``message:<id>``)."""
    body = json.loads(record["body"])
    priority = int(record["priority"])

    def time(name: str) -> Any:
        return utc(int(record[name])) if name in record else None

    usage = None
    if "prompt_tokens" in record or "completion_tokens" in record:
        usage = {
            "prompt_tokens": int(record.get("prompt_tokens", 0)),
            "completion_tokens": int(record.get("completion_tokens", 0)),
        }
    return Message.model_validate(
        {
            "message_id": message_id,
            "status": record["status"],
            "queue": record.get("queue") or get_queue_for_priority(priority),
            "priority": priority,
            "content": body["content"],
            "model_name": body["model_name"] or record.get("model"),
            "metadata": body["metadata"],
            "provider": record.get("provider"),
            "translation": record.get("translation"),
            "error": json.loads(record["error"]) if "error" in record else None,
            "warnings": json.loads(record.get("warnings", "[]")),
            "attempts": int(record.get("attempts", 0)),
            "created_at": time("created"),
            "started_at": time("started"),
            "finished_at": time("finished"),
            "next_retry_at": time("due"),
            "usage": usage,
        }
    )


def as_change(cursor: str, fields: Mapping[str, str]) -> Change:
    """A transition from an entry of the stream of changes."""
    return Change(
        cursor=cursor,
        at=utc(int(cursor.partition("-")[0])),
        message_id=fields["id"],
        status=Status(fields["s"]),
        priority=int(fields["p"]),
        languages=fields["l"],
        attempts=int(fields["a"]),
        info=fields["i"],
    )


def as_stats(data: Mapping[str, Any]) -> Stats:
    """What people look at, from the figures of ``stats.lua``."""
    depths = []
    queues = dict.fromkeys((*QUEUES, QUARANTINE), 0)
    for index, queued, waited in data["queued"]:
        priority = None if index == QUARANTINE else int(index)
        queue = QUARANTINE if priority is None else get_queue_for_priority(priority)
        queues[queue] += queued
        depths.append(
            QueueDepth(queue=queue, priority=priority, queued=queued, oldest_wait=round(max(0, waited) / 1000, 3))
        )
    counts = {status: data["counts"][status] for status in Status}
    rates = data["rates"]
    return Stats(
        queues=queues,
        priorities=depths,
        oldest_wait=max((depth.oldest_wait for depth in depths), default=0.0),
        counts=counts,
        running=counts[Status.RUNNING],
        retries_pending=counts[Status.RETRYING],
        workers=[WorkerInfo(**json.loads(worker), alive_until=utc(until)) for worker, until in data["workers"]],
        throughput={name: float(rates.get(name, 0)) for name in ("attempts", "completed", "failed", "cancelled")},
    )
