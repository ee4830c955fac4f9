"""Records: how messages, tokens, changes and figures look in Redis, and what they are outside of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from tq.errors import complaints_of
from tq.failures import FailureGroup
from tq.figures import TOTAL, AccountSpend, QueueDepth, Spend, Stats, WorkerInfo
from tq.messages import QUARANTINE, QUEUES, Callback, Change, Message, Status, get_queue_for_priority, utc
from tq.targets import shown

#: Money is counted in billionths of the currency, so that the price of one token is a whole number.
NANO: Final = 10**9


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that this process owns until its lease runs out.

    Attributes:
        message: as it is now.
        epoch: the fence.
        sealed: its own api_key, encrypted; "" when it has none.
        retries: how many it has spent.
        last_error: type slug of what ended its last attempt, with the model that is to be asked now.
        complaints: what was wrong with that attempt's answer, in detail.
        fallback: how many models were given up.
        first_model: the one that the submitter named, or None.
        calls: id of another account's message whose turn is next, or "".
        trace: where its submission was traced, as ``tracing`` carries it, or "".
        traced: where its last attempt was, or "".
    """

    message: Message
    epoch: int
    sealed: str = field(repr=False)
    retries: int
    last_error: str | None
    complaints: tuple[str, ...] = field(default=(), repr=False)
    fallback: int = 0
    first_model: str | None = None
    calls: str = ""
    trace: str = ""
    traced: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """What a wake-up needs: the id, and the Celery queue and priority to publish it with.

    ``front`` puts an extra one before all others of the priority, where the broker can; ``trace`` is where its message
    was submitted, as ``tracing`` carries it.
    """

    message_id: str
    queue: str | None
    priority: int
    front: bool = False
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Expired:
    """A message that is queued again, as an attempt's lease ran out; ``process`` had it (``outside``: none of tq's)."""

    message_id: str
    attempt: int
    process: str


def as_mapping(answer: Any) -> dict[str, str]:
    """A hash, however the protocol brought it."""
    # RESP3 and redis-py's own reply parsing give a dict, scripts on RESP2 a flat list.
    return dict(answer) if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))


def as_tokens(flat: Sequence[str]) -> list[Token]:
    """Tokens from a flat list of id, queue ('' = by priority), priority."""
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [Token(message_id, queue or None, int(priority)) for message_id, queue, priority in triples]


#: The fields of a record that ``as_message`` reads, but for the texts, which may be long.
OUTLINE: Final = (
    "status",
    "queue",
    "priority",
    "brief",
    "fallback_model",
    "model",
    "provider",
    "error",
    "warnings",
    "attempts",
    "created",
    "started",
    "finished",
    "due",
    "prompt_tokens",
    "completion_tokens",
    "cost",
    "unpriced",
    "cached",
    "detected",
    "hook_state",
    "hook_attempts",
    "hook_http",
    "hook_error",
    "hook_due",
    "hook_at",
)


def as_message(message_id: str, record: Mapping[str, str]) -> Message:
    """The message of a record (``message:<id>``); of an ``OUTLINE`` without its texts."""
    body = json.loads(record.get("body") or record["brief"])
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
            "content": body.get("content", ""),
            "model_name": record.get("fallback_model") or body["model_name"] or record.get("model"),
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
            "cost": int(record["cost"]) / NANO if "cost" in record and "unpriced" not in record else None,
            "cached": "cached" in record,
            "detected_language": record.get("detected"),
            "cache": body.get("cache", True),
            "fallback_models": body.get("fallback_models", []),
            "parameters": body.get("parameters", {}),
            "callback": callback_of(body, record),
        }
    )


def callback_of(body: Mapping[str, Any], record: Mapping[str, str]) -> Callback | None:
    """How it stands with the webhook of a record; None when nobody is called back."""
    if "callback_url" not in body:
        return None
    due, delivered = record.get("hook_due"), record.get("hook_at")
    return Callback.model_validate(
        {
            "url": shown(body["callback_url"]),
            "status": record.get("hook_state", "waiting"),
            "attempts": int(record.get("hook_attempts", 0)),
            "last_status": int(record["hook_http"]) if "hook_http" in record else None,
            "last_error": record.get("hook_error"),
            "next_attempt_at": utc(int(due)) if due else None,
            "delivered_at": utc(int(delivered)) if delivered else None,
        }
    )


def as_claim(message: Message, record: Mapping[str, str], *, epoch: int, sealed: str, calls: str) -> Claim:
    """The claim of a record that was just given out."""
    named = json.loads(record.get("brief") or record["body"])["model_name"] if "fallback" in record else None
    # Another model is to be asked than the one whose answer was wrong: it is told nothing of that.
    error = json.loads(record["error"]) if "error" in record and "switched" not in record else {}
    return Claim(
        message=message,
        epoch=epoch,
        sealed=sealed,
        retries=int(record.get("retries", 0)),
        last_error=error.get("type"),
        complaints=complaints_of(error.get("violations", ())),
        fallback=int(record.get("fallback", 0)),
        first_model=named if "fallback" in record else message.model_name,
        calls=calls,
        trace=record.get("trace", ""),
        traced=record.get("traced", ""),
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


def as_failures(kind: str, count: int, newest: str, error: str, moment: str) -> FailureGroup:
    """A group of failed messages, from what ``failures.lua`` says of it."""
    return FailureGroup(
        type=kind, count=count, message=json.loads(error)["message"], newest=utc(int(moment)), example=newest
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
    # A clock that was set back must not make it negative.
    unfinished = {queue: round(max(0, waited) / 1000, 3) for queue, waited in data["unfinished"].items()}
    return Stats(
        queues=queues,
        priorities=depths,
        oldest_wait=max((depth.oldest_wait for depth in depths), default=0.0),
        oldest_unfinished=max(unfinished.values()),
        oldest_unfinished_by_queue=unfinished,
        counts=counts,
        running=counts[Status.RUNNING],
        retries_pending=counts[Status.RETRYING],
        workers=[WorkerInfo(**json.loads(worker), alive_until=utc(until)) for worker, until in data["workers"]],
        paused=sorted(data.get("paused") or ()),
        throughput={name: float(rates.get(name, 0)) for name in ("attempts", "completed", "failed", "cancelled")},
        spend=Spend(
            day=date.fromisoformat(data["day"]),
            total=_as_spend(TOTAL, data["spent"].get(TOTAL, ())),
            accounts=[_as_spend(account, data["spent"].get(account, ())) for account in data["accounts"]],
        ),
    )


def _as_spend(account: str, record: Sequence[str]) -> AccountSpend:
    spent = {name: int(value) for name, value in as_mapping(record).items()}
    known = spent.get("cost", 0) / NANO
    return AccountSpend(
        account=account,
        messages=spent.get("messages", 0),
        prompt_tokens=spent.get("prompt_tokens", 0),
        completion_tokens=spent.get("completion_tokens", 0),
        unpriced_tokens=spent.get("unpriced", 0),
        known_cost=known,
        cost=None if spent.get("unpriced") else known,
    )
