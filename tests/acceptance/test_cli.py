"""`tq` as a person and as a script uses it: real processes, a real Valkey, a real terminal."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from cli_driver import CANARY, ULID, Cli, complete, error_lines, exit_code, fail
from servers import Valkey, free_port, wait_until

from tq.local import LocalClient
from tq.messages import Status

# -- nothing there -----------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [["submit", "hi", "--to", "fr"], ["list"], ["stats"], ["tail"], ["status", "x"]])
def test_no_stack(tq: Cli, line: list[str], tmp_path: Path) -> None:
    """Without a stack every command says so, what to do, and that soon."""
    began = time.monotonic()
    done = tq(*line)
    assert time.monotonic() - began < 8  # a machine under load included; a connection's own patience is 9 s
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == (
        "error: nothing to talk to\n"
        f"  why   no stack runs on {tmp_path} and REDIS_HOST is not set\n"
        "  fix   start one with `tq up`, or set REDIS_HOST or TQ_URL\n"
    )


def test_no_redis_and_no_api(tq: Cli) -> None:
    """A configured Redis or API that does not answer is named, with exit code 5."""
    port = str(free_port())
    redis = tq("list", REDIS_HOST="127.0.0.1", REDIS_PORT=port)
    api = tq("list", TQ_URL=f"http://127.0.0.1:{port}")
    assert (redis.returncode, api.returncode) == (5, 5)
    assert port in redis.stderr
    assert port in api.stderr
    assert error_lines(api.stderr) == ["error", "why", "fix"]


def test_wrong_password(tq: Cli, tmp_path: Path) -> None:
    """A Redis that refuses the password is exit code 4, and the password is not repeated."""
    port = free_port()
    with Valkey(tmp_path, password="right", port=port):
        done = tq("list", REDIS_HOST="127.0.0.1", REDIS_PORT=str(port), REDIS_PASSWORD=CANARY)
    assert done.returncode == 4
    assert CANARY not in done.stderr


def test_debug_shows_a_traceback(tq: Cli) -> None:
    """Tracebacks are for those who ask for them."""
    assert "Traceback" not in tq("list").stderr
    assert "Traceback" in tq("--debug", "list").stderr
    assert "Traceback" in tq("list", TQ_DEBUG="1").stderr


def test_broken_settings(tq: Cli) -> None:
    """Settings that contradict each other stop a command; `tq config` still lists them."""
    done = tq("config", TQ_RETRY_BASE="700s")
    assert done.returncode == 2
    assert "TQ_RETRY_BASE" in done.stdout
    assert error_lines(done.stderr) == ["error", "why", "fix"]


# -- submit ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("valkey")
def test_submit_prints_the_bare_id(tq: Cli) -> None:
    """In a pipe stdout is the id and nothing else; that nobody works is said on stderr."""
    done = tq("submit", "Hello", "--to", "fr")
    assert done.returncode == 0
    assert re.fullmatch(f"{ULID}\n", done.stdout)
    assert done.stderr == "queued, but no worker is running: start one with `tq worker` or `tq up`\n"


def test_submit_to_several_languages(tq: Cli, local: LocalClient) -> None:
    """Each --to is a message of its own, their ids in order; one bad tag and nothing is submitted."""
    done = tq("submit", "--to", "fr", "--to", "pt-BR", "--from", "en", "--priority", "7", stdin="Hello\n")
    messages = [local.get(message_id) for message_id in done.stdout.split()]
    assert [message.languages for message in messages] == ["en→fr", "en→pt-BR"]
    assert {(message.content, message.priority, message.queue) for message in messages} == {
        ("Hello\n", 7, "high_priority")
    }
    assert tq("submit", "Hello", "--to", "fr", "--to", "xx").returncode == 2
    assert local.stats().counts[Status.QUEUED] == 2


def test_submit_a_file(tq: Cli, local: LocalClient, tmp_path: Path) -> None:
    """A file is submitted byte for byte; one that is not UTF-8 is refused."""
    (tmp_path / "text").write_bytes("Été\r\n\tx".encode())
    message_id = tq("submit", "--file", "text", "--to", "en").stdout.strip()
    assert local.get(message_id).content == "Été\r\n\tx"
    (tmp_path / "text").write_bytes(b"\xff")
    assert tq("submit", "--file", "text", "--to", "en").returncode == 2


@pytest.mark.usefixtures("valkey")
def test_same_id_again(tq: Cli) -> None:
    """The same id with the same body is the same message; with another body it is refused."""
    assert tq("submit", "Hello", "--to", "fr", "--id", "mine").stdout == "mine\n"
    assert tq("submit", "Hello", "--to", "fr", "--id", "mine").stdout == "mine\n"
    assert tq("submit", "Hallo", "--to", "fr", "--id", "mine").returncode == 2
    first = tq("submit", "Hello", "--to", "fr", "--idempotency-key", "k").stdout
    assert tq("submit", "Hello", "--to", "fr", "--idempotency-key", "k").stdout == first


def test_json_is_the_document(tq: Cli, local: LocalClient) -> None:
    """With --json each message is one line, the document of the contract."""
    lines = tq("submit", "Héllo", "--to", "fr", "--to", "de", "--json").stdout.splitlines()
    documents = [json.loads(line) for line in lines]
    assert documents == [local.get(each["message_id"]).document() for each in documents]


def test_key_from_a_pipe(tq: Cli, valkey: Valkey) -> None:
    """A message's own key is the first line of stdin; it is stored sealed and shown nowhere."""
    done = tq("submit", "Hello", "--to", "fr", "--ask-key", "--json", "--id", "mine", stdin=f"{CANARY}\n")
    assert done.returncode == 0
    assert CANARY not in done.stdout + done.stderr
    with valkey.client() as redis:
        sealed = redis.get("tq:sealed:mine")
    assert sealed
    assert CANARY not in str(sealed)
    assert tq("submit", "Hello", "--to", "fr", "--ask-key").returncode == 2


def test_wait_prints_the_translation_alone(tq: Cli, local: LocalClient) -> None:
    """The translation is on stdout, byte for byte, also what a terminal would obey; progress goes to stderr."""
    line = ["submit", "Hello", "--to", "fr", "--id", "mine", "--priority", "9", "--wait"]
    with tq.start(*line) as running:
        wait_until(lambda: "mine  queued     p9, 0 ahead\n" in running.err, "it says that the message is queued")
        local.set_status("mine", Status.RUNNING)
        wait_until(lambda: "mine  running " in running.err, "it says that the message runs")
        local.set_status("mine", Status.COMPLETED, translation=" Bonjour\x1b[1m\r\nà tous ")
        assert running.popen.wait(timeout=30) == 0
        assert running.out == " Bonjour\x1b[1m\r\nà tous ".encode()
        assert "mine  completed " in running.err
        assert "\x1b" not in running.err


def test_wait_for_a_failure(tq: Cli, local: LocalClient) -> None:
    """A message that fails is exit code 1 and three lines; nothing in them is obeyed by a terminal."""
    with tq.start("submit", "Hello", "--to", "fr", "--id", "mine", "--wait") as running:
        wait_until(lambda: "queued" in running.err, "it is submitted")
        fail(local, "mine")
        assert running.popen.wait(timeout=30) == 1
        assert running.out == b""
        assert error_lines(running.err)[-3:] == ["error", "why", "fix"]
        assert "no such luck\\x1b[2J" in running.err
        assert "tq retry mine" in running.err


@pytest.mark.usefixtures("valkey")
def test_wait_has_an_end(tq: Cli) -> None:
    """Patience that runs out is exit code 124, and the message goes on."""
    done = tq("submit", "Hello", "--to", "fr", "--id", "mine", "--wait", "--timeout", "0.2")
    assert (done.returncode, done.stdout) == (124, "")
    assert "tq status" in done.stderr
    assert "mine  queued" in tq("status", "mine").stdout


@pytest.mark.usefixtures("valkey")
def test_wait_is_interrupted(tq: Cli) -> None:
    """Ctrl-C ends the waiting with 130 and without a traceback."""
    with tq.start("submit", "Hello", "--to", "fr", "--wait") as running:
        wait_until(lambda: "queued" in running.err, "it waits")
        assert running.interrupt() == 130
        assert "Traceback" not in running.err


@pytest.mark.usefixtures("worker")
def test_pseudo_output_is_no_translation(tq: Cli) -> None:
    """A worker without a key answers, and every place that shows the answer says what it is."""
    done = tq("submit", "Hello {name}", "--to", "fr", "--id", "mine", "--wait")
    assert done.returncode == 0
    assert "{name}" in done.stdout
    assert done.stdout != "Hello {name}"
    assert "no worker" not in done.stderr
    for text in (done.stderr, tq("status", "mine").stdout, tq("list").stdout):
        assert "NOT a translation" in text


# -- a terminal ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("valkey")
def test_submit_on_a_terminal(tq: Cli) -> None:
    """A person is told what happened and how to go on; without a text they get help and exit code 2."""
    child = tq.terminal("submit", "Hello", "--to", "fr", "--id", "mine")
    child.expect_exact("mine  queued     p0, 0 ahead")
    child.expect_exact("tq status mine --follow")
    child.expect("no worker is running")
    assert exit_code(child) == 0
    child = tq.terminal("submit")
    child.expect("Usage: tq submit")
    assert exit_code(child) == 2


def test_translation_on_a_terminal(tq: Cli, local: LocalClient) -> None:
    """What a pipe gets byte for byte cannot take over a terminal."""
    local.submit("Hello", message_id="mine", to="fr")
    complete(local, "mine", "Bonjour\x1b]0;title\x07")
    child = tq.terminal("submit", "Hello", "--id", "mine", "--to", "fr", "--wait")
    child.expect_exact("Bonjour\\x1b]0;title\\x07\r\n")
    assert exit_code(child) == 0


def test_key_on_a_terminal(tq: Cli, valkey: Valkey) -> None:
    """A key is asked for, and not echoed."""
    child = tq.terminal("submit", "Hello", "--to", "fr", "--id", "mine", "--ask-key")
    child.expect("API key")
    child.waitnoecho()
    child.sendline(CANARY)
    child.expect_exact("tq status mine")
    assert CANARY not in child.before
    assert exit_code(child) == 0
    with valkey.client() as redis:
        assert redis.exists("tq:sealed:mine")


def test_no_color(tq: Cli, local: LocalClient) -> None:
    """NO_COLOR makes a terminal plain: no colours, no glyphs, no live table; what a pipe gets, with a heading."""
    local.submit("Hello", message_id="mine")
    child = tq.terminal("list", NO_COLOR="1")
    assert exit_code(child) == 0
    assert re.match("ID +PRI .*\r\nmine ", child.before)
    assert "\x1b" not in child.before
    assert "·" not in child.before
