"""Languages, as tq takes them: BCP 47 tags whose parts are registered."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import langcodes

#: Registered tags that name no language one could translate into.
_NOT_A_LANGUAGE: Final = frozenset({"und", "mul", "mis", "zxx"})


@lru_cache(maxsize=4096)
def _is_language(tag: str) -> bool:
    return langcodes.tag_is_valid(tag) and tag.lower() not in _NOT_A_LANGUAGE


def check_language(value: str) -> str:
    """A BCP 47 tag whose parts are registered (``fr``, ``pt-BR``, ``zh-Hans``), returned as given.

    Raises:
        ValueError: it is not.
    """
    if len(value) > 64 or not _is_language(value):
        raise ValueError("not a known language tag; use BCP 47, for example fr, pt-BR or zh-Hans")
    return value
