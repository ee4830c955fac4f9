"""The OpenAPI document declares every route of the contract, its bodies and its answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from tq.server import create_app
from tq.settings import Settings

CONTRACT = {
    ("get", "/"),
    ("post", "/messages"),
    ("post", "/messages/batch"),
    ("get", "/messages"),
    ("get", "/messages/{message_id}"),
    ("get", "/messages/next"),
    ("post", "/messages/process"),
    ("post", "/messages/{message_id}/status"),
    ("post", "/messages/{message_id}/cancel"),
    ("post", "/messages/{message_id}/retry"),
    ("get", "/queue/stats"),
    ("get", "/queue/history"),
    ("get", "/health"),
    ("get", "/ready"),
    ("get", "/metrics"),
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """As it is without a token."""
    return create_app(Settings()).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def references(node: Any) -> Iterator[str]:
    """Every ``$ref`` below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_route_of_the_contract_is_declared(document: dict[str, Any]) -> None:
    """With a summary, and a success whose form is declared."""
    found = {(method, path) for method, path, _ in operations(document)}
    assert found >= CONTRACT
    for _, _, operation in operations(document):
        assert operation["description"]
        assert any(status.startswith("2") for status in operation["responses"])


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """Bodies and problems are declared by hand, so a slip would only show in a browser."""
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def test_errors_are_declared_as_problem_documents(document: dict[str, Any]) -> None:
    """And FastAPI's own form of validation errors, which is never sent, is not."""
    for _, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")) and path != "/ready":
                assert list(answer["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in str(document)


def test_routes_that_take_a_body_declare_it(document: dict[str, Any]) -> None:
    """And that it may be malformed, of another type, too large or not valid."""
    taking = {path for _, path, operation in operations(document) if "requestBody" in operation}
    assert taking == {
        "/messages",
        "/messages/batch",
        "/messages/lookup",
        "/messages/process",
        "/messages/{message_id}/status",
        "/messages/{message_id}/retry",
        "/queue/failures/retry",
    }
    for _, _, operation in operations(document):
        if "requestBody" in operation:
            assert set(operation["responses"]) >= {"400", "413", "415", "422"}


def test_a_key_is_declared_as_a_password_that_is_only_written(document: dict[str, Any]) -> None:
    """No answer has an api_key; the submission's is writeOnly."""
    schemas = document["components"]["schemas"]
    form, _ = schemas["Submission"]["properties"]["api_key"]["anyOf"]
    assert (form["type"], form["format"], form["writeOnly"]) == ("string", "password", True)
    assert "api_key" not in schemas["Message"]["properties"]


def test_the_token_is_declared_where_it_is_wanted(document: dict[str, Any]) -> None:
    """Only with TQ_API_TOKEN set, and then not for the open paths."""
    assert "securitySchemes" not in document["components"]
    guarded = create_app(Settings(api_token=SecretStr("t"))).openapi()
    assert "t" not in guarded["components"]["securitySchemes"]["token"].values()
    for _, path, operation in operations(guarded):
        assert ("security" in operation) == (path not in {"/", "/health"})
