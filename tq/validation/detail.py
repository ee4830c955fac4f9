"""How a violation says what exactly is wrong: short, whatever the texts are like. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Final

#: How many of the things that differ are named.
_NAMED: Final = 3
#: Characters of each.
_LONGEST: Final = 40


def listed(things: Iterable[str], longest: int = _LONGEST) -> str:
    """``a, b, c … and 2 more``: the first three, each in one line and cut to ``longest`` characters."""
    rest = iter(things)
    named = ", ".join(_cut(thing, longest) for thing in islice(rest, _NAMED))
    left = sum(1 for _ in rest)
    return f"{named} … and {left} more" if left else named


def differences(before: Counter[str], after: Counter[str]) -> str:
    """``missing: a, b; added: c``, at most 200 characters; empty when both hold the same."""
    missing, added = before - after, after - before
    parts = [("missing", missing), ("added", added)]
    return "; ".join(f"{what}: {listed(things.elements())}" for what, things in parts if things)[:200]


def _cut(thing: str, longest: int) -> str:
    line = " ".join(thing[: 4 * longest].split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
