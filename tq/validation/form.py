"""Whether an answer is usable text at all. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tq.validation.pair import Pair, Rule, Violation

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def not_empty(pair: Pair) -> Iterator[Violation]:
    """An answer without text, where the source has some."""
    if pair.source.strip() and not pair.output.strip():
        yield Violation("not-empty", "error", "empty")


def storable(pair: Pair) -> Iterator[Violation]:
    """NUL and lone surrogates: JSON can spell them, but they are not text that could be stored and shown."""
    if "\x00" in pair.output:
        yield Violation("storable", "error", "contains NUL")
    if _SURROGATE.search(pair.output):
        yield Violation("storable", "error", "contains lone surrogates")


RULES: Final[tuple[Rule, ...]] = (not_empty, storable)
