"""Whether the numbers, the lines and the length of a translation are what its source makes one expect. Pure.

All are warnings, as a translator may have a reason for each, but for a model that repeats itself without end, and for
an answer too short for a translation.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final

from tq.spans import without_protected
from tq.validation.detail import differences
from tq.validation.pair import Pair, Rule, Severity, Violation

_DIGIT: Final = re.compile(r"\d")
_DIGITS: Final = re.compile(r"\d+")
_FOREIGN_DIGIT: Final = re.compile(r"[^\D0-9]")
#: "1, 2" is two numbers and so is "2024 500": a space groups by three only.
_NUMBER: Final = re.compile(
    r"""(?<!\d) (?: \d{1,3} (?: [\u0020\u00a0\u2009\u202f] \d{3} (?!\d) ){1,8} (?: [.,\u066b] \d{1,30} (?!\d) )?
              | \d{1,60} (?: [.,'\u2019\u066b\u066c\uff0c\uff0e] \d{1,60} ){0,30} )""",
    re.VERBOSE,
)
_LIST_NUMBER: Final = re.compile(r"^[ \t]{0,20}[(\uff08]?(\d{1,4})[.)\u3001\uff0e\uff09](?!\d)", re.MULTILINE)
#: "2 million" is "200万", and "1.5 crore" is "15 million".
_SCALED: Final = re.compile(
    r"""\d [\s\u00a0]? (?: [万萬億亿兆만억조千百십백천] | लाख | करोड़ | тыс | млн | млрд
        | (?: thousand | millions? | billions? | trillions? | lakh | crore | k | mil | mille | mio | mrd ) \b )""",
    re.VERBOSE | re.IGNORECASE,
)
_CLOCK: Final = re.compile(r"\d[ \u00a0\u202f]?[ap]\.?m\b", re.IGNORECASE)
#: Those that a language may well spell out.
_SPELT: Final = frozenset(str(number) for number in [*range(13), 100, 1000])
#: Centuries and kings.
_ROMAN: Final = {
    "X" * tens + roman: str(tens * 10 + ones)
    for tens in range(3)
    for ones, roman in enumerate(["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"])
    if tens or ones
}
_CHINESE: Final = "〇一二三四五六七八九"
_TO_CHINESE: Final = str.maketrans("0123456789", _CHINESE)
#: "XXIe", "XIV." and the like.
_ROMAN_WORD: Final = re.compile(r"(?<![^\W_])[XVI]{1,6}(?![^\W_]{4})")
#: Different numbers that are looked for in another numeral, and that are compared at all if they differ.
_FEW: Final = 50
_MANY: Final = 10_000

#: Characters of a line that may have been filled: broken where its width ended.
_FILLED: Final = 30

_LETTERS: Final = re.compile(r"[^\W\d_]+")
#: What a letter weighs in Latin letters, more than 1: measured on the Universal Declaration of Human Rights.
_DENSE: Final = (
    (re.compile("[\u3400-\u9fff\uf900-\ufaff]+"), 3.3),
    (re.compile("[\u3040-\u30ff]+"), 1.5),
    (re.compile("[\uac00-\ud7ff]+"), 2.6),
    (re.compile("[\u1200-\u137f]+"), 2.0),
    (re.compile("[\u0900-\u0dff]+"), 1.5),
    (re.compile("[\u0590-\u08ff]+"), 1.4),
    (re.compile("[\u0e00-\u109f\u1780-\u17ff]+"), 1.3),
)
#: Letters of the source from which its length says something.
_ENOUGH: Final = 20
#: As long as it may become: this many times as long, and some for what short texts spell out.
_GROWTH: Final = (1.9, 40.0)
#: No translation is as short: of 16,700 texts of 20 letters and more in 90 translations of Django none is, but for two
#: that lack their text ("Thanks for spending some quality time with the Web site today." is "Takk for i dag.").
_SHORTEST: Final = (3.0, 25.0)
#: What a digit of the output weighs here, as it may be a word of the source: "one hundred and five" is "105".
_SPELT_DIGIT: Final = 5.0

#: Of a long output the end is looked at, as a model that repeats itself does so to its end. Characters.
_TAIL: Final = 40_000
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff"
_UNIT: Final = re.compile(rf"[{_UNSPACED}]{{2}}|[^\s{_UNSPACED}]{{1,16}}")
#: Units in sequence that are looked for again, units from which there is something to say, and the share of sequences
#: that were there before: of the output, and more than of the source.
_GRAM: Final = 4
_FEWEST_UNITS: Final = 16
_REPEATED: Final = 0.4
_MORE_REPEATED: Final = 0.25


def numbers(pair: Pair) -> Iterator[Violation]:
    """Numbers that are missing or new, and list items that are numbered otherwise.

    Digits of all scripts and separators of all languages are the same: ``1,234.56``, ``1.234,56``, ``1 234,56``.
    Not counted are those in placeholders, markup, URLs and code. A small number may be spelt out, a century be
    Roman, a date be in another order, an hour count to 24, and beside "million" or 万 the number may be another.
    """
    if not pair.output.strip() or not (_DIGITS.search(pair.source) or _DIGITS.search(pair.output)):
        return
    source, output = without_protected(_latin_digits(pair.source)), without_protected(_latin_digits(pair.output))
    items_before, items_after = _LIST_NUMBER.findall(source), _LIST_NUMBER.findall(output)
    if len(items_before) > 1 or len(items_after) > 1:
        if items_before != items_after:
            detail = differences(Counter(items_before), Counter(items_after)) or "other order"
            yield Violation("numbers", "warning", "list numbers differ", detail)
        source, output = _LIST_NUMBER.sub("", source), _LIST_NUMBER.sub("", output)
    if _SCALED.search(source) or _SCALED.search(output):
        return
    missing, added = _unmatched(source, output)
    _without_equivalents(missing, added, lambda year: year[2:] if len(year) == 4 else year)
    if _CLOCK.search(source) or _CLOCK.search(output):
        _without_equivalents(missing, added, lambda hour: str(int(hour) + 12))
    missing, added = _without(missing, _written(missing, output)), _without(added, _written(added, source))
    if not (missing and added):
        missing, added = _without(missing, _SPELT), _without(added, _SPELT)
    if detail := differences(missing, added):
        yield Violation("numbers", "warning", "numbers differ", detail)


def lines(pair: Pair) -> Iterator[Violation]:
    """Paragraphs, or lines that mean something as such, that are more or fewer.

    Where a line that is not the last of its paragraph has 30 characters the text may have been filled anew: then
    only paragraphs count.
    """
    before, after = _paragraphs(pair.source), _paragraphs(pair.output)
    if not after:
        return
    if len(before) != len(after):
        yield Violation("lines", "warning", "paragraphs differ", f"{len(after)} instead of {len(before)}")
    elif any(length >= _FILLED for paragraph in before for length in paragraph[:-1]):
        return
    elif sum(map(len, before)) != sum(map(len, after)):
        detail = f"{sum(map(len, after))} instead of {sum(map(len, before))}"
        yield Violation("lines", "warning", "lines differ", detail)


def length(pair: Pair) -> Iterator[Violation]:
    """Far more or far fewer letters than the source has, where a letter weighs what its script puts in one.

    So that 1,000 Latin letters are 300 Chinese ones. From 20 letters on; more than 1.9 times as long and 40 letters
    are too many, and the same the other way round are too few. Fewer than a third and 25 letters are an error: then it
    is an answer to the text, or no more than its first words.
    """
    before, after = _weight(pair.source), _weight(pair.output)
    if before < _ENOUGH or not pair.output.strip():
        return
    if after > _most(before):
        yield Violation("length", "warning", "far longer than expected", f"{after / before:.1f} times as long")
    elif before > _SHORTEST[0] * (after + _SPELT_DIGIT * len(_DIGIT.findall(pair.output))) + _SHORTEST[1]:
        yield Violation("length", "error", "too short for a translation", f"{after / before:.2f} of the length")
    elif after and before > _most(after):
        yield Violation("length", "warning", "far shorter than expected", f"{after / before:.2f} of the length")


def repetition(pair: Pair) -> Iterator[Violation]:
    """The same words again and again, where the source does not repeat itself.

    A warning, and an error when the output is far longer than expected, too: a model that does not find its end.
    """
    share = _repeated(pair.output)
    if share < _REPEATED or share < _repeated(pair.source) + _MORE_REPEATED:
        return
    severity: Severity = "error" if _weight(pair.output) > _most(_weight(pair.source)) else "warning"
    yield Violation("repetition", severity, "repeats itself", f"{share:.0%} is said again")


def _latin_digits(text: str) -> str:
    foreign = set(_FOREIGN_DIGIT.findall(text))
    return text.translate({ord(digit): str(unicodedata.decimal(digit)) for digit in foreign}) if foreign else text


def _unmatched(source: str, output: str) -> tuple[Counter[str], Counter[str]]:
    """What only one of both has: of whole numbers, then of the parts of those, so that "12/31" may become "31.12."."""
    before, after = Counter(_NUMBER.findall(source)), Counter(_NUMBER.findall(output))
    only_before, only_after = _first(before - after), _first(after - before)
    missing, added = _parts_without(only_before, only_after), _parts_without(only_after, only_before)
    return missing - added, added - missing


def _first(numbers: Counter[str]) -> Counter[str]:
    return Counter(dict(islice(numbers.items(), _MANY)))


def _parts_without(these: Counter[str], others: Counter[str]) -> Counter[str]:
    """The parts of these numbers, but of those that are among the others, however they are separated."""
    left: Counter[str] = Counter()
    for number, count in others.items():
        left["".join(_DIGITS.findall(number))] += count
    found: Counter[str] = Counter()
    for number, count in these.items():
        parts = _DIGITS.findall(number)
        whole = "".join(parts)
        both = min(count, left[whole])
        left[whole] -= both
        for part in parts if count > both else ():
            found[part.lstrip("0") or "0"] += count - both
    return found


def _without_equivalents(missing: Counter[str], added: Counter[str], equivalent: Callable[[str], str]) -> None:
    """Take out what stands for the same: a number in one, and its equivalent in the other."""
    for one, other in ((missing, added), (added, missing)):
        for number in list(one):
            both = min(one[number], other[equivalent(number)])
            one[number] -= both
            other[equivalent(number)] -= both


def _without(numbers: Counter[str], known: AbstractSet[str]) -> Counter[str]:
    return Counter({number: count for number, count in numbers.items() if count and number not in known})


def _written(numbers: Counter[str], text: str) -> set[str]:
    """Those of the numbers that the text has in Roman or Chinese numerals; of many, none is looked for."""
    romans = {_ROMAN[word] for word in _ROMAN_WORD.findall(text) if word in _ROMAN}
    few = numbers if len(numbers) <= _FEW else ()
    return romans | {number for number in few if _chinese(number) in text}


def _chinese(number: str) -> str:
    """``十三`` and ``二十``, as numbers below 100 are spoken, and ``一九四八`` as years are."""
    if len(number) != 2:
        return number.translate(_TO_CHINESE)
    tens, ones = number[0], number[1]
    return f"{'' if tens == '1' else _CHINESE[int(tens)]}十{'' if ones == '0' else _CHINESE[int(ones)]}"


def _paragraphs(text: str) -> list[list[int]]:
    """The lengths of the lines of each paragraph."""
    paragraphs: list[list[int]] = []
    behind_blank = True
    for line in text.replace("\r\n", "\n").split("\n"):
        blank = not line or line.isspace()
        if not blank:
            if behind_blank:
                paragraphs.append([])
            paragraphs[-1].append(len(line))
        behind_blank = blank
    return paragraphs


def _weight(text: str) -> float:
    prose = without_protected(text)
    weight = float(sum(map(len, _LETTERS.findall(prose))))
    if not prose.isascii():
        weight += sum((one - 1) * sum(map(len, letters.findall(prose))) for letters, one in _DENSE)
    return weight


def _most(weight: float) -> float:
    return _GROWTH[0] * weight + _GROWTH[1]


def _repeated(text: str) -> float:
    """The share of sequences of words (of pairs of letters where words are not separated) that were there before."""
    units = _UNIT.findall(text[-_TAIL:].casefold())
    if len(units) < _FEWEST_UNITS:
        return 0.0
    sequences = list(zip(*(units[start:] for start in range(_GRAM)), strict=False))
    return 1 - len(set(sequences)) / len(sequences)


RULES: Final[tuple[Rule, ...]] = (numbers, lines, length, repetition)
