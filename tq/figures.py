"""Figures of the queue: what waits, who works, what was spent. Data, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from tq.messages import Amount, Count, PriorityNumber, QueueName, Status

#: Whose spending is that of messages without a key of their own, and that of all accounts together.
DEFAULT_ACCOUNT: Final = "default"
TOTAL: Final = "total"


class QueueDepth(BaseModel):
    """What waits at one priority of one queue; ``oldest_wait`` in seconds."""

    model_config = ConfigDict(frozen=True)

    queue: QueueName
    priority: PriorityNumber | None
    queued: Count
    oldest_wait: float


class WorkerInfo(BaseModel):
    """A process that takes messages, as of its last heartbeat; given up at ``alive_until`` without another."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    provider: str
    slots: int
    running: int
    queues: list[str] = Field(default_factory=list, description="That it takes messages of; empty: it does not say.")
    steps: list[int] = Field(
        default_factory=list,
        description="Of priority, that it expects queues to be split into; empty: it does not say.",
    )
    alive_until: datetime


class AccountSpend(BaseModel):
    """What one key, or all of them, spent on a day, failed attempts included."""

    model_config = ConfigDict(frozen=True)

    account: str = Field(description="`default`, or a digest of the key that messages brought; `total` for all.")
    messages: Count = Field(default=0, description="Messages that ended, completed or failed.")
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    unpriced_tokens: Count = Field(default=0, description="Those of them whose price is not known.")
    known_cost: Amount = Field(default=0.0, description="What the others cost.")
    cost: Amount | None = Field(default=0.0, description="What all of them cost; null: that is not known.")


class Spend(BaseModel):
    """What was spent today (UTC)."""

    model_config = ConfigDict(frozen=True)

    day: date | None = None
    currency: str | None = Field(default=None, description="That of TQ_PRICES; null without prices.")
    budget: Amount | None = Field(default=None, description="TQ_BUDGET_PER_DAY: what each account may spend.")
    total: AccountSpend = AccountSpend(account=TOTAL)
    accounts: list[AccountSpend] = Field(
        default_factory=list, description="Those that used most tokens first, 50 at most."
    )


class RateLimit(BaseModel):
    """A limit as it is applied now."""

    model_config = ConfigDict(frozen=True)

    per_minute: Count
    source: str = Field(description="Who said so: `settings`, the provider's `headers`, or its refusals (`429`).")


class RateInfo(BaseModel):
    """What all workers know of the limits of one endpoint, key and model. Times are in seconds from now."""

    model_config = ConfigDict(frozen=True)

    host: str
    key: str = Field(description="The first letters of the key's digest.")
    model: str
    limits: dict[str, RateLimit] = Field(description="Of `requests` and `tokens`, those that are known.")
    cool_down: float = Field(description="Nothing is sent for so long, after a refusal; 0: it is.")
    exhausted: float = Field(description="The account is empty, and is tried again after so long; 0: it is not.")
    waiting: float = Field(description="Until the last message that was put off has its turn, about.")
    sent: Count
    refused: Count


@dataclass(frozen=True, slots=True)
class Backlog:
    """Webhooks that are not delivered yet; ``overdue`` is the seconds that the one has been due that is for longest."""

    pending: int = 0
    overdue: float = 0.0


class Stats(BaseModel):
    """What ``GET /queue/stats`` answers. Throughput counts messages that ended in the last minute."""

    model_config = ConfigDict(frozen=True)

    queues: dict[str, int] = Field(description="queued messages per queue")
    priorities: list[QueueDepth] = Field(description="per queue and priority, only where something waits")
    oldest_wait: float = Field(description="seconds the longest-waiting queued message has waited")
    oldest_unfinished: float = Field(
        default=0.0,
        description="seconds since the oldest message that has not ended was submitted, or tried again by hand",
    )
    oldest_unfinished_by_queue: dict[str, float] = Field(
        default_factory=dict, description="the same for each queue, by the priority of messages"
    )
    counts: dict[Status, int] = Field(description="messages kept, by status")
    running: int
    retries_pending: int
    workers: list[WorkerInfo]
    throughput: dict[str, float] = Field(description="completed and failed a minute; attempts a minute")
    spend: Spend = Field(default_factory=Spend, description="tokens and cost of today")
    paused: list[QueueName] = Field(default_factory=list, description="queues of which nothing begins")
    rates: list[RateInfo] = Field(default_factory=list, description="limits of providers, and cool-downs")
