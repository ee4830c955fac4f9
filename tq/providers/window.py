"""Windows: a request that a server has cut silently, because it is longer than its model's context.

Ollama does, and so did llama.cpp: what is too much is dropped from the front, instructions first, and the model
answers the rest as if nothing had happened. The one sign is the number of tokens that the answer says the request
had. Ollama keeps a whole window of them in older versions, and half a window, a token or three more, in newer ones.

A false alarm costs an answer that was good, a miss one that the checks may still find. So it takes all of this:

- the endpoint counts fewer tokens than the request has for certain (``tq.sizes.least``), by any tokenizer;
- as many as such a cut leaves: windows are multiples of 512;
- and nothing says that a part was not counted as it was in a cache. (Most count cached tokens too, OpenAI among
  them, but some count the others alone.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tq.errors import RequestRefused
from tq.providers import Prompt
from tq.sizes import least

#: Half of the smallest step between windows, and how far around a multiple of it a cut ends.
_STEP: Final = 256
_BELOW: Final = 1
_ABOVE: Final = 3
#: Half of the smallest window in use; below it a cache is the likelier reason.
_SMALLEST: Final = 512


def check_window(prompt: Prompt, answer: Mapping[str, Any], usage: tuple[int, int]) -> None:
    """Accept an answer to the whole request.

    Args:
        prompt: the request.
        answer: the decoded completion, for what it says of caches.
        usage: prompt and completion tokens that the endpoint has counted; 0 = it does not count.

    Raises:
        RequestRefused: with ``too_long``: the model has seen a part of it only.
    """
    counted = usage[0]
    if not _left_by_a_cut(counted) or least(prompt.system) + least(prompt.user) <= counted or _from_cache(answer):
        return
    error = RequestRefused(
        "the server has cut the request to its model's window",
        why=f"it counts {counted} tokens where there are more",
        fix="raise the window (Ollama: OLLAMA_CONTEXT_LENGTH), or lower TQ_SEGMENT_TOKENS",
        usage=usage,
    )
    error.too_long = True
    raise error


def _left_by_a_cut(counted: int) -> bool:
    return counted >= _SMALLEST - _BELOW and (counted + _BELOW) % _STEP <= _BELOW + _ABOVE


def _from_cache(answer: Mapping[str, Any]) -> bool:
    """Whether tokens were found in a cache, as the usage or llama.cpp's timings say in one spelling or another."""
    open_, found = [("usage", answer.get("usage")), ("timings", answer.get("timings"))], False
    for _ in range(2):
        inner = [(str(name), value) for _, each in open_ if isinstance(each, dict) for name, value in each.items()]
        found = found or any("cache" in name and isinstance(value, int) and value > 0 for name, value in inner)
        open_ = inner
    return found
