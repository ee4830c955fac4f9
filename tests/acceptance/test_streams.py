"""Standard streams that are closed, full or of another encoding: errors are clear, ids are not lost, columns stay."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from cli_driver import TQ, Cli, complete, error_lines
from servers import wait_until

from tq.backend import make_submission
from tq.local import LocalClient
from tq.messages import Status

#: A locale without UTF-8, of which Python is not talked out; and an encoding of its own.
POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = {"PYTHONIOENCODING": "latin-1"}


def shell(tq: Cli, line: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``tq`` and what a shell makes of its streams."""
    return subprocess.run(
        ["bash", "-c", f"{' '.join(TQ)} {line}"],
        env=tq.environment | settings,
        cwd=tq.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "line", ["list", "list --json", "stats", "config", "--version", "--help", "tail", "doctor", "ps"]
)
@pytest.mark.parametrize("stream", [">&-", ">/dev/full"])
def test_no_stdout(tq: Cli, local: LocalClient, line: str, stream: str) -> None:
    """What cannot be written is said, in three lines and at once; `tq tail` waits for something to write."""
    local.submit("Hello", to="fr")
    if (line, stream) == ("tail", ">/dev/full"):
        return
    done = shell(tq, f"{line} {stream}")
    expected = 0 if line == "ps" else 1  # there is no stack, which is said on stderr
    assert done.returncode == expected
    assert "Traceback" not in done.stderr
    if expected:
        assert error_lines(done.stderr) == ["error", "why", "fix"]
        assert "the output could not be written" in done.stderr


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full"])
def test_no_stderr(tq: Cli, local: LocalClient, stream: str) -> None:
    """Messages are for nobody then; data and exit codes are as ever."""
    local.submit("Hello", to="fr")
    assert "queued" in shell(tq, f"stats {stream}").stdout
    done = shell(tq, f"submit Hello --to fr {stream}")
    assert (done.returncode, done.stderr) == (0, "")
    assert local.get(done.stdout.strip()).status is Status.QUEUED
    assert shell(tq, f"status nope {stream}").returncode == 3
    assert shell(tq, f"nonsense {stream}").returncode == 2


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(("line", "said"), [("submit", "there is no text"), ("submit x --ask-key", "no key was given")])
def test_no_stdin(tq: Cli, line: str, said: str) -> None:
    """Neither a text nor a key can be read there."""
    done = shell(tq, f"{line} --to fr <&-")
    assert done.returncode == 2
    assert error_lines(done.stderr) == ["error", "why", "fix"]
    assert said in done.stderr


@pytest.mark.parametrize("options", ["", "--json"])
@pytest.mark.parametrize("stream", [">&-", ">/dev/full"])
def test_an_accepted_id_is_not_lost(tq: Cli, local: LocalClient, options: str, stream: str) -> None:
    """Who cannot be told on stdout that a message was accepted is told on stderr."""
    done = shell(tq, f"submit Hello --to fr --id mine {options} {stream}")
    assert done.returncode == 1
    assert "accepted all the same: mine\n" in done.stderr
    assert local.get("mine").status is Status.QUEUED


def test_nor_is_the_one_of_a_translation(tq: Cli, local: LocalClient) -> None:
    """It stands in the progress, and the translation can still be had."""
    local.submit("Hello", message_id="mine", to="fr")
    complete(local, "mine", "Bonjour")
    done = shell(tq, "submit Hello --to fr --id mine --wait >/dev/full")
    assert done.returncode == 1
    assert "mine  completed" in done.stderr
    assert "could not be written" in done.stderr


@pytest.mark.parametrize("encoding", [POSIX, LATIN], ids=["posix", "latin"])
def test_columns_without_utf_8(tq: Cli, local: LocalClient, encoding: dict[str, str]) -> None:
    """Arrows and marks have plain forms, so that columns stay columns, and no escape stands in the output."""
    local.submit("Hello", to="fr", source="en", message_id="short")
    local.submit("Hello", to="fr", message_id="other")
    shown = [tq(*line, **encoding) for line in (["list"], ["stats"], ["status", "short"], ["doctor"], ["config"])]
    text = "".join(done.stdout + done.stderr for done in shown)
    assert "\\u" not in text
    assert "en->fr" in shown[0].stdout
    assert re.search(r"^x worker ", shown[3].stdout, re.MULTILINE)
    assert re.search(r"^\+ settings ", shown[3].stdout, re.MULTILINE)
    rows = shown[0].stdout.splitlines()
    assert len({row.index("queued") for row in rows}) == 1


def test_a_table_without_utf_8(tq: Cli, local: LocalClient) -> None:
    """The same on a terminal: plain marks, dots where something was cut, and nothing wider than it may be."""
    local.submit("Hello", to="fr", message_id="m" * 100)
    child = tq.terminal("list", **POSIX)
    child.expect(r"mmm\.\.\.mmm.* ->fr .*- queued")
    child.close()
    child = tq.terminal("tail", **POSIX)
    child.expect(r"mmm\.\.\.mmm.* ->fr .*- queued")
    child.expect("no worker is running - queued 1")
    child.sendintr()
    child.close()


def test_json_without_utf_8(tq: Cli, local: LocalClient) -> None:
    """JSON stays JSON: what the stream lacks is escaped as JSON has it."""
    local.submit("Été 日本 😀", to="fr", source="en", message_id="mine")
    for line in (["list", "--json"], ["status", "mine", "--json"], ["submit", "é😀", "--to", "fr", "--json"]):
        for encoding in (POSIX, LATIN):
            document = json.loads(tq(*line, **encoding).stdout)
            assert document["content"] in {"Été 日本 😀", "é😀"}
    with tq.start("tail", "--json", **POSIX) as running:

        def seen() -> bool:
            local.cancel(local.submit("probe", to="la").message_id)
            return b"cancelled" in running.out

        wait_until(seen, "the tail sees changes")
        assert {json.loads(each)["languages"] for each in running.out.splitlines()} == {"→la"}


def test_arguments_without_utf_8(tq: Cli, local: LocalClient) -> None:
    """Python takes them for another encoding's; they are the bytes that they are."""
    message_id = tq("submit", "Été 日本", "--to", "fr", "--context", "où", **POSIX).stdout.strip()
    message = local.get(message_id)
    assert (message.content, message.metadata["context"]) == ("Été 日本", "où")
    done = subprocess.run(
        [*TQ, "submit", b"\xff", "--to", "fr"],
        env=tq.environment | POSIX,
        cwd=tq.folder,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"not UTF-8" in done.stderr


def test_a_full_disk_in_the_middle(tq: Cli, local: LocalClient, tmp_path: Path) -> None:
    """A list that is too long for its file ends with an error, not with half of it and success."""
    local.submit_many([make_submission("Hello", to="fr") for _ in range(400)])
    done = shell(tq, f"list --limit 400 > {tmp_path}/list; echo $?", BASH_ENV="")
    assert done.stdout == "0\n"
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -f 8; trap '' XFSZ; {' '.join(TQ)} list --limit 400 > {tmp_path}/list"],
        env=tq.environment,
        cwd=tq.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert limited.returncode == 1
    assert "File too large" in limited.stderr
