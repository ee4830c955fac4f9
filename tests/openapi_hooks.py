"""What Schemathesis cannot read from the OpenAPI document; see ``openapi_contract.toml``."""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, HookContext, Response

#: 409: another one has that id. 413, 503: no room for it.
_NO_FAULT_OF_AN_ITEM = {409, 413, 503}

_REGIONS = [
    "AT",
    "AU",
    "BE",
    "BR",
    "CA",
    "CH",
    "CO",
    "DE",
    "DZ",
    "EG",
    "ES",
    "FR",
    "GB",
    "IE",
    "IN",
    "IT",
    "MX",
    "PT",
    "SA",
    "US",
]
_SUBMITS = ["/messages", "/messages/batch"]
#: More than any list of them may have.
_TAGS = [
    *("fr", "zh-Hans", "sr-Latn-RS"),
    *(f"{language}-{region}" for language in ("en", "pt", "es", "de", "ar", "nl") for region in _REGIONS),
]

schemathesis.openapi.format("language-tag", st.sampled_from(_TAGS))


# Not for all operations: with a hook, what GET /ready answers would count as a lack of credentials.
@schemathesis.hook.apply_to(path=_SUBMITS, method="POST")  # type: ignore[attr-defined, untyped-decorator]  # no types
def filter_case(context: HookContext, case: Case[Any]) -> bool:  # noqa: ARG001 - a hook's signature
    """Without what JSON Schema cannot forbid.

    That is: a term that a glossary has twice, but for case and spaces; more languages than a batch has room for, or
    some for a message with a language, or an id, of its own.
    """
    body: Any = case.body if isinstance(case.body, dict) else {}
    messages = body["messages"] if isinstance(body.get("messages"), list) else [body]
    languages = body["target_languages"] if isinstance(body.get("target_languages"), list) else []
    if len(messages) * len(languages) > 1000:
        return False
    return not any(_has_a_term_twice(message) or (languages and _is_somebody(message)) for message in messages)


@schemathesis.hook.apply_to(path="/messages/{message_id}", method="GET")  # type: ignore[attr-defined, untyped-decorator]  # as above
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:  # noqa: ARG001 - a hook's signature
    """Wait for none for long, where that is allowed: there are hundreds of cases."""
    try:
        seconds = float((case.query or {}).get("wait", 0))
    except (TypeError, ValueError):
        return
    if 0.1 < seconds <= 60:
        case.query["wait"] = 0.1


def _is_somebody(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    metadata = message.get("metadata")
    own = metadata.get("target_language") if isinstance(metadata, dict) else None
    return message.get("message_id") is not None or own is not None


def _has_a_term_twice(message: Any) -> bool:
    metadata = message.get("metadata") if isinstance(message, dict) else None
    glossary = metadata.get("glossary") if isinstance(metadata, dict) else None
    if isinstance(glossary, list):
        terms = [str(entry.get("source")) for entry in glossary if isinstance(entry, dict)]
    else:
        terms = [*glossary] if isinstance(glossary, dict) else []
    return len({" ".join(term.split()).casefold() for term in terms}) < len(terms)


@schemathesis.check
def batch_rejection(ctx: CheckContext, response: Response, case: Case[Any]) -> None:  # noqa: ARG001 - a check's signature
    """A batch is accepted if it is one, with a result for each item; a valid item is not refused as invalid."""
    if case.operation.label != "POST /messages/batch" or response.status_code != 202:
        return
    body = response.request.body
    document = json.loads(body) if isinstance(body, str | bytes) else None
    assert isinstance(document, dict), "what is no object was accepted"
    assert set(document) <= {"messages", "target_languages"}, "other members were accepted"
    assert isinstance(document["messages"], list), "what is no list was accepted"
    assert 1 <= len(document["messages"]) <= 1000, "an empty or too long list was accepted"
    results = response.json()["results"]
    times = len(document.get("target_languages") or [None])
    assert len(results) == len(document["messages"]) * times, "not one result for each item"
    if case.meta is not None and case.meta.generation.mode.is_positive:
        refused = [item["error"] for item in results if "error" in item]
        assert {error["status"] for error in refused} <= _NO_FAULT_OF_AN_ITEM, "a valid item was refused"


@schemathesis.check
class EveryOperationSucceeds:
    """Each operation answered with success at least once: otherwise only its refusals were tested."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._succeeded: set[str] = set()

    def after_response(self, ctx: CheckContext, response: Response, case: Case[Any]) -> None:  # noqa: ARG002 - a check's signature
        """Remember it."""
        self._asked.add(case.operation.label)
        if response.status_code < 300:
            self._succeeded.add(case.operation.label)

    def after_run(self, ctx: CheckContext) -> None:  # noqa: ARG002 - a check's signature
        """Judge all."""
        # Nothing but a live worker makes GET /ready succeed (openapi_contract.toml says why there is none).
        never = self._asked - self._succeeded - {"GET /ready"}
        assert not never, f"never answered with success: {', '.join(sorted(never))}"
