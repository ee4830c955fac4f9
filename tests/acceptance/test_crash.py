"""Fifty messages in flight, and kill -9: of the worker, and of everything. All complete, each with one outcome."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from llm_server import LlmServer
from running_stack import RunningStack
from servers import wait_until

LEASE = 3
#: Seconds after its worker's death in which a message runs again (beyond the lease).
SLACK = 10
IN_FLIGHT = 50


@pytest.fixture
def stack(provider: LlmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack with a short lease."""
    settings = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "sk-default", "TQ_LEASE": str(LEASE)}
    with RunningStack(tmp_path_factory.mktemp("stack"), **settings) as stack:
        yield stack


def test_kill_of_the_worker(stack: RunningStack, provider: LlmServer) -> None:
    """The stack starts another worker, which completes all of them within the lease and ten seconds."""
    with stack.http() as http:
        ids = submit_held(http, provider)
        stack.service("worker").kill()
        killed = time.monotonic()
        provider.release()
        wait_until(lambda: documents(http, "completed").keys() >= ids, "all have completed", LEASE + SLACK + 5)
        assert time.monotonic() - killed < LEASE + SLACK
        check_outcomes(stack, http, ids)
    assert stack.restarts() == {"valkey": 0, "api": 0, "worker": 1, "flower": 0}
    assert stack.stop() == 0


def test_kill_of_everything(stack: RunningStack, provider: LlmServer) -> None:
    """A new `tq up` on the same data completes all of them; what had ended, or waits to be retried, is as it was."""
    with stack.http() as http:
        others = {"done": "", "failed": "@@fault:401@@", "late": "@@fault:429=600@@", "cancelled": "@@fault:429=600@@"}
        post(http, others)
        wait_until(lambda: http.get("/messages/cancelled").json()["status"] == "retrying", "it is to be retried")
        assert http.post("/messages/cancelled/cancel").status_code == 200
        ended = {"done": "completed", "failed": "failed", "late": "retrying", "cancelled": "cancelled"}
        wait_until(lambda: statuses(http) == ended, "the others have ended")
        before = documents(http)
        ids = submit_held(http, provider)
    killed = stack.processes()
    assert len(killed) >= 5
    stack.kill()
    assert (stack.data / "valkey.sock").is_socket()

    stack.start()
    assert killed.keys().isdisjoint(stack.processes())
    with stack.http() as http:
        wait_until(lambda: provider.held == IN_FLIGHT, "all are in flight again", LEASE + SLACK)
        assert statuses(http) == ended | dict.fromkeys(ids, "running")
        assert {name: message for name, message in documents(http).items() if name in others} == before
        assert http.get("/queue/stats").json()["running"] == IN_FLIGHT
        provider.release()
        wait_until(lambda: documents(http, "completed").keys() >= ids, "all have completed")
        check_outcomes(stack, http, ids)
        assert {name: message for name, message in documents(http).items() if name in others} == before
    assert stack.restarts() == dict.fromkeys(("valkey", "api", "worker", "flower"), 0)
    assert stack.stop() == 0


def submit_held(http: httpx.Client, provider: LlmServer) -> set[str]:
    """Fifty messages of all priorities that the provider does not answer until ``release``; their ids."""
    provider.hold()
    ids = [f"m{number}" for number in range(IN_FLIGHT)]
    post(http, dict.fromkeys(ids, ""))
    wait_until(lambda: provider.held == IN_FLIGHT, "all are in flight")
    return set(ids)


def post(http: httpx.Client, faults: dict[str, str]) -> None:
    """Submit messages (id -> marker) in one batch; each of another model, as a cool-down is its model's."""
    messages = [
        {"message_id": name, "content": f"Text {name} {fault}", "priority": number % 11, "model_name": name}
        for number, (name, fault) in enumerate(faults.items())
    ]
    answer = http.post("/messages/batch", json={"messages": messages})
    assert all(item["message"] for item in answer.json()["results"]), answer.text


def documents(http: httpx.Client, status: str | None = None) -> dict[str, dict[str, Any]]:
    """The messages by id, of one status or all."""
    parameters = {"limit": "200"} | ({"status": status} if status else {})
    return {each["message_id"]: each for each in http.get("/messages", params=parameters).json()["messages"]}


def statuses(http: httpx.Client) -> dict[str, str]:
    """The status of each message."""
    return {name: message["status"] for name, message in documents(http).items()}


def check_outcomes(stack: RunningStack, http: httpx.Client, ids: set[str]) -> None:
    """Each was completed once, by its second attempt, with its own translation."""
    found = documents(http)
    assert {(found[name]["status"], found[name]["attempts"]) for name in ids} == {("completed", 2)}
    assert {name: found[name]["translation"] for name in ids} == {name: f"Traduit : Text {name} " for name in ids}
    times = stack.outcomes()
    assert {name: times[name, "completed"] for name in ids} == dict.fromkeys(ids, 1)
    assert not [name for name in ids if times[name, "failed"] or times[name, "cancelled"]]
