"""`tq tail` in a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import Api
from cli_driver import TQ, Cli, Running, complete, exit_code
from gateway import event, gap, gateway
from servers import Valkey, wait_until

from tq.local import LocalClient


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


# -- tail --------------------------------------------------------------------------------------------


def wait_until_it_sees(local: LocalClient, running: Running) -> None:
    """Wait until a tail sees what happens: probe messages are cancelled until one shows up."""

    def seen() -> bool:
        local.cancel(local.submit("probe", to="la").message_id)
        return b"cancelled" in running.out

    wait_until(seen, "the tail sees changes")


def test_tail_in_a_pipe(tq: Cli, local: LocalClient) -> None:
    """A line for each change, in order; Ctrl-C ends it with 130 and nothing more on stderr."""
    with tq.start("tail") as running:
        wait_until_it_sees(local, running)
        local.submit("Hello", to="fr", source="en", priority=9, message_id="mine")
        complete(local, "mine", "Bonjour")
        wait_until(lambda: b"completed" in running.out, "the end is shown")
        rows = [line.split() for line in running.out.decode().splitlines() if line.startswith("mine")]
        assert [row[:4] for row in rows] == [
            ["mine", "9", "en→fr", status] for status in ("queued", "running", "completed")
        ]
        assert running.interrupt() == 130
        assert running.err == ""


def test_tail_as_json_filtered(tq: Cli, local: LocalClient) -> None:
    """NDJSON with a cursor each, of one status and target language only, and without any text."""
    line = ["tail", "--json", "--status", "cancelled", "--to", "LA"]
    with tq.start(*line) as running:
        wait_until_it_sees(local, running)
        local.submit("secret", to="fr", message_id="other")
        local.cancel("other")
        local.submit("secret", to="la", message_id="mine")
        local.cancel("mine")
        wait_until(lambda: b'"mine"' in running.out, "the last one is shown")
        changes = [json.loads(each) for each in running.out.splitlines()]
        assert {each["status"] for each in changes} == {"cancelled"}
        assert "other" not in {each["message_id"] for each in changes}
        assert all(each["cursor"] for each in changes)
        assert b"secret" not in running.out


@pytest.mark.parametrize("through", ["store", "api"])
def test_tail_survives_a_broker_restart(
    through: str, tq: Cli, valkey: Valkey, local: LocalClient, request: Any
) -> None:
    """When the broker goes and comes back the tail says so, goes on, and has missed nothing."""
    settings = {"TQ_URL": request.getfixturevalue("api").url} if through == "api" else {}
    with tq.start("tail", **settings) as running:
        wait_until_it_sees(local, running)
        valkey.kill()
        wait_until(lambda: "connection lost" in running.err, "the loss is said")
        valkey.start()
        local.submit("Hello", message_id="mine")
        wait_until(lambda: b"mine" in running.out, "the change after the restart is shown")
        wait_until(lambda: "connected again" in running.err, "the return is said")
        assert running.interrupt() == 130
        assert "Traceback" not in running.err


def test_tail_notes_what_is_missing(tq: Cli, api: Api) -> None:
    """Where the API does not have some changes any more, that is said, and the tail goes on after them."""
    with gateway(api.url) as between:
        between.tell(b"id: 1-0\n\n")
        with tq.start("tail", TQ_URL=between.url) as running:
            wait_until(lambda: between.cursors, lambda: f"the tail listens: {running.err}")
            between.tell(gap("1-0", "8-0"), event("9-0"))
            wait_until(lambda: b"mine" in running.out, "what comes after them is shown")
            assert running.err == "some changes were missed\n"
            assert running.interrupt() == 130


def test_tail_on_a_terminal_reads_again(tq: Cli, api: Api, local: LocalClient) -> None:
    """On a screen the messages are read again where changes are missing."""
    local.submit("Hello", to="fr", message_id="before")
    with gateway(api.url) as between:
        between.tell(b"id: 1-0\n\n")
        child = tq.terminal("tail", TQ_URL=between.url)
        child.expect("before.*· queued")
        complete(local, "before", "Bonjour")
        local.submit("Hello", to="fr", message_id="meanwhile")
        between.tell(gap("1-0", "8-0"))
        child.expect("meanwhile.*· queued")
        child.expect("before.*✔ completed")
        child.sendintr()
        assert exit_code(child) == 130


def test_tail_into_a_pipe_that_closes(local: LocalClient, environment: dict[str, str], tmp_path: Path) -> None:
    """`tq tail | head -1` ends quietly as soon as its reader has, though nothing more happens."""
    with subprocess.Popen(
        [*TQ, "tail"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=tmp_path
    ) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        os.set_blocking(tail.stdout.fileno(), False)

        def seen() -> bytes | None:
            local.cancel(local.submit("probe").message_id)
            return tail.stdout.readline() if tail.stdout else None

        wait_until(seen, "the tail shows a change")
        tail.stdout.close()
        assert tail.wait(timeout=30) == 0
        assert tail.stderr.read() == b""


def test_tail_on_a_terminal(tq: Cli, local: LocalClient) -> None:
    """A live table of old and new messages and a line of figures; Ctrl-C leaves it with 130."""
    local.submit("Hello", to="fr", message_id="before")
    child = tq.terminal("tail")
    child.expect("ID .*STATUS.*INFO")
    child.expect("before.*· queued")
    child.expect("no worker is running · queued 1")
    complete(local, "before", "Bonjour")
    child.expect("✔ completed")
    local.submit("Hello", to="fr", message_id="after")
    child.expect("after .*· queued")
    child.sendintr()
    code = exit_code(child)
    assert "Traceback" not in child.before
    assert code == 130
