"""Whether an answer is a translation, and nothing of what a model says of its own. Pure.

A text may itself apologise, announce a translation or add a note. So a phrase alone is never held against an
answer: the source must lack it in all the languages below, and something measurable must be wrong as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from tq.validation.identify import are_close, base_language, detect_language, opening
from tq.validation.pair import Pair, Rule, Violation
from tq.validation.phrases import languages_of, phrases
from tq.validation.scripts import DENSE, script_of

#: Where a model speaks first, and where it adds what it has to say.
_HEAD: Final = 400
_TAIL: Final = 1200
#: So many marks are looked up in the source.
_MANY: Final = 20

#: Marks of reasoning and of chat templates.
_MARKERS: Final = re.compile(
    r"</?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|analysis)>"
    r"|<\|[a-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|[◁◀]/?think[▷▶]",
    re.IGNORECASE,
)
#: What a preamble or a note brings along: its colon, its line, its parentheses.
_ADDED: Final = ":：\n(（"


def refusal(pair: Pair) -> Iterator[Violation]:
    """The model excuses itself instead of translating (bilingual_book_maker#347: stored as a translation).

    The words of a refusal, which the source does not have, and one of: they are not in the target language; they
    are far too many or too few for the source; nothing in the source is negative at all.
    """
    spoken = languages_of("refusals", pair.output[:_HEAD])
    if not spoken or languages_of("refusals", opening(pair.source)):
        return
    if _is_foreign(spoken, pair) or _is_out_of_proportion(pair) or _is_affirmative(pair):
        yield Violation("refusal", "error", "the model refused to translate", "a refusal, not a translation")


def chatter(pair: Pair) -> Iterator[Violation]:
    """Words around the translation: ``Sure! Here is the translation:``, ``(Note: I kept …)``.

    Only where the output has more colons, lines or parentheses than the source, as these bring their own.
    """
    if _room(pair.output) <= _room(pair.source):
        return
    source, tail = opening(pair.source), pair.output[-_TAIL:]
    if languages_of("preambles", pair.output[:_HEAD]) and not languages_of("preambles", source):
        yield Violation("chatter", "error", "holds more than the translation", "an introduction to the translation")
    if languages_of("notes", tail) and not languages_of("notes", source) and not _may_remark(pair, source):
        yield Violation("chatter", "error", "holds more than the translation", "a note about the translation")
    elif (
        pair.output.count("\n") > pair.source.count("\n")
        and languages_of("closings", tail)
        and not languages_of("closings", source)
    ):
        yield Violation("chatter", "error", "holds more than the translation", "words to the reader of the translation")


def reasoning(pair: Pair) -> Iterator[Violation]:
    """The model thinks aloud, or shows the marks of its chat template."""
    if any(match[0] not in pair.source for match in islice(_MARKERS.finditer(pair.output), _MANY)):
        yield Violation("reasoning", "error", "holds the model's reasoning", "marks of reasoning or of a chat template")
        return
    spoken = languages_of("reasoning", pair.output[:_HEAD])
    if not spoken or languages_of("reasoning", opening(pair.source)):
        return
    if _is_foreign(spoken, pair) or _is_out_of_proportion(pair):
        yield Violation("reasoning", "error", "holds the model's reasoning", "thoughts about the task")


def _room(text: str) -> int:
    return sum(text.count(mark) for mark in _ADDED)


def _may_remark(pair: Pair, source: str) -> bool:
    """Whether the source has, in its language, a word that may become ``Note:`` in as many lines."""
    return pair.output.count("\n") <= pair.source.count("\n") and bool(languages_of("remarks", source))


def _is_foreign(spoken: set[str], pair: Pair) -> bool:
    target = base_language(pair.target_language)
    return not any(are_close(language, target) for language in spoken)


def _is_out_of_proportion(pair: Pair) -> bool:
    """No translation of it is as long or as short: short texts may grow threefold, long ones hardly double."""
    before, after = _length(pair.source), _length(pair.output)
    return after > 2 * before + 20 or after < 0.4 * before


def _length(text: str) -> int:
    """In letters of an alphabet, two and a half of which make one character of Chinese, Japanese or Korean."""
    dense = sum(script_of(character) in DENSE for character in text[:5000]) / max(1, len(text[:5000]))
    return round(len(text) * (1 + 1.5 * dense))


def _is_affirmative(pair: Pair) -> bool:
    """Whether the source is in a language whose negations are known and has none of them."""
    source = pair.source_language or detect_language(pair.source)
    negation = phrases("negations").get(base_language(source)) if source else None
    return negation is not None and not negation.search(opening(pair.source))


RULES: Final[tuple[Rule, ...]] = (refusal, chatter, reasoning)
