"""Chat completions of any OpenAI-compatible endpoint, through the OpenAI SDK. The only importer of ``openai``.

The settings alone say where a request goes: nothing in a message does, and an answer that redirects ends the
attempt, because the text, and on some ways the key, would go wherever it points.

The SDK's exceptions end here: each becomes the ``AttemptError`` that says what follows from it. They are not
chained, because their text can repeat the body of an answer, and bodies have been seen to repeat the key.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import aiohttp
import httpx2
import openai

from tq.errors import (
    AttemptError,
    InvalidKey,
    InvalidOutput,
    PermissionRefused,
    ProviderFailure,
    ProviderTimeout,
    ProviderUnreachable,
    QuotaExhausted,
    RateLimited,
    Refused,
    RequestRefused,
    Truncated,
    UnexpectedError,
    UnknownModel,
)
from tq.providers import Completion, Prompt, ProviderName
from tq.providers.abilities import Abilities, blamed_members, too_long
from tq.providers.answer import unwrap
from tq.providers.window import check_window
from tq.retryafter import retry_after
from tq.settings import DEFAULT_BASE_URL, Settings

#: Local servers want no key, but the SDK insists on sending one.
_PLACEHOLDER_KEY: Final = "no-key"
#: The largest TQ_CONCURRENCY. Not None: the SDK's aiohttp transport takes that for aiohttp's default of 100.
_MAX_CONNECTIONS: Final = 10_000
#: Seconds. Shorter than the 5 s after which uvicorn, hence vLLM, closes an idle connection: a request sent just
#: then fails, and a POST is not repeated by itself.
_KEEPALIVE: Final = 4.0
_CONNECT_TIMEOUT: Final = 10.0
#: Bytes of an answer, decompressed, beyond which it is no translation: room for reasoning and for a model's longest
#: output (128k tokens, each character escaped), and for a text that grows in another language and script.
_ANSWER_BASE: Final = 2 * 2**20
_ANSWER_GROWTH: Final = 16

_STATUS_CLASSES: Final[Mapping[int, type[AttemptError]]] = {
    401: InvalidKey,
    402: QuotaExhausted,
    403: PermissionRefused,
    404: UnknownModel,
    408: ProviderFailure,
    409: ProviderFailure,
    429: RateLimited,
}
#: Error codes that say more than their status does.
_CODE_CLASSES: Final[Mapping[str, type[AttemptError]]] = {
    "insufficient_quota": QuotaExhausted,
    "billing_not_active": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "content_filter": Refused,
    "content_policy_violation": Refused,
}
_TEXTS: Final[Mapping[type[AttemptError], tuple[str, str]]] = {
    InvalidKey: ("the provider refused the API key", "correct OPENAI_API_KEY, or the message's api_key"),
    QuotaExhausted: ("the provider account has no quota left", "top it up or raise its limit, then retry the message"),
    PermissionRefused: ("the provider denied permission", "use a key that may use this model"),
    UnknownModel: ("the provider has no such model or endpoint", "check the model's name and OPENAI_BASE_URL"),
    RateLimited: ("the provider's rate limit is reached", "lower TQ_CONCURRENCY if this happens often"),
    ProviderFailure: ("the provider failed", "see the provider's status page or its log"),
    Refused: ("the provider's content filter refused the text", "change the content, or use another model"),
    RequestRefused: ("the provider refused the request", "check the model's name, and the length of the content"),
}
#: More than any request can have: a count above it is nonsense, and must not overflow the store's sums.
_MAX_TOKENS: Final = 10**9
#: Headers that tell how a body was sent, and no longer describe it once it is read.
_FRAMING: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_SAFE_CODE: Final = re.compile(r"[a-z0-9_.-]{1,64}")
_SAFE_MODEL: Final = re.compile(r"[\w ./:@+-]{1,200}", re.ASCII)
_SAFE_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]{1,253}(?::\d{1,5})?(?=[/?#]|\Z)")


class _HttpClient(openai.DefaultAioHttpClient):
    """The SDK's client, but it goes nowhere else and keeps no more of an answer than an answer can be long."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """The answer, read.

        Raises:
            ProviderFailure: a 2xx answer is too large. The body of another one is left out: its status says enough.
        """
        response = await super().send(request, **(options | {"stream": True}))
        most = _ANSWER_BASE + _ANSWER_GROWTH * len(request.content)
        try:
            body = await _read(response, most)
        finally:
            await response.aclose()
        if body is None and response.is_success:
            raise _not_a_completion(f"it is larger than {most} bytes")
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _FRAMING]
        return httpx2.Response(response.status_code, headers=headers, content=body or b"", request=request)


async def _read(response: httpx2.Response, most: int) -> bytes | None:
    """The decoded body; None when it is longer than ``most`` bytes."""
    size, parts = 0, []
    async with aclosing(response.aiter_bytes()) as stream:
        async for part in stream:
            size += len(part)
            if size > most:
                return None
            parts.append(part)
    return b"".join(parts)


class OpenAIProvider:
    """One SDK client and one connection pool for all keys; it belongs to the event loop of its first request."""

    name: ProviderName = "openai"

    def __init__(self, settings: Settings) -> None:
        base_url = settings.openai_base_url or DEFAULT_BASE_URL
        key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
        self._default_key = key or (_PLACEHOLDER_KEY if settings.openai_base_url else None)
        self.host = settings.provider_host
        timeout = settings.request_timeout
        self._client = openai.AsyncOpenAI(
            api_key=self._default_key or _PLACEHOLDER_KEY,
            base_url=base_url,
            max_retries=0,  # there is one retry loop, tq's
            timeout=openai.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
            http_client=_HttpClient(
                limits=httpx2.Limits(max_connections=_MAX_CONNECTIONS, keepalive_expiry=_KEEPALIVE),
                follow_redirects=False,
            ),
        )
        # It writes a line for each request at INFO: thousands that say nothing the worker's own do not.
        logging.getLogger("httpx2").setLevel(logging.WARNING)

    async def complete(self, prompt: Prompt, able: Abilities) -> Completion:
        """One chat completion; see the protocol.

        Raises:
            AttemptError: of the class that its cause has; no text of the request or the answer is in it.
        """
        key = prompt.api_key or self._default_key
        if key is None:
            raise InvalidKey(
                "there is no API key",
                why="neither the message nor OPENAI_API_KEY has one",
                fix="set OPENAI_API_KEY, or OPENAI_BASE_URL for a server that needs none, or submit with an api_key",
            )
        while True:
            request = able.request(prompt)
            try:
                answer = await self._post(prompt, request, key)
            except RequestRefused as error:
                # Asked again without what it cannot do, at once: such a refusal costs nothing, and is remembered.
                if able.learn(request, error):
                    continue
                raise
            able.confirm(request)
            return replace(_completion(_decoded(answer.content), prompt, key), limits=_limits(answer.headers))

    async def aclose(self) -> None:
        """Close the connection pool."""
        await self._client.close()

    async def _post(self, prompt: Prompt, request: Mapping[str, Any], key: str) -> httpx2.Response:
        """A 2xx answer."""
        try:
            # Half the CPU of chat.completions.create(), which walks the request along its type hints and the
            # answer into models; the answer comes from any server there is, so it is checked below anyway.
            answer = await self._client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                body=request,
                # One of the SDK's own would be made for each request, and sent with none.
                options={"headers": _own_key_headers(prompt.api_key), "idempotency_key": ""},
            )
        except openai.APIStatusError as error:
            failure = _status_failure(error.status_code, error.body, error.response.headers, key, type(error).__name__)
        except (openai.APIConnectionError, aiohttp.ClientError) as error:
            failure = self._connection_failure(error)
        except AttemptError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever a library raises ends the attempt, not the worker
            name = type(error).__name__
            failure = UnexpectedError("the request failed unexpectedly", why=name, cause=name)
        else:
            return answer
        raise failure  # out here, so that the SDK's exception is not its context

    def _connection_failure(self, error: BaseException) -> AttemptError:
        """Timed out, or broken? The SDK calls a connection that the server closed a time-out too."""
        chain = _causes(error)
        cause = type(chain[-1]).__name__
        if any(isinstance(link, aiohttp.SocketTimeoutError) for link in chain):
            return ProviderTimeout(
                "the provider did not answer in time", fix="raise TQ_REQUEST_TIMEOUT if it needs longer", cause=cause
            )
        connected = not any(isinstance(link, aiohttp.ClientConnectorError | TimeoutError) for link in chain)
        number = next((link.errno for link in chain if isinstance(link, OSError) and link.errno), None)
        return ProviderUnreachable(
            f"the connection to {self.host} broke" if connected else f"no connection to {self.host}",
            why=os.strerror(number) if number and number > 0 else cause,
            fix="check that the server runs, OPENAI_BASE_URL, and the network",
            cause=cause,
        )


def _own_key_headers(api_key: str | None) -> dict[str, str | openai.Omit]:
    """A message's own key goes without the organisation and project of the default one."""
    if api_key is None:
        return {}
    return {
        "Authorization": f"Bearer {api_key}",
        "OpenAI-Organization": openai.omit,
        "OpenAI-Project": openai.omit,
    }


def _status_failure(status: int, body: object, headers: Mapping[str, str], key: str, cause: str) -> AttemptError:
    if 300 <= status < 400:
        return _redirected(status, headers.get("location", ""), key, cause)
    codes = [_safe(body[name], key) for name in ("code", "type") if body.get(name)] if isinstance(body, dict) else []
    by_code = next((_CODE_CLASSES[code] for code in codes if code in _CODE_CLASSES), None)
    by_status = _STATUS_CLASSES.get(status) or (ProviderFailure if status >= 500 else RequestRefused)
    cls = by_code if by_code is not None and status < 500 else by_status
    what, fix = _TEXTS[cls]
    failure = cls(
        what,
        why=" ".join([f"HTTP {status}", *codes][:2]),
        fix=fix,
        status=status,
        retry_after=retry_after(headers, time.time()),
        cause=cause,
    )
    failure.limits = _limits(headers)
    if isinstance(failure, RequestRefused):
        failure.blamed = blamed_members(body)
        failure.too_long = "context_length_exceeded" in codes or too_long(body)
    return failure


def _redirected(status: int, location: str, key: str, cause: str) -> RequestRefused:
    origin = _SAFE_ORIGIN.match(location)
    where = f" to {origin[0]}" if origin and key.lower() not in origin[0] else ""
    return RequestRefused(
        "the provider redirects to another address, which is not followed",
        why=f"HTTP {status}{where}",
        fix="set OPENAI_BASE_URL to the final address",
        status=status,
        cause=cause,
    )


def _limits(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers about rate limits, of any provider's spelling."""
    return {name.lower(): value[:200] for name, value in headers.items() if "ratelimit" in name.lower()}


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # also a number or a nesting beyond what Python takes
        name = type(error).__name__
    raise _not_a_completion("the body is not JSON", name)


def _completion(answer: object, prompt: Prompt, key: str) -> Completion:
    """The completion in a decoded 200 answer, whatever it really is."""
    if not isinstance(answer, dict):
        raise _not_a_completion("it is not a JSON object")
    choices = answer.get("choices")
    if not isinstance(choices, list):
        raise _embedded_failure(answer, key)
    usage = _usage(answer.get("usage"))
    if not choices:
        raise _invalid_output("no choices", usage)
    choice = _mapping(choices[0])
    message, finish = _mapping(choice.get("message")), choice.get("finish_reason")
    if message.get("refusal") or finish == "content_filter":
        raise Refused(
            "the model refused to translate the text",
            why="content filter" if finish == "content_filter" else "",
            fix="change the content, or use another model",
            usage=usage,
        )
    if finish == "length":
        raise Truncated(
            "the translation was cut off",
            why="finish_reason length",
            fix="raise the server's output or context limit, or submit shorter texts",
            usage=usage,
        )
    content = message.get("content")
    if finish == "stop":
        check_window(prompt, answer, usage)
    if finish != "stop" or not isinstance(content, str):
        raise _invalid_output("no text" if finish == "stop" else f"finish_reason {_safe(finish, key)}", usage)
    text = unwrap(content, prompt.user)
    if text is None:
        raise _invalid_output("reasoning without an answer", usage)
    return Completion(text, _model(answer, key) or prompt.model, prompt_tokens=usage[0], completion_tokens=usage[1])


def _invalid_output(why: str, usage: tuple[int, int]) -> InvalidOutput:
    return InvalidOutput("the model's answer is not usable", why=why, fix="use another model", usage=usage)


def _not_a_completion(why: str, cause: str = "") -> ProviderFailure:
    return ProviderFailure(
        "the answer is not a chat completion",
        why=why,
        fix="check that OPENAI_BASE_URL is an OpenAI-compatible endpoint (it often ends in /v1)",
        cause=cause,
    )


def _embedded_failure(answer: dict[str, object], key: str) -> AttemptError:
    """A 200 without choices; routers such as OpenRouter report a failure of the model behind them like this."""
    error = _mapping(answer.get("error"))
    status = error.get("code")
    if isinstance(status, int) and 400 <= status <= 599:
        return _status_failure(status, error, {}, key, "")
    return _not_a_completion("it has no choices")


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _model(answer: dict[str, object], key: str) -> str:
    """The model that the answer names, when it can be one."""
    name = answer.get("model")
    return name if isinstance(name, str) and _SAFE_MODEL.fullmatch(name) and key not in name else ""


def _usage(value: object) -> tuple[int, int]:
    """Prompt and completion tokens; 0 for what the endpoint does not count."""
    numbers = (_mapping(value).get(name) for name in ("prompt_tokens", "completion_tokens"))
    prompt, completion = (n if isinstance(n, int) and 0 < n <= _MAX_TOKENS else 0 for n in numbers)
    return prompt, completion


def _safe(value: object, key: str) -> str:
    """A provider's code as it may be shown: a short slug, and no part of the key; else "unknown"."""
    if not isinstance(value, str) or not _SAFE_CODE.fullmatch(value):
        return "unknown"
    return "unknown" if value in key.lower() or key.lower() in value else value


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
