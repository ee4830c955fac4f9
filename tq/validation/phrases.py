"""What models say of their own, by the language they say it in: ``phrases.toml``, compiled."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final, Literal

Table = Literal["refusals", "negations", "preambles", "notes", "remarks", "closings", "reasoning"]

_STANDS_FOR: Final = {
    "{apostrophe}": "['\u2019]",
    # Within a sentence.
    "{gap}": r"[^\n.!?。！？]{0,60}?",
    # The beginning of a line, with what Markdown and brackets may put there.
    "{line}": r"^[\s>*_#(（\[【-]{0,6}",
    # What ends an introduction.
    "{colon}": r"[^\n:：]{0,60}(?:[:：]|\.{3}|…|\n)",
    # What comes before the word for a note: a new line, the end of a sentence, or an opening parenthesis.
    "{before}": r"(?:^[\s>*_#-]{0,6}|[.!?。！？][\"”»)]?\s{1,3}|[(（\[【][*_]{0,2})",
    # What comes behind it.
    "{after}": r"[*_ \u00a0\u202f]{0,4}[:：]",
}
#: What is put around all phrases of a table.
_AROUND: Final = {"notes": "{before}(?:%s){after}", "closings": "{line}(?:%s)"}

_BEYOND_LATIN: Final = re.compile("[\u0370-\uffff]")
_LATIN: Final = re.compile("[a-zA-Z]")
_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-f]{4}|x[0-9a-f]{2}|.)|\(\?[a-zA-Z]+\)")


def languages_of(table: Table, text: str) -> set[str]:
    """The languages in which the text has a phrase of the table."""
    beyond = _BEYOND_LATIN.search(text) is not None
    latin, others = _by_script(table)
    known = {language for language, pattern in latin if pattern.search(text)}
    return known | {language for language, pattern in others if pattern.search(text)} if beyond else known


@cache
def _by_script(table: Table) -> tuple[list[tuple[str, re.Pattern[str]]], list[tuple[str, re.Pattern[str]]]]:
    """Those that may be found in Latin letters, and those that cannot: most texts need not be searched for them."""
    parts: tuple[list[tuple[str, re.Pattern[str]]], ...] = ([], [])
    for language, pattern in phrases(table).items():
        in_latin = _LATIN.search(_ESCAPE.sub("", pattern.pattern)) is not None
        parts[0 if in_latin else 1].append((language, pattern))
    return parts[0], parts[1]


@cache
def phrases(table: Table) -> Mapping[str, re.Pattern[str]]:
    """Language -> pattern that finds any of its phrases. Compiled at first use: 20 ms a table."""
    return {language: _compiled(those, _AROUND.get(table, "%s")) for language, those in _read()[table].items()}


@cache
def _read() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads(files("tq.validation").joinpath("phrases.toml").read_text(encoding="utf-8"))


def _compiled(those: Iterable[str], around: str) -> re.Pattern[str]:
    pattern = around.replace("%s", "|".join(those))
    for name, meaning in _STANDS_FOR.items():
        pattern = pattern.replace(name, meaning)
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)
