"""Both clients of Python while a proxy answers in the API's place, or the API has no room."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import Api
from gateway import Gateway
from servers import Valkey

from tq.errors import ApiError, ConnectionLost, Overloaded, QueueFull, TqError, Unreachable
from tq.local import LocalClient
from tq.messages import Status


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey as ``local``."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


REFUSALS = [
    pytest.param(502, "", id="bad-gateway"),
    pytest.param(503, "", id="unavailable"),
    pytest.param(504, "", id="gateway-timeout"),
    pytest.param(503, "overloaded", id="overloaded"),
    pytest.param(503, "unreachable", id="unreachable"),
]


def first_change(client: Any) -> Any:
    """The first of all."""
    with contextlib.closing(client.events(after="0")) as changes:
        return next(changes)


@pytest.mark.parametrize(("status", "slug"), REFUSALS)
def test_what_passes_is_waited_for(kind: Any, between: Gateway, local: LocalClient, status: int, slug: str) -> None:
    """A proxy that does not reach the API, and an API without room, are asked again, also by a new client."""
    local.submit("Hello", message_id="ended")
    local.cancel("ended")
    ways: dict[str, Callable[[Any], Any]] = {
        "/messages": lambda client: client.submit("Hello", message_id="mine"),
        "/messages/batch": lambda client: client.submit_many(["Hello"]),
        "/messages/mine": lambda client: client.get("mine"),
        "/messages/lookup": lambda client: client.get_many(["mine"]),
        "/queue/stats": lambda client: client.stats(),
        "/messages/ended": lambda client: client.wait("ended"),
        "/events": first_change,
    }
    for path, way in ways.items():
        refusal = between.refuse(path, 2, status, slug)
        with kind(between.url) as client:
            assert way(client)
        assert refusal.count == 0, path
    assert local.stats().counts[Status.QUEUED] == 2


def test_waits_as_long_as_it_is_asked_to(kind: Any, between: Gateway) -> None:
    """Retry-After is honoured, by looks and by submits."""
    with kind(between.url) as client:
        for way in (lambda: client.submit("Hello"), client.stats):
            refusal = between.refuse("/", 1, 503, retry_after="2")
            began = time.monotonic()
            assert way()
            assert time.monotonic() - began >= 2
            assert refusal.count == 0


def test_patience_with_a_proxy_ends(kind: Any, between: Gateway) -> None:
    """What does not pass is told after some seconds, or at once if it asks for more; it says when to come back."""
    with kind(between.url) as client:
        between.refuse("/", 1000, 502)
        with pytest.raises(ConnectionLost, match="cannot be reached") as lost:
            client.stats()
        assert "502 Bad Gateway" in lost.value.why
        assert 3 <= between.count("GET /queue/stats") <= 20
        between.refusals.clear()
        for status, slug, error in ((503, "overloaded", Overloaded), (503, "", ConnectionLost)):
            refusal = between.refuse("/", 1000, status, slug, retry_after="70")
            began = time.monotonic()
            with pytest.raises(error) as refused:
                client.submit("Hello")
            assert refused.value.retry_after == 70
            assert (refusal.count, time.monotonic() - began < 15) == (999, True)
            between.refusals.clear()


@pytest.mark.parametrize(
    ("status", "slug", "error"),
    [(503, "queue-full", QueueFull), (503, "store-full", TqError), (500, "internal", TqError), (404, "", ApiError)],
)
def test_what_does_not_pass(kind: Any, between: Gateway, status: int, slug: str, error: type[TqError]) -> None:
    """Any other refusal is told at once, with what it says of coming back."""
    refusal = between.refuse("/messages", 1000, status, slug, retry_after="7")
    with kind(between.url) as client:
        ways: list[Callable[[], Any]] = [lambda: client.submit("Hello"), lambda: client.get("mine")]
        for way in ways:
            with pytest.raises(error) as refused:
                way()
            assert (type(refused.value.retry_after), refused.value.retry_after) == (float, 7)
    assert refusal.count == 998


def test_changes_are_not_repeated(kind: Any, between: Gateway, local: LocalClient) -> None:
    """What would do another thing the second time is not sent again."""
    local.submit("Hello", message_id="mine")
    refusal = between.refuse("/cancel", 1000, 502)
    with kind(between.url) as client, pytest.raises(Unreachable):
        client.cancel("mine")
    assert refusal.count == 999
