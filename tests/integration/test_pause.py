"""Queues that are paused: nothing of them begins, nothing is lost, and a restart changes nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_driver import TQ, Cli
from servers import Process, Valkey, wait_until

from tq.errors import QueuePaused, UnknownQueue
from tq.local import LocalClient
from tq.messages import Status
from tq.settings import Settings


def ended(local: LocalClient, ids: list[str]) -> bool:
    """Whether all have."""
    return all(local.get(message_id).ended for message_id in ids)


def test_nothing_of_a_paused_queue_begins(local: LocalClient, worker: Process) -> None:
    """What was queued before and after waits, the other queue goes on, and all of it runs once it is resumed, once."""
    assert worker.popen.poll() is None
    local.pause("default")
    assert local.stats().paused == ["default"]
    slow = [local.submit(f"text {number}", to="fr", priority=number % 5).message_id for number in range(60)]
    urgent = [local.submit(f"urgent {number}", to="fr", priority=9).message_id for number in range(5)]
    wait_until(lambda: ended(local, urgent), "what is urgent has ended")
    # The worker has had the time to take them: its claims were refused.
    wait_until(lambda: local.stats().counts[Status.COMPLETED] == 5, "nothing else has")
    assert {local.get(message_id).status for message_id in slow} == {Status.QUEUED}
    assert {local.get(message_id).attempts for message_id in slow} == {0}
    local.resume("default")
    assert local.stats().paused == []
    wait_until(lambda: ended(local, slow), "the others have ended, too")
    assert {local.get(message_id).attempts for message_id in slow} == {1}


def test_both_queues_are_paused(valkey: Valkey, local: LocalClient, worker: Process) -> None:
    """With everything paused and messages in both queues, the worker stays, and goes on when they are resumed."""
    for queue in ("default", "high_priority"):
        local.pause(queue)
    ids = [local.submit(f"text {number}", to="fr", priority=number % 11).message_id for number in range(44)]

    def held() -> int:
        with valkey.client() as redis:
            return sum(redis.zcard(f"tq:held:{queue}") for queue in ("default", "high_priority"))

    # Each queue is left alone for a second after a refusal: both at once is what happens then.
    wait_until(lambda: held() == len(ids), lambda: f"all were refused once: {held()}", timeout=120)
    for queue in ("default", "high_priority"):
        local.resume(queue)
    wait_until(lambda: ended(local, ids), "all have ended")
    assert worker.popen.poll() is None


def test_order_is_kept(valkey: Valkey, local: LocalClient, environment: dict[str, str], tmp_path: Path) -> None:
    """What was taken while its queue was paused begins in the order of submission."""
    assert valkey.socket.exists()
    local.pause("default")
    ids = [local.submit(f"text {number}", to="fr").message_id for number in range(30)]
    with Process([*TQ, "worker"], log=tmp_path / "one.log", env=environment | {"TQ_CONCURRENCY": "1"}, cwd=tmp_path):
        wait_until(lambda: local.stats().workers, "the worker is listed")

        def held() -> Any:
            with valkey.client() as redis:
                return redis.zcard("tq:held:default")

        wait_until(held, "a claim was refused")
        local.resume("default")
        wait_until(lambda: ended(local, ids), "all have ended", timeout=60)
    began = [local.get(message_id).started_at for message_id in ids]
    assert began == sorted(began, key=str)


def test_it_lasts(tmp_path: Path, environment: dict[str, str]) -> None:
    """Whatever is killed and started again: Valkey, the worker, the command; and the reaper repeats no token."""
    with Valkey(tmp_path) as valkey, LocalClient(Settings(data_dir=tmp_path)) as local:
        local.pause("high_priority")
        message = local.submit("Hello", to="fr", priority=9)
        valkey.kill()
        valkey.start()
        for _ in range(2):
            with Process([*TQ, "worker"], log=tmp_path / "worker.log", env=environment, cwd=tmp_path) as process:
                # An earlier one may still be listed: what this one does is to be seen.
                local.wait(local.submit("Hello", to="fr").message_id, timeout=60)
                process.kill()
        assert local.get(message.message_id).status is Status.QUEUED
        local.resume("high_priority")
        with Process([*TQ, "worker"], log=tmp_path / "worker.log", env=environment, cwd=tmp_path):
            wait_until(lambda: ended(local, [message.message_id]), "it has ended", timeout=60)


def test_a_cancelled_message_is_held_no_more(valkey: Valkey, local: LocalClient, worker: Process) -> None:
    """Cancelled while it was held, it does not come back with its queue."""
    assert worker.popen.poll() is None
    local.pause("default")
    message_id = local.submit("Hello", to="fr").message_id
    with valkey.client() as redis:
        wait_until(lambda: redis.zscore("tq:held:default", message_id) is not None, "its claim was refused")
        local.cancel(message_id)
        assert redis.zscore("tq:held:default", message_id) is None
    local.resume("default")
    assert local.get(message_id).status is Status.CANCELLED


def test_other_ways_to_begin(http: httpx.Client) -> None:
    """Nobody is offered what cannot begin, and who insists gets 409 and how to go on."""
    http.post("/messages", json={"content": "Hello", "message_id": "m"})
    assert http.post("/queues/default/pause").json() == {"queue": "default", "paused": True}
    assert http.get("/queue/stats").json()["paused"] == ["default"]
    assert http.get("/messages/next").status_code == 204
    assert http.post("/messages/process").status_code == 204
    for answer in (
        http.post("/messages/process", json={"message_id": "m"}),
        http.post("/messages/m/status", json={"status": "running"}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:tq:problem:queue-paused")
        assert "tq resume default" in answer.json()["fix"]
    assert http.post("/queues/default/resume").json() == {"queue": "default", "paused": False}
    assert http.post("/messages/process", json={"message_id": "m"}).json()["status"] == "completed"


def test_a_queue_that_does_not_exist(local: LocalClient, http: httpx.Client) -> None:
    """It is refused by name, and the others are named."""
    with pytest.raises(UnknownQueue):
        local.pause("urgent")
    answer = http.post("/queues/urgent/pause")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:tq:problem:unknown-queue")
    assert "high_priority" in answer.json()["fix"]


def test_the_command(tq: Cli, local: LocalClient) -> None:
    """`tq pause` takes both queues or those that are named; `tq resume` gives them back."""
    done = tq("pause")
    assert (done.returncode, done.stdout) == (0, "high_priority  paused\ndefault  paused\n")
    assert local.stats().paused == ["default", "high_priority"]
    assert tq("resume", "default").returncode == 0
    assert local.stats().paused == ["high_priority"]
    refused = tq("pause", "urgent")
    assert refused.returncode == 3
    assert "no queue" in refused.stderr
    local.resume("high_priority")


def test_the_error_survives_the_way_over_http(http: httpx.Client) -> None:
    """A program gets the class, not just a status."""
    assert QueuePaused.type == "queue-paused"
    assert http.post("/queues/default/resume").status_code == 200
