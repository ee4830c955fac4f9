"""Requests that a server has cut silently: found by the tokens that it counts, and without false alarms."""

from __future__ import annotations

from typing import Any

import pytest

from tq.errors import RequestRefused
from tq.providers import Prompt
from tq.providers.window import check_window
from tq.sizes import least

#: 5,000 words and a few.
LONG = Prompt("Translate into French.", "All human beings are born free. " * 833, "m", None)


def cut(counted: int, prompt: Prompt = LONG, **answer: Any) -> bool:
    """Whether it is taken for cut."""
    try:
        check_window(prompt, answer, (counted, 7))
    except RequestRefused as error:
        return error.too_long
    return False


def test_a_cut_is_a_text_that_is_too_long() -> None:
    """The error has the text halved, is paid, and says what to do."""
    with pytest.raises(RequestRefused) as caught:
        check_window(LONG, {}, (2050, 7))
    assert (caught.value.too_long, caught.value.usage) == (True, (2050, 7))
    assert "2050" in caught.value.why
    assert "OLLAMA_CONTEXT_LENGTH" in caught.value.fix


@pytest.mark.parametrize("counted", [512, 514, 1024, 2048, 2050, 2051, 3072, 4095, 4096, 4098])
def test_what_a_cut_leaves(counted: int) -> None:
    """A window, or half of one and what Ollama keeps of the beginning, of a request that is surely longer."""
    assert cut(counted)


@pytest.mark.parametrize("counted", [0, 1, 256, 258, 500, 1000, 1234, 2046, 2052, 4000, 5001, 5120, 8192])
def test_what_no_cut_leaves(counted: int) -> None:
    """Nothing counted, another number, too small a one, or as many as the request may have."""
    assert not cut(counted)


@pytest.mark.parametrize(
    "answer",
    [
        {"usage": {"prompt_tokens_details": {"cached_tokens": 3000}}},
        {"usage": {"prompt_cache_hit_tokens": 3000}},
        {"usage": {"cache_read_input_tokens": 1}},
        {"usage": {"cached_tokens": 64}},
        {"timings": {"cache_n": 2990, "prompt_n": 2048}},
    ],
)
def test_cached_tokens_are_no_cut(answer: dict[str, Any]) -> None:
    """Where a part was found in a cache, what is counted may be the rest."""
    assert not cut(2048, **answer)


@pytest.mark.parametrize(
    "answer",
    [
        {"usage": {"prompt_tokens_details": {"cached_tokens": 0}}},
        {"usage": {"prompt_tokens_details": None, "cost": 1}},
        {"usage": "much", "timings": [1]},
        {"timings": {"cache_n": 0}},
    ],
)
def test_empty_caches_explain_nothing(answer: dict[str, Any]) -> None:
    """Nor does what is no usage at all."""
    assert cut(2048, **answer)


def test_what_fits_is_never_cut() -> None:
    """Whatever is counted from the least on that a request has, it is whole."""
    prompt = Prompt("Translate.", "Save the file. " * 700, "m", None)
    first = least(prompt.system) + least(prompt.user)
    assert [counted for counted in range(first, 10_000) if cut(counted, prompt)] == []
    assert cut(2048, prompt)


def test_han_counts_less() -> None:
    """A text without spaces is surely longer only when it is three times as many characters."""
    prompt = Prompt("", "你好世界" * 1600, "m", None)
    assert cut(2048, prompt)
    assert not cut(2304, prompt)
