"""Failed messages by reason. Data, no I/O."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from tq.messages import Count


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


class Retried(BaseModel):
    """What became of failed messages that were to be tried again."""

    retried: Count
    refused: Count = Field(description="Those that could not be: they need their own key again, or a budget is spent.")
    next_cursor: str | None = Field(
        default=None, description="There are more: pass it as `cursor` for the next thousand; null: that was all."
    )

    def and_then(self, later: Retried) -> Retried:
        """Both together, and where to go on after the later ones."""
        return Retried(
            retried=self.retried + later.retried, refused=self.refused + later.refused, next_cursor=later.next_cursor
        )
