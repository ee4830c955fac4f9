"""Addresses of one page in two languages: ``https://a.example/en/faq`` is for a French text ``…/fr/faq``. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Final

from tq.validation.pair import Pair

_MARK: Final = "\N{BULLET}"


def alike_in_links(pair: Pair) -> Pair:
    """The pair with the same mark for either language's code where it is a step in the path of an address."""
    if "://" not in pair.source or "://" not in pair.output:
        return pair
    steps = _steps(pair.source_language or "en", pair.target_language)
    return replace(pair, source=steps.sub(_MARK, pair.source), output=steps.sub(_MARK, pair.output))


@lru_cache(maxsize=256)
def _steps(*tags: str) -> re.Pattern[str]:
    codes = {re.escape(code) for tag in tags for code in (tag, tag.partition("-")[0], tag.replace("-", "_"))}
    # Only the first step of a path: https://host/fr/…
    return re.compile(
        rf"(?<=[\w.-]/)(?:{'|'.join(sorted(codes, key=len, reverse=True))})(?=[/?#\"'\s<>)]|$)", re.IGNORECASE
    )
