"""Bad input over HTTP gets a clear answer, stores nothing, and is not repeated in the answer."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

import httpx
import pytest
from api_server import CANARY, Api
from servers import Valkey

JSON = "application/json"
#: Stands in every refused body: the answer must not repeat what it refuses.
SECRET = "the-text-of-the-message"


class Refusal(NamedTuple):
    """A body of POST /messages, and how it is refused."""

    name: str
    body: bytes
    status: int
    slug: str
    field: str = ""
    media_type: str = JSON


def malformed(name: str, body: bytes) -> Refusal:
    """Not JSON at all."""
    return Refusal(name, body, 400, "malformed-request")


def invalid(name: str, field: str, **changes: Any) -> Refusal:
    """JSON that is not a message; ``field`` says what is wrong with it."""
    body = {"content": SECRET, "api_key": CANARY} | changes
    return Refusal(name, json.dumps(body).encode(), 422, "invalid-message", field)


CONTENT = f'"content": "{SECRET}", "api_key": "{CANARY}"'.encode()

REFUSALS = [
    malformed("no body", b""),
    malformed("not JSON", f"content={SECRET}".encode()),
    malformed("cut off", b"{" + CONTENT),
    malformed("trailing text", b"{" + CONTENT + b"} " + SECRET.encode()),
    malformed("NaN", b"{" + CONTENT + b', "metadata": {"x": NaN}}'),
    malformed("Infinity", b"{" + CONTENT + b', "metadata": {"x": -Infinity}}'),
    malformed("invalid UTF-8", b"{" + CONTENT + b', "model_name": "\xff\xfe"}'),
    malformed("UTF-8 of a surrogate", b'{"content": "\xed\xa0\x80"}'),
    malformed("overlong UTF-8", b'{"content": "\xc0\xaf"}'),
    malformed("UTF-16", json.dumps({"content": SECRET}).encode("utf-16")),
    malformed("byte order mark", b"\xef\xbb\xbf{" + CONTENT + b"}"),
    malformed("lone surrogate", b'{"content": "\\ud800"}'),
    malformed("control character", b'{"content": "a\x01b"}'),
    malformed("nested too deep", b'{"content": "x", "metadata": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"),
    malformed("huge integer", b"{" + CONTENT + b', "priority": ' + b"1" * 5000 + b"}"),
    malformed("single quotes", b"{'content': 'x'}"),
    Refusal("a form", b"content=x", 415, "unsupported-media-type", media_type="application/x-www-form-urlencoded"),
    Refusal("plain text", b"{" + CONTENT + b"}", 415, "unsupported-media-type", media_type="text/plain"),
    Refusal("no type", b"{" + CONTENT + b"}", 415, "unsupported-media-type", media_type=""),
    Refusal("a list", json.dumps([{"content": SECRET}]).encode(), 422, "invalid-message"),
    Refusal("a string", json.dumps(SECRET).encode(), 422, "invalid-message"),
    Refusal("null", b"null", 422, "invalid-message"),
    Refusal("no content", json.dumps({"priority": 1, "api_key": CANARY}).encode(), 422, "invalid-message", "content"),
    invalid("empty content", "content", content=""),
    invalid("white space", "content", content=" \t\n\u3000\u00a0"),
    invalid("NUL in content", "content", content=f"{SECRET}\u0000"),
    invalid("content null", "content", content=None),
    invalid("content number", "content", content=5),
    invalid("content list", "content", content=[SECRET]),
    invalid("priority -1", "priority", priority=-1),
    invalid("priority 11", "priority", priority=11),
    invalid("priority text", "priority", priority="5"),
    invalid("priority float", "priority", priority=5.0),
    invalid("priority true", "priority", priority=True),
    invalid("priority null", "priority", priority=None),
    invalid("priority beyond 64 bits", "priority", priority=10**30),
    invalid("unknown field", "prioritiy", prioritiy=5),
    invalid("unknown language", "metadata", metadata={"target_language": "xx-nope"}),
    invalid("language of another standard", "metadata", metadata={"target_language": "french"}),
    invalid("language und", "metadata", metadata={"target_language": "und"}),
    invalid("language number", "metadata", metadata={"target_language": 5}),
    invalid("unknown source language", "metadata", metadata={"source_language": "e"}),
    invalid("domain number", "metadata", metadata={"domain": 5}),
    invalid("metadata list", "metadata", metadata=[SECRET]),
    invalid("metadata null", "metadata", metadata=None),
    Refusal("metadata infinite", b"{" + CONTENT + b', "metadata": {"x": 1e400}}', 422, "invalid-message", "metadata"),
    invalid("metadata too large", "metadata", metadata={"x": "y" * 20_000}),
    invalid("metadata with NUL", "metadata", metadata={"x": "\u0000"}),
    invalid("too many metadata keys", "metadata", metadata={str(number): 1 for number in range(65)}),
    invalid("model number", "model_name", model_name=5),
    invalid("model empty", "model_name", model_name=""),
    invalid("model with line break", "model_name", model_name="gpt\n4"),
    invalid("model too long", "model_name", model_name="x" * 201),
    invalid("key number", "api_key", api_key=5),
    invalid("key empty", "api_key", api_key=""),
    invalid("key with space", "api_key", api_key=f"{CANARY} x"),
    invalid("key with line break", "api_key", api_key=f"{CANARY}\r\nX-Injected: 1"),
    invalid("key too long", "api_key", api_key=CANARY * 100),
    invalid("id empty", "message_id", message_id=""),
    invalid("id with slash", "message_id", message_id="a/b"),
    invalid("id with space", "message_id", message_id="a b"),
    invalid("id with NUL", "message_id", message_id="a\u0000"),
    invalid("id with line break", "message_id", message_id="a\n"),
    invalid("id not ASCII", "message_id", message_id="é"),
    invalid("id too long", "message_id", message_id="a" * 129),
    invalid("id of a path", "message_id", message_id="next"),
    invalid("id number", "message_id", message_id=5),
    Refusal("content too long", json.dumps({"content": "x" * (2**20 + 1)}).encode(), 413, "content-too-large"),
    Refusal("content too long in bytes", json.dumps({"content": "é" * (2**19 + 1)}).encode(), 413, "content-too-large"),
    Refusal("body too long", b" " * (6 * 2**20 + 2**16 + 1), 413, "content-too-large"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_a_bad_message_is_refused(http: httpx.Client, api_valkey: Valkey, refusal: Refusal) -> None:
    """The status and type of the table, the field that is wrong, nothing stored, nothing repeated."""
    headers = {"Content-Type": refusal.media_type} if refusal.media_type else {}
    response = http.post("/messages", content=refusal.body, headers=headers)
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert (response.status_code, document["type"]) == (refusal.status, f"urn:tq:problem:{refusal.slug}")
    assert document["detail"]
    if refusal.field:
        assert [error["field"].partition(".")[0] for error in document["errors"]] == [refusal.field]
        assert document["errors"][0]["message"]
    assert SECRET not in response.text
    assert len(response.text) < 2000
    with api_valkey.client() as redis:
        assert [key for key in redis.keys("tq:*") if key not in {"tq:reaper", "tq:ageing", "tq:alive"}] == []


def test_all_that_is_wrong_is_named(http: httpx.Client) -> None:
    """A caller need not mend one field to hear of the next."""
    body = {"content": "", "priority": 11, "prioritiy": 1, "metadata": {"target_language": "xx"}, "message_id": "/"}
    errors = http.post("/messages", json=body).json()["errors"]
    assert {error["field"] for error in errors} == {"content", "priority", "prioritiy", "metadata", "message_id"}


@pytest.mark.parametrize(
    "content",
    [
        "x",
        "  x  ",
        "é" * 2**19,
        "\u0001\u001f" * 2**19,
        "a\u2028b\U0001f600\u202e",
        "\\u0000",
        "<script>",
        "{}",
        "null",
    ],
    ids=["one", "spaces", "longest", "longest-escaped", "unicode", "backslash", "markup", "json", "word"],
)
def test_odd_content_is_kept_as_it_is(http: httpx.Client, content: str) -> None:
    """Whatever is text comes back unchanged, up to TQ_MAX_CONTENT bytes, however JSON escapes it."""
    response = http.post("/messages", json={"content": content, "message_id": "odd"})
    assert response.status_code == 202
    assert http.get("/messages/odd").json()["content"] == content


@pytest.mark.parametrize("path", ["/messages/process", "/messages/a/retry", "/messages/a/status", "/messages/batch"])
@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"{", 400, "malformed-request"),
        (b'{"x": NaN}', 400, "malformed-request"),
        (b"\xff", 400, "malformed-request"),
        (b'{"unknown": 1}', 422, "invalid-message"),
        (b"[]", 422, "invalid-message"),
        (b"5", 422, "invalid-message"),
        (b" " * (40 * 2**20), 413, "content-too-large"),
    ],
    ids=["cut", "nan", "utf8", "unknown", "list", "number", "large"],
)
def test_other_bodies_are_checked_too(http: httpx.Client, path: str, body: bytes, status: int, slug: str) -> None:
    """Every route that takes a body refuses a bad one, and changes nothing."""
    before = http.post("/messages", json={"content": "x", "message_id": "a"}).json()
    response = http.post(path, content=body, headers={"Content-Type": JSON})
    assert (response.status_code, response.json()["type"]) == (status, f"urn:tq:problem:{slug}")
    assert http.get("/messages/a").json() == before


def test_a_body_without_announced_length_is_bounded(http: httpx.Client) -> None:
    """A stream of chunks that does not end is refused while it comes."""
    chunks = (b" " * 2**20 for _ in range(200))
    response = http.post("/messages", content=chunks, headers={"Content-Type": JSON})
    assert (response.status_code, response.json()["type"]) == (413, "urn:tq:problem:content-too-large")
    assert http.get("/health").status_code == 200


def test_a_client_that_leaves_is_no_error(http: httpx.Client, api: Api) -> None:
    """Half a body and a closed connection store nothing, and the log stays silent."""
    before = api.process.output
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", api.port)) as connection:
            connection.sendall(b"POST /messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            connection.sendall(b'Content-Length: 100\r\n\r\n{"content": "x')
    assert http.get("/messages").json()["messages"] == []
    assert api.process.output == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("Content-Length", "-1"), ("Content-Length", "x"), ("Content-Length", "9" * 30), ("Transfer-Encoding", "nope")],
)
def test_a_broken_request_harms_nothing(http: httpx.Client, api: Api, name: str, value: str) -> None:
    """HTTP that is not HTTP gets a 4xx of the server itself, or a closed connection."""
    connection = HTTPConnection("127.0.0.1", api.port, timeout=10)
    try:
        connection.putrequest("POST", "/messages")
        connection.putheader("Content-Type", JSON)
        connection.putheader(name, value)
        connection.endheaders()
        assert 400 <= connection.getresponse().status < 500
    except (HTTPException, ConnectionError):
        pass
    finally:
        connection.close()
    assert http.get("/messages").json()["messages"] == []
