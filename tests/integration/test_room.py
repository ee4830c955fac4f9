"""How much room is left in the queue: said with each submit, whether it is taken or refused, and true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import Api
from servers import Valkey, wait_until

MOST = 5
POLICY = f'"queued";q={MOST}'


@pytest.fixture
def crowded(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Callable[[], Api]:
    """An API on a queue of few places, and each time another one."""
    assert valkey.socket.exists()
    settings = {
        "TQ_MAX_QUEUED": str(MOST),
        "TQ_PRICES": '{"*": {"prompt": 1, "completion": 1}}',
        "TQ_BUDGET_PER_DAY": "1",
    }
    return lambda: Api(tmp_path, environment | settings)


@pytest.fixture
def client(crowded: Callable[[], Api]) -> Iterator[httpx.Client]:
    """Of one of them."""
    with crowded() as api, api.client() as http:
        yield http


def left(answer: httpx.Response) -> int | None:
    """The room that an answer tells of."""
    assert answer.headers["RateLimit-Policy"] == POLICY
    text = answer.headers.get("RateLimit")
    return None if text is None else int(text.removeprefix('"queued";r='))


def submit(http: httpx.Client, message_id: str, **more: Any) -> httpx.Response:
    """One message."""
    return http.post("/messages", json={"content": "Hello", "message_id": message_id, **more})


def test_it_follows_the_queue(client: httpx.Client, crowded: Callable[[], Api]) -> None:
    """What leaves the queue makes room also for this process, whatever it is told; and it is known after a restart."""
    assert [left(submit(client, f"m{number}")) for number in range(4)] == [4, 3, 2, 1]
    client.post("/messages/m0/cancel").raise_for_status()
    client.post("/messages/m1/cancel").raise_for_status()
    again = submit(client, "m3")
    assert (again.status_code, left(again)) == (202, 3)
    with crowded() as other, other.client() as http:
        assert left(submit(http, "m3")) == 3
        assert left(submit(http, "elsewhere")) == 2
    assert left(submit(client, "m3", priority=3)) == 2
    batch = {"messages": [{"content": "Hello"}, {"content": "Hello", "message_id": "m3"}]}
    assert left(client.post("/messages/batch", json=batch)) == 1


def test_refusals_tell_it_too(client: httpx.Client, valkey: Valkey) -> None:
    """503, 409, and 402: who is refused wants to know it most; Retry-After stays."""
    for number in range(MOST):
        submit(client, f"m{number}").raise_for_status()
    full = submit(client, "one-too-many")
    assert (full.status_code, left(full)) == (503, 0)
    assert int(full.headers["Retry-After"]) > 0
    batch = {"messages": [{"content": "Hello"}, {"content": ""}]}
    for some in (batch, {"messages": batch["messages"][:1]}):
        refused = client.post("/messages/batch", json=some)
        assert (refused.status_code, left(refused)) == (202, 0)
        assert refused.headers["Retry-After"] == full.headers["Retry-After"]
    client.post("/messages/m0/cancel").raise_for_status()
    wrong = client.post("/messages/batch", json={"messages": batch["messages"][1:]})
    assert "Retry-After" not in wrong.headers
    taken = submit(client, "m1", content="something else")
    assert (taken.status_code, left(taken)) == (409, 1)
    with valkey.client() as redis:
        redis.hset(f"tq:spend:default:{datetime.now(UTC):%Y%m%d}", "cost", 2 * 10**9)
    spent = submit(client, "poor")
    assert (spent.status_code, left(spent)) == (402, 1)


def test_what_is_not_known_is_not_told(client: httpx.Client) -> None:
    """A body that is none asks no store: how much room there was a moment ago is told, and later nothing."""
    assert left(client.post("/messages", json={"content": ""})) is None
    assert left(submit(client, "m0")) == 4
    assert left(client.post("/messages", json={"content": ""})) == 4
    wait_until(lambda: left(client.post("/messages", json={"nonsense": 1})) is None, "it is too old to be told")
    wrong = client.post("/messages/batch", json={"messages": []})
    assert (wrong.status_code, left(wrong)) == (422, None)
