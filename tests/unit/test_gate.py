"""Who is let in, and by which name: the gate's decisions, and the setting that widens them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from tq.errors import InvalidSettings, TqError
from tq.gate import OVERLOADED, Gate, _seen
from tq.limits import Limits
from tq.settings import Settings, load_settings

LOOPBACK = ("127.0.0.1", 8000)
ELSEWHERE = ("192.0.2.2", 8000)
UNIX = ("/run/tq.sock", None)
TOKEN: dict[str, Any] = {"api_token": SecretStr("the-token")}
BEARER = ("authorization", "Bearer the-token")


async def nothing(*_: Any) -> None:
    """The application behind the gate, which these tests do not reach."""


def refusal(
    *headers: tuple[str, str],
    method: str = "GET",
    path: str = "/messages",
    server: tuple[str, int | None] | None = LOOPBACK,
    version: str = "1.1",
    extensions: dict[str, Any] | None = None,
    **settings: Any,
) -> str:
    """The type of the problem with which such a request is answered; "" when it is let in."""
    gate = Gate(nothing, settings=Settings(**settings), limits=Limits(), most=1000)
    scope = {
        "method": method,
        "path": path,
        "server": server,
        "http_version": version,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "extensions": extensions or {},
    }
    error: TqError | None = gate._refusal(scope, _seen(scope))
    return error.type if error else ""


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST:1",
        "localhost.",
        "localhost:",
        "tq.localhost:8000",
        "127.0.0.1",
        "127.0.0.1:8000",
        "127.9.9.9:1",
        "[::1]",
        "[::1]:8000",
        "[0:0:0:0:0:0:0:1]:8000",
    ],
)
@pytest.mark.parametrize("server", [LOOPBACK, ("::1", 8000), ("127.8.8.8", 1)])
def test_loopback_answers_to_its_own_names(host: str, server: tuple[str, int]) -> None:
    """Each way to name this machine, whatever the port says, on each loopback address."""
    assert refusal(("host", host), server=server) == ""


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evillocalhost",
        "192.0.2.2:8000",
        "0.0.0.0:8000",
        "[::2]:8000",
        "[fe80::1]",
        "128.0.0.1",
        "tq",
    ],
)
@pytest.mark.parametrize("path", ["/messages", "/", "/health", "/docs"])
def test_loopback_answers_to_no_other_name(host: str, path: str) -> None:
    """DNS rebinding: a name that anyone may have point here is refused on every path, token or not."""
    assert refusal(("host", host), path=path) == "host-not-allowed"
    assert refusal(("host", host), BEARER, path=path, **TOKEN) == "host-not-allowed"


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        ":8000",
        "localhost:8000:8000",
        "localhost:80000000",
        "localhost:x",
        "user@localhost",
        "localhost/",
        "localhost,evil.example",
        "evil.example localhost",
        "::1",
        "[::1]8000",
        "[::1",
        "[]",
        "[1]",
        "löcalhost",
        "..",
        ".",
        "-localhost",
        "a" * 300,
        "a" * 100_000,
    ],
)
def test_a_host_that_is_none_is_malformed(host: str) -> None:
    """Neither a name nor an address is not looked at any closer, also where any name is allowed."""
    assert refusal(("host", host)) == "malformed-request"
    assert refusal(("host", host), api_allowed_hosts="*") == "malformed-request"


def test_there_is_one_host() -> None:
    """Two say nothing certain, even the same one twice; none is fine in HTTP/1.0 only (RFC 9112, 3.2)."""
    assert refusal(("host", "localhost"), ("host", "localhost")) == "malformed-request"
    assert refusal(("host", "localhost"), ("host", "evil.example")) == "malformed-request"
    assert refusal() == "malformed-request"
    assert refusal(version="1.0") == ""
    assert refusal(("host", "evil.example"), version="1.0") == "host-not-allowed"


def test_names_can_be_added() -> None:
    """TQ_API_HOST, and those of TQ_API_ALLOWED_HOSTS, in any case and at any port; ``*`` is any name."""
    assert refusal(("host", "tq-1:80"), BEARER, api_host="TQ-1", **TOKEN) == ""
    assert refusal(("host", "[::1]:80"), api_host="[::1]") == ""
    names: dict[str, Any] = {"api_allowed_hosts": "TQ.example.com, 192.0.2.7,2001:DB8::0:1"}
    for host in ("tq.example.com", "TQ.EXAMPLE.com:443", "tq.example.com.", "192.0.2.7", "[2001:db8::1]", "localhost"):
        assert refusal(("host", host), **names) == ""
    for host in ("example.com", "a.tq.example.com", "192.0.2.8", "[2001:db8::2]"):
        assert refusal(("host", host), **names) == "host-not-allowed"
    assert refusal(("host", "any.example"), api_allowed_hosts="*") == ""


def test_elsewhere_a_name_has_to_be_known_only_when_names_are_listed() -> None:
    """Other addresses, and unix sockets, are not what rebinding is after: there is a token, or no browser."""
    for server in (ELSEWHERE, UNIX):
        assert refusal(("host", "any.example"), BEARER, server=server, **TOKEN) == ""
        listed = TOKEN | {"api_allowed_hosts": "tq.example.com"}
        assert refusal(("host", "tq.example.com"), BEARER, server=server, **listed) == ""
        assert refusal(("host", "any.example"), BEARER, server=server, **listed) == "host-not-allowed"


@pytest.mark.parametrize("path", ["/", "/health", "/messages"])
def test_without_a_token_only_this_machine_is_served(path: str) -> None:
    """By the address of the accepted socket, whatever uvicorn was told to bind; also what is not known is refused."""
    host = ("host", "localhost")
    for server in (LOOPBACK, ("::1", 8000), UNIX, ("", None)):
        assert refusal(host, path=path, server=server) == ""
    for other in (ELSEWHERE, ("0.0.0.0", 8000), ("fe80::1%eth0", 8000), ("2001:db8::1", 8000), ("tq", 80), None):
        assert refusal(host, path=path, server=other) == "token-not-set"
        assert refusal(host, BEARER, path=path, server=other, **TOKEN) == ""


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "get", "BREW"])
def test_two_paths_are_open_and_nothing_like_them(method: str) -> None:
    """``GET /`` and ``GET /health`` to the letter; every other method or spelling wants the token."""
    for path in ("/", "/health"):
        expected = "" if method == "GET" else "unauthorised"
        assert refusal(("host", "localhost"), method=method, path=path, **TOKEN) == expected
    for path in ("//", "/health/", "/HEALTH", "/health//", "/./", "/static/../messages", "/health\0", "", "/healthz"):
        assert refusal(("host", "localhost"), method=method, path=path, **TOKEN) == "unauthorised"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], ""),
        ([("origin", "http://localhost:8000")], ""),
        ([("origin", "HTTP://LOCALHOST:8000")], ""),
        ([("origin", "http://localhost:8000"), ("sec-fetch-site", "same-origin")], ""),
        ([("sec-fetch-site", "none")], ""),
        ([("origin", "null")], "origin-not-allowed"),
        ([("origin", "")], "origin-not-allowed"),
        ([("origin", "http://localhost")], "origin-not-allowed"),
        ([("origin", "http://localhost:3000")], "origin-not-allowed"),
        ([("origin", "http://127.0.0.1:8000")], "origin-not-allowed"),
        ([("origin", "https://evil.example")], "origin-not-allowed"),
        ([("origin", "file://")], "origin-not-allowed"),
        ([("origin", "chrome-extension://localhost:8000")], "origin-not-allowed"),
        ([("origin", "http://localhost:8000/")], "origin-not-allowed"),
        ([("origin", "http://localhost:8000, https://evil.example")], "origin-not-allowed"),
        ([("origin", "http://localhost:8000"), ("origin", "http://localhost:8000")], "origin-not-allowed"),
        ([("sec-fetch-site", "cross-site")], "origin-not-allowed"),
        ([("sec-fetch-site", "same-site")], "origin-not-allowed"),
        ([("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], "origin-not-allowed"),
        ([("origin", "http://localhost:8000"), ("sec-fetch-site", "cross-site")], "origin-not-allowed"),
    ],
)
def test_only_an_own_page_may_write(headers: list[tuple[str, str]], expected: str) -> None:
    """A program says no origin; a page must be of the name and port that it asks; reading is not refused."""
    host = ("host", "localhost:8000")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert refusal(host, *headers, method=method) == expected
    assert refusal(host, *headers, method="GET") == ""


def test_an_origin_behind_a_proxy() -> None:
    """The proxy speaks HTTPS and passes the name on; or it has another name, which is listed."""
    proxied: dict[str, Any] = {"api_allowed_hosts": "tq.example.com"}
    host, origin = ("host", "tq.example.com"), ("origin", "https://tq.example.com")
    assert refusal(host, origin, method="POST", **proxied) == ""
    assert refusal(("host", "tq.example.com:443"), origin, method="POST", **proxied) == ""
    assert refusal(("host", "localhost:8000"), origin, method="POST", **proxied) == ""
    assert refusal(("host", "localhost:8000"), origin, method="POST") == "origin-not-allowed"
    # Any name of the API is no name of every page's.
    assert refusal(("host", "localhost"), origin, method="POST", api_allowed_hosts="*") == "origin-not-allowed"


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("POST", [("content-length", "1000")], ""),
        ("POST", [("content-length", "1001")], "content-too-large"),
        ("POST", [("content-length", "9" * 20)], "content-too-large"),
        ("POST", [("transfer-encoding", "chunked")], ""),
        ("GET", [("content-length", "0")], ""),
        ("GET", [("content-length", "1")], "content-too-large"),
        ("GET", [("transfer-encoding", "chunked")], "content-too-large"),
    ],
)
def test_what_is_announced_is_measured(method: str, headers: list[tuple[str, str]], expected: str) -> None:
    """More than any route takes is refused before a byte of it is read; reading has no body at all."""
    assert refusal(("host", "localhost"), *headers, method=method) == expected


def test_one_connection_too_many_may_still_ask_for_health() -> None:
    """503 for everything else, token or not."""
    marked: dict[str, Any] = {"extensions": {OVERLOADED: {}}}
    assert refusal(("host", "localhost"), path="/health", **marked) == ""
    assert refusal(("host", "localhost"), path="/", **marked) == "overloaded"
    assert refusal(("host", "localhost"), BEARER, **marked, **TOKEN) == "overloaded"


@pytest.mark.parametrize(
    "value", ["http://tq.example.com", "tq.example.com:443", "tq.example.com/", "a b", "*.example.com", "a,,b/c", "é"]
)
def test_the_setting_takes_names_only(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """What could never match a Host header is refused at start."""
    monkeypatch.setenv("TQ_API_ALLOWED_HOSTS", value)
    with pytest.raises(InvalidSettings, match="not usable") as caught:
        load_settings()
    assert "TQ_API_ALLOWED_HOSTS: must be host names" in caught.value.why


def test_the_setting_is_unset_or_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comma separated, with or without spaces."""
    assert load_settings().allowed_hosts == frozenset()
    monkeypatch.setenv("TQ_API_ALLOWED_HOSTS", " A.example, b_1 ,[::1],")
    assert load_settings().allowed_hosts == {"a.example", "b_1", "::1"}
