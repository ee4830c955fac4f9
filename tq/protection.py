r"""Hides what a model could spoil (placeholders, inline code) behind tokens ``⟦1⟧``, ``⟦2⟧`` …, and puts it back. Pure.

Tags, URLs, addresses, links and ICU arguments with text inside stay visible: a model needs to see them, or has
words of them to translate. So do HTML entities, which are characters, and the escapes of string files: ``\n`` is
also a part of paths. What comes back is checked by :mod:`tq.validation` against the source, not trusted: nothing
here raises.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from tq.spans import TRANSLATABLE_ATTRIBUTES, Span, is_unnumbered, spans, without_protected

_TOKEN: Final = re.compile(r"⟦\s{0,4}(\d{1,6})\s{0,4}⟧")
#: How models write the token as well; ``\d`` is any script's digit.
_VARIANT: Final = re.compile(
    r"(?:⟦|〚|【|〖|\[\[|［［|\[|［)\s{0,4}(\d{1,6})\s{0,4}(?:⟧|〛|】|〗|\]\]|］］|\]|］)"
)  # fmt: skip
_ATTRIBUTE: Final = re.compile(
    rf"""\s(?:{"|".join(map(re.escape, sorted(TRANSLATABLE_ATTRIBUTES)))})\s{{0,8}}=\s{{0,8}}("[^"]*|'[^']*)""",
    re.IGNORECASE,
)


#: Characters of an original that are shown to a model.
_SHOWN: Final = 80
#: Punctuation that some languages set off by a space.
_SPACED: Final = ":;!?"


@dataclass(frozen=True, slots=True)
class Protected:
    """A text for a model.

    Attributes:
        text: with the token ``⟦n⟧`` in place of each protected span.
        originals: what was there; the first is that of ``⟦1⟧``.
    """

    text: str = field(repr=False)
    originals: tuple[str, ...] = field(repr=False)


def protect(text: str) -> Protected:
    """``text`` with tokens for its placeholders, its inline code, and what looks like a token already."""
    originals: list[str] = []
    parts: list[str] = []
    position = 0
    for start, end in _to_hide(text):
        originals.append(text[start:end])
        parts += (text[position:start], f"⟦{len(originals)}⟧")
        position = end
    parts.append(text[position:])
    return Protected("".join(parts), tuple(originals))


def legend(protected: Protected) -> dict[str, str]:
    """What each token stands for, so that a sentence can be understood; long ones cut short."""
    shown = (original if len(original) <= _SHOWN else f"{original[:_SHOWN]}…" for original in protected.originals)
    return {f"⟦{number}⟧": original for number, original in enumerate(shown, 1)}


def hide(remark: str, protected: Protected) -> str:
    """A remark about the text (``missing: {name}``) as one who has only seen the tokens understands it."""
    for number, original in sorted(enumerate(protected.originals, 1), key=lambda each: -len(each[1])):
        remark = remark.replace(original, f"⟦{number}⟧", 1)
    return remark


def restore(output: str, protected: Protected) -> str:
    """``output`` with the originals back in place of the tokens, wherever they stand and however often.

    Other brackets (``[[1]]``, ``【1】``) count as the token if there is no ``⟦1⟧``, and the source has nothing
    like it. An unknown number stays as it is. So do all tokens of ``%s``, ``{}`` and their like, which take
    the arguments in their order, if they came back in another one: no check could see it later.
    """
    originals = protected.originals
    if not originals:
        return output
    genuine = {int(match[1]) for match in _TOKEN.finditer(output)}
    taken = genuine | {int(match[1]) for match in _VARIANT.finditer(_TOKEN.sub("", protected.text))}

    def number(match: re.Match[str]) -> int:
        """Of the token, 0 if it is none."""
        found = int(match[1])
        known = found <= len(originals) and (found not in taken or _TOKEN.fullmatch(match[0]))
        return found if known else 0

    unnumbered = {place for place, original in enumerate(originals, 1) if is_unnumbered(original)}
    order = [found for match in _VARIANT.finditer(output) if (found := number(match)) in unnumbered]
    shaky = unnumbered if any(a >= b for a, b in pairwise(order)) else set()

    def original(match: re.Match[str]) -> str:
        found = number(match)
        return originals[found - 1] if found and found not in shaky else match[0]

    return _VARIANT.sub(original, output)


def leftover_tokens(source: str, output: str) -> list[str]:
    """The tokens, and the halves of tokens, in ``output`` (restored) that ``source`` does not have."""
    if "⟦" not in output and "⟧" not in output:
        return []
    before, after = (Counter(_pieces_of_tokens(text)) for text in (source, output))
    return list((after - before).elements())


def translatable(text: str) -> bool:
    """Whether ``text`` has a letter or a digit that is no protected span: else there is nothing to ask a model.

    A text of punctuation alone is worth it where languages differ in how they space it: French writes " :" for ":".
    """
    position = 0
    for span in spans(text):
        if _wordy(text[position : span.start]) or _has_words(text[span.start : span.end], span):
            return True
        position = span.end
    return _wordy(text[position:]) or (position == 0 and any(sign in text for sign in _SPACED))


def _to_hide(text: str) -> Iterator[tuple[int, int]]:
    """The spans to hide, in order; tokens of the source's own wherever they stand, so that none collides."""
    position = 0
    for span in spans(text):
        yield from _literal(text, position, span.start)
        position = span.end
        if span.kind in ("placeholder", "code"):
            yield span.start, span.end
        elif span.kind == "tag":
            yield from ((inner.start, inner.end) for inner in spans(text, span.start + 1, span.end)
                        if inner.kind == "placeholder" or _TOKEN.search(text, inner.start, inner.end))  # fmt: skip
        else:
            yield from _literal(text, span.start, span.end)
    yield from _literal(text, position, len(text))


def _literal(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _TOKEN.finditer(text, start, stop))


def _pieces_of_tokens(text: str) -> Iterator[str]:
    return (f"⟦{int(match[1])}⟧" if match[1] else match[0] for match in re.finditer(rf"{_TOKEN.pattern}|[⟦⟧]", text))


def _has_words(token: str, span: Span) -> bool:
    match span.kind:
        case "choice":
            return True
        case "entity":
            return _wordy(html.unescape(token))
        case "tag":
            return any(_wordy(without_protected(value[1])) for value in _ATTRIBUTE.finditer(token))
        case _:
            return False


def _wordy(text: str) -> bool:
    return any(map(str.isalnum, text))
