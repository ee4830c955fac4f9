"""ICU messages, as far as a check needs them: the arguments that choose between texts. Pure.

The syntax is that of ICU4J's and ICU4C's MessageFormat, which FormatJS shares:
https://unicode-org.github.io/icu/userguide/format_parse/messages/
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, cast

from tq.validation.plurals import CATEGORIES

ChoiceKind = Literal["plural", "selectordinal", "select"]

#: Choices within choices; people write two, hostile texts thousands.
_DEPTH: Final = 10
_HEAD: Final = re.compile(
    r"\{\s{0,40}(?P<argument>\w{1,64})\s{0,40},\s{0,40}(?P<kind>plural|selectordinal|select)\s{0,40},"
    r"(?:\s{0,40}offset\s{0,40}:\s{0,40}(?P<offset>\d{1,9}))?"
)
_LOOKS_LIKE: Final = re.compile(r"\{\s{0,40}\w{1,64}\s{0,40},\s{0,40}(?:plural|selectordinal|select)\b")
_SELECTOR: Final = re.compile(r"\s{0,400}(=\d{1,9}|[^\s{}='#,]{1,64})\s{0,400}\{")
_END: Final = re.compile(r"\s{0,400}\}")
_SIMPLE: Final = re.compile(r"\{\s{0,40}[\w.]{1,64}\s{0,40}(?:,\s{0,40}\w{1,64}\s{0,40}(?:,[^{}]{0,400})?)?\}")
_SPECIAL: Final = re.compile(r"[{}']")
_QUOTED: Final = re.compile(r"'(?=[{}#|])(?:[^']|'')*+'")


@dataclass(frozen=True, slots=True)
class Choice:
    """An argument that chooses a text: ``{n, plural, one {# file} other {# files}}``.

    Attributes:
        argument: its name: ``n``.
        kind: how it chooses.
        offset: what is taken off the number before ``#`` shows it.
        branches: selector (``one``, ``=0``, ``female``) -> text.
    """

    argument: str
    kind: ChoiceKind
    offset: int
    branches: dict[str, Message]


#: Text, in which simple arguments (``{name}``) are left as they are, and choices. What apostrophes quote is left out.
Message = tuple[str | Choice, ...]


class _NotIcu(Exception):
    """The braces do not parse; private, so that every caller gets None."""


def parse(text: str) -> Message | None:
    """``text`` as a message, None if what looks like a choice in it is not one.

    Outside of choices everything is text: only a choice tells that it is ICU's syntax at all.
    """
    message: list[str | Choice] = []
    position = 0
    while found := _LOOKS_LIKE.search(text, position):
        try:
            choice, end = _choice(text, found.start(), 1)
        except _NotIcu:
            return None
        message += (text[position : found.start()], choice)
        position = end
    message.append(text[position:])
    return tuple(message)


def choices(message: Message) -> Iterator[Choice]:
    """All choices of a message, also those within others; the outer ones first."""
    for part in message:
        if isinstance(part, Choice):
            yield part
            for branch in part.branches.values():
                yield from choices(branch)


def shows_number(branch: Message) -> bool:
    """Whether a branch of a plural has ``#``, for that plural."""
    return any("#" in part if isinstance(part, str) else _shows_number(part) for part in branch)


def typical(message: Message) -> str:
    """The text that results when every choice falls on ``other``."""
    return "".join(
        part if isinstance(part, str) else typical(part.branches.get("other", ())) for part in message
    )  # fmt: skip


def bounds(message: Message, count: Callable[[str], Counter[str]]) -> tuple[Counter[str], Counter[str]]:
    """How often each thing that ``count`` finds is in the resulting text: at least, and at most.

    A text without choices has it as often at least as at most.
    """
    least: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for part in message:
        if isinstance(part, str):
            if found := count(part):  # mostly empty, and an update with nothing costs as much as the counting
                least.update(found)
                most.update(found)
        else:
            low, high = _bounds_of_branches([bounds(branch, count) for branch in part.branches.values()])
            if low:
                least.update(low)
            if high:
                most.update(high)
    return least, most


def _shows_number(choice: Choice) -> bool:
    return choice.kind == "select" and any(map(shows_number, choice.branches.values()))


def _bounds_of_branches(branches: list[tuple[Counter[str], Counter[str]]]) -> tuple[dict[str, int], dict[str, int]]:
    if len(branches) == 1:
        return branches[0]
    low: dict[str, int] = branches[0][0]
    high: dict[str, int] = {}
    for least, most in branches:
        # Of the smaller one, so that all branches together cost no more than their length.
        low = {thing: min(low.get(thing, 0), least.get(thing, 0)) for thing in min(low, least, key=len)}
        for thing, times in most.items():
            high[thing] = max(high.get(thing, 0), times)
    return low, high


def _choice(text: str, position: int, depth: int) -> tuple[Choice, int]:
    head = _HEAD.match(text, position)
    if head is None or depth > _DEPTH:
        raise _NotIcu
    kind = cast("ChoiceKind", head["kind"])
    branches: dict[str, Message] = {}
    position = head.end()
    while (end := _END.match(text, position)) is None:
        selector = _SELECTOR.match(text, position)
        if selector is None or selector[1] in branches:
            raise _NotIcu
        if kind == "select" and selector[1].startswith("="):
            raise _NotIcu
        if kind != "select" and selector[1] not in CATEGORIES and not selector[1].startswith("="):
            raise _NotIcu
        branches[selector[1]], position = _branch(text, selector.end(), depth)
    if not branches:
        raise _NotIcu
    return Choice(head["argument"], kind, int(head["offset"] or 0), branches), end.end()


def _branch(text: str, position: int, depth: int) -> tuple[Message, int]:
    """The message up to its closing brace, and the position behind that."""
    message: list[str | Choice] = []
    parts: list[str] = []  # of the text since the last choice
    while special := _SPECIAL.search(text, position):
        start = special.start()
        parts.append(text[position:start])
        if special[0] == "}":
            message.append("".join(parts))
            return tuple(message), start + 1
        if special[0] == "'":
            quoted = _QUOTED.match(text, start)
            if quoted is None and text[start + 1 : start + 2] in ("{", "}"):
                raise _NotIcu
            parts.append(" " if quoted else "'")
            position = quoted.end() if quoted else start + 1 + text.startswith("''", start)
        elif _LOOKS_LIKE.match(text, start):
            choice, position = _choice(text, start, depth + 1)
            message += ("".join(parts), choice)
            parts = []
        elif simple := _SIMPLE.match(text, start):
            parts.append(simple[0])
            position = simple.end()
        else:
            break
    raise _NotIcu
