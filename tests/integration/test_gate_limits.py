"""What one client may cost the API: time, memory and connections. Real connections; the server's limits are short."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest
from api_server import Api
from raw_http import Answer, Connection
from servers import Valkey, wait_until

from tq.limits import Limits

MIB = 2**20
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
SUBMISSION = b'{"content": "x"}'
#: Short ones, so that tests need not wait for the real ones; ``rate`` is far above what the tests below trickle.
SHORT = "head=1.0, body=1.0, answer=1.5, rate=10_000, idle=1, linger=1.0, pipelined=4"
#: What may pass between a deadline and the moment at which a busy machine has acted on it.
LATE = 5.0


@contextmanager
def serving(folder: Path, environment: dict[str, str], limits: str) -> Iterator[Api]:
    """An API as ``tq api`` runs it, with other limits."""
    program = f"""
from tq.limits import Limits
from tq.server import serve
from tq.settings import get_settings
serve(get_settings(), Limits({limits}))
"""
    with Api(folder, environment, argv=[sys.executable, "-c", program]) as server:
        yield server
        assert "Traceback" not in server.process.output


@pytest.fixture(scope="module")
def short(api: Api, api_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API with little patience, on the Valkey of the patient one."""
    folder = tmp_path_factory.mktemp("short")
    settings = {"TQ_DATA_DIR": str(folder), "TQ_REDIS_URL": api_valkey.url}
    with serving(folder, api.environment | settings, SHORT) as server:
        yield server


def trickle(connection: Connection, piece: bytes, until: Callable[[], bool], every: float = 0.05) -> float:
    """Send a piece again and again; the seconds until the condition held."""
    began = time.monotonic()
    while not until():
        assert time.monotonic() - began < 60, "the server listens for ever"
        connection.send(piece)
        time.sleep(every)
    return time.monotonic() - began


def readable(connection: Connection) -> Callable[[], bool]:
    """Whether an answer, or the end of the connection, can be read; nothing is taken."""

    def look() -> bool:
        connection.socket.settimeout(0)
        try:
            connection.socket.recv(1, 2)  # MSG_PEEK
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        finally:
            connection.socket.settimeout(30)
        return True

    return look


def ended_by(connection: Connection) -> float:
    """The seconds until the server closes the connection."""
    began = time.monotonic()
    wait_until(connection.is_closed, "the server closes the connection", timeout=60)
    return time.monotonic() - began


class Memory:
    """The largest amount of memory that a process holds while this context lasts, in bytes, above what it had."""

    def __init__(self, server: Api) -> None:
        self._process = psutil.Process(server.process.pid)
        self._over = threading.Event()
        self._before = self.now
        self.growth = 0

    @property
    def now(self) -> int:
        """Resident at this moment."""
        size: int = self._process.memory_info().rss
        return size

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.growth = max(self.growth, self.now - self._before)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


# -- slow heads ------------------------------------------------------------------------------------


def test_the_limits_of_the_real_server_are_these() -> None:
    """The tests below shorten them; nobody should loosen them without thinking of what they hold back."""
    limits = Limits()
    assert limits.head <= 30
    assert limits.body <= 30
    assert limits.answer <= 30
    assert limits.rate >= 1024
    assert limits.head_bytes <= 64 * 1024
    assert limits.connections <= 1000
    assert limits.bodies <= 128 * MIB


def test_a_connection_that_says_nothing_is_closed(short: Api) -> None:
    """Without a word: browsers open some in advance."""
    with Connection(short.port) as connection:
        began = time.monotonic()
        assert connection.socket.recv(100) == b""
        assert 0.9 < time.monotonic() - began < 1 + LATE


@pytest.mark.parametrize(
    "start", [b"GET /", b"GET /health HTTP/1.1\r\n", b"POST /messages HTTP/1.1\r\nHost: localhost\r\nX: "]
)
def test_a_head_that_trickles_is_given_up(short: Api, start: bytes) -> None:
    """Slowloris: 408 after the time that a head has, however many bytes came meanwhile."""
    with Connection(short.port) as connection:
        connection.send(start)
        waited = trickle(connection, b"x", readable(connection))
        assert connection.answer().problem() == "request-timeout"
        assert 0.9 < waited < 1 + LATE
        ended_by(connection)


@pytest.mark.parametrize("piece", [b"GET /health HTTP/1.1\r\nX: ", b"\r\n"])
def test_a_second_head_has_no_more_time(short: Api, piece: bytes) -> None:
    """The time starts with its first byte, and line ends before it are no way to hold a connection."""
    with Connection(short.port) as connection:
        assert connection.ask("/health").status == 200
        connection.send(piece)
        assert trickle(connection, piece[-2:], readable(connection)) < 1 + LATE
        ended_by(connection)


def test_an_idle_connection_is_closed(short: Api) -> None:
    """Between two requests it may rest for a while only."""
    with Connection(short.port) as connection:
        assert connection.ask("/health").status == 200
        assert 0.5 < ended_by(connection) < 1 + LATE


# -- large heads -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * MIB,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * MIB,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x" * MIB,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 80_000 + b"\r\n\r\n",
        b"\r\n" * MIB,
    ],
    ids=["path", "value", "name", "many", "complete", "line ends"],
)
def test_a_large_head_is_refused(short: Api, head: bytes) -> None:
    """431, or the end of the connection where the rest was still under way, whether it is complete or not."""
    with Connection(short.port) as connection:
        connection.send(head)
        with suppress(ConnectionError):
            assert connection.answer().problem() == "headers-too-large"
        assert ended_by(connection) < LATE
    with Connection(short.port) as connection:
        assert connection.ask("/health", "X: " + "a" * 60_000).status == 200


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        f"POST /messages HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n{CHUNKED}\r\n\r\n0\r\nX: ".encode(),
        f"POST /messages HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n{CHUNKED}\r\n\r\n1;".encode(),
        f"POST /messages HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n{CHUNKED}\r\n\r\n".encode() + b"0" * 15,
    ],
    ids=["head", "trailer", "chunk extension", "chunk size"],
)
def test_endless_heads_are_not_kept(short: Api, begin: bytes) -> None:
    """100 MB of what is neither a head nor a body costs no memory, and the connection."""
    with Memory(short) as memory, Connection(short.port) as connection:
        connection.send(begin)
        for _ in range(100):
            connection.send(b"a" * MIB)
        assert ended_by(connection) < LATE
    assert memory.growth < 16 * MIB


def test_endless_trailers_are_not_kept(short: Api) -> None:
    """Each of them is complete, and none belongs to anything."""
    begin = f"POST /messages HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n{CHUNKED}\r\n\r\n0\r\n".encode()
    with Memory(short) as memory, Connection(short.port) as connection:
        connection.send(begin)
        for _ in range(50):
            connection.send(b"X: y\r\n" * 170_000)
        assert ended_by(connection) < LATE
    assert memory.growth < 16 * MIB


def test_pipelined_requests_are_bounded(short: Api) -> None:
    """Requests that nobody has answered yet cost memory: a few may wait, and not as many as fit into a packet."""
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Connection(short.port) as connection:
        connection.send(one * 4)
        assert [connection.answer().status for _ in range(4)] == [200] * 4
    with Memory(short) as memory, ExitStack() as stack:
        connections = [stack.enter_context(Connection(short.port)) for _ in range(30)]
        for connection in connections:
            connection.send(one * 10_000)
        for connection in connections:
            assert ended_by(connection) < LATE
    assert memory.growth < 32 * MIB


def test_garbage_after_a_request_does_not_harm_it(short: Api) -> None:
    """It is answered; what follows it is not, and the connection ends."""
    with Connection(short.port) as connection:
        connection.begin("/queue/stats", body=b"\0\1\2 garbage\r\n\r\n")
        assert connection.answer().status == 200
        assert ended_by(connection) < LATE


# -- slow bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["Content-Length: 5000", CHUNKED])
@pytest.mark.parametrize("target", ["/messages", "/messages/batch", "/messages/process", "/messages/a/status"])
def test_a_body_that_stops_is_given_up(short: Api, http: httpx.Client, target: str, framing: str) -> None:
    """408 after the time that a body has, and the end of the connection; nothing is stored."""
    with Connection(short.port) as connection:
        began = time.monotonic()
        connection.begin(target, JSON, framing, method="POST", body=b"5\r\n     \r\n")
        answer = connection.answer()
        assert (answer.status, answer.problem()) == (408, "request-timeout")
        assert answer.headers["connection"] == "close"
        assert 0.9 < time.monotonic() - began < 1 + LATE
        assert ended_by(connection) < LATE
    assert http.get("/messages").json()["messages"] == []


def test_a_body_that_trickles_is_given_up(short: Api) -> None:
    """A byte now and then is no progress."""
    with Connection(short.port) as connection:
        connection.begin("/messages", JSON, CHUNKED, method="POST")
        waited = trickle(connection, b"1\r\n \r\n", readable(connection))
        assert connection.answer().problem() == "request-timeout"
        assert 0.9 < waited < 1 + LATE


def test_a_slow_body_that_gets_on_is_waited_for(short: Api, http: httpx.Client) -> None:
    """Longer than a silent one has, as long as it keeps the rate."""
    assert http.get("/health").status_code == 200
    began = time.monotonic()
    with Connection(short.port) as connection:
        connection.begin("/messages", JSON, "Content-Length: 100016", method="POST")
        for _ in range(20):
            connection.send(b" " * 5000)
            time.sleep(0.1)
        connection.send(SUBMISSION)
        assert connection.answer().status == 202
    assert time.monotonic() - began > 2


# -- large bodies ----------------------------------------------------------------------------------


def endless(connection: Connection, until: Callable[[], bool]) -> float:
    """Send chunks as fast as they are taken; the seconds until the condition held."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    return trickle(connection, chunk, until, every=0)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/messages", "content-too-large"),
        ("/messages/a/status", "content-too-large"),
        ("/messages/a/cancel", "unknown-message"),
        ("/nope", "not-found"),
        ("/health", "method-not-allowed"),
    ],
)
def test_an_endless_body_is_not_read_for_ever(short: Api, target: str, expected: str) -> None:
    """The answer comes while it is sent, also from routes that take none; then the connection ends, soon."""
    with Memory(short) as memory, Connection(short.port) as connection:
        connection.begin(target, JSON, CHUNKED, method="POST")
        answered = endless(connection, readable(connection))
        answer = connection.answer()
        assert (answer.problem(), answer.headers["connection"]) == (expected, "close")
        ended = endless(connection, connection.is_closed)
        assert answered < LATE
        assert ended < 1 + LATE
    assert memory.growth < 48 * MIB


@pytest.mark.parametrize("target", ["/messages", "/events", "/health", "/docs", "/nope"])
def test_reading_has_no_body(short: Api, target: str) -> None:
    """A GET with an endless body is refused at once."""
    with Connection(short.port) as connection:
        connection.begin(target, CHUNKED)
        endless(connection, readable(connection))
        assert connection.answer().problem() == "content-too-large"
        endless(connection, connection.is_closed)


@pytest.mark.parametrize("length", ["1", "15", "17", "1000"])
def test_a_length_that_lies_stores_nothing(short: Api, http: httpx.Client, length: str) -> None:
    """Less than was sent is not JSON; more is waited for in vain."""
    with Connection(short.port) as connection:
        connection.begin("/messages", JSON, f"Content-Length: {length}", method="POST", body=SUBMISSION)
        assert connection.answer().problem() == ("malformed-request" if int(length) < 16 else "request-timeout")
    assert http.get("/messages").json()["messages"] == []


def test_small_chunks_cost_no_more_than_large_ones(short: Api, http: httpx.Client) -> None:
    """Half a megabyte in chunks of one byte: it is accepted, and costs a few times its size."""
    assert http.get("/health").status_code == 200
    body = json.dumps({"content": "x" * MIB}).encode()[: MIB // 2 - 2] + b'"}'
    with Memory(short) as memory, Connection(short.port) as connection:
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        connection.begin("/messages", JSON, CHUNKED, method="POST", body=chunks)
        assert connection.answer().status == 202
    assert memory.growth < 24 * MIB


@pytest.mark.parametrize("target", ["/messages", "/messages/batch"])
def test_memory_is_bounded_when_many_send_large_bodies_at_once(short: Api, target: str) -> None:
    """50 endless bodies at once: each is refused, as too large or for want of room, and the API answers others."""

    def attack(_: int) -> Answer:
        with Connection(short.port) as connection:
            connection.begin(target, JSON, CHUNKED, method="POST")
            endless(connection, readable(connection))
            return connection.answer()

    with Memory(short) as memory, ThreadPoolExecutor(50) as threads:
        attacks = [threads.submit(attack, number) for number in range(50)]
        while not all(attempt.done() for attempt in attacks):
            with Connection(short.port) as connection:
                assert connection.ask("/health").status == 200
        answers = [attempt.result() for attempt in attacks]
    assert {answer.problem() for answer in answers} <= {"content-too-large", "overloaded"}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers if answer.status == 503)
    # 50 bodies of a batch could be 1.6 GiB.
    assert memory.growth < 350 * MIB
    with Connection(short.port) as connection:
        large = json.dumps({"content": "x" * 900_000}).encode()
        assert (
            connection.ask("/messages", JSON, f"Content-Length: {len(large)}", method="POST", body=large).status == 202
        )


# -- clients that do not read ----------------------------------------------------------------------


def connections_of(server: Api) -> int:
    """TCP connections that the server holds."""
    found: Sequence[object] = psutil.Process(server.process.pid).net_connections("tcp")
    return len(found)


@pytest.mark.parametrize("ask", [b"", b"Connection: close\r\n"], ids=["kept", "closing"])
def test_an_answer_that_nobody_reads_is_dropped(short: Api, http: httpx.Client, ask: bytes) -> None:
    """With the connection and its memory, whether the connection was to be kept or not."""
    for number in range(20):
        body = {"content": "x" * MIB, "message_id": f"m{number}"}
        assert http.post("/messages", json=body).status_code == 202
    before = connections_of(short)
    request = b"GET /messages?limit=20 HTTP/1.1\r\nHost: localhost\r\n" + ask + b"\r\n"
    with ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(Connection(short.port, receive_buffer=4096))
            connection.send(request)
            wait_until(readable(connection), "the answer begins")
        began = time.monotonic()
        wait_until(lambda: connections_of(short) <= before, "the server has dropped the connections", timeout=30)
        assert time.monotonic() - began < 3 + LATE


def test_a_slow_reader_that_gets_on_is_served(short: Api, http: httpx.Client) -> None:
    """For longer than one that does not read at all."""
    for number in range(20):
        assert http.post("/messages", json={"content": "x" * MIB, "message_id": f"m{number}"}).status_code == 202
    began = time.monotonic()
    with Connection(short.port, receive_buffer=65536) as connection:
        connection.begin("/messages?limit=20")
        size = 0
        while size < 20 * MIB:
            piece = connection.socket.recv(MIB)
            assert piece, f"the answer was cut off after {size} bytes"
            size += len(piece)
            if time.monotonic() - began < 4:
                time.sleep(0.05)
    assert time.monotonic() - began > 4


def submit_thousand(http: httpx.Client, name: str) -> None:
    """Their ids are as long as ids may be, and so are their events."""
    items = [{"content": "x", "message_id": f"{name}-{number}".ljust(128, "x")} for number in range(1000)]
    assert http.post("/messages/batch", json={"messages": items}).status_code == 202


#: A stream of 24 MiB, more than any kernel buffers: what tq itself streams is too little for that.
STREAM = """
import sys
import uvicorn
from tq.limits import Limits
from tq.protocol import bounded

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(384 if scope["path"] == "/stream" else 1):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        await send({"type": "http.response.body"})

uvicorn.run(app, port=int(sys.argv[1]), http=bounded(Limits(answer=1.0, rate=1_000)))
"""


def test_a_stream_that_is_read_slowly_goes_on(tmp_path: Path, environment: dict[str, str]) -> None:
    """A client that is always behind gets everything all the same, as long as it takes something in between."""
    script = tmp_path / "stream.py"
    script.write_text(STREAM)
    with Api(tmp_path, environment, argv=[sys.executable, str(script), "{port}"]) as server:
        began = time.monotonic()
        with Connection(server.port, receive_buffer=65_536) as connection:
            connection.begin("/stream", "Connection: close")
            size = 0
            while piece := connection.socket.recv(65_536):
                size += len(piece)
                time.sleep(0.01)
        assert size > 24 * MIB, "the stream was cut off"
        assert time.monotonic() - began > 3


def test_an_event_stream_that_nobody_reads_is_dropped(short: Api, http: httpx.Client) -> None:
    """While events go on: its buffers are bounded, and it is closed in the end."""
    assert http.get("/health").status_code == 200
    before = connections_of(short)
    with Memory(short) as memory, ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(Connection(short.port, receive_buffer=4096))
            connection.begin("/events")
            wait_until(readable(connection), "the stream begins")
        began = time.monotonic()
        for batch in range(1000):
            assert time.monotonic() - began < 60, "the server writes to the streams for ever"
            submit_thousand(http, str(batch))
            if connections_of(short) <= before:
                break
    assert memory.growth < 64 * MIB


# -- without tq api --------------------------------------------------------------------------------


def test_uvicorn_can_have_the_same_limits(tmp_path: Path, valkey: Valkey, environment: dict[str, str]) -> None:
    """``uvicorn tq.server:app --http tq.protocol:HttpProtocol``."""
    assert valkey.folder == tmp_path
    argv = [sys.executable, "-m", "uvicorn", "tq.server:app", "--port", "{port}", "--http", "tq.protocol:HttpProtocol"]
    with Api(tmp_path, environment, argv=argv) as server:
        with Connection(server.port) as connection:
            length = f"Content-Length: {len(SUBMISSION)}"
            assert connection.ask("/messages", JSON, length, method="POST", body=SUBMISSION).status == 202
        with Connection(server.port) as connection:
            assert connection.ask("/health", "X: " + "a" * 80_000).problem() == "headers-too-large"


# -- many connections ------------------------------------------------------------------------------


def test_too_many_connections(tmp_path: Path, valkey: Valkey, environment: dict[str, str]) -> None:
    """503 with Retry-After beyond the limit, but ``/health`` answers; memory is bounded; then all is well again."""
    assert valkey.folder == tmp_path
    with serving(tmp_path, environment, "connections=20, head=3.0") as server, Memory(server) as memory:
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(Connection(server.port))
            wait_until(lambda: connections_of(server) > 20, "all are accepted")
            length = f"Content-Length: {len(SUBMISSION)}"
            for target in ("/messages", "/queue/stats", "/"):
                with Connection(server.port) as connection:
                    answer = connection.ask(target, JSON, length, method="POST", body=SUBMISSION)
                    assert (answer.status, answer.problem()) == (503, "overloaded")
                    assert int(answer.headers["retry-after"]) > 0
            with Connection(server.port) as connection:
                assert connection.ask("/health").status == 200
            for _ in range(500):
                stack.enter_context(Connection(server.port))
            with Connection(server.port) as connection:
                assert connection.answer().problem() == "overloaded"
                assert ended_by(connection) < LATE
            # The places beyond the limit are free again soon, so that somebody can ask for /health.
            wait_until(lambda: healthy(server), "/health answers in the middle of it")
        wait_until(lambda: connections_of(server) < 5, "the connections are gone")
        with Connection(server.port) as connection:
            answer = connection.ask("/messages", JSON, length, method="POST", body=SUBMISSION)
            assert answer.status == 202
    assert memory.growth < 32 * MIB


def healthy(server: Api) -> bool:
    """Whether ``/health`` answers now."""
    with Connection(server.port) as connection:
        try:
            return connection.ask("/health").status == 200
        except OSError:
            return False
