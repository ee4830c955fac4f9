"""Waiting on the command line: for several messages at once, with a word on what goes on, and until Ctrl-C."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from api_server import Api
from cli_driver import TQ, Cli, Running, complete, exit_code, fail
from servers import Valkey, wait_until

from tq.backend import make_submission
from tq.local import LocalClient
from tq.messages import Message, Status

THREE = ["submit", "Hello", "--to", "fr", "--to", "de", "--to", "ja"]


@pytest.fixture(params=["store", "api"])
def through(
    request: pytest.FixtureRequest, valkey: Valkey, environment: dict[str, str], tmp_path: Path
) -> Iterator[str]:
    """Options that choose the way."""
    assert valkey.pid
    if request.param == "store":
        yield ""
        return
    with Api(tmp_path, environment) as api:
        yield api.url


def by_language(local: LocalClient, count: int = 3) -> dict[str, Message]:
    """The messages that were submitted, once they all are."""
    wait_until(lambda: len(local.list(Status.QUEUED)[0]) == count, "all are submitted")
    return {str(message.metadata["target_language"]): message for message in local.list(Status.QUEUED)[0]}


@contextmanager
def waiting(tq: Cli, local: LocalClient, *options: str, url: str = "") -> Iterator[tuple[Running, dict[str, str]]]:
    """Three that are waited for, and the ids by language."""
    with tq.start(*THREE, *options, **({"TQ_URL": url} if url else {})) as running:
        ids = {language: message.message_id for language, message in by_language(local).items()}
        wait_until(lambda: running.err.count("  queued ") == 3, "it says that they are queued")
        yield running, ids


def test_all_at_once(tq: Cli, local: LocalClient, through: str) -> None:
    """Each is told as it ends, of how many; in a pipe the translations come in the order of the languages."""
    with waiting(tq, local, "--wait", url=through) as (running, ids):
        complete(local, ids["ja"], "こんにちは")
        wait_until(
            lambda: re.search(rf"{ids['ja']}  completed  1 of 3 · ", running.err), "the last language is the first"
        )
        assert running.out == b""
        complete(local, ids["fr"], "Bonjour\n")
        wait_until(lambda: running.out == b"Bonjour\n", "the first language is shown")
        complete(local, ids["de"], "Hallo")
        assert running.popen.wait(timeout=30) == 0
        assert running.out.decode() == "Bonjour\nHallo\nこんにちは\n"
        assert "3 of 3" in running.err


def test_one_of_them_fails(tq: Cli, local: LocalClient) -> None:
    """The others are shown, and the exit code is 1."""
    with waiting(tq, local, "--wait") as (running, ids):
        fail(local, ids["de"])
        complete(local, ids["ja"], "こんにちは")
        complete(local, ids["fr"], "Bonjour")
        assert running.popen.wait(timeout=30) == 1
        assert running.out.decode() == "Bonjour\nこんにちは\n"
        assert f"message {ids['de']} failed" in running.err


def test_as_json(tq: Cli, local: LocalClient) -> None:
    """A document each, in the order of the languages."""
    with waiting(tq, local, "--wait", "--json") as (running, ids):
        for language in ("ja", "de", "fr"):
            complete(local, ids[language], language)
        assert running.popen.wait(timeout=30) == 0
        assert [json.loads(line)["translation"] for line in running.out.splitlines()] == ["fr", "de", "ja"]


def test_patience_that_runs_out(tq: Cli, local: LocalClient) -> None:
    """What has ended by then is shown, whatever comes before it."""
    with waiting(tq, local, "--timeout", "6") as (running, ids):
        complete(local, ids["ja"], "こんにちは")
        assert running.popen.wait(timeout=60) == 124
        assert running.out.decode() == "こんにちは\n"
        assert "2 of 3 messages have not ended after 6 s" in running.err
        assert f"they go on: `tq status {ids['fr']} {ids['de']} --follow`" in running.err
    local.submit("Hello", to="fr", message_id="mine")
    done = tq("submit", "Hello", "--to", "fr", "--id", "mine", "--timeout", "0.1")
    assert done.returncode == 124
    assert "it goes on: `tq status mine --follow`" in done.stderr


def test_on_a_terminal(tq: Cli, local: LocalClient) -> None:
    """Translations come as they are there, each with its language."""
    child = tq.terminal(*THREE, "--wait")
    messages = by_language(local)
    complete(local, messages["ja"].message_id, "こんにちは")
    child.expect("ja\x1b\\[0m  こんにちは\r\n")
    complete(local, messages["de"].message_id, "Guten\nTag")
    child.expect("de\x1b\\[0m\r\nGuten\r\nTag\r\n")
    complete(local, messages["fr"].message_id, "Bonjour")
    child.expect("fr\x1b\\[0m  Bonjour\r\n")
    assert exit_code(child) == 0


# -- what goes on ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [["submit", "Hello", "--to", "fr", "--id", "mine", "--wait"], ["status", "mine", "-f"]]
)
def test_elapsed_time(tq: Cli, local: LocalClient, line: list[str]) -> None:
    """On a terminal it is said what goes on, and for how long, in place: nothing of it stays. In a pipe it is not."""
    local.submit("Hello", to="fr", message_id="mine")
    child = tq.terminal(*line)
    child.expect("queued … 1s")
    child.expect("queued … 2s")
    local.set_status("mine", Status.RUNNING)
    child.expect("running … [2-9]s")
    local.set_status("mine", Status.COMPLETED, translation="Bonjour")
    child.expect_exact("\r\x1b[2K")
    child.expect("completed")
    child.expect("Bonjour")
    assert exit_code(child) == 0
    assert "…" not in tq(*line).stderr


def test_interrupted(tq: Cli, local: LocalClient) -> None:
    """Ctrl-C ends the waiting alone: it is said that the message goes on, and how to look."""
    with tq.start("submit", "Hello", "--to", "fr", "--id", "mine", "--wait") as running:
        wait_until(lambda: "queued" in running.err, "it waits")
        assert running.interrupt() == 130
        assert running.err.endswith("it goes on: tq status mine --follow\n")
    assert local.get("mine").status is Status.QUEUED
    local.cancel("mine")
    with waiting(tq, local, "--wait") as (running, ids):
        assert running.interrupt() == 130
        assert f"they go on: tq status {ids['fr']} {ids['de']} {ids['ja']} --follow\n" in running.err


def test_thousands_with_stdout_elsewhere(tq: Cli, local: LocalClient) -> None:
    """Cancelling and retrying many says on stderr how far it is; a list as JSON, too."""
    ids = [f"m{number:04}" for number in range(1500)]
    local.submit_many([make_submission("Hello", to="fr", message_id=each) for each in ids])
    for command in ("cancel", "retry"):
        child = pexpect.spawn(
            "bash",
            ["-c", f"{' '.join(TQ)} {command} {' '.join(ids)} > out"],
            env=tq.environment | {"TERM": "xterm"},
            cwd=str(tq.folder),
            dimensions=(24, 80),
            encoding="utf-8",
            timeout=120,
        )
        child.expect(r"\d+ of 1500 … \ds")
        assert exit_code(child) == 0
        assert len((tq.folder / "out").read_text().splitlines()) == 1500


def test_silence_of_what_is_quick(tq: Cli, local: LocalClient) -> None:
    """Below a second nothing is said at all."""
    local.submit("Hello", to="fr", message_id="mine")
    for line in (["list"], ["list", "--json"], ["stats"], ["cancel", "mine"], ["retry", "mine"]):
        assert tq(*line).stderr == ""


@pytest.mark.parametrize(
    "line",
    [["list", "--json"], ["stats"], ["submit", "Hello", "--to", "fr"], ["cancel", "mine"], ["pause"]],
    ids=" ".join,
)
def test_a_broker_that_is_slow(tq: Cli, valkey: Valkey, local: LocalClient, line: list[str]) -> None:
    """Whatever asks says so after a second, in place, and goes on when it is answered."""
    local.submit("Hello", to="fr", message_id="mine")
    valkey.pause()
    child = tq.terminal(*line)
    child.expect("(reading|looking|submitting|asking) … 1s")
    valkey.resume()
    child.expect_exact("\r\x1b[2K")
    assert exit_code(child) == 0
    assert " … " not in child.before.rpartition("\r\x1b[2K")[2]


def test_a_slow_broker_in_a_pipe(tq: Cli, valkey: Valkey, local: LocalClient) -> None:
    """A line at times, on stderr alone."""
    local.submit("Hello", to="fr", message_id="mine")
    valkey.pause()
    with tq.start("list") as running:
        wait_until(lambda: running.err == "reading … 5s\n", "a line is there")
        valkey.resume()
        running.popen.wait(timeout=30)
        assert "\x1b" not in running.err
