"""A pause is shown wherever somebody could wonder why nothing happens, to people and to programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running_stack import RunningStack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack as it is without any setting."""
    with RunningStack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def paused(stack: RunningStack) -> Iterator[str]:
    """The name of a queue that is paused meanwhile."""
    with stack.http() as http:
        http.post("/queues/default/pause").raise_for_status()
        yield "default"
        http.post("/queues/default/resume").raise_for_status()


def test_probes_name_it_and_go_on(stack: RunningStack, paused: str) -> None:
    """`GET /` and `GET /ready` say so; a load balancer keeps sending requests, which are accepted."""
    with stack.http() as http:
        assert http.get("/").json()["paused"] == [paused]
        ready = http.get("/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": [], "paused": [paused]})
        http.post("/queues/high_priority/pause").raise_for_status()
        assert http.get("/ready").json()["paused"] == [paused, "high_priority"]
        http.post("/queues/high_priority/resume").raise_for_status()
        http.post(f"/queues/{paused}/resume").raise_for_status()
        assert http.get("/").json()["paused"] == http.get("/ready").json()["paused"] == []


def test_ps_names_it(stack: RunningStack, paused: str) -> None:
    """In a line of its own, which is no part of the table; without a pause there is none."""
    said = stack.tq("ps")
    assert f"paused: {paused}, of which nothing begins (go on: tq resume {paused})" in said.stderr
    assert len(said.stdout.splitlines()) == 5
    assert stack.tq("resume", paused).returncode == 0
    assert "paused" not in (again := stack.tq("ps")).stdout + again.stderr


def test_a_submit_names_it(stack: RunningStack, paused: str) -> None:
    """A program sees in a header that what it submits does not begin, also when it asks again; other queues do."""
    slow = {"content": "Hello", "message_id": "slow"}
    with stack.http() as http:
        assert http.post("/messages", json=slow).headers["TQ-Paused"] == paused
        assert http.post("/messages", json=slow).headers["TQ-Paused"] == paused
        assert "TQ-Paused" not in http.post("/messages", json={"content": "Hello", "priority": 9}).headers
        both = {"messages": [{"content": "Hello"}, {"content": "Hello", "priority": 9}, {"content": ""}]}
        assert http.post("/messages/batch", json=both).headers["TQ-Paused"] == paused
        http.post("/queues/high_priority/pause").raise_for_status()
        assert http.post("/messages/batch", json=both).headers["TQ-Paused"] == f"{paused}, high_priority"
        http.post("/queues/high_priority/resume").raise_for_status()
        http.post(f"/queues/{paused}/resume").raise_for_status()
        assert "TQ-Paused" not in http.post("/messages", json={"content": "Hello"}).headers
