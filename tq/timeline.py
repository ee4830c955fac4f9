"""The timeline of a message: every status that it entered, and what each attempt came to. Data, no I/O."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from tq.messages import CURSOR_PATTERN, TERMINAL, Amount, Change, Count, Message, Status, shown, utc

#: Money is counted in billionths of the currency.
_NANO = 10**9


class TimelineEntry(BaseModel):
    """A status that the message entered. Tokens and cost are those of the attempt that ended with it."""

    model_config = ConfigDict(frozen=True)

    cursor: str = shown(pattern=CURSOR_PATTERN)
    at: datetime
    status: Status
    attempt: Count = Field(description="How many attempts had begun by then.")
    info: str = Field(default="", description="The error's type, who translated, the model, or why it is queued again.")
    model: str | None = Field(default=None, description="What was asked, once an attempt has ended.")
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    cost: Amount | None = Field(default=None, description="null: nothing was asked, or its price is not known.")
    checks: list[str] = Field(default_factory=list, description="The checks that the answer did not pass.")

    @property
    def ended(self) -> bool:
        """Whether it is in a terminal status."""
        return self.status in TERMINAL

    def change_of(self, message: Message) -> Change:
        """The same as an entry of the stream of changes."""
        return Change(
            cursor=self.cursor,
            at=self.at,
            message_id=message.message_id,
            status=self.status,
            priority=message.priority,
            languages=message.languages,
            attempts=self.attempt,
            info=self.info,
        )


class Timeline(BaseModel):
    """What ``GET /messages/{message_id}/timeline`` answers, oldest first."""

    message_id: str
    entries: list[TimelineEntry]


def entries(created: int, log: str) -> list[TimelineEntry]:
    """The timeline of a record: when it was created in ms, and its ``log`` (see ``prelude.lua``)."""
    first = TimelineEntry(cursor=f"{created}-0", at=utc(created), status=Status.QUEUED, attempt=0)
    return [first, *map(_entry, log.split("\n") if log else ())]


def _entry(line: str) -> TimelineEntry:
    cursor, status, attempt, info, model, prompt, completion, cost, checks = line.split("\t")
    return TimelineEntry(
        cursor=cursor,
        at=utc(int(cursor.partition("-")[0])),
        status=Status(status),
        attempt=int(attempt),
        info=info,
        model=model or None,
        prompt_tokens=int(prompt),
        completion_tokens=int(completion),
        cost=int(cost) / _NANO if cost and cost != "0" else None,
        checks=checks.split(",") if checks else [],
    )
