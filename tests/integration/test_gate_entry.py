"""Who may use the API, over real connections: tokens, addresses, names and origins."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from api_server import Api
from cli_driver import TQ
from raw_http import Connection
from servers import Process, Valkey, wait_until

TOKEN = "the-only-token"
BEARER = f"Authorization: Bearer {TOKEN}"
JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def closed(api_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory, api: Api) -> Iterator[Api]:
    """An API with a token, on the Valkey of the open one."""
    folder = tmp_path_factory.mktemp("closed")
    settings = {"TQ_DATA_DIR": str(folder), "TQ_REDIS_URL": api_valkey.url, "TQ_API_TOKEN": TOKEN}
    with Api(folder, api.environment | settings) as server:
        yield server


# -- tokens ----------------------------------------------------------------------------------------

TRICKS = [
    "//",
    "///",
    "//health",
    "/health/",
    "/health//",
    "/HEALTH",
    "/Health",
    "/health%2f",
    "/health%2F..%2Fmessages",
    "/health/../messages",
    "/health/..%2fmessages",
    "/health;/../messages",
    "/health%00",
    "/health%0a",
    "/./",
    "/.",
    "/%2e",
    "/%2f",
    "/..",
    "/static/../messages",
    "/static/..%2fmessages",
    "/static/../health/../messages",
    "/messages",
    "/messages?/health",
    "/messages?path=/health",
    "/messages#/health",
    "/messages%3f/health",
    "/m%65ssages",
    "//messages",
    "/messages/",
    "http://localhost/messages",
    "http://localhost//messages",
    "http://localhost:1/health/messages",
    "/openapi.json",
    "/docs",
    "/static/swagger-ui/swagger-ui.css",
]


@pytest.mark.parametrize("target", TRICKS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_no_spelling_of_a_path_gets_past_the_token(closed: Api, method: str, target: str) -> None:
    """401 for each: what the gate takes for open, and what the routes take for a path, are the same to the letter."""
    with Connection(closed.port) as connection:
        answer = connection.ask(target, method=method)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        assert answer.problem() == "unauthorised"


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "QUERY"])
@pytest.mark.parametrize("target", ["/", "/health", "/messages", "*"])
def test_no_other_method_gets_past_the_token(closed: Api, method: str, target: str) -> None:
    """Only ``GET /`` and ``GET /health`` are open; what is not HTTP at all is refused as that."""
    with Connection(closed.port) as connection:
        assert connection.ask(target, method=method).status in {400, 401}


@pytest.mark.parametrize("method", ["get", "BREW", "GET\t", "CONNECT"])
def test_a_method_that_is_none_is_refused(closed: Api, method: str) -> None:
    """400 or 401, as a problem document, and no answer of a route."""
    with Connection(closed.port) as connection:
        assert connection.ask("/messages", method=method).problem() in {"malformed-request", "unauthorised"}


@pytest.mark.parametrize("target", ["/", "/health", "/?x=1", "/health?token=x", "http://localhost/health"])
def test_two_paths_are_open(closed: Api, target: str) -> None:
    """Whatever their query says."""
    with Connection(closed.port) as connection:
        assert connection.ask(target).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Authorization:"],
        ["Authorization: Bearer"],
        ["Authorization: Bearer "],
        ["Authorization: Bearer \x00"],
        [f"Authorization: Bearer {TOKEN}x"],
        [f"Authorization: Bearer {TOKEN[:-1]}"],
        [f"Authorization: Bearer {TOKEN.upper()}"],
        [f"Authorization: Bearer {TOKEN}, {TOKEN}"],
        [f"Authorization: Basic {TOKEN}"],
        [f"Authorization: {TOKEN}"],
        [f"Authorization: Bearer{TOKEN}"],
        [BEARER, BEARER],
        [BEARER, "Authorization: Bearer other"],
        ["Authorization: Bearer other", BEARER],
        [f"Proxy-Authorization: Bearer {TOKEN}"],
        [f"Cookie: token={TOKEN}"],
        [f"X-Authorization: Bearer {TOKEN}"],
        ["Authorization: Bearer " + "x" * 10_000],
        ["Authorization: Bearer \udcff\udcfe"],
    ],
)
def test_nothing_else_is_the_token(closed: Api, headers: list[str]) -> None:
    """Neither half of it, nor two of it, nor in another place."""
    with Connection(closed.port) as connection:
        answer = connection.ask("/queue/stats?token=" + TOKEN, *headers)
    assert answer.problem() in {"unauthorised", "malformed-request"}
    assert TOKEN.encode() not in answer.body
    with Connection(closed.port) as connection:
        assert connection.ask("/queue/stats", BEARER).status == 200


def test_trailers_are_no_headers(closed: Api) -> None:
    """A token, or a Host, that comes after the body comes too late."""
    with Connection(closed.port) as connection:
        chunks = f"2\r\n{{}}\r\n0\r\n{BEARER}\r\nHost: localhost\r\n\r\n".encode()
        headers = ["Transfer-Encoding: chunked", JSON, "Trailer: Authorization"]
        answer = connection.ask("/messages/process", *headers, method="POST", body=chunks)
        assert answer.problem() == "unauthorised"
        # The connection goes on; nothing of the trailers belongs to the next request.
        assert connection.ask("/queue/stats").problem() == "unauthorised"


def test_a_websocket_is_not_opened(closed: Api) -> None:
    """There are none: the request to become one is answered like any other."""
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: YQ=="]
    for headers, status in ((upgrade, 401), ([*upgrade, BEARER], 200)):
        with Connection(closed.port) as connection:
            assert connection.ask("/queue/stats", *headers).status == status


def test_a_refused_client_keeps_its_connection(closed: Api) -> None:
    """Refusals cost no new connection, also when a small body came along."""
    with Connection(closed.port) as connection:
        for _ in range(3):
            answer = connection.ask("/messages", JSON, "Content-Length: 2", method="POST", body=b"{}")
            assert answer.problem() == "unauthorised"
            assert "connection" not in answer.headers
        assert connection.ask("/queue/stats", BEARER).status == 200


def test_a_client_that_waits_to_be_asked_sends_no_body(closed: Api) -> None:
    """With ``Expect: 100-continue`` a refusal comes instead of the invitation, and then the end."""
    with Connection(closed.port) as connection:
        headers = [JSON, "Content-Length: 1000000", "Expect: 100-continue"]
        connection.begin("/messages", *headers, method="POST")
        assert connection.socket.recv(100_000).startswith(b"HTTP/1.1 401 ")
        wait_until(connection.is_closed, "the connection is closed")
    with Connection(closed.port) as connection:
        body = b'{"content": "x"}'
        headers = [BEARER, JSON, f"Content-Length: {len(body)}", "Expect: 100-continue"]
        connection.begin("/messages", *headers, method="POST")
        assert connection.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(body)
        assert connection.answer().status == 202


# -- addresses -------------------------------------------------------------------------------------


def other_address() -> str:
    """An address of this machine that others reach."""
    addresses = [address for found in psutil.net_if_addrs().values() for address in found]
    return next(
        (a.address for a in addresses if a.family == socket.AF_INET and not a.address.startswith(("127.", "169.254."))),
        "",
    )


@pytest.mark.skipif(not other_address(), reason="this machine has no address but loopback ones")
def test_uvicorn_on_any_address_serves_nobody_else_without_a_token(
    tmp_path: Path, valkey: Valkey, environment: dict[str, str]
) -> None:
    """``uvicorn tq.server:app --host 0.0.0.0``: 403 on each path from elsewhere; with a token, in with it."""
    assert valkey.folder == tmp_path
    argv = [sys.executable, "-m", "uvicorn", "tq.server:app", "--host", "0.0.0.0", "--port", "{port}"]
    with Api(tmp_path, environment, argv=argv) as api:
        for target in ("/", "/health", "/messages", "/docs", "/nope", "/static/swagger-ui/swagger-ui.css"):
            with Connection(api.port, other_address()) as connection:
                for headers in ([], [BEARER], ["X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http"]):
                    answer = connection.ask(target, *headers)
                    assert (answer.status, answer.problem()) == (403, "token-not-set")
                    assert b"TQ_API_TOKEN" in answer.body
        with Connection(api.port, other_address()) as connection:
            headers = [JSON, "Content-Length: 16"]
            answer = connection.ask("/messages", *headers, method="POST", body=b'{"content": "x"}')
            assert answer.problem() == "token-not-set"
        with Connection(api.port) as connection:
            assert connection.ask("/messages").body == b'{"messages":[],"next_cursor":null}'
    with (
        Api(tmp_path, environment | {"TQ_API_TOKEN": TOKEN}, argv=argv) as api,
        Connection(api.port, other_address()) as connection,
    ):
        assert connection.ask("/health", host="any.example").status == 200
        assert connection.ask("/messages").problem() == "unauthorised"
        assert connection.ask("/messages", BEARER, host="any.example").status == 200


@pytest.mark.parametrize("command", ["api", "up"])
def test_tq_does_not_start_on_another_address_without_a_token(
    tmp_path: Path, environment: dict[str, str], command: str
) -> None:
    """Refused at start, before anything listens, with what to set."""
    settings = {"TQ_API_HOST": "0.0.0.0"}
    with Process([*TQ, command], log=tmp_path / "log", env=environment | settings, cwd=tmp_path) as process:
        assert process.popen.wait(30) == 2
        assert "TQ_API_TOKEN must be set" in process.output


def test_a_unix_socket_needs_no_token(tmp_path: Path, valkey: Valkey, environment: dict[str, str]) -> None:
    """Its file says who may use it; a proxy before it may pass on any name."""
    path = valkey.folder / "api.sock"
    argv = [sys.executable, "-m", "uvicorn", "tq.server:app", "--uds", str(path)]
    with Process(argv, log=tmp_path / "log", env=environment, cwd=tmp_path):
        transport = httpx.HTTPTransport(uds=str(path))
        wait_until(path.exists, "the socket is there")
        with httpx.Client(transport=transport, base_url="http://tq.example.com", timeout=30) as http:
            assert http.get("/health").status_code == 200
            assert http.post("/messages", json={"content": "x"}).status_code == 202


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/", "/health", "/messages", "/docs", "/openapi.json", "/nope"])
def test_dns_rebinding(http: httpx.Client, api: Api, target: str) -> None:
    """A page's own name that its owner has point here: 421 on each path, and nothing is done."""
    for host in ("evil.example", f"evil.example:{api.port}", f"localhost.evil.example:{api.port}", "169.254.169.254"):
        with Connection(api.port) as connection:
            answer = connection.ask(target, host=host)
            assert (answer.status, answer.problem()) == (421, "host-not-allowed")
            assert b"TQ_API_ALLOWED_HOSTS" in answer.body
            assert b"evil" not in answer.body
            headers = [JSON, "Content-Length: 16", f"Origin: http://{host}", "Sec-Fetch-Site: same-origin"]
            answer = connection.ask("/messages", *headers, method="POST", body=b'{"content": "x"}', host=host)
            assert answer.problem() == "host-not-allowed"
    assert http.get("/messages").json()["messages"] == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "tq.localhost", "127.0.0.1:1", "127.1.2.3", "[::1]"])
def test_the_names_of_this_machine(api: Api, host: str) -> None:
    """Each reaches the API on a loopback address."""
    with Connection(api.port) as connection:
        assert connection.ask("/health", host=host).status == 200


@pytest.mark.parametrize(
    "headers", [[], ["Host:"], ["Host: localhost", "Host: localhost"], ["Host: localhost", "Host: evil.example"]]
)
def test_there_is_one_host(api: Api, headers: list[str]) -> None:
    """None, an empty one, or two: 400."""
    with Connection(api.port) as connection:
        assert connection.ask("/health", *headers, host="").problem() == "malformed-request"


def test_http_1_0_has_no_host(api: Api) -> None:
    """Probes that speak it are answered, and the connection is closed."""
    with Connection(api.port) as connection:
        connection.send(b"GET /health HTTP/1.0\r\n\r\n")
        assert connection.answer().status == 200
        wait_until(connection.is_closed, "the connection is closed")


def test_names_can_be_added(tmp_path: Path, valkey: Valkey, environment: dict[str, str]) -> None:
    """TQ_API_ALLOWED_HOSTS: for a proxy before the API; all other names stay out."""
    assert valkey.folder == tmp_path
    with Api(tmp_path, environment | {"TQ_API_ALLOWED_HOSTS": "tq.example.com"}) as api, Connection(api.port) as one:
        for host, status in (("tq.example.com", 200), ("TQ.example.com:443", 200), ("localhost", 200), ("tq.com", 421)):
            assert one.ask("/queue/stats", host=host).status == status


# -- origins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        ["Origin: https://evil.example"],
        ["Origin: null"],
        ["Origin: http://localhost:1"],
        ["Origin: http://127.0.0.1:{port}"],
        ["Origin: http://localhost:{port}", "Origin: http://localhost:{port}"],
        ["Sec-Fetch-Site: cross-site"],
        ["Sec-Fetch-Site: same-site"],
        ["Origin: http://localhost:{port}", "Sec-Fetch-Site: cross-site"],
    ],
)
def test_a_page_of_another_site_changes_nothing(http: httpx.Client, api: Api, headers: list[str]) -> None:
    """403 on whatever writes, with every content type, and no CORS header that would let it read the answer."""
    http.post("/messages", json={"content": "x", "message_id": "a"})
    sent = [header.format(port=api.port) for header in headers]
    host = f"localhost:{api.port}"
    for target in ("/messages", "/messages/process", "/messages/a/cancel", "/messages/batch"):
        for media_type in ("application/json", "text/plain"):
            with Connection(api.port) as connection:
                length = [f"Content-Type: {media_type}", "Content-Length: 2"]
                answer = connection.ask(target, *length, *sent, method="POST", body=b"{}", host=host)
            assert (answer.status, answer.problem()) == (403, "origin-not-allowed")
            assert not [name for name in answer.headers if name.startswith("access-control")]
    with Connection(api.port) as connection:
        preflight = [*sent[:1], "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type"]
        answer = connection.ask("/messages", *preflight, method="OPTIONS", host=host)
        assert answer.status == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]
        answer = connection.ask("/messages", *sent, host=host)
        assert answer.status == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert [message["status"] for message in http.get("/messages").json()["messages"]] == ["queued"]


def test_a_page_of_its_own_may_write(http: httpx.Client, api: Api) -> None:
    """``/docs`` has a button to try it out; its requests say that they come from here."""
    assert http.get("/docs").status_code == 200
    for host in (f"localhost:{api.port}", f"127.0.0.1:{api.port}", f"[::1]:{api.port}"):
        with Connection(api.port) as connection:
            own = [f"Origin: http://{host}", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"]
            length = [JSON, "Content-Length: 16"]
            answer = connection.ask("/messages", *length, *own, method="POST", body=b'{"content": "x"}', host=host)
            assert answer.status == 202
    assert len(http.get("/messages").json()["messages"]) == 3
