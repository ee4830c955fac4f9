"""Which messages a list shows and which changes a stream, and which one the beginning of an id means. Data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from tq.errors import AmbiguousId, UnknownMessage
from tq.messages import Change, Message, Status

#: Ids that are named when it is not clear which is meant.
CANDIDATES: Final = 5
#: They have filters of their own, or say what the text says.
_NOT_SEARCHED: Final = frozenset(
    {"source_language", "target_language", "formality", "context", "instructions", "glossary"}
)


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """What all listed messages have in common; None says nothing.

    Attributes:
        to: target language; ``fr`` finds ``fr-CA`` too.
        source: source language, given or detected, likewise.
        priority: exactly this one.
        model: the model that is, or was, asked.
        error: type of the error, of those that failed or are retried.
        q: text in the id or in a value of the caller's own metadata, whatever its case.
        prefix: how the id begins.
        callback: how it stands with the webhook, as ``Callback.status`` says.
    """

    to: str | None = None
    source: str | None = None
    priority: int | None = None
    model: str | None = None
    error: str | None = None
    q: str | None = None
    prefix: str | None = None
    callback: str | None = None

    def parameters(self) -> dict[str, str | int]:
        """As parameters of ``GET /messages``."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def wanted(self) -> dict[str, str | int]:
        """As ``find.lua`` takes it: compared without regard to case where people do."""
        found = self.parameters()
        for name in ("to", "source"):
            if name in found:
                found[name] = str(found[name]).lower()
        if self.q is not None:
            found["q"] = self.q.casefold()
        return found


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes are told: those into a status, to a language, of a priority; None = all."""

    status: Status | None = None
    to: str | None = None
    priority: int | None = None

    def __call__(self, change: Change) -> bool:
        """Whether it is one of them."""
        return (
            self.status in (None, change.status)
            and self.priority in (None, change.priority)
            and is_within(change.languages.partition("→")[2], self.to)
        )

    @property
    def matching(self) -> MessageFilter:
        """What the messages of these changes have in common, whatever their status is by now."""
        return MessageFilter(to=self.to, priority=self.priority)


def is_within(tag: str, language: str | None) -> bool:
    """Whether a tag is that language or one of its kind, whatever its case, as ``find.lua`` says it; None = any is."""
    return language is None or f"{tag.lower()}-".startswith(f"{language.lower()}-")


def searched(metadata: Mapping[str, object]) -> str:
    """What of a message's metadata is searched for text: the caller's own values, not what is part of the texts."""
    return "\n".join(str(value).casefold() for name, value in metadata.items() if name not in _NOT_SEARCHED)


def only_one(found: Sequence[Message], prefix: str, unknown: UnknownMessage) -> str:
    """The id of the only message whose id begins so, of up to ``CANDIDATES`` + 1 that do.

    Raises:
        UnknownMessage: there is none.
        AmbiguousId: there are several.
    """
    if not found:
        raise unknown from None
    if len(found) > 1:
        shown = ", ".join(message.message_id for message in found[:CANDIDATES])
        raise AmbiguousId(
            f"several ids begin with {prefix!r}",
            why=shown + (", …" if len(found) > CANDIDATES else ""),
            fix="give more of it",
        )
    return found[0].message_id
