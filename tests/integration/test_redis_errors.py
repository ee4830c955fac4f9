"""What keeps tq from its Redis is told apart, with what mends it; no password is repeated."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from certificates import self_signed
from cli_driver import CANARY
from servers import Valkey, free_port

from tq.errors import StoreRefused, TqError, Unreachable
from tq.store import Store


@pytest.fixture
def port() -> int:
    """Of the Redis."""
    return free_port()


@pytest.fixture
def redis(tmp_path: Path, port: int) -> Iterator[Valkey]:
    """One on a port, with a password and a user who may do next to nothing."""
    with Valkey(tmp_path, port=port, password="right") as server:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "weak", "on", ">right", "~nothing", "+@connection")
        yield server


async def refusal(url: str) -> TqError:
    """What a store at this URL meets."""
    store = Store(url, result_ttl=60, lease=60)
    try:
        with pytest.raises(TqError) as caught:
            await store.stats()
    finally:
        await store.aclose()
    assert CANARY not in f"{caught.value.what}{caught.value.why}{caught.value.fix}"
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize(
    ("login", "why"),
    [
        ("", "it wants a password, and none is set"),
        (f":{CANARY}@", "the password, or the user, is wrong"),
        (f"nobody:{CANARY}@", "the password, or the user, is wrong"),
        ("weak:right@", "its user may not use the command EVALSHA"),
    ],
)
async def test_refused(redis: Valkey, port: int, login: str, why: str) -> None:
    """A password that is missing, one that is wrong, and a right that is missing."""
    assert redis.pid
    error = await refusal(f"redis://{login}127.0.0.1:{port}/0")
    assert isinstance(error, StoreRefused)
    assert error.why == why
    assert ("ACL" in error.fix) == ("may not" in why)


async def test_a_database_that_it_has_not(redis: Valkey, port: int) -> None:
    """REDIS_DB=99."""
    assert redis.pid
    error = await refusal(f"redis://:right@127.0.0.1:{port}/99")
    assert isinstance(error, Unreachable)
    assert "has no such database" in error.what
    assert "REDIS_DB" in error.fix


async def test_tls_to_a_plain_port(redis: Valkey, port: int) -> None:
    """It waits for the rest of what it takes for a command."""
    assert redis.pid
    error = await refusal(f"rediss://:right@127.0.0.1:{port}/0")
    assert "may not speak TLS" in error.why
    assert "redis://" in error.fix


class Quiet(http.server.BaseHTTPRequestHandler):
    """Answers that it does not understand."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Nothing."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A web server on the port that this yields."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # handshakes fail here
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """One that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path, "localhost"))
    return context


async def test_a_web_server() -> None:
    """What listens there is no Redis."""
    with serving() as port:
        error = await refusal(f"redis://127.0.0.1:{port}/0")
    assert "is no Redis" in error.what
    assert "REDIS_PORT" in error.fix


async def test_a_certificate_that_is_not_trusted(certificate: ssl.SSLContext) -> None:
    """It is said so, and why."""
    with serving(certificate) as port:
        error = await refusal(f"rediss://127.0.0.1:{port}/0")
    assert "its certificate is not trusted (self-signed certificate)" in error.why


async def test_a_plain_connection_to_a_port_of_tls(certificate: ssl.SSLContext) -> None:
    """It is closed, which TLS may be the reason of."""
    with serving(certificate) as port:
        error = await refusal(f"redis://127.0.0.1:{port}/0")
    assert "it may want TLS" in error.why
    assert "rediss://" in error.fix


async def test_nobody_there() -> None:
    """A port where nothing listens, and a socket that is not there."""
    assert (await refusal(f"redis://127.0.0.1:{free_port()}/0")).why == "connection refused"
    assert (await refusal("unix:///no/such/socket")).why == "no such socket"
