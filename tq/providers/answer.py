"""Takes a model's answer out of the wrappers that chat models put around it. Pure.

Only what the source lacks, and what cannot be part of the translation, is taken away; in doubt it stays.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from typing import Final

_THINK_OPEN: Final = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)
_THINK_CLOSE: Final = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_FENCE: Final = re.compile(r"(`{3,}|~{3,})[\w+-]{0,20}[ \t]*\r?\n(.*?)\r?\n?\1", re.DOTALL)
_QUOTES: Final = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»", "‘": "’", "「": "」", "『": "』", "`": "`"}
_QUOTE_CHARACTERS: Final = frozenset('"“”„«»‘「」『』`') | {"'"}
#: ``=== a1b2 ===``, on a line of its own.
_HEAD: Final = re.compile(r"^[ \t]*=+[ \t]*([0-9a-f]{4,64})[ \t]*=+[ \t\r]*$", re.MULTILINE)
#: Not no-break or ideographic spaces: a French colon starts with one, and no chat model pads with them.
_PADDING: Final = " \t\r\n"


def unwrap(answer: str, source: str) -> str | None:
    """The answer without leading reasoning, code fence, quotes, and outer white space.

    None when it is nothing but reasoning that never ends.
    """
    rest = _without_thinking(answer, source)
    if rest is None:
        return None
    text = _without_quotes(_without_fence(rest.strip(_PADDING), source), source)
    if "\r" not in text and 0 < source.count("\n") == source.count("\r\n"):
        # Models write bare line feeds; a text that came with CRLF throughout goes back with it.
        text = text.replace("\n", "\r\n")
    return text


def _without_thinking(text: str, source: str) -> str | None:
    """Drop ``<think>…</think>`` at the start.

    Chat templates of some reasoning models end with the opening tag, so that the answer only shows the
    closing one: everything before it is reasoning all the same.
    """
    if _THINK_OPEN.match(source) or _THINK_CLOSE.search(source):
        return text
    # Behind the last one, as there may be several blocks.
    text = _THINK_CLOSE.split(text)[-1]
    return None if _THINK_OPEN.match(text) else text


def _without_fence(text: str, source: str) -> str:
    if "```" in source or "~~~" in source:
        return text
    match = _FENCE.fullmatch(text)
    if match is None or match[1] in match[2]:
        return text
    return match[2].strip(_PADDING)


def _without_quotes(text: str, source: str) -> str:
    """Drop one pair of quotes around all, when the source has no quote at all and the rest neither."""
    if len(text) < 3 or _QUOTES.get(text[0]) != text[-1]:
        return text
    inner = text[1:-1]
    if any(quote in source or quote in inner for quote in _QUOTE_CHARACTERS):
        return text
    return inner.strip()


def looks_delimited(text: str) -> bool:
    """Whether a text has a line that could be taken for one of the plainer form's own."""
    return _HEAD.search(text) is not None


def delimited_answers(text: str, names: Collection[str]) -> dict[str, str] | None:
    """The texts of a shared answer in the plainer form, each below a line with its name; None when it has no such line.

    Names that come twice are left out: nobody knows which of the two is meant.
    """
    heads = [head for head in _HEAD.finditer(text) if head[1] in names]
    if not heads:
        return None
    ends = [head.start() for head in heads[1:]] + [len(text)]
    seen = Counter(head[1] for head in heads)
    return {
        head[1]: text[head.end() : end].strip(_PADDING)
        for head, end in zip(heads, ends, strict=True)
        if seen[head[1]] == 1
    }


def shared_answers(text: str) -> dict[str, str] | None:
    """The texts of a shared answer by their names; None when it is not of that form.

    Names that come twice are left out: nobody knows which of the two is meant.
    """
    start, end = text.find("{"), text.rfind("}")
    try:
        answer = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):
        return None
    listed = answer.get("translations") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        return None
    found: dict[str, str] = {}
    twice = set()
    for item in listed:
        if isinstance(item, dict) and isinstance(item.get("id"), str) and isinstance(item.get("text"), str):
            if item["id"] in found:
                twice.add(item["id"])
            found[item["id"]] = item["text"]
    return {name: text for name, text in found.items() if name not in twice}
