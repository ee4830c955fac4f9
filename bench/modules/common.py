"""What the modules of all queues share: the SDK's client, one call, and where times are noted."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

from work import SYSTEM, text

REDIS = os.environ["BENCH_REDIS"]
LLM = os.environ["BENCH_LLM"]
SLOTS = int(os.environ["BENCH_SLOTS"])


@functools.cache
def _async_client() -> Any:
    import openai

    return openai.AsyncOpenAI(
        api_key="k", base_url=LLM, max_retries=0, timeout=120, http_client=openai.DefaultAioHttpClient()
    )


@functools.cache
def _client() -> Any:
    import httpx2
    import openai

    limits = httpx2.Limits(max_connections=10_000, max_keepalive_connections=10_000)
    return openai.OpenAI(
        api_key="k", base_url=LLM, max_retries=0, timeout=120, http_client=openai.DefaultHttpxClient(limits=limits)
    )


def _request(number: int) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text(number)}]
    return {"model": "m", "messages": messages}


@functools.cache
def _notes() -> Any:
    return Path(os.environ["BENCH_DONE"]).open("a", buffering=1)


def _done(number: int, answer: Any) -> str:
    _notes().write(f"{number} {time.time()}\n")
    translated: str = answer.choices[0].message.content
    return translated


async def translate_async(number: int) -> str:
    """One call on the loop."""
    return _done(number, await _async_client().chat.completions.create(**_request(number)))


def translate(number: int) -> str:
    """One call on this thread."""
    return _done(number, _client().chat.completions.create(**_request(number)))
