"""Which messages a list shows, and which one the beginning of an id means. Data, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from tq.errors import AmbiguousId, UnknownMessage
from tq.messages import Message

#: Ids that are named when it is not clear which is meant.
CANDIDATES: Final = 5


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """What all listed messages have in common; None says nothing.

    Attributes:
        to: target language; ``fr`` finds ``fr-CA`` too.
        source: source language, given or detected, likewise.
        priority: exactly this one.
        model: the model that is, or was, asked.
        error: type of the error, of those that failed or are retried.
        q: text in the id or in a value of the metadata, whatever its case.
        prefix: how the id begins.
    """

    to: str | None = None
    source: str | None = None
    priority: int | None = None
    model: str | None = None
    error: str | None = None
    q: str | None = None
    prefix: str | None = None

    def parameters(self) -> dict[str, str | int]:
        """As parameters of ``GET /messages``."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __call__(self, message: Message) -> bool:
        """Whether it is to be listed."""
        return (
            (self.prefix is None or message.message_id.startswith(self.prefix))
            and self.priority in (None, message.priority)
            and self.model in (None, message.model_name)
            and self.error in (None, message.error.type if message.error else None)
            and _is_within(message.metadata.get("target_language"), self.to)
            and _is_within(message.metadata.get("source_language") or message.detected_language, self.source)
            and (self.q is None or _mentions(message, self.q.casefold()))
        )


def _is_within(tag: object, wanted: str | None) -> bool:
    if wanted is None:
        return True
    given, wanted = str(tag or "").lower(), wanted.lower()
    return given == wanted or given.startswith(f"{wanted}-")


def _mentions(message: Message, text: str) -> bool:
    return text in message.message_id.casefold() or any(
        text in str(value).casefold() for value in message.metadata.values()
    )


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
