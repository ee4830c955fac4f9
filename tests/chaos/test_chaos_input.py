"""Whatever may be sent to the API that is no proper request."""

from __future__ import annotations

import gzip
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPResponse
from typing import Any, Final
from urllib.parse import quote, urlsplit

import pytest
from crowd import Memory
from stage import OWN_KEY, MakeStage, Stage

MIB: Final = 2**20
REFUSED: Final = frozenset({400, 413, 422})
ROUTES_WITH_BODY: Final = ("/messages", "/messages/batch", "/messages/nobody/status", "/messages/nobody/retry")


@dataclass(frozen=True)
class Bad:
    """A request that must be refused, and how it may be.

    Attributes:
        body: bytes as they are, or data to be sent as JSON.
        answers: the statuses that are right.
    """

    path: str = "/messages"
    body: Any = None
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: frozenset[int] = REFUSED


Kind = Callable[[random.Random], Bad]
KINDS: Final[dict[str, Kind]] = {}


def kind(make: Kind) -> Kind:
    """Registers a kind of bad request under the function's name."""
    KINDS[make.__name__] = make
    return make


def proper(**changes: Any) -> dict[str, Any]:
    """A submit that would be accepted, but for what is changed; with a key that no answer may repeat."""
    message = {"content": "Text of nobody", "api_key": OWN_KEY, "priority": 5, "metadata": {"target_language": "fr"}}
    return message | changes


# -- what does not even decode -------------------------------------------------------------------------


@kind
def too_large(rng: random.Random) -> Bad:
    size = rng.choice([10, 10, 10, 40]) * MIB
    padded = json.dumps(proper()).encode() + b" " * size
    return Bad(body=rng.choice([proper(content="x" * size), padded]), answers=frozenset({413}))


@kind
def large_batch(rng: random.Random) -> Bad:
    each = rng.randrange(40_000, 100_000)
    return Bad("/messages/batch", {"messages": [proper(content="x" * each)] * 1000}, answers=frozenset({413}))


@kind
def cut_off(rng: random.Random) -> Bad:
    text = json.dumps(proper()).encode()
    return Bad(rng.choice(ROUTES_WITH_BODY), text[: rng.randrange(1, len(text))], answers=frozenset({400}))


@kind
def noise(rng: random.Random) -> Bad:
    return Bad(rng.choice(ROUTES_WITH_BODY), b"\xfe" + rng.randbytes(rng.randrange(5000)), answers=frozenset({400}))


@kind
def not_utf8(rng: random.Random) -> Bad:
    text = json.dumps(proper(content="Caf\u00e9 N\u00famero"), ensure_ascii=False)
    return Bad(body=text.encode(rng.choice(["latin-1", "utf-16", "utf-32", "utf-16-le"])), answers=frozenset({400}))


@kind
def overlong_utf8(rng: random.Random) -> Bad:
    bad = rng.choice([b"\xc0\xaf", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\xe2\x82"])
    return Bad(body=b'{"content": "a' + bad + b'b"}', answers=frozenset({400}))


@kind
def nested(rng: random.Random) -> Bad:
    depth, (begin, end) = rng.choice([300, 10_000, 1_000_000]), rng.choice([("[", "]"), ('{"a":', "}")])
    deep = begin * depth + "1" * (begin != "[") + end * depth
    where = rng.choice(['{"content": "a", "metadata": {"a": %s}}', '{"content": %s}', "%s", '{"messages": [%s]}'])
    return Bad(rng.choice(ROUTES_WITH_BODY[:2]), (where % deep).encode())


@kind
def long_number(rng: random.Random) -> Bad:
    number = rng.choice(["9" * 1_000_000, "-" + "1" * 1_000_000, "0." + "3" * 1_000_000 + "e9", "1e999999", "1E+400"])
    name = rng.choice(["priority", "content", "message_id"])
    return Bad(body=f'{{"content": "a", "{name}": {number}}}'.encode())


@kind
def long_number_in_metadata(rng: random.Random) -> Bad:
    return Bad(body=f'{{"content": "a", "metadata": {{"n": {rng.choice("123")}{"0" * 1_000_000}}}}}'.encode())


@kind
def no_number(rng: random.Random) -> Bad:
    return Bad(body=f'{{"content": "a", "priority": {rng.choice(["NaN", "Infinity", "-Infinity", "01", "+1", ".5"])}}}')


@kind
def compressed(rng: random.Random) -> Bad:
    bomb = gzip.compress(b" " * rng.randrange(MIB, 20 * MIB))
    return Bad(body=bomb, headers={"Content-Encoding": "gzip"}, answers=frozenset({400, 413, 415}))


# -- what decodes, and says nothing that is allowed ----------------------------------------------------


@kind
def nul(rng: random.Random) -> Bad:
    name = rng.choice(["content", "model_name", "message_id", "api_key"])
    text = f"a{chr(0)}b"
    raw = json.dumps(proper(content="a#b")).encode().replace(b"#", b"\0")
    escaped = [proper(**{name: text}), proper(metadata={"note": [text]}), proper(metadata={text: 1})]
    return Bad(body=rng.choice([raw, *escaped]))


@kind
def lone_surrogate(rng: random.Random) -> Bad:
    where = rng.choice(["content", "model_name", "message_id"])
    text = rng.choice(["\ud800", "a\udfffb", "\udc00\ud800", "\ud83d"])
    return Bad(body=json.dumps(rng.choice([proper(**{where: text}), proper(metadata={"a": text})])).encode())


@kind
def wrong_types(rng: random.Random) -> Bad:
    name = rng.choice(["content", "priority", "metadata", "message_id", "model_name", "api_key"])
    values: list[Any] = [[], [1, 2], True, 1.5, {"a": {"b": None}}, -1, 10**30, "", " \n", "5 ", [["x"] * 1000]]
    good = {"metadata": {"a": {"b": None}}, "model_name": "5 ", "content": "5 "}
    return Bad(body=proper(**{name: rng.choice([each for each in values if each != good.get(name)])}))


@kind
def no_object(rng: random.Random) -> Bad:
    body = rng.choice(["null", "[]", "1", '"text"', "true", "{}", '{"messages": []}', '{"messages": {}}'])
    return Bad(rng.choice(ROUTES_WITH_BODY[:3]), body.encode())


@kind
def unknown_field(rng: random.Random) -> Bad:
    return Bad(body=proper(**{rng.choice(["status", "__proto__", "attempts", "x" * 10_000]): OWN_KEY}))


@kind
def long_id(rng: random.Random) -> Bad:
    return Bad(body=proper(message_id=rng.choice("ab") * rng.choice([129, 10_000, MIB])))


@kind
def odd_id(rng: random.Random) -> Bad:
    odd = [
        "../secret",
        "a b",
        "a\nb",
        "a/b",
        "é",
        "",
        "-a",
        "a\r\nX: y",
        "next",
        "batch",
        "*",
        "{a}",
        "\u202e",
        "a\x7f",
    ]
    return Bad(body=proper(message_id=rng.choice(odd)))


@kind
def bad_metadata(rng: random.Random) -> Bad:
    return Bad(
        body=proper(
            metadata=rng.choice(
                [
                    {f"key{number}": number for number in range(10_000)},
                    {"note": "x" * MIB},
                    {"target_language": rng.choice(["not a language", "x" * 10_000, 5, ["fr"], "e\u0301n"])},
                    {"domain": rng.choice(["x" * 10_000, 7, "a\nb"])},
                ]
            )
        )
    )


@kind
def bad_batch(rng: random.Random) -> Bad:
    return Bad(
        "/messages/batch", {"messages": [proper()] * rng.choice([0, 1001, 20_000])}, answers=frozenset({413, 422})
    )


@kind
def batch_of_bad(rng: random.Random) -> Bad:
    bad: list[Any] = [1, None, "x", [], {}, proper(priority=11), proper(message_id="a b"), proper(content="")]
    items = [rng.choice(bad) for _ in range(50)]
    return Bad("/messages/batch", {"messages": items}, answers=frozenset({202}))  # each refused by itself


# -- what is around the body ---------------------------------------------------------------------------


@kind
def unknown_message(rng: random.Random) -> Bad:
    name = rng.choice(["nobody", "x" * 128, "0", "m999999"])
    change = rng.choice(["", "/cancel", "/retry", "/status"])
    body = {"status": "running"} if change == "/status" else None
    return Bad(f"/messages/{name}{change}", body, method="POST" if change else "GET", answers=frozenset({404}))


@kind
def impossible_id(rng: random.Random) -> Bad:
    ids = ["%00", "%ff%fe", "..%2f..%2fetc", "%0d%0aX:%20y", "x" * 10_000, quote("é" * 100), "%ed%a0%80", "a%20b", "%"]
    change = rng.choice(["", "/cancel"])
    return Bad(f"/messages/{rng.choice(ids)}{change}", method="POST" if change else "GET", answers=frozenset({404}))


@kind
def bad_query(rng: random.Random) -> Bad:
    queries = [
        f"limit={'9' * rng.choice([5, 5000])}",
        "limit=-1",
        "limit=ten",
        "status=asleep",
        "status=%00",
        "cursor=../1",
        f"cursor={'1' * 1000}",
        "cursor=%ff",
    ]
    return Bad(f"/messages?{rng.choice(queries)}", method="GET", answers=frozenset({422}))


@kind
def bad_key(rng: random.Random) -> Bad:
    key = rng.choice(["x" * 10_000, "\t", "", "caf\u00e9"])
    return Bad(body=proper(), headers={"Idempotency-Key": key}, answers=frozenset({400, 422}))


@kind
def long_headers(rng: random.Random) -> Bad:
    headers = {f"X-{number}": "x" * 8000 for number in range(rng.randrange(9, 30))}
    return Bad(body=proper(), headers=headers, answers=frozenset({400, 431}))


@kind
def wrong_media_type(rng: random.Random) -> Bad:
    media = rng.choice(
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "a" * 5000]
    )
    return Bad(body=json.dumps(proper()).encode(), headers={"Content-Type": media}, answers=frozenset({415}))


@kind
def wrong_method(rng: random.Random) -> Bad:
    method = rng.choice(["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
    return Bad(rng.choice(["/messages", "/health", "/queue/stats"]), method=method, answers=frozenset({400, 405}))


@kind
def no_such_path(rng: random.Random) -> Bad:
    path = rng.choice(
        ["/admin", "/messages/", "//messages", "/messages/a/b/c", "/%2e%2e/etc/passwd", "/" + "a/" * 5000]
    )
    return Bad(path, body=proper(), answers=frozenset({404, 405}))


#: Not even HTTP, or HTTP that contradicts itself; each is answered with a 4xx, or by closing the connection.
RAW: Final = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,  # a TLS hello
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET " + b"/" * 200_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n{}",
    b"POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    b"POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    b"POST /messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
    b"POST /messages HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /messages HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{",  # and no more
)


@pytest.mark.scenario(27, "bad requests of every kind", ci=("embedded",), weight=30)
def test_bad_requests(stage: MakeStage) -> None:
    """Each is refused for what it is, never with a 500, and who submits properly meanwhile notices nothing."""
    with stage() as s:
        s.submit(50)
        s.wait_ended()
        with Memory(s, "api") as memory, s.load(50) as load:
            chosen = [*KINDS, *s.rng.choices(sorted(KINDS), k=400)]
            jobs = [partial(send, s, name, KINDS[name](s.rng)) for name in chosen]
            jobs += [partial(send_raw, s, data) for data in [*RAW, *s.rng.choices(RAW, k=50)]]
            s.rng.shuffle(jobs)
            with ThreadPoolExecutor(4) as pool:
                answers = Counter(pool.map(lambda job: job(), jobs))
        s.note(kinds=len(KINDS) + len(RAW), requests=len(jobs), answers=dict(sorted(answers.items())))
        s.note(proper=len(load.ids), slowest_proper_s=load.slowest, **memory.figures())
        assert not load.refused, f"of those who submitted properly {dict(load.refused)} were refused"
        assert not any(s.stack.restarts().values()), s.stack.restarts()
        assert load.slowest < 5
        assert memory.growth("api") < 250  # a body of the largest kind, decoded


def send(s: Stage, name: str, bad: Bad) -> int:
    """Send one, and look at the answer; returns its status."""
    body = bad.body if isinstance(bad.body, bytes) else b"" if bad.body is None else json.dumps(bad.body).encode()
    url = urlsplit(s.stack.info.api_url)
    headers = {"Host": url.netloc, "Content-Type": "application/json", "Content-Length": str(len(body)), **bad.headers}
    # By hand, for no client would send all of it as it is.
    lines = [f"{bad.method} {bad.path} HTTP/1.1", *(f"{field}: {value}" for field, value in headers.items()), "", ""]
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        with suppress(ConnectionError):  # who is refused early need not be heard to the end
            connection.sendall("\r\n".join(lines).encode() + body)
        answer = HTTPResponse(connection, method=bad.method)
        answer.begin()
        content = answer.read()
    s.examine(f"{bad.method} {bad.path[:100]}", answer.status, str(answer.headers).encode() + content)
    shown = f"{name}, {bad.method} {bad.path[:100]} {body[:200]!r}: {answer.status} {content[:500]!r}"
    assert answer.status in bad.answers, shown
    document = json.loads(content)
    if answer.status == 202:
        assert not any(result.get("message") for result in document["results"]), shown
    else:
        assert answer.headers["Content-Type"] == "application/problem+json", shown
        assert document["status"] == answer.status, shown
    return answer.status


def send_raw(s: Stage, data: bytes) -> int:
    """Send bytes and nothing more; returns the status of the answer, 0 if there is none."""
    url = urlsplit(s.stack.info.api_url)
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        answer = b""
        # It may be closed while we still send; then an answer may be lost on its way.
        with suppress(ConnectionError):
            connection.sendall(data)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    match = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    status = int(match[1]) if match else 0
    s.examine("raw bytes", status, answer)
    assert status == 0 or 400 <= status < 500, f"{data[:100]!r}: {answer[:500]!r}"
    return status
