"""What the stand-in LLM server says, rightly and wrongly.

Faults are written ``NAME``, ``NAME=VALUE``, ``NAMExTIMES`` or both, and are chosen for the whole server by
``mode``, or for one text by markers in it: ``@@fault:429=3x2@@`` fails twice with Retry-After 3, then
succeeds. Several markers follow one another. Calls are counted by content. The names:

    400 401 402 403 404 … 599   that status, with a body that repeats the key; ``429=S`` sets Retry-After: S,
    429-date=S, 429-ms=MS       as an HTTP date, as retry-after-ms;  quota: 429 with insufficient_quota
    timeout                     never answers          drip[=S]       a byte every S (1) seconds
    hold                        waits for release()    latency=S      answers after S seconds
    reset, reset-early          TCP RST in the middle of the answer, before it;   disconnect: FIN before it
    cut                         FIN in the middle      length, filter, no-finish, tools   that finish_reason
    refusal  empty  null  echo  nul  surrogate  think  think-open  fence  quotes          what the model says
    garbage  bad-json  list  no-choices  empty-choices  odd-choices  embedded              200, but no completion
    deep  digits                JSON that nests too deep, with a number that is too long
    huge=M, huge-503=M          the right answer after M (500) MiB of white space;  bomb=M: the same, compressed
    redirect-307=PORT           that 3xx status, with a Location on that port of 127.0.0.1 (redirect-307=path: here)
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import chain, repeat
from typing import Any, Final, NamedTuple

MARKER = re.compile(r"@@fault:([\w=.-]+)@@")
_FAULT = re.compile(r"(?P<name>[a-z0-9-]+?)(?:=(?P<value>[\w.-]+?))?(?:x(?P<times>\d+))?")


class Fault(NamedTuple):
    """One kind of misbehaviour; ``times`` None = always."""

    name: str
    value: str | None
    times: int | None

    @classmethod
    def parse(cls, text: str) -> Fault:
        """A fault as it is written in a marker or a mode."""
        match = _FAULT.fullmatch(text)
        if match is None:
            raise ValueError(f"not a fault: {text!r}")
        return cls(match["name"], match["value"], int(match["times"]) if match["times"] else None)


@dataclass(frozen=True, slots=True)
class Call:
    """One request for a completion; ``at`` is Unix time, ``key`` what stood behind ``Bearer``."""

    content: str
    system: str
    model: str
    key: str
    at: float
    headers: dict[str, str] = field(repr=False)


def fake_translation(text: str) -> str:
    """What an unknown text is "translated" to: never equal to it, and never twice the same for two texts."""
    return f"Traduit : {text}"


def completion(
    call: Call, text: str | None, *, finish: str | None = "stop", refusal: str | None = None
) -> dict[str, Any]:
    """A completion in the wire format; a token is four characters here."""
    prompt, answer = (len(call.system) + len(call.content)) // 4 + 1, len(text or refusal or "") // 4 + 1
    return {
        "id": "chatcmpl-stand-in",
        "object": "chat.completion",
        "created": int(call.at),
        "model": call.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": refusal},
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
    }


#: What can be wrong with one text of a shared answer: (source, target) -> text; the last two are made by the server.
ITEM_FAULTS: Final[dict[str, Callable[[str, str], str]]] = {
    "empty": lambda source, target: " ",  # noqa: ARG005 - all have the same form
    "echo": lambda source, target: source,  # noqa: ARG005 - as above
    "nul": lambda source, target: target + "\x00",  # noqa: ARG005 - as above
    "fence": lambda source, target: f"```text\n{target}\n```",  # noqa: ARG005 - as above
    "quotes": lambda source, target: f'"{target}"',  # noqa: ARG005 - as above
    "swap": lambda source, target: fake_translation(target),  # noqa: ARG005 - as above
    "missing": lambda source, target: "",  # noqa: ARG005 - as above
    "twice": lambda source, target: target,  # noqa: ARG005 - as above
}


#: What a model that cannot keep to the form says instead.
SHARED_FAULTS: Final = {
    "garbled": "1. Bonjour\n2. Au revoir",
    "null": '{"translations": null}',
    "refusal-text": "I'm sorry, but I can't help with that.",
}


def odd_answer(name: str, call: Call, source: str, target: str) -> Any:
    """The JSON body of a 200 answer that is no good translation."""
    answers: dict[str, Callable[[], Any]] = {
        "length": lambda: completion(call, target[: len(target) // 2], finish="length"),
        "filter": lambda: completion(call, None, finish="content_filter"),
        "no-finish": lambda: completion(call, target, finish=None),
        "tools": lambda: completion(call, target, finish="tool_calls"),
        "refusal": lambda: completion(call, None, refusal="I'm sorry, I cannot help with that."),
        "empty": lambda: completion(call, " \n"),
        "null": lambda: completion(call, None),
        "echo": lambda: completion(call, call.content),
        "nul": lambda: completion(call, target + "\x00"),
        "surrogate": lambda: completion(call, target + "\ud800"),
        "think": lambda: completion(call, f"<think>\nHm, {source}?\n</think>\n\n{target}"),
        "think-open": lambda: completion(call, f"<think>\nHm, {source}? {target}"),
        "fence": lambda: completion(call, f"```text\n{target}\n```"),
        "quotes": lambda: completion(call, f'"{target}"'),
        "list": lambda: [completion(call, target)],
        "no-choices": lambda: {"object": "chat.completion", "detail": "nothing here"},
        "empty-choices": lambda: completion(call, target) | {"choices": []},
        "embedded": lambda: error_body("canary: the model behind this router is overloaded", "upstream", 503),
        "odd-choices": lambda: completion(call, target) | {"choices": ["text"], "usage": "much"},
    }
    return answers[name]()


def status_answer(fault: Fault, key: str) -> tuple[int, Any, dict[str, str]] | None:
    """Status, JSON body and headers of a fault that is an error status; None for the others."""
    if fault.name == "quota":
        return 429, error_body("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), {}
    match = re.fullmatch(r"(redirect-)?([345]\d\d)(-date|-ms)?", fault.name)
    if match is None:
        return None
    status, headers = int(match[2]), {}
    if match[1]:
        origin = "" if fault.value == "path" else f"http://127.0.0.1:{fault.value}"
        headers["Location"] = f"{origin}/v1/chat/completions"
    elif match[3] == "-date":
        headers["Retry-After"] = formatdate(time.time() + float(fault.value or 1), usegmt=True)
    elif match[3] == "-ms":
        headers["retry-after-ms"] = fault.value or "1000"
    elif fault.value:
        headers["Retry-After"] = fault.value
    kind = "server_error" if status >= 500 else "invalid_request_error"
    code = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}.get(status, "some_code")
    return status, error_body(f"canary body; incorrect API key provided: {key}", kind, code), headers


_RAW: Final[dict[str, bytes]] = {
    "garbage": b"<html><body>502 Bad Gateway: sk-canary</body></html>",
    "bad-json": b'{"choices": [{"message": ',
    "deep": b"[" * 200_000 + b"]" * 200_000,
    "digits": b'{"choices": ' + b"1" * 100_000 + b"}",
}


def raw_answer(fault: Fault, good: bytes) -> tuple[int, int, Iterable[bytes], str, str] | None:
    """Status, length, body, Content-Type and Content-Encoding of a fault that is a matter of bytes; else None."""
    if fault.name in _RAW:
        body = _RAW[fault.name]
        return 200, len(body), [body], "text/html" if fault.name == "garbage" else "application/json", "identity"
    if fault.name not in {"huge", "huge-503", "bomb"}:
        return None
    padding, count = b" " * 2**20, int(fault.value or 500)
    if fault.name != "bomb":
        status, length = 200 if fault.name == "huge" else 503, count * len(padding) + len(good)
        return status, length, chain(repeat(padding, count), [good]), "application/json", "identity"
    gzip = zlib.compressobj(wbits=31)
    packed = b"".join([*(gzip.compress(part) for part in (*repeat(padding, count), good)), gzip.flush()])
    return 200, len(packed), [packed], "application/json", "gzip"


def error_body(message: str, kind: str, code: str | int | None = None) -> dict[str, Any]:
    """An error in the wire format."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
