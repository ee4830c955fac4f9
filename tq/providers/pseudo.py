"""Pseudo-localisation: a provider for a first run without key or network. Its output is not a translation.

The text stays readable, and shows what a real translation will bring: letters beyond ASCII, about 30 %
more length (what the W3C and Microsoft's localisation guides reckon with for sentences out of English), and,
by its brackets, where a text was cut or glued together. Placeholders, markup, URLs and line breaks stay as
they are.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from tq.providers import Completion, Prompt, ProviderName
from tq.providers.abilities import Abilities
from tq.spans import map_unprotected, without_protected

WARNING: Final = "pseudo-localised: accents and padding, not a translation"

_EXPANSION: Final = 1.3
#: Vowels, doubled, make most of the length; for scripts that have none of them this fills up.
_PADDING: Final = "·"

_LETTERS: Final = str.maketrans(
    {
        "A": "ÀÁ", "E": "ÉÉ", "I": "ÎÎ", "O": "ÖÖ", "U": "ÛÛ",
        "a": "àá", "e": "éé", "i": "îî", "o": "öö", "u": "ûû",
    }
    | dict(zip("BCDFGHJKLMNPQRSTVWXYZ", "ßÇÐƑĜĤĴĶĻṀÑÞǪŔŠŢṼŴẊÝŽ", strict=True))
    | dict(zip("bcdfghjklmnpqrstvwxyz", "ƀçðƒĝĥĵķļɱñþǫŕšţṽŵẋýž", strict=True))
)  # fmt: skip


def pseudo_localise(text: str) -> str:
    """``text`` with accents and padding, in brackets; the same text gives the same result."""
    body = map_unprotected(text, lambda part: part.translate(_LETTERS))
    visible = sum(map(len, without_protected(text).split()))
    # The two brackets count as padding too.
    missing = ceil(visible * (_EXPANSION - 1)) - (len(body) - len(text)) - 2
    return f"[{body}{_PADDING * missing}]"


class PseudoProvider:
    """Answers every prompt at once with the pseudo-localised text; costs no tokens."""

    name: ProviderName = "pseudo"
    host = ""

    async def complete(self, prompt: Prompt, able: Abilities) -> Completion:  # noqa: ARG002 - it lacks nothing
        """The pseudo-localised text; the model that was asked for is of no account."""
        return Completion(pseudo_localise(prompt.user), "pseudo", prompt_tokens=0, completion_tokens=0)

    async def aclose(self) -> None:
        """Nothing to close."""
