"""A text as pieces that each fit a budget of tokens, cut where a translation suffers least. Pure.

The pieces joined are the text, to the byte. A cut comes behind white space, never before it, so a piece ends with
what separates it from the next: callers take it aside and put it back.

Cuts are looked for at the ends of paragraphs, then of lines, sentences, clauses and words, then between any two
characters as a reader sees them; a finer one only within something that is larger than the budget by itself.
Fenced code blocks and front matter are kept whole if they fit the budget, protected spans (``tq.spans``) always,
except tags, comments and scripts larger than the budget. A line that fits is never cut: so table rows stay whole.

Everything is looked for in windows as long as a piece, from one cut on: linear time, whatever the text.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import pairwise
from typing import Final

from tq.sizes import UNIT, tokens, weight
from tq.spans import protected_spans

#: Below it there is nothing worth halving: characters.
_SHORT: Final = 20
#: A run without any white space this long is no word: characters.
_LONG_WORD: Final = 200
#: What sentencex sees at a time: it takes cubic time where quotation marks are opened and never closed.
_WINDOW: Final = 512
#: How far to look for what follows a sentence: characters.
_AHEAD: Final = 128
#: So many headings in a row stay with what follows them.
_MAX_HEADINGS: Final = 6
#: What belongs to the character before it, besides marks: joiners, Thai and Lao am, Korean vowels and finals, skin
#: tones, tags.
_EXTENDS: Final = re.compile(r"[\u200c\u200d\u0e33\u0eb3\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
#: Its combining class: it makes one of the letters around it.
_VIRAMA: Final = 9

#: White space at which a line may be broken (not the no-break spaces).
_BREAKABLE: Final = r"[^\S\u00a0\u2007\u202f]"
_PARAGRAPH: Final = re.compile(r"(?:\n|\r(?!\n))[^\S\r\n]*(?:\r\n|\r|\n)\s*")
_LINE: Final = re.compile(r"(?:\r\n|[\n\r\u2028\u2029])\s*")
_CLAUSE: Final = re.compile(
    rf"[,;:،؛·–—][\"'”’»)\]]{{0,4}}{_BREAKABLE}\s*|[、，；：。！？]\s*|{_BREAKABLE}[-–—]{_BREAKABLE}\s*"
)
_WORD: Final = re.compile(rf"{_BREAKABLE}\s*|\u200b\s*")
#: Where sentencex does not help: what ends a sentence in any script.
_SENTENCE: Final = re.compile(r"[.!?…؟۔।॥።၊။][\"'”’»)\]]{0,4}\s+|[。！？｡][”’」』）)\]]{0,4}\s*")

_FENCE: Final = re.compile(r"^[ \t]*((?:>[ \t]?|(?:[-*+]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})([^\n]*))$", re.MULTILINE)
_FRONT_MATTER: Final = re.compile(r"(---|\+\+\+)[ \t]*\r?\n(?=\S).*?\n(?:\1|\.\.\.)[ \t]*(?=\r?\n|\Z)", re.DOTALL)
_LINE_END: Final = re.compile(r"\r\n|[\n\r\u2028\u2029]")
_HEADING: Final = re.compile(r"#{1,6}[ \t]|<h[1-6]\b")
_UNDERLINE: Final = re.compile(r"=+|-{2,}")
_UNUSUAL_SPACE: Final = re.compile(r"[^\S ]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def split(text: str, budget: int, language: str | None) -> list[str]:
    """``text`` in pieces: ``"".join(split(text, …)) == text``; one piece if it fits the budget.

    Args:
        text: anything.
        budget: the most tokens of a piece, as ``tq.sizes`` counts them. A piece is larger only where nothing in it
            may be cut: a protected span, or one character as a reader sees it.
        language: BCP 47 tag of the text, or None; what ends a sentence, and which abbreviations do not.

    Raises:
        ValueError: the budget is below 1.
    """
    if budget < 1:
        raise ValueError("the budget must be at least one token")
    if tokens(text) <= budget:
        return [text]
    return list(_pieces(_Text(text, budget * UNIT, language)))


def halve(text: str, language: str | None) -> tuple[str, str] | None:
    """``text`` in two, near its middle where a good cut is; None if there is none worth it.

    Neither half is blank. A paragraph's end in the middle half of the text goes before a line's, and so on; only
    text without words (Chinese, Thai, a very long run) is cut between any two characters.
    """
    if len(text.strip()) < _SHORT:
        return None
    size = weight(text)
    eighths = [_fit(text, 0, size * eighth // 8) for eighth in range(8)]
    for limit in (size, size // 2):
        parts = _Text(text, limit, language)
        cut = _middle_cut(parts, eighths)
        if cut is None and _is_wordless(text[eighths[2] : eighths[6]]):
            cut = parts.last_anywhere(eighths[2], eighths[4], 0)
        if cut is not None:
            return _both(text, parts.before_headings(0, cut))
    return None


def _middle_cut(parts: _Text, eighths: list[int]) -> int | None:
    """The best cut near the middle: a sentence's end somewhat off it goes before a word's at it."""
    for levels in (parts.levels[:3], parts.levels[3:]):
        for low, high in ((eighths[2], eighths[6]), (eighths[1], eighths[7])):
            for level in levels:
                cuts = [cut for cut in level(low, high) if parts.may_cut(cut)]
                if cuts:
                    return min(cuts, key=lambda cut: abs(cut - eighths[4]))
    return None


def _both(text: str, cut: int) -> tuple[str, str] | None:
    first, second = text[:cut], text[cut:]
    return (first, second) if first.strip() and second.strip() else None


def _is_wordless(text: str) -> bool:
    """Whether words are not what the text is made of: a long run, or a script that has no spaces."""
    return len(text) > _LONG_WORD or bool(re.search(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff]", text))


def _pieces(parts: _Text) -> Iterator[str]:
    start = 0
    while start < len(parts.text):
        cut = parts.next_cut(start)
        yield parts.text[start:cut]
        start = cut


class _Text:
    """A text, what in it must stay whole, and where it may be cut.

    A level gives the cuts of one kind with low < cut <= high, in order, legal or not.
    """

    def __init__(self, text: str, limit: int, language: str | None) -> None:
        self.text = text
        self.limit = limit
        self.language = (language or "en").partition("-")[0].lower()
        self.spans = _Ranges((s, e) for s, e in protected_spans(text) if text[s] != "<" or self._fits(s, e))
        self.blocks = _Ranges((s, e) for s, e in _blocks(text) if self._fits(s, e))
        self._found: tuple[tuple[int, int], list[int]] = (0, 0), []
        self.levels: tuple[Callable[[int, int], Iterable[int]], ...] = (
            lambda low, high: self._ends(_PARAGRAPH, low, high),
            lambda low, high: self._ends(_LINE, low, high),
            self._sentences,
            self._clauses,
            lambda low, high: self._ends(_WORD, low, high),
        )

    def next_cut(self, start: int) -> int:
        """The end of the piece that begins at ``start``."""
        reach = _fit(self.text, start, self.limit)
        if reach == len(self.text):
            return reach
        # White space that did not fit the piece before is no piece of its own.
        begin = reach - len(self.text[start:reach].lstrip())
        base = begin
        for level in self.levels if begin < reach else ():
            base = self._last(level, base, reach) or base
            # What follows is kept whole if it can be: it opens the next piece.
            if base > begin and self._follows_whole(level, base):
                return self.before_headings(start, base)
        if base > begin:
            return base
        return self.last_anywhere(start, reach, start) or self._next_anywhere(max(reach, start + 1), start)

    def may_cut(self, cut: int) -> bool:
        """Whether nothing that must stay whole is there."""
        return not self.spans.around(cut) and not self.blocks.around(cut)

    def last_anywhere(self, low: int, high: int, floor: int) -> int | None:
        """The last place with low < place <= high between two characters."""
        cut = high
        while cut > low:
            around = self.blocks.around(cut) or self.spans.around(cut)
            if around:
                cut = around[0]
            elif _joined(self.text, cut, floor):
                cut -= 1
            else:
                return cut
        return None

    def _next_anywhere(self, cut: int, floor: int) -> int:
        """The first place at or behind ``cut``, or the end of the text."""
        while cut < len(self.text):
            around = self.blocks.around(cut) or self.spans.around(cut)
            if around:
                cut = around[1]
            elif _joined(self.text, cut, floor):
                cut += 1
            else:
                return cut
        return len(self.text)

    def _fits(self, start: int, end: int) -> bool:
        return end - start <= self.limit // 255 or weight(self.text[start:end]) <= self.limit

    def _last(self, level: Callable[[int, int], Iterable[int]], low: int, high: int) -> int | None:
        return next((cut for cut in reversed(list(level(low, high))) if self.may_cut(cut)), None)

    def _follows_whole(self, level: Callable[[int, int], Iterable[int]], base: int) -> bool:
        """Whether the paragraph (line, sentence …) that begins at ``base`` fits a piece of its own."""
        reach = _fit(self.text, base, self.limit)
        return reach == len(self.text) or self._last(level, base, reach) is not None

    def before_headings(self, start: int, cut: int) -> int:
        """``cut``, or where the headings begin that end the piece: they belong to what follows."""
        best = cut
        for _ in range(_MAX_HEADINGS):
            begin, end = _last_line(self.text, start, best)
            if _UNDERLINE.fullmatch(self.text, begin, end):
                above = _last_line(self.text, start, begin)
                is_heading = above[0] < begin and bool(_LINE_END.fullmatch(self.text, above[1], begin))
                begin = above[0]
            else:
                is_heading = bool(_HEADING.match(self.text, begin, end))
            if not is_heading or begin <= start or not self.may_cut(begin):
                break
            best = begin
        return best

    def _ends(self, pattern: re.Pattern[str], low: int, high: int) -> Iterator[int]:
        """Ends of the matches; those that ``high`` cuts short are none."""
        for match in pattern.finditer(self.text, low, high):
            if match.end() < high or not self.text[high : high + 1].isspace():
                yield match.end()

    def _sentences(self, low: int, high: int) -> list[int]:
        """Ends of sentences, with the white space behind them; a line's end is one."""
        if self._found[0] != (low, high):  # clauses ask for the same again
            self._found = (low, high), list(self._find_sentences(low, high))
        return self._found[1]

    def _find_sentences(self, low: int, high: int) -> Iterator[int]:
        # A full stop at the very end says nothing until what follows it is known.
        ahead = _LINE_END.search(self.text, high, high + _AHEAD)
        stop = ahead.start() if ahead else min(high + _AHEAD, len(self.text))
        begin = low
        for end in self._ends(_LINE, low, high):
            yield from self._sentences_of_line(begin, end, high)
            yield end
            begin = end
        yield from self._sentences_of_line(begin, stop, high)

    def _sentences_of_line(self, begin: int, end: int, high: int) -> Iterator[int]:
        for cut in _sentence_ends(self.text, begin, end, self.language):
            behind = self.text[cut : cut + _AHEAD]
            cut_behind = cut + len(behind) - len(behind.lstrip())
            if cut_behind <= high and not self.text[cut_behind : cut_behind + 1].isspace():
                yield cut_behind

    def _clauses(self, low: int, high: int) -> Iterator[int]:
        """Ends of clauses; a sentence's end is one."""
        return merge(self._sentences(low, high), self._ends(_CLAUSE, low, high))


class _Ranges:
    """Ranges (start, end) of a text, in order and apart."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        # Arrays: ten million characters can hold three million spans.
        self._starts, self._ends = array("q"), array("q")
        for start, end in ranges:
            self._starts.append(start)
            self._ends.append(end)

    def around(self, place: int) -> tuple[int, int] | None:
        """The range with start < place < end."""
        index = bisect_left(self._starts, place) - 1
        if index >= 0 and place < self._ends[index]:
            return self._starts[index], self._ends[index]
        return None


def _fit(text: str, start: int, limit: int) -> int:
    """The furthest end with ``weight(text[start:end]) <= limit``; what it looks at is a few times as long."""
    end, step = start, 64
    growing = True
    while step:
        size = weight(text[end : end + step])
        if size <= limit:
            limit -= size
            end += step
            if end >= len(text):
                return len(text)
        else:
            growing = False
        step = step * 2 if growing else step // 2
    return end


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Front matter, then code blocks with their fences (CommonMark 0.31, 4.5); an open one ends with the text."""
    position = 0
    if front := _FRONT_MATTER.match(text):
        yield front.span()
        position = front.end()
    opened: tuple[int, str] | None = None
    for match in _FENCE.finditer(text, position):
        fence, rest = match[2], match[3].strip()
        if opened is None:
            if fence[0] == "~" or "`" not in rest:
                opened = match.start(1), fence
        elif fence[0] == opened[1][0] and len(fence) >= len(opened[1]) and not rest:
            yield opened[0], match.end(2)
            opened = None
    if opened is not None:
        yield opened[0], len(text)


def _last_line(text: str, start: int, end: int) -> tuple[int, int]:
    """Where the last line of ``text[start:end]`` that is not blank begins and ends, white space around it apart."""
    last = start + len(text[start:end].rstrip())
    line = text[max(text.rfind("\n", start, last), text.rfind("\r", start, last), start - 1) + 1 : last]
    return last - len(line.lstrip()), last


def _sentence_ends(text: str, low: int, high: int, language: str) -> Iterator[int]:
    """Ends of sentences with low < end < high, in order; window after window, each at least half new."""
    begin = low
    while begin < high:
        end = min(begin + _WINDOW, high)
        last = cut = begin
        for sentence in _sentences_of(text[begin:end], language):
            cut += len(sentence)
            if cut < end:
                yield cut
                last = cut
        begin = high if end == high else max(last, begin + _WINDOW // 2)


def _sentences_of(text: str, language: str) -> list[str]:
    plain = _SURROGATE.sub("\ufffd", _UNUSUAL_SPACE.sub(" ", text))
    sentences = _sentencex(plain, language)
    if sum(map(len, sentences)) == len(text):
        return sentences
    cuts = [0, *(match.end() for match in _SENTENCE.finditer(text)), len(text)]
    return [text[begin:end] for begin, end in pairwise(cuts)]


def _sentencex(text: str, language: str) -> list[str]:
    """What sentencex makes of it; [] where it panics: that is no ``Exception``, and would end the worker.

    Version 1.0.32 does so at white space of two bytes, U+0085 behind an I, and drops some line breaks. Callers
    spare it both; of a million other random texts none made it panic.
    """
    from sentencex import segment

    try:
        sentences: list[str] = segment(language, text)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return []
    return sentences


def _joined(text: str, cut: int, floor: int) -> bool:
    """Whether the characters around ``cut`` are one to a reader: a grapheme, by the gist of UAX #29.

    ``floor`` is a place at or before ``cut`` where two graphemes meet, at least two flags.
    """
    before, behind = text[cut - 1], text[cut]
    if behind < "\u0300":
        return before == "\r" and behind == "\n"
    return (
        before == "\u200d"
        or unicodedata.combining(before) == _VIRAMA
        or unicodedata.category(behind) in {"Mn", "Mc", "Me"}
        or _EXTENDS.match(behind) is not None
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= behind <= "\udfff")
        or (_is_flag_letter(behind) and _flag_letters(text, cut, floor) % 2 == 1)
    )


def _flag_letters(text: str, end: int, floor: int) -> int:
    """How many stand before ``end``: two of them make a flag."""
    begin = end
    while begin > floor and _is_flag_letter(text[begin - 1]):
        begin -= 1
    return end - begin


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"
