"""The provider that a worker started here would ask, as far as it can be asked without spending anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import httpx

from tq.doctor.causes import in_words
from tq.doctor.finding import Finding, doubtful, wrong
from tq.settings import DEFAULT_BASE_URL, Settings, redacted

_TIMEOUT: Final = 3.0
_NAME: Final = "provider"


def provider(settings: Settings) -> Finding:
    """Whether it answers, is an API like OpenAI's, and has the models."""
    if settings.provider_name == "pseudo":
        detail = "pseudo: its output is accents, NOT a translation; set OPENAI_API_KEY or OPENAI_BASE_URL"
        return Finding(_NAME, detail)
    key = settings.openai_api_key
    base = (settings.openai_base_url or DEFAULT_BASE_URL).rstrip("/")
    if key is None and settings.openai_base_url is None:
        return wrong(_NAME, "openai, but there is no key", "set OPENAI_API_KEY")
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    try:
        answer = httpx.get(f"{base}/models", headers=headers, timeout=_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as error:
        detail = f"{redacted(base)} does not answer: {in_words(error)}"
        return wrong(_NAME, detail, "start it, or correct OPENAI_BASE_URL")
    return _answered(redacted(base), answer, settings)


def _answered(base: str, answer: httpx.Response, settings: Settings) -> Finding:
    refusal = _refusal(answer)
    if refusal is not None:
        return wrong(_NAME, f"{base} {refusal[0]} (status {answer.status_code})", refusal[1])
    models = _models(answer)
    if models is None:
        what = "something that is no list of models" if answer.is_success else f"status {answer.status_code}"
        return wrong(_NAME, f"{base}/models answers with {what}", _fix_of_address(base))
    wanted = [settings.model, *settings.fallback_models]
    missing = [model for model in wanted if not _has(models, model)]
    # Many servers show their models to whoever asks: that a key is good, only a message shows.
    known = "it answers; whether it takes the key, a message shows" if settings.openai_api_key else "it answers"
    if missing:
        detail = f"{base}: {known}; but it does not list {', '.join(missing)}"
        return doubtful(_NAME, detail, f"set TQ_MODEL to one that it has: {_some(models)}")
    return Finding(_NAME, f"{base}: {known}; it has {', '.join(wanted)}")


def _refusal(answer: httpx.Response) -> tuple[str, str] | None:
    """What an answer means that has nothing to do with models, and what mends it."""
    status = answer.status_code
    if status in {401, 403}:
        return "refuses the key", "correct OPENAI_API_KEY"
    if status in {402, 429}:
        return "takes no requests now", "fill up the account, or try again later"
    if answer.is_redirect:
        return "redirects, which is not followed", "set OPENAI_BASE_URL to the final address"
    return ("has a trouble of its own", "try again later") if status >= 500 else None


def _models(answer: httpx.Response) -> list[str] | None:
    """The ids of the models that it has; None when this is no such list."""
    if not answer.is_success:
        return None
    try:
        document: Any = answer.json()
        # Some leave out what is around the list.
        items = document["data"] if isinstance(document, dict) else document
        return [str(item["id"]) for item in items]
    except (ValueError, LookupError, TypeError):
        return None


def _has(models: Sequence[str], wanted: str) -> bool:
    """Ollama's names end in a tag, of which ``latest`` may be left out; Gemini's begin with ``models/``."""
    return any(wanted in (model, model.removesuffix(":latest"), model.removeprefix("models/")) for model in models)


def _some(models: Sequence[str]) -> str:
    shown = ", ".join(models[:5])
    return f"{shown}, …" if len(models) > 5 else shown or "it lists none"


def _fix_of_address(base: str) -> str:
    if base.endswith("/v1"):
        return "correct OPENAI_BASE_URL: it is not the address of an API like OpenAI's"
    return f"is /v1 missing? Try OPENAI_BASE_URL={base}/v1"
