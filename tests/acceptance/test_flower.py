"""Flower shows what the store says, shows nothing else, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from llm_server import LlmServer
from running_stack import RunningStack
from servers import wait_until

SLOTS = 3
#: A message's status -> Celery's state.
STATES = {
    "running": "STARTED",
    "retrying": "RETRY",
    "completed": "SUCCESS",
    "failed": "FAILURE",
    "cancelled": "REVOKED",
}


@pytest.fixture(scope="module")
def provider() -> Iterator[LlmServer]:
    """A stand-in for the LLM."""
    with LlmServer() as server:
        yield server


@pytest.fixture(scope="module")
def stack(provider: LlmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack whose Flower listens."""
    settings = {
        "OPENAI_BASE_URL": provider.base_url,
        "OPENAI_API_KEY": "sk-default",
        "TQ_CONCURRENCY": str(SLOTS + 1),  # of which one is kept for urgent messages
        "TQ_MAX_RETRIES": "1",
        "TQ_RETRY_BASE": "0.01",
        "TQ_LEASE": "3",
    }
    with RunningStack(tmp_path_factory.mktemp("stack"), **settings) as stack:
        yield stack


@pytest.fixture(scope="module")
def worker(stack: RunningStack) -> str:
    """What Flower, which listens now, calls the worker."""
    return stack.wait_for_flower()


@pytest.mark.usefixtures("worker")
def test_states(stack: RunningStack, provider: LlmServer) -> None:
    """Each message has the state in Flower that its status in the store stands for, however it came to it."""
    faults = {
        "good": "",
        "retried": "500x1",
        "refused": "401",
        "exhausted": "500",
        "revived": "401x1",
        "late": "429=600",
        "late-cancelled": "429=600",
    }
    with stack.http() as http, stack.flower() as flower:
        for name, fault in faults.items():
            submit(http, name, fault)
        wait_until(lambda: statuses(http)["revived"] == "failed", "one has failed")
        assert http.post("/messages/revived/retry").status_code == 200
        wait_until(lambda: statuses(http)["late-cancelled"] == "retrying", "one is to be retried")
        assert http.post("/messages/late-cancelled/cancel").status_code == 200
        expected = {
            "good": "completed",
            "retried": "completed",
            "refused": "failed",
            "exhausted": "failed",
            "revived": "completed",
            "late": "retrying",
            "late-cancelled": "cancelled",
        }
        wait_until(lambda: statuses(http) == expected, lambda: f"{statuses(http)} are {expected}")

        for name in ("running", "running-too", "running-cancelled"):
            submit(http, name, "hold")
        wait_until(lambda: provider.held == SLOTS, "the slots are taken")
        submit(http, "waiting-cancelled")
        for name in ("waiting-cancelled", "running-cancelled"):
            assert http.post(f"/messages/{name}/cancel").status_code == 200

        expected |= {
            "running": "running",
            "running-too": "running",
            "running-cancelled": "cancelled",
            "waiting-cancelled": "cancelled",
        }
        assert statuses(http) == expected
        wait_until(lambda: agree(http, flower), lambda: f"{states(flower)} are {statuses(http)}")

        wait_until(lambda: provider.inflight == SLOTS - 1, "the cancelled attempt has been aborted")
        provider.release()
        assert http.post("/messages/late/cancel").status_code == 200
        wait_until(lambda: "running" not in statuses(http).values(), "all have ended")
        wait_until(lambda: agree(http, flower), lambda: f"{states(flower)} are {statuses(http)}")
        assert set(statuses(http).values()) == {"completed", "failed", "cancelled"}
        tasks = flower.get("/api/tasks").json()
        assert {task["args"] for name, task in tasks.items() if name != "waiting-cancelled"} == {
            f"('{name}',)" for name in expected if name != "waiting-cancelled"
        }
        assert {task["kwargs"] for task in tasks.values()} <= {"{}", None}
        assert {task["result"] for task in tasks.values()} <= {"None", None}


def submit(http: httpx.Client, name: str, fault: str = "") -> None:
    """A message whose id is its name, and its model, so that no other waits for the end of its cool-down."""
    text = f"Hello {name}" + (f" @@fault:{fault}@@" if fault else "")
    body = {"content": text, "message_id": name, "model_name": name}
    assert http.post("/messages", json=body).status_code == 202


def statuses(http: httpx.Client) -> dict[str, str]:
    """What the store says: id -> status."""
    messages: list[dict[str, Any]] = http.get("/messages", params={"limit": "200"}).json()["messages"]
    return {message["message_id"]: message["status"] for message in messages}


def states(flower: httpx.Client) -> dict[str, str]:
    """What Flower says: id -> state."""
    return {name: task["state"] for name, task in flower.get("/api/tasks").json().items()}


def agree(http: httpx.Client, flower: httpx.Client) -> bool:
    """Whether both say the same of every message."""
    return states(flower) == {name: STATES[status] for name, status in statuses(http).items()}


@pytest.mark.parametrize(
    "path",
    [
        "task/apply/tq.tasks.process_message",
        "task/async-apply/tq.tasks.process_message",
        "task/send-task/tq.tasks.process_message",
        "task/revoke/any",
        "task/abort/any",
        "task/rate-limit/tq.tasks.process_message",
        "task/timeout/tq.tasks.process_message",
        "worker/shutdown/{worker}",
        "worker/pool/restart/{worker}",
        "worker/pool/grow/{worker}",
        "worker/pool/shrink/{worker}",
        "worker/pool/autoscale/{worker}",
        "worker/queue/add-consumer/{worker}",
        "worker/queue/cancel-consumer/{worker}",
    ],
)
def test_read_only(stack: RunningStack, worker: str, path: str) -> None:
    """What would change something is refused, also to who is logged in; the worker goes on."""
    before = stack.restarts()
    with stack.http() as http, stack.flower() as flower, stack.flower(auth=None) as stranger:
        url = f"/api/{path.format(worker=worker)}"
        body = {"args": ["unwanted"]}
        assert flower.post(url, json=body).status_code == 403
        assert stranger.post(url, json=body).status_code == 401
        assert "unwanted" not in flower.get("/api/tasks").text
        assert http.get("/ready").status_code == 200
    assert stack.restarts() == before == dict.fromkeys(before, 0)


def test_login(stack: RunningStack) -> None:
    """With TQ_FLOWER_BASIC_AUTH neither a page nor the API answers a stranger."""
    with stack.flower(auth=None) as stranger, stack.flower(auth=("anna", "wrong")) as wrong:
        for path in ("/", "/tasks", "/workers", "/broker", "/api/tasks", "/api/workers", "/task/good"):
            assert (stranger.get(path).status_code, wrong.get(path).status_code) == (401, 401), path


def test_loopback_only(stack: RunningStack) -> None:
    """Flower listens on 127.0.0.1, and nowhere else."""
    connections = stack.service("flower").net_connections("inet")
    assert {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


@pytest.mark.usefixtures("worker")
def test_silence_of_a_worker_is_no_warning(stack: RunningStack) -> None:
    """That a worker does not answer (yet, as it starts beside Flower) is nothing to warn of in the log."""
    with stack.http() as http, stack.flower() as flower:
        flower.get("/api/workers", params={"refresh": "true", "workername": "celery@nobody"}, timeout=60)
        submit(http, "after-silence", "")
    stack.driven.wait_for(".*after-silence completed")
    assert not stack.driven.find(".*Inspect method")
