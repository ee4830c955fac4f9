"""Bad input over HTTP gets a clear answer, stores nothing, and is not repeated in the answer."""

from __future__ import annotations

import gzip
import json
import socket
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import psutil
import pytest
from api_server import CANARY, Api
from raw_http import Connection
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
    malformed("lists that open", b"[" * 100_000),
    malformed("objects that open", b'{"content":' * 100_000),
    malformed("a megabyte of digits", b"{" + CONTENT + b', "priority": ' + b"7" * 2**20 + b"}"),
    malformed("digits and a fraction", b"{" + CONTENT + b', "priority": -' + b"7" * 2**20 + b".5}"),
    malformed("a name twice", b"{" + CONTENT + f', "content": "{SECRET}"}}'.encode()),
    malformed("an escaped name twice", b"{" + CONTENT + b', "\\u0063ontent": "x"}'),
    malformed("a nested name twice", b"{" + CONTENT + f', "metadata": {{"{SECRET}": 1, "{SECRET}": 2}}}}'.encode()),
    malformed("surrogates in the wrong order", b'{"content": "\\udc00\\ud800"}'),
    malformed("half a pair", b'{"content": "\\ud83dx"}'),
    malformed("lone surrogate as a name", b"{" + CONTENT + b', "metadata": {"\\ud800": 1}}'),
    malformed("raw NUL", b'{"content": "a\0b"}'),
    malformed("nothing but NUL", b"\0" * 2**20),
    malformed("NUL at the end", b"{" + CONTENT + b"}\0"),
    malformed("UTF-16 without mark", json.dumps({"content": SECRET}).encode("utf-16-le")),
    malformed("UTF-32", json.dumps({"content": SECRET}).encode("utf-32")),
    malformed("an unfinished string of escapes", b'{"content": "' + b"\\u0041" * 10**6),
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
    invalid("priority float", "priority", priority=5.5),
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
    Refusal(
        "content too long in escapes",
        b'{"content": "' + b"\\u0041" * 1_040_000 + b"\\u00e9" * 10_000 + b'"}',
        413,
        "content-too-large",
    ),
    Refusal("content of quotation marks", b'{"content": "' + b'\\"' * 3_000_000 + b'"}', 413, "content-too-large"),
    invalid("content of escaped NUL", "content", content="\0" * 2**19),
    Refusal("infinite priority", b"{" + CONTENT + b', "priority": 1e999999}', 422, "invalid-message", "priority"),
    Refusal("huge priority", b"{" + CONTENT + b', "priority": 1e308}', 422, "invalid-message", "priority"),
    Refusal(
        "digits of a fraction",
        b"{" + CONTENT + b', "priority": 1.' + b"7" * 2**20 + b"}",
        422,
        "invalid-message",
        "priority",
    ),
    Refusal(
        "digits of an exponent",
        b"{" + CONTENT + b', "priority": 1e' + b"7" * 2**20 + b"}",
        422,
        "invalid-message",
        "priority",
    ),
    Refusal(
        "metadata beyond all", b"{" + CONTENT + b', "metadata": {"x": -1e999999}}', 422, "invalid-message", "metadata"
    ),
    invalid("very many metadata keys", "metadata", metadata={str(number): 1 for number in range(200_000)}),
    invalid("metadata of a deep list", "metadata", metadata={"x": [SECRET] * 100_000}),
    invalid("a metadata key of a megabyte", "metadata", metadata={"x" * 2**20: 1}),
    Refusal(
        "very many unknown fields",
        json.dumps({f"{SECRET}{number}": 1 for number in range(100_000)}).encode(),
        422,
        "invalid-message",
    ),
    Refusal(
        "an unknown field of a megabyte", b"{" + CONTENT + b', "' + b"x" * 2**20 + b'": 1}', 422, "invalid-message"
    ),
    Refusal("millions of lists", b'{"metadata": {"x": [' + b"[]," * 2_000_000 + b"0]}}", 413, "content-too-large"),
    Refusal("millions of objects", b'{"metadata": {"x": [' + b"{}," * 2_000_000 + b"0]}}", 413, "content-too-large"),
    Refusal("millions of strings", b'{"metadata": {"x": [' + b'"a",' * 1_500_000 + b"0]}}", 413, "content-too-large"),
    Refusal("millions of numbers", b'{"metadata": {"x": [' + b"1," * 3_000_000 + b"0]}}", 413, "content-too-large"),
    Refusal("body too long", b" " * (6 * 2**20 + 768 * 2**10 + 1), 413, "content-too-large"),
]


def cpu_seconds(api: Api) -> float:
    """What the API's process has worked: how long it takes on a machine that does nothing else."""
    times = psutil.Process(api.process.pid).cpu_times()
    return float(times.user + times.system)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
def test_a_bad_message_is_refused(http: httpx.Client, api: Api, api_valkey: Valkey, refusal: Refusal) -> None:
    """The status and type of the table, the field that is wrong, in no time; nothing stored, nothing repeated."""
    headers = {"Content-Type": refusal.media_type} if refusal.media_type else {}
    spent = cpu_seconds(api)
    response = http.post("/messages", content=refusal.body, headers=headers)
    assert cpu_seconds(api) - spent < 1
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
    assert {error["field"] for error in errors} == {
        "content",
        "priority",
        "prioritiy",
        "metadata.target_language",
        "message_id",
    }


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


@pytest.mark.parametrize("path", ["/messages", "/messages/a/cancel", "/nope"])
def test_a_client_that_sends_all_first_sees_the_refusal(api: Api, path: str) -> None:
    """The rest of a refused body is taken and dropped: closed at once, the connection would break under the client."""
    connection = HTTPConnection("127.0.0.1", api.port, timeout=30)
    try:
        connection.request("POST", path, body=b" " * (30 * 2**20), headers={"Content-Type": JSON})
        answer = connection.getresponse()
        assert 400 <= answer.status < 500
        assert json.loads(answer.read())["type"].startswith("urn:tq:problem:")
    finally:
        connection.close()


def test_a_client_that_leaves_is_no_error(http: httpx.Client, api: Api) -> None:
    """Half a body and a closed connection store nothing, and the log stays silent."""
    before = api.process.output
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", api.port)) as connection:
            connection.sendall(b"POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
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


# -- compression -----------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "x-gzip", "gzip, gzip", "identity, gzip", "nope"])
@pytest.mark.parametrize("path", ["/messages", "/messages/batch", "/messages/process"])
def test_a_compressed_body_is_refused(http: httpx.Client, path: str, coding: str) -> None:
    """415, whatever it would become: a kilobyte may become a gigabyte."""
    headers = {"Content-Type": JSON, "Content-Encoding": coding}
    response = http.post(path, content=gzip.compress(b" " * 2**20), headers=headers)
    assert (response.status_code, response.json()["type"]) == (415, "urn:tq:problem:unsupported-media-type")
    assert response.headers["accept-encoding"] == "identity"
    assert http.get("/messages").json()["messages"] == []


def test_identity_is_no_compression(http: httpx.Client) -> None:
    """Some programs say so."""
    headers = {"Content-Encoding": "identity"}
    assert http.post("/messages", json={"content": "x"}, headers=headers).status_code == 202


# -- bombs that explode later ----------------------------------------------------------------------


def test_a_batch_of_millions_of_values(http: httpx.Client, api: Api) -> None:
    """32 MiB of empty lists would be a gigabyte: refused before they are decoded, within a second of work."""
    process = psutil.Process(api.process.pid)
    before, spent = process.memory_info().rss, cpu_seconds(api)
    for item in (b"[],", b"{},", b'"a",', b'{"":0},', b'"\\"",'):
        body = b'{"messages":[' + item * (2**25 // len(item) - 8) + b"0]}"
        response = http.post("/messages/batch", content=body, headers={"Content-Type": JSON})
        assert (response.status_code, response.json()["type"]) == (413, "urn:tq:problem:content-too-large")
        assert "values" in response.json()["detail"]
    assert cpu_seconds(api) - spent < 5
    assert process.memory_info().rss - before < 200 * 2**20


def test_many_commas_in_text_are_not_many_values(http: httpx.Client) -> None:
    """What stands in a string is counted as one value, whatever it looks like, escapes and all."""
    for content in (",[{" * 300_000, '",' * 400_000, '\\",' * 200_000, "\\" * 500_000 + "," * 300_000):
        response = http.post("/messages", json={"content": content})
        assert response.status_code == 202
        assert http.get(response.headers["location"]).json()["content"] == content


def test_deep_metadata_comes_back(http: httpx.Client) -> None:
    """Just within the parser's depth, through the store and out again."""
    deep: Any = "bottom"
    for _ in range(95):
        deep = {"x": [deep]}
    assert http.post("/messages", json={"content": "x", "message_id": "a", "metadata": {"m": deep}}).status_code == 202
    assert http.get("/messages/a").json()["metadata"]["m"] == deep
    assert http.get("/messages").json()["messages"][0]["metadata"]["m"] == deep
    for _ in range(10):
        deep = {"x": [deep]}
    response = http.post("/messages", json={"content": "x", "metadata": {"m": deep}})
    assert response.json()["type"] == "urn:tq:problem:malformed-request"


# -- what is not in a body -------------------------------------------------------------------------

LONG = "9" * 5000


@pytest.mark.parametrize("path", ["/messages", "/events"])
@pytest.mark.parametrize(
    "value", [LONG, "-1", "%00", "1%00", "%zz", "%", "%ff", "%f0%9f", "x" * 60_000, "1e9", "\u0661"]
)
def test_a_bad_query_is_refused(api: Api, path: str, value: str) -> None:
    """Numbers, NUL, broken escapes, broken UTF-8, length: 422, without repeating it."""
    name = "cursor" if path == "/messages" else "after"
    with Connection(api.port) as connection:
        for query in (f"{name}={value}", f"status={value}", *([f"limit={value}"] if name == "cursor" else [])):
            answer = connection.ask(f"{path}?{quote(query, safe='=%')}")
            assert (answer.status, answer.problem()) == (422, "invalid-message"), query[:80]
            assert len(answer.body) < 1000


@pytest.mark.parametrize(
    "name", ["%00", "%ff", "%zz", "a" * 10_000, "%C0%80", "%ED%A0%80", "a%2e%2e", "%0d%0aX:y", "é"]
)
def test_a_bad_id_is_unknown(api: Api, name: str) -> None:
    """404 for a path that could be no message's, whatever it is made of; 400 where it is no URL."""
    with ExitStack() as stack:
        for method, rest in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry")):
            connection = stack.enter_context(Connection(api.port))
            answer = connection.ask(f"/messages/{name}{rest}", method=method)
            assert answer.problem() in {"unknown-message", "malformed-request" if name == "é" else ""}
            assert len(answer.body) < 1000


@pytest.mark.parametrize("header", ["Idempotency-Key", "Last-Event-ID"])
@pytest.mark.parametrize("value", ["x" * 10_000, "\udcff", "a\tb", "\u00e9"])
def test_a_bad_header_is_refused(api: Api, http: httpx.Client, header: str, value: str) -> None:
    """422, and nothing is stored or streamed."""
    with Connection(api.port) as connection:
        if header == "Last-Event-ID":
            answer = connection.ask("/events", f"{header}: {value}")
        else:
            body = b'{"content": "x"}'
            headers = [f"{header}: {value}", f"Content-Type: {JSON}", f"Content-Length: {len(body)}"]
            answer = connection.ask("/messages", *headers, method="POST", body=body)
        assert (answer.status, answer.problem()) == (422, "invalid-message")
    assert http.get("/messages").json()["messages"] == []


@pytest.mark.parametrize("path", ["/messages", "/events", "/messages/mine/events"])
def test_a_query_is_taken_as_a_whole(http: httpx.Client, path: str) -> None:
    """A parameter that there is not, or that is given twice, is refused: without it a filter finds everything."""
    for query, field, word in (
        ("Status=failed", "query.Status", "no such parameter"),
        ("status=failed&status=completed", "query.status", "twice"),
        ("status=failed&nope=1&nope=2", "query.nope", "no such parameter"),
    ):
        response = http.get(f"{path}?{query}")
        assert (response.status_code, response.json()["type"]) == (422, "urn:tq:problem:invalid-message")
        (error,) = response.json()["errors"]
        assert error["field"] == field
        assert word in error["message"]
        assert "status" in response.json()["fix"]
    assert http.get("/messages?status=failed&limit=3&to=fr").status_code == 200
