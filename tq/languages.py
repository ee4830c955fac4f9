"""Languages, as tq takes them: BCP 47 tags whose parts are registered."""

from __future__ import annotations

from typing import Final

import langcodes

#: Registered tags that name no language one could translate into.
_NOT_A_LANGUAGE: Final = frozenset({"und", "mul", "mis", "zxx"})


def check_language(value: str) -> str:
    """A BCP 47 tag whose parts are registered (``fr``, ``pt-BR``, ``zh-Hans``), returned as given.

    Raises:
        ValueError: it is not.
    """
    if len(value) > 64 or not langcodes.tag_is_valid(value) or value.lower() in _NOT_A_LANGUAGE:
        raise ValueError("not a known language tag; use BCP 47, for example fr, pt-BR or zh-Hans")
    return value
