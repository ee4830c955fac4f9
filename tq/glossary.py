"""Glossaries: how a submitter wants certain terms translated. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_TERMS: Final = 500
#: In UTF-8, of all sources and targets together.
MAX_BYTES: Final = 64 * 1024
#: Characters of one source or target: a term, not a text.
MAX_TERM: Final = 500

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HEADERS: Final = {
    "source": {"source", "term"},
    "target": {"target", "translation"},
    "mandatory": {"mandatory", "required"},
}
_YES: Final = frozenset({"true", "yes", "y", "1", "x", "mandatory", "required"})
_NO: Final = frozenset({"", "false", "no", "n", "0", "optional"})

#: Scripts written without spaces, and Hangul, whose particles follow without one: no word ends where a term does.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u19e0-\u19ff\u1a20-\u1aaf\u3040-\u30ff\u3130-\u318f"
    "\u3400-\u4dbf\u4e00-\u9fff\uaa60-\uaa7f\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
#: Vowel signs and points: parts of a word that ``\w`` does not count.
_MARKS: Final = "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_IN_WORD: Final = rf"(?:[^\W{_UNSPACED}]|[{_MARKS}])"
_WORD: Final = re.compile(rf"{_IN_WORD}+")
_FENCE: Final = "\x1f"


@dataclass(frozen=True, slots=True)
class Term:
    """One entry: ``source`` is to become ``target``; ``mandatory`` = a translation without it is rejected."""

    source: str
    target: str
    mandatory: bool = False


def parse_glossary(value: object) -> tuple[Term, ...]:
    """The terms of a glossary as metadata has it.

    Args:
        value: an object {term: translation}, or a list of objects {"source", "target", "mandatory"?}.

    Raises:
        ValueError: it is neither, or larger than the bounds above, or has an entry that is wrong; says which.
    """
    if isinstance(value, Mapping):
        entries = [
            (f"term {number}", source, target, False) for number, (source, target) in enumerate(value.items(), 1)
        ]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        entries = [(f"term {number}", *_fields(f"term {number}", entry)) for number, entry in enumerate(value, 1)]
    else:
        raise ValueError(  # noqa: TRY004 - what pydantic's validators raise, whatever is wrong
            'must be an object {"term": "translation"} or a list of {"source", "target", "mandatory"}'
        )
    return _checked(entries)


def terms_of(metadata: Mapping[str, object]) -> tuple[Term, ...]:
    """The glossary of a message that was accepted; none when it has none."""
    value = metadata.get("glossary")
    return parse_glossary(value) if value else ()


def read_csv(text: str) -> tuple[Term, ...]:
    """The terms of a CSV file: ``source,target[,mandatory]``, separated by commas, semicolons or tabs.

    The first line may name the columns, in any order; a byte order mark and empty lines are skipped.

    Raises:
        ValueError: it is no such file, or larger than the bounds above; says which line is wrong and why.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > 2 * MAX_BYTES:
        raise ValueError(f"it is larger than {2 * MAX_BYTES} characters")
    rows = list(_rows(text, _delimiter(text)))
    columns = ["source", "target", "mandatory"]
    if rows and (named := _header(rows[0][1])):
        columns, rows = named, rows[1:]
    entries = []
    for line, row in rows:
        where = f"line {line}"
        if not 2 <= len(row) <= len(columns):
            raise ValueError(f"{where}: it has {len(row)} columns, not source, target and optionally mandatory")
        cells = dict(zip(columns, row, strict=False))
        entries.append((where, cells["source"], cells.get("target"), _is_yes(where, cells.get("mandatory", ""))))
    return _checked(entries)


def matching(terms: tuple[Term, ...], text: str) -> tuple[Term, ...]:
    """The terms whose source is in the text, in their order.

    Whole words, in scripts that have them, and without regard to case unless the term has capitals behind its
    first letter (``iPhone``, ``IT``). A longer term hides a shorter one within it: of ``data`` and ``data base``
    only the latter is in "the data base".
    """
    if not terms or not text:
        return ()
    spoken = " ".join(text.split())
    folded = spoken.casefold()
    found: set[Term] = set()
    for exact, those in _prepared(terms):
        found |= _found(those, spoken if exact else folded)
    return tuple(term for term in terms if term in found)


@dataclass(frozen=True, slots=True)
class _Sought:
    term: Term
    key: str
    words: frozenset[str]


@lru_cache(maxsize=32)
def _prepared(terms: tuple[Term, ...]) -> list[tuple[bool, list[_Sought]]]:
    """Those with case and those without, the longest first."""
    groups: dict[bool, list[_Sought]] = {True: [], False: []}
    for term in sorted(terms, key=lambda term: -len(term.source)):
        key, words = _fenced(_key(term.source))
        groups[_is_exact(term.source)].append(_Sought(term, key, words))
    return [(exact, those) for exact, those in groups.items() if those]


def _found(those: list[_Sought], text: str) -> set[Term]:
    # Nothing but sets and substrings: both as fast as C, however hostile the text.
    text, words = _fenced(text)
    present = [each for each in those if each.words <= words and each.key in text]
    found: set[Term] = set()
    for number, each in enumerate(present):
        if each.key in text:
            found.add(each.term)
            if any(shorter.key in each.key for shorter in present[number + 1 :]):
                text = text.replace(each.key, "\n")
    return found


def _fenced(text: str) -> tuple[str, frozenset[str]]:
    """The text with a fence on either side of each word, so that a part of it only matches whole words; the words."""
    fenced = _WORD.sub(rf"{_FENCE}\g<0>{_FENCE}", text.replace(_FENCE, " "))
    return fenced, frozenset(fenced.split(_FENCE)[1::2])


def _key(source: str) -> str:
    """What is looked for, which is also what makes two terms the same."""
    source = " ".join(source.split())
    return source if _is_exact(source) else source.casefold()


def _is_exact(source: str) -> bool:
    return any(character.isupper() for character in source.strip()[1:])


def _fields(where: str, entry: object) -> tuple[object, object, bool]:
    if not isinstance(entry, Mapping) or not {"source", "target"} <= entry.keys() <= {"source", "target", "mandatory"}:
        raise ValueError(f'{where}: must have "source" and "target", may have "mandatory", and nothing else')
    mandatory = entry.get("mandatory")
    if mandatory is not None and not isinstance(mandatory, bool):
        raise ValueError(f"{where}: mandatory must be true or false")
    return entry["source"], entry["target"], bool(mandatory)


def _checked(entries: Sequence[tuple[str, object, object, bool]]) -> tuple[Term, ...]:
    if len(entries) > MAX_TERMS:
        raise ValueError(f"it has {len(entries)} terms; {MAX_TERMS} are the most")
    seen: dict[str, str] = {}
    terms: list[Term] = []
    size = 0
    for where, source, target, mandatory in entries:
        term = Term(_text(where, "source", source), _text(where, "target", target), mandatory)
        size += len(term.source.encode()) + len(term.target.encode())
        first = seen.setdefault(_key(term.source), where)
        if first != where:
            raise ValueError(f"{where}: the same source as {first}")
        terms.append(term)
    if size > MAX_BYTES:
        raise ValueError(f"its terms are larger than {MAX_BYTES // 1024} KiB")
    return tuple(terms)


def _text(where: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: the {name} must be a string")  # noqa: TRY004 - as above
    value = value.strip()
    if not value:
        raise ValueError(f"{where}: the {name} is empty")
    if len(value) > MAX_TERM:
        raise ValueError(f"{where}: the {name} has {len(value)} characters; {MAX_TERM} are the most")
    if _CONTROL.search(value):
        raise ValueError(f"{where}: the {name} has line breaks or control characters")
    return value


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line where each row that is not empty begins, and its cells, stripped."""
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, [cell.strip() for cell in row]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {line}: {error}") from None


def _delimiter(text: str) -> str:
    """The one that parts the most rows in two or three; a comma where none does, whose rows then show what is wrong."""

    def parted(delimiter: str) -> int:
        count = 0
        with suppress(ValueError):
            for _, row in _rows(text, delimiter):
                count += 2 <= len(row) <= 3
        return count

    return max(",;\t", key=parted)


def _header(cells: Sequence[str]) -> list[str] | None:
    """The names of the columns, if the cells are such."""
    columns = [
        next((name for name, known in _HEADERS.items() if cell.casefold() in known), cell.casefold()) for cell in cells
    ]
    return columns if {"source", "target"} <= set(columns) <= set(_HEADERS) else None


def _is_yes(where: str, cell: str) -> bool:
    folded = cell.casefold()
    if folded not in _YES | _NO:
        raise ValueError(f"{where}: mandatory must be true or false")
    return folded in _YES
