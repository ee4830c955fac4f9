"""Checks of a translation against its source. Pure: nothing here calls out, waits or raises.

A rule takes the pair and yields its violations; ``violations`` collects those of all rules, so that one
retry can mend everything at once. A new check is a new function in ``FORM_RULES`` or ``LANGUAGE_RULES``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import langcodes

from tq.spans import without_protected

Severity = Literal["error", "warning"]

_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and what came back for it.

    Attributes:
        source: the text that was sent.
        output: the answer, unwrapped.
        source_language: BCP 47 tag, or None when it is not known.
        target_language: BCP 47 tag.
        corrected: whether the request already said that an earlier answer was rejected: what is right
            more often than not then only warns, as the model has been asked twice.
    """

    source: str
    output: str
    source_language: str | None
    target_language: str
    corrected: bool = False


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong; ``message`` never quotes the texts.

    An ``error`` rejects the answer, a ``warning`` is kept with it.
    """

    rule: str
    severity: Severity
    message: str


Rule = Callable[[Pair], Iterator[Violation]]


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


def not_same_as_source(pair: Pair) -> Iterator[Violation]:
    """The words of the source, untranslated.

    URLs, markup, placeholders and words of one or two letters are not counted, and nothing is said when
    no word remains (Weblate's check "unchanged translation" does likewise), or when both languages are
    variants of one. Names and cognates are right to stay the same: so the second time it is a warning.
    """
    if _base_language(pair.source_language) == _base_language(pair.target_language):
        return
    words = _words(pair.source)
    if words and words == _words(pair.output):
        yield Violation("not-same-as-source", "warning" if pair.corrected else "error", "same as source")


#: Whether the answer is usable text at all.
FORM_RULES: Final[tuple[Rule, ...]] = (not_empty, storable)
#: Whether it is a translation.
LANGUAGE_RULES: Final[tuple[Rule, ...]] = (not_same_as_source,)


def violations(pair: Pair, rules: Sequence[Rule] = FORM_RULES + LANGUAGE_RULES) -> list[Violation]:
    """All that is wrong with the pair, in the order of the rules; empty when nothing is."""
    return [violation for rule in rules for violation in rule(pair)]


def _words(text: str) -> list[str]:
    return _WORD.findall(without_protected(text).casefold())


@lru_cache(maxsize=1024)
def _base_language(tag: str | None) -> str | None:
    """``fr`` of ``fr-CA``, and ``he`` of its former tag ``iw``."""
    return None if tag is None else langcodes.Language.get(tag).language
