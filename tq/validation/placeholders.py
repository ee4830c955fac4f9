"""Whether a translation has the placeholders of its source: with one too few or too many a program breaks. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from tq import spans
from tq.protection import leftover_tokens
from tq.validation import icu
from tq.validation.detail import differences, listed
from tq.validation.pair import Pair, Rule, Severity, Violation
from tq.validation.plurals import categories

_PRINTF: Final = re.compile(r"%(?![{%]|\w+%\Z)")
#: One that cannot be a percent sign with a word behind it.
_CERTAIN: Final = re.compile(r"%(?:\(|<|\d{1,2}\$|[ds@]\Z)")
#: An argument of ICU without text inside.
_ARGUMENT: Final = re.compile(r"\{\s{0,4}(\w{1,64})\s{0,4}[,}]")
_Keep = Callable[[str], bool]
#: Choices of one argument in a source; more are not looked at.
_COMPARED: Final = 10
#: Categories of exactly one number in most languages, and the selector that can stand for them.
_EXACTLY: Final = {"zero": "=0", "one": "=1", "two": "=2"}


def placeholders(pair: Pair) -> Iterator[Violation]:
    """Placeholders that are missing, added, spelt in another way, or out of order.

    Each is compared as it is written: ``{{x}}`` is not ``{x}``, ``%d`` is not ``%s``. They may be in another
    order, unless they take the arguments as they come (``%s``, ``{}``). Within ICU's choices each branch needs
    those which every branch of the source has.
    """
    source, output = icu.parse(pair.source), icu.parse(pair.output)
    if source is not None and output is None and any(icu.choices(source)):
        return  # icu_messages says so
    keep = _without_braces if source is None else _without_numbers(source)
    source, output = source or (pair.source,), output or (pair.output,)
    before, asked = _bounds(source, keep)
    after, found = _bounds(output, keep)
    _disregard_percents(before[1], after)
    missing = (before[1] - after[1]) | (before[0] - after[0])
    added = after[1] - before[1]
    if missing or added:
        yield Violation("placeholders", "error", "placeholders differ", differences(missing, added - missing))
    elif len(source) == len(output) == 1 and asked != [one for one in found if one in before[1]]:
        # Of choices nothing can be said.
        detail = f"keep the order {listed(asked)}"
        yield Violation("placeholders", "error", "placeholders without numbers are out of order", detail)
    if any(map(_PRINTF.match, before[1])) and "%" in _prose(pair.output) and "%" not in _prose(pair.source):
        yield Violation("placeholders", "error", "a percent sign is not doubled", "write %% where the source does")


def icu_messages(pair: Pair) -> Iterator[Violation]:
    """ICU messages whose choices are not those of the source, or do not suit the target language.

    Arguments, keys of a select, ``=0`` and the like, ``offset``, ``#`` and ``other`` stay. Plural categories are those
    that CLDR gives the target language; one that it lacks, or has only for fractions and millions, is harmless if
    the source has it too.
    """
    source = icu.parse(pair.source)
    if source is None:
        return
    before = list(icu.choices(source))
    if not all("other" in choice.branches for choice in before):
        return  # not ICU
    output = icu.parse(pair.output)
    if output is None:
        if before:
            yield _icu_error("the ICU message does not parse", "check braces, apostrophes, selectors")
        return
    after = list(icu.choices(output))
    arguments, found = (Counter({_label(choice): 1 for choice in all_}) for all_ in (before, after))
    if arguments != found:
        yield _icu_error("ICU arguments differ", differences(arguments, found))
    originals: dict[str, list[icu.Choice]] = {}
    for choice in before:
        originals.setdefault(_label(choice), []).append(choice)
    for choice in after:
        if like := originals.get(_label(choice), [])[:_COMPARED]:
            yield from _keys(like, choice)
            if choice.kind != "select":
                yield from _plural(like, choice, pair)


def no_leftover_tokens(pair: Pair) -> Iterator[Violation]:
    """Tokens of :mod:`tq.protection` for which nothing could be put back: unknown, broken, or out of order."""
    if left := leftover_tokens(pair.source, pair.output):
        message = "marks such as ⟦1⟧ are broken, unknown, or out of order"
        yield Violation("no-leftover-tokens", "error", message, listed(left))


# -- placeholders ----------------------------------------------------------------------------------


def _bounds(message: icu.Message, keep: _Keep) -> tuple[tuple[Counter[str], Counter[str]], list[str]]:
    """How often each placeholder can be in the message; and those that take the arguments as they come."""
    unnumbered: list[str] = []

    def count(text: str) -> Counter[str]:
        found = [placeholder for placeholder in spans.placeholders(text) if keep(placeholder)]
        unnumbered.extend(filter(spans.is_unnumbered, found))
        counted: Counter[str] = Counter()
        for placeholder, times in Counter(found).items():
            counted[_normal(placeholder)] += times
        return counted

    return icu.bounds(message, count), unnumbered


def _without_braces(placeholder: str) -> bool:
    """If a text only looks like ICU, nothing is known of its braces."""
    return not placeholder.startswith("{")


def _without_numbers(message: icu.Message) -> _Keep:
    """Of a plural's own number, icu_messages says whether it is shown: as ``#`` or as ``{n}``."""
    numbers = {choice.argument for choice in icu.choices(message) if choice.kind != "select"}
    if not numbers:
        return lambda _: True
    return lambda placeholder: (name := _ARGUMENT.match(placeholder)) is None or name[1] not in numbers


def _normal(placeholder: str) -> str:
    """Without the white space that has no meaning: within ``{{ x }}``, ``{% x %}`` and ``{d, date}``."""
    if placeholder.startswith("{{"):
        return re.sub(r"(?<=^\{\{)\s+|\s+(?=\}\}$)", "", placeholder)
    if placeholder.startswith("{%"):
        return " ".join(re.sub(r"^\{%-?|-?%\}$", r" \g<0> ", placeholder).split())
    if placeholder.startswith("{") and "," in placeholder:
        return re.sub(r"\s+", "", placeholder)
    return placeholder


def _disregard_percents(source: Counter[str], output: tuple[Counter[str], Counter[str]]) -> None:
    """Takes from ``output`` what only looks like a placeholder, and what another rule reports."""
    is_format = any(map(_PRINTF.match, source))
    for counter in output:
        for found in list(counter):
            doubtful = not is_format and _PRINTF.match(found) and not _CERTAIN.match(found)
            if doubtful or found.startswith("⟦"):
                counter[found] = min(counter[found], source[found])


def _prose(text: str) -> str:
    return spans.without_protected(text)


# -- ICU -------------------------------------------------------------------------------------------


def _keys(like: list[icu.Choice], choice: icu.Choice) -> Iterator[Violation]:
    label = _label(choice)
    if "other" not in choice.branches:
        yield _icu_error("an ICU argument has no branch other", label)
    if choice.offset not in {other.offset for other in like}:
        yield _icu_error("the offset of an ICU plural differs", label)
    if choice.kind == "select":
        if all(choice.branches.keys() != other.branches.keys() for other in like):
            expected, found = Counter(like[0].branches.keys()), Counter(choice.branches.keys())
            yield _icu_error("the keys of an ICU select differ", f"{label}: {differences(expected, found)}")
        return
    exact = {selector for other in like for selector in other.branches if selector.startswith("=")}
    spelt = {_EXACTLY[category] for category in _EXACTLY.keys() & choice.branches.keys()}
    if missing := exact - spelt - choice.branches.keys():
        yield _icu_error("branches of an ICU plural are missing", f"{label}: {listed(sorted(missing))}")


def _plural(like: list[icu.Choice], choice: icu.Choice, pair: Pair) -> Iterator[Violation]:
    label = _label(choice)
    if all(_has_number(other, "other") for other in like):
        bare = [key for key in ("few", "many", "other") if not _has_number(choice, key)]
        if bare:
            yield _icu_error(
                "branches of an ICU plural do not show the number", f"{label}: # missing in {listed(bare)}"
            )
    known = categories(pair.target_language, "plural" if choice.kind == "plural" else "selectordinal")
    if known is None:
        return
    written = {key for key in choice.branches if not key.startswith("=")}
    copied = {key for other in like for key in other.branches}
    if foreign := written - known.common - known.rare:
        severity: Severity = "warning" if foreign <= copied else "error"
        detail = f"{label}: not {listed(sorted(foreign))}"
        yield Violation("icu-messages", severity, "plural categories that the language does not have", detail)
    missing = {key for key in known.common - written if _EXACTLY.get(key) not in choice.branches}
    if missing and copied - {"other"} - {"=0"}:
        severity = "warning" if pair.corrected else "error"
        detail = f"{label}: missing: {listed(sorted(missing))}"
        yield Violation("icu-messages", severity, "plural categories of the language are missing", detail)


def _has_number(choice: icu.Choice, key: str) -> bool:
    branch = choice.branches.get(key)
    if branch is None or icu.shows_number(branch):
        return True
    return any(name[1] == choice.argument for name in _ARGUMENT.finditer(icu.typical(branch)))


def _label(choice: icu.Choice) -> str:
    return f"{{{choice.argument}, {choice.kind}}}"


def _icu_error(message: str, detail: str) -> Violation:
    return Violation("icu-messages", "error", message, detail)


RULES: Final[tuple[Rule, ...]] = (placeholders, icu_messages, no_leftover_tokens)
