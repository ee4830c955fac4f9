"""The HTTP client, from Python and behind the commands, against a real API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import Api
from cli_driver import CANARY, TQ, Cli, complete
from servers import Process, Valkey, wait_until

from tq.backend import make_submission
from tq.client import Client
from tq.errors import (
    DuplicateMessage,
    IllegalTransition,
    InvalidMessage,
    UnknownMessage,
    Unreachable,
    WaitTimeout,
)
from tq.local import LocalClient
from tq.messages import Message, Status, Submission


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


def test_commands_over_http(tq: Cli, api: Api, local: LocalClient) -> None:
    """With --url or TQ_URL the same commands give the same answers."""
    assert tq("submit", "Hello", "--to", "fr", "--id", "mine", "--url", api.url).stdout == "mine\n"
    over_http, direct = tq("--url", api.url, "status", "mine").stdout, tq("status", "mine").stdout
    assert re.sub(r"\d+s ago", "", over_http) == re.sub(r"\d+s ago", "", direct)
    assert tq("list", "--json", TQ_URL=api.url).stdout == tq("list", "--json").stdout
    assert json.loads(tq("stats", "--json", TQ_URL=api.url).stdout)["counts"]["queued"] == 1
    assert tq("cancel", "mine", TQ_URL=api.url).stdout == "mine  cancelled\n"
    assert tq("retry", "mine", TQ_URL=api.url).stdout == "mine  queued\n"
    complete(local, "mine", "Bonjour")
    again = tq("submit", "Hello", "--to", "fr", "--id", "mine", "--wait", TQ_URL=api.url)
    assert (again.returncode, again.stdout) == (0, "Bonjour")
    here, there = tq("status", "nope"), tq("status", "nope", TQ_URL=api.url)
    assert (here.returncode, here.stderr) == (there.returncode, there.stderr)
    assert tq("cancel", "mine", TQ_URL=api.url).returncode == 2


# -- over HTTP -----------------------------------------------------------------------------------------


def test_http_wants_a_token(valkey: Valkey, tq: Cli, environment: dict[str, str], tmp_path: Path) -> None:
    """A missing or wrong token is exit code 4 and is not repeated; the first of several opens the API."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment | {"TQ_API_TOKEN": "one,two"}) as api:
        wrong = tq("list", TQ_URL=api.url, TQ_API_TOKEN=CANARY)
        assert (tq("list", TQ_URL=api.url).returncode, wrong.returncode) == (4, 4)
        assert CANARY not in wrong.stderr
        assert tq("list", TQ_URL=api.url, TQ_API_TOKEN="two, one").returncode == 0


def test_something_else_answers(tq: Cli, api: Api) -> None:
    """A URL that is not the root of tq's API is called so, without a traceback."""
    done = tq("list", TQ_URL=f"{api.url}/docs")
    assert done.returncode == 5
    assert "Traceback" not in done.stderr


def test_the_client_of_python(api: Api, local: LocalClient) -> None:
    """The HTTP client has the verbs of the queue, answers the same messages, and raises the same errors."""
    with Client(api.url) as client:
        message = client.submit("Hello", to="fr", source="en", priority=9, message_id="mine", metadata={"ticket": 7})
        assert message == local.get("mine") == client.get("mine") == client.next()
        assert client.submit(make_submission("Hi"), "key") == client.submit(make_submission("Hi"), "key")
        with pytest.raises(DuplicateMessage):
            client.submit("Other", message_id="mine")
        with pytest.raises(InvalidMessage) as invalid:
            client.list(limit=1000)
        assert invalid.value.errors
        with pytest.raises(UnknownMessage):
            client.get("../queue/stats")
        with pytest.raises(WaitTimeout):
            client.wait("mine", timeout=0.1)
        with pytest.raises(IllegalTransition):
            client.set_status("mine", Status.COMPLETED, translation="Bonjour")
        client.set_status("mine", Status.RUNNING)
        assert client.set_status("mine", Status.FAILED, error="no such luck").error is not None
        assert client.retry("mine").status is Status.QUEUED
        assert client.cancel("mine") == client.wait("mine", timeout=5)
        assert client.health()["status"] == "ok"
        assert client.stats().counts == local.stats().counts


def test_batches_of_the_client(api: Api, local: LocalClient) -> None:
    """More messages than one request takes are sent in several; errors stay in their places."""
    refused = InvalidMessage("made badly")
    items: list[Submission | InvalidMessage] = [make_submission(f"t{n}", message_id=f"m{n}") for n in range(1500)]
    items.insert(3, refused)
    items.append(make_submission("other", message_id="m0"))
    with Client(api.url) as client:
        results = client.submit_many(items)
    assert results[3] is refused
    assert isinstance(results[-1], DuplicateMessage)
    accepted = [each.message_id for each in results if isinstance(each, Message)]
    assert accepted == [f"m{n}" for n in range(1500)]
    assert local.stats().counts[Status.QUEUED] == 1500


def test_changes_over_http(api: Api, local: LocalClient, environment: dict[str, str], tmp_path: Path) -> None:
    """The stream begins where it was opened, has quiet rounds, and is resumed after the API was away."""
    with Client(api.url) as client:
        changes = client.changes(block=0.1)
        assert next(changes) == []
        local.submit("Hello", message_id="one")
        assert wait_until(lambda: next(changes), "the change arrives")[0].message_id == "one"
        api.process.kill()
        with pytest.raises(Unreachable):
            wait_until(lambda: next(changes), "the end of the stream is noticed")
        local.submit("Hello", message_id="two")
        settings = environment | {"TQ_API_PORT": str(api.port)}
        with Process([*TQ, "api"], log=tmp_path / "again.log", env=settings, cwd=tmp_path):

            def arrived() -> list[Any]:
                try:
                    return next(changes)
                except Unreachable:
                    return []

            assert [each.message_id for each in wait_until(arrived, "the change meanwhile arrives")] == ["two"]
