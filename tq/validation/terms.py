"""Whether the submitter's glossary was followed. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from tq.validation.pair import Pair, Rule, Violation

#: Words of so many letters may be inflected at will, in compounds too (``Server`` → ``Serverraum``).
_INFLECTED: Final = 5
#: How much of such a word must be there, the rest being its ending (``Datenbank`` → ``Datenbanken``).
_STEM: Final = 0.7
_COMPOUND: Final = 20
#: How many other letters may follow a shorter word, whose last may go from four letters on (``база`` → ``базе``).
_ENDING: Final = 2
#: How many missing terms are named.
_NAMED: Final = 5
_MAX_DETAIL: Final = 200

#: A letter or digit, or a vowel sign, which ``\w`` does not count.
_IN_WORD: Final = r"(?:[^\W_]|[\u0900-\u0963\u0966-\u0dff])"
_WORD: Final = re.compile(f"{_IN_WORD}+")
#: What makes a term one to be found as it is (``C++``, ``R&D``): more than words with a space or hyphen between them.
_SYMBOL: Final = re.compile(r"[^\w\s'\u2019\u0900-\u0dff-]|_|[\s'\u2019-]{6}")
#: Accents, Hebrew points, Arabic vowel signs: inflection changes them (``Vorgang`` → ``Vorgänge``), or drops them.
_ACCENTS: Final = re.compile("[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0640]")
#: Scripts without spaces between words, where a term is a part of the text, wherever it is.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)


def glossary(pair: Pair) -> Iterator[Violation]:
    """A term's target that is not in the output, where its source is in the source.

    Without regard to case and accents, and with other endings for words of five letters and more, as most
    languages inflect them. An error for mandatory terms, a warning for the rest.
    """
    if not pair.terms:
        return
    output = _folded(pair.output)
    missing = [term for term in pair.terms if not _is_in(term.target, output)]
    for mandatory in (True, False):
        targets = [term.target for term in missing if term.mandatory is mandatory]
        if targets:
            kind = "mandatory terms" if mandatory else "terms"
            yield Violation(
                "glossary", "error" if mandatory else "warning", f"{kind} of the glossary missing", _listed(targets)
            )


def _is_in(target: str, output: str) -> bool:
    target = _folded(target)
    if _UNSPACED.search(target) or _SYMBOL.search(target):
        return target in output
    return _pattern(target).search(output) is not None


@lru_cache(maxsize=2048)
def _pattern(target: str) -> re.Pattern[str]:
    """The target's words, each with any ending, one behind the other."""
    words = _WORD.findall(target)
    if not words:
        return re.compile(re.escape(target))
    # Articles and prepositions are written together with a word in Arabic and Hebrew, and compounds in others.
    first = "" if len(words[0]) >= _INFLECTED or _is_semitic(words[0]) else rf"(?<!{_IN_WORD})"
    return re.compile(first + r"[\W_]{1,6}".join(_inflected(word) for word in words))


def _inflected(word: str) -> str:
    if len(word) < _INFLECTED:
        stem = word[:3] if len(word) == _INFLECTED - 1 else word
        return rf"{re.escape(stem)}{_IN_WORD}{{0,{_ENDING + len(word) - len(stem)}}}(?!{_IN_WORD})"
    return rf"{re.escape(word[: max(_INFLECTED - 1, round(len(word) * _STEM))])}{_IN_WORD}{{0,{_COMPOUND}}}"


def _is_semitic(word: str) -> bool:
    return "\u0590" <= word[0] <= "\u06ff"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text.casefold())))


def _listed(targets: Sequence[str]) -> str:
    named = "missing: " + "; ".join(targets[:_NAMED])
    if len(named) > _MAX_DETAIL - 20:
        named = named[: _MAX_DETAIL - 20] + "…"
    return named + (f"; … and {len(targets) - _NAMED} more" if len(targets) > _NAMED else "")


RULES: Final[tuple[Rule, ...]] = (glossary,)
