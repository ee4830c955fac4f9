"""What fills a terminal: `tq tail` and `tq stats --watch` leave it as it was, whatever happens to it."""

from __future__ import annotations

import os
import re
import signal

import pexpect
import pytest
from cli_driver import TQ, Cli
from servers import Valkey, wait_until

from tq.backend import make_submission
from tq.local import LocalClient
from tq.messages import Status

#: What a terminal is told: to show its other screen, to show the cursor.
ENTERED, LEFT, HIDDEN, SEEN = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25l", "\x1b[?25h"
WATCHING = [["tail"], ["stats", "--watch"]]


def watch(tq: Cli, *line: str, size: tuple[int, int] = (24, 80), **settings: str) -> pexpect.spawn:
    """Begin to watch; the first frame is drawn."""
    child = tq.terminal(*line, **settings)
    child.setwinsize(*size)
    child.expect_exact(ENTERED)
    child.expect("queued")
    return child


def rest(child: pexpect.spawn) -> str:
    """All that comes until its end."""
    child.expect(pexpect.EOF)
    return str(child.before)


@pytest.mark.parametrize("line", WATCHING, ids=" ".join)
def test_the_last_frame_stays(tq: Cli, local: LocalClient, line: list[str]) -> None:
    """Ctrl-C leaves the other screen and shows the cursor; what was to be seen last stays on the terminal."""
    local.submit("Hello", to="fr", message_id="mine")
    child = watch(tq, *line)
    child.sendintr()
    text = rest(child)
    assert SEEN in text
    last = text[text.rindex(LEFT) :]
    assert "mine" in last or "queued       1" in last
    assert HIDDEN not in last
    child.close()
    assert child.exitstatus == 130


@pytest.mark.parametrize("line", WATCHING, ids=" ".join)
def test_sigterm(tq: Cli, local: LocalClient, line: list[str]) -> None:
    """It ends by the signal, and the terminal is as it was."""
    local.submit("Hello", to="fr")
    child = watch(tq, *line)
    child.kill(signal.SIGTERM)
    text = rest(child)
    assert text.index(SEEN) < len(text)
    assert LEFT in text
    child.close()
    assert child.signalstatus == signal.SIGTERM


@pytest.mark.parametrize("line", WATCHING, ids=" ".join)
def test_in_the_background(tq: Cli, local: LocalClient, line: list[str]) -> None:
    """Ctrl-Z gives the terminal back as it was; in the foreground again it is drawn again."""
    local.submit("Hello", to="fr")
    # Only a shell has jobs: without one, nobody could be stopped.
    environment = tq.environment | {"TERM": "xterm-256color", "PS1": "ready> "}
    shell = pexpect.spawn(
        "bash", ["--norc", "-i"], env=environment, cwd=str(tq.folder), dimensions=(24, 80), encoding="utf-8", timeout=30
    )
    shell.expect_exact("ready> ")
    shell.sendline(" ".join([*TQ, *line]))
    shell.expect_exact(ENTERED)
    shell.expect("queued")
    shell.sendcontrol("z")
    shell.expect_exact(SEEN)
    shell.expect_exact(LEFT)
    shell.expect("Stopped")
    shell.sendline("fg")
    shell.expect_exact(ENTERED)
    shell.expect("queued")
    shell.sendcontrol("c")
    shell.expect_exact(LEFT)
    shell.expect_exact("ready> ")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()


@pytest.mark.parametrize("line", WATCHING, ids=" ".join)
def test_another_size(tq: Cli, local: LocalClient, line: list[str]) -> None:
    """A frame fills the terminal as it is now, so that nothing is left of the one before."""
    local.submit_many([make_submission("Hello", to="fr") for _ in range(60)])
    child = watch(tq, *line)
    for rows, columns in ((10, 50), (40, 120)):
        child.setwinsize(rows, columns)

        def fits(rows: int = rows, columns: int = columns) -> bool:
            child.expect_exact("\x1b[H")
            frame = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", str(child.before)).split("\r\n")
            return len(frame) == rows and {len(text) for text in frame} == {columns}

        wait_until(fits, "a frame is as large as the terminal")
    child.sendintr()
    rest(child)
    child.close()


def test_as_many_rows_as_there_is_room(tq: Cli, local: LocalClient) -> None:
    """A tall terminal shows more than twenty messages."""
    local.submit_many([make_submission("Hello", to="fr", message_id=f"m{number:02}") for number in range(60)])
    child = watch(tq, "tail", size=(50, 80))
    child.setwinsize(50, 80)
    child.sendintr()
    text = rest(child)
    assert len(re.findall(r"m\d\d ", text[text.rindex(LEFT) :])) == 48
    child.close()


def test_a_broker_that_freezes(tq: Cli, valkey: Valkey, local: LocalClient) -> None:
    """Nothing answers and no connection breaks: it is said of when the figures are, until there are new ones."""
    local.submit("Hello", to="fr")
    for line in WATCHING:
        child = watch(tq, *line)
        valkey.pause()
        child.expect(r"as of \d\d:\d\d:\d\d: (no answer for \ds|connection lost)")
        valkey.resume()
        child.expect(r"Ctrl-C ends|no worker is running · queued 1")
        child.sendintr()
        rest(child)
        child.close()


def test_a_tail_that_is_filtered(tq: Cli, local: LocalClient) -> None:
    """It begins with what matches, however many newer messages there are that do not."""
    local.submit("Hello", to="ja", message_id="wanted")
    local.set_status("wanted", Status.RUNNING)
    local.set_status("wanted", Status.FAILED, error="no such luck")
    local.submit_many([make_submission("Hello", to="fr") for _ in range(450)])
    for options in (["--status", "failed"], ["--to", "JA"], ["--status", "failed", "--to", "ja", "--priority", "0"]):
        child = tq.terminal("tail", *options)
        child.expect("wanted .*failed")
        child.sendintr()
        rest(child)
        child.close()
    assert tq("tail", "--to", "xx").returncode == 2
    assert "not a known language" in tq("tail", "--to", "xx").stderr


def test_a_paused_queue(tq: Cli, local: LocalClient) -> None:
    """Its rows are marked, and it is the first that is said; a tail in a pipe says it, too."""
    local.submit("Hello", to="fr", message_id="mine")
    local.pause("default")
    child = tq.terminal("tail")
    child.setwinsize(24, 80)
    child.expect("mine .*‖ queued.*queue paused")
    child.expect("paused: default · no worker is running · queued 1")
    child.sendintr()
    rest(child)
    child.close()
    with tq.start("tail") as running:
        wait_until(lambda: "the queue default is paused: `tq resume default`" in running.err, "it is said")
    assert "queue paused" in tq("list").stdout


def test_signals_that_were_ignored(tq: Cli, local: LocalClient) -> None:
    """Outside of these screens, signals do what they always do."""
    local.submit("Hello", to="fr")
    with tq.start("tail") as running:
        wait_until(lambda: os.path.exists(f"/proc/{running.popen.pid}"), "it runs")  # noqa: PTH110 - of the system
        running.popen.terminate()
        assert running.popen.wait(timeout=30) == -signal.SIGTERM
