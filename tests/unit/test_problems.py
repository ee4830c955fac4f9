"""Problem documents: every error of tq has one, stable and without values."""

from __future__ import annotations

import logging

import pytest

from tq import problems
from tq.errors import ERRORS, InvalidMessage, QueueFull, StoreRefused, TqError, Unauthorised


@pytest.mark.parametrize("slug", ERRORS)
def test_every_error_has_a_problem_document(slug: str) -> None:
    """Its type is the slug, its status the class's, and it says what, why and fix."""
    error = ERRORS[slug]("it broke", why="it was old", fix="mend it")
    document = problems.problem_of(error, "/messages")
    assert document.type == f"urn:tq:problem:{slug}"
    assert document.status == error.http_status
    assert (document.title, document.detail, document.fix) == (error.title, "it broke: it was old", "mend it")


def test_members_without_a_value_are_left_out() -> None:
    """No fix and no fields: the document has the five members of RFC 9457 alone."""
    document = problems.problem_of(TqError("it broke"), "/").model_dump()
    assert document == {
        "type": "urn:tq:problem:internal",
        "title": "Internal error",
        "status": 500,
        "detail": "it broke",
        "instance": "/",
    }


def test_the_refused_fields_are_listed() -> None:
    """Each with its place and what is wrong."""
    error = InvalidMessage("not valid", errors=[{"field": "metadata.x", "message": "must be y"}])
    document = problems.problem_of(error, "/").model_dump()
    assert document["errors"] == [{"field": "metadata.x", "message": "must be y"}]


@pytest.mark.parametrize(
    ("error", "name", "present"),
    [
        (QueueFull("full"), "retry-after", True),
        (StoreRefused("refused"), "retry-after", False),
        (Unauthorised("who?"), "www-authenticate", True),
        (InvalidMessage("bad"), "retry-after", False),
    ],
)
def test_headers_say_what_a_client_may_do(error: TqError, name: str, present: bool) -> None:  # noqa: FBT001 - a table
    """Retry-After where waiting helps, WWW-Authenticate where a token does."""
    assert (name in problems.response(error, "/").headers) == present


def test_a_defect_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the class, the place and the path; neither log nor answer has the text."""

    def broken(text: str) -> None:
        raise ValueError(text)

    text = f"words {6 * 7}"
    with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match=text) as caught:
        broken(text)
    response = problems.unexpected(caught.value, "/messages")
    assert response.status_code == 500
    assert text not in bytes(response.body).decode()
    assert "unexpected ValueError while answering /messages" in caplog.text
    assert "in broken" in caplog.text
    assert text not in caplog.text


@pytest.mark.parametrize(
    ("raw", "path", "expected"),
    [
        (b"/messages/a%2Fb", "/messages/a/b", "/messages/a%2Fb"),
        (b"/messages?limit=5", "/messages", "/messages"),
        (None, "/messages", "/messages"),
        (b"/" + b"x" * 10_000, "/x", "/" + "x" * 255),
    ],
)
def test_the_instance_is_the_path_without_query(raw: bytes | None, path: str, expected: str) -> None:
    """As it was asked for, still encoded, and of bounded length."""
    assert problems.instance_of({"raw_path": raw, "path": path}) == expected


@pytest.mark.parametrize(
    ("raw", "instance"),
    [
        (b"/messages/a", "/messages/a"),
        (b"/messages/a%20b?status=x", "/messages/a%20b"),
        (b'/a b\\"<\xff', "/a%20b%5C%22%3C%FF"),
        (b"/100%", "/100%25"),
        (b"//evil.example/x", "/.//evil.example/x"),
        (b"/" + b"a" * 254 + b"%20", "/" + "a" * 254),
    ],
)
def test_the_instance_is_a_uri_reference(raw: bytes, instance: str) -> None:
    """Whatever bytes a client sends as its path; cut at a bound, but not within an escape; never another host."""
    assert problems.instance_of({"raw_path": raw, "path": "/"}) == instance
