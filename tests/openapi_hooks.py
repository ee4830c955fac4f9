"""What Schemathesis cannot read from the OpenAPI document; see ``openapi_contract.toml``."""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, Response

#: 409: another one has that id. 413, 503: no room for it.
_NO_FAULT_OF_AN_ITEM = {409, 413, 503}

schemathesis.openapi.format("language-tag", st.sampled_from(["fr", "en-GB", "pt-BR", "zh-Hans", "sr-Latn-RS"]))


@schemathesis.check
def batch_rejection(ctx: CheckContext, response: Response, case: Case[Any]) -> None:  # noqa: ARG001 - a check's signature
    """A batch is accepted if it is one, with a result for each item; a valid item is not refused as invalid."""
    if case.operation.label != "POST /messages/batch" or response.status_code != 202:
        return
    body = response.request.body
    document = json.loads(body) if isinstance(body, str | bytes) else None
    assert isinstance(document, dict), "what is no object was accepted"
    assert list(document) == ["messages"], "other members were accepted"
    assert isinstance(document["messages"], list), "what is no list was accepted"
    assert 1 <= len(document["messages"]) <= 1000, "an empty or too long list was accepted"
    results = response.json()["results"]
    assert len(results) == len(document["messages"]), "not one result for each item"
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
