"""Which language tags are taken."""

from __future__ import annotations

from itertools import product
from string import ascii_lowercase

import langcodes
import pytest

from tq.languages import check_language


def test_two_letters() -> None:
    """Taken are those that are registered, as langcodes has them, and no others."""

    def taken(tag: str) -> bool:
        try:
            return check_language(tag) == tag
        except ValueError:
            return False

    tags = ["".join(letters) for letters in product(ascii_lowercase, repeat=2)]
    assert [tag for tag in tags if taken(tag)] == [tag for tag in tags if langcodes.tag_is_valid(tag)]


@pytest.mark.parametrize("tag", ["pt-BR", "zh-Hans", "sr-Latn-RS", "FR", "fil", "es-419", "fr_FR"])
def test_others(tag: str) -> None:
    """Regions, scripts, capitals and languages of three letters."""
    assert check_language(tag) == tag


@pytest.mark.parametrize("tag", ["", "x", "xx", "french", "und", "MUL", "zxx", "fr-" + "a" * 80, "fr\n"])
def test_no_language(tag: str) -> None:
    """What is not registered, and what names no language that one could translate into."""
    with pytest.raises(ValueError, match="not a known language tag"):
        check_language(tag)
