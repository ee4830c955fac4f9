"""Checkpoints: the parts of a long text that are translated already, kept with the message.

A crash or a retry then pays only for what is missing. They are found by a digest of the part and of all
that was asked for with it, so that they survive another way of cutting the text, and end with the message.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final, Protocol

from tq.store import Store


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls cost: tokens, and nano-units of the prices' currency (None: not all of it has a price)."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int | None = 0


NOTHING: Final = Spent()


@dataclass(frozen=True, slots=True)
class Part:
    """A part's translation; ``text`` None = it was too long for one answer, and is to be asked for in halves."""

    text: str | None = field(repr=False)
    model: str = ""
    warnings: tuple[str, ...] = ()


class Checkpoints(Protocol):
    """What was kept of one message."""

    async def load(self) -> dict[str, Part]:
        """All parts kept so far, by digest."""
        ...

    async def keep(self, digest: str, part: Part, spent: Spent) -> bool:
        """Keep one more, and book what was spent so far; False when neither was done."""
        ...


class StoredCheckpoints:
    """Those of one claim, in the store."""

    def __init__(self, store: Store, message_id: str, epoch: int, account: str) -> None:
        self._store = store
        self._message_id = message_id
        self._epoch = epoch
        self._account = account

    async def load(self) -> dict[str, Part]:
        """All parts kept so far, by digest."""
        kept = await self._store.checkpoints(self._message_id)
        return {digest: _decoded(text) for digest, text in kept.items()}

    async def keep(self, digest: str, part: Part, spent: Spent) -> bool:
        """Keep one more, and book what was spent so far; False, and neither, when the message is not ours any more."""
        text = json.dumps([part.text, part.model, part.warnings], ensure_ascii=False, separators=(",", ":"))
        return await self._store.checkpoint(
            self._message_id,
            self._epoch,
            digest,
            text,
            tokens=(spent.prompt_tokens, spent.completion_tokens),
            cost=spent.cost,
            account=self._account,
        )


def _decoded(text: str) -> Part:
    translation, model, warnings = json.loads(text)
    return Part(translation, model, tuple(warnings))
