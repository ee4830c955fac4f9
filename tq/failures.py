"""Failed messages by reason. Data, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from tq.errors import ErrorRecord
from tq.messages import Count, utc


class FailureGroup(BaseModel):
    """Messages that failed for the same reason."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="The error's type.")
    count: Count
    message: str = Field(description="What the newest of them says.")
    newest: datetime
    example: str = Field(description="Id of the newest.")


class Failures(BaseModel):
    """What ``GET /queue/failures`` answers: those with most messages first."""

    groups: list[FailureGroup]
    complete: bool = Field(description="Whether all failed messages were looked at, or the newest only.")


class Retried(BaseModel):
    """What became of failed messages that were to be tried again."""

    retried: Count
    refused: Count = Field(description="Those that could not be: they need their own key again, or a budget is spent.")
    more: bool = Field(description="Whether there are more: ask again.")


def grouped(failures: Iterable[tuple[str, ErrorRecord, int]]) -> list[FailureGroup]:
    """Ids, errors and times in ms of failed messages, newest first, by the errors' types."""
    groups: dict[str, FailureGroup] = {}
    for message_id, error, moment in failures:
        if known := groups.get(error["type"]):
            groups[error["type"]] = known.model_copy(update={"count": known.count + 1})
        else:
            groups[error["type"]] = FailureGroup(
                type=error["type"], count=1, message=error["message"], newest=utc(moment), example=message_id
            )
    return sorted(groups.values(), key=lambda group: -group.count)
