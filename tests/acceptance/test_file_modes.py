"""Nobody but its owner reads what a stack writes, even under a umask of 0; and it writes nowhere else.

The directory that stands for home, working directory and temporary directory is watched from start to end, so
that files which exist for a moment are seen as well.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil
import pytest
from cli_driver import Cli, bare_environment, error_lines
from llm_server import LlmServer
from running_stack import RunningStack
from servers import wait_until

from tq.logs import MAX_FILE

KEY = "sk-canary-modes-7c20"


class Watch(threading.Thread):
    """Everything that ever was in a directory: path within it -> the modes it was seen with."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.seen: dict[str, set[int]] = {}
        self._over = threading.Event()

    def run(self) -> None:
        """Look again and again."""
        while not self._over.wait(0.005):
            self._look(self.folder)

    def _look(self, folder: Path) -> None:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    mode = entry.stat(follow_symlinks=False).st_mode
                    self.seen.setdefault(str(Path(entry.path).relative_to(self.folder)), set()).add(mode)
                    if stat.S_ISDIR(mode):
                        self._look(Path(entry.path))
        except FileNotFoundError:  # gone meanwhile
            return

    def open_to_others(self) -> dict[str, set[str]]:
        """What somebody else could ever have looked into, with its modes as ``ls`` shows them."""
        lax = {path: {mode for mode in modes if mode & 0o077} for path, modes in self.seen.items()}
        return {path: {stat.filemode(mode) for mode in modes} for path, modes in lax.items() if modes}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._look(self.folder)


@contextmanager
def no_umask() -> Iterator[None]:
    """What is started here inherits a umask of 0."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def test_a_whole_run(provider: LlmServer, tmp_path: Path) -> None:
    """Data, logs and rotated logs, key, locks, stack file and socket of a busy stack are 0600 and 0700 all the time."""
    logs = tmp_path / "data" / "logs"
    for folder in (logs.parent, logs):
        folder.mkdir(mode=0o700)
    (logs / "worker.log").touch(mode=0o600)
    (logs / "worker.log").write_bytes(b"x" * MAX_FILE)
    settings = {"OPENAI_BASE_URL": provider.base_url, "TQ_RETRY_BASE": "0.01", "TQ_LEASE": "2"}
    stack = RunningStack(tmp_path, **settings)
    (tmp_path / "tmp").chmod(0o700)
    with Watch(tmp_path) as watch, no_umask(), stack:
        submit(stack)
        with stack.redis() as client:
            client.bgrewriteaof()
            wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "the AOF is rewritten")
        stack.service("worker").kill()
        wait_until(lambda: stack.restarts()["worker"] == 1, "the worker is started again")
        submit(stack)
        assert not written_outside(stack)
        assert stack.stop() == 0
    assert watch.open_to_others() == {}
    assert [path for path in watch.seen if not path.startswith(("data", "tmp"))] == []
    assert temporary_files(watch) == []
    seen = {Path(path).name for path in watch.seen}
    assert seen >= {"secret.key", "stack.json", "stack.lock", "valkey.sock", "worker.log", "worker.log.1", "stack.log"}
    assert {name for name in seen if name.startswith(("appendonly.aof.2", "temp-rewriteaof"))}


def temporary_files(watch: Watch) -> list[str]:
    """What was ever written where temporary files go."""
    # Python's tempfile looks for a folder that it may write to with an empty file, which it deletes at once.
    probe = re.compile(r"tmp/[a-z0-9_]{8}")
    return [path for path in watch.seen if path.startswith("tmp/") and not probe.fullmatch(path)]


#: Where libuuid keeps its clock, if its package is installed.
LIBUUID = Path("/var/lib/libuuid")


def submit(stack: RunningStack) -> None:
    """Messages with a key of their own that succeed, fail and are tried again; wait for the end of all."""
    with stack.http() as http:
        for fault in ("", "@@fault:500x1@@", "@@fault:401@@"):
            assert http.post("/messages", json={"content": f"Hello {fault}", "api_key": KEY}).status_code == 202
        ended = ("completed", "failed", "cancelled")
        wait_until(
            lambda: all(each["status"] in ended for each in http.get("/messages").json()["messages"]), "all have ended"
        )


def written_outside(stack: RunningStack) -> list[str]:
    """The files outside the data dir that a process of the stack has open for writing (Linux tells, macOS does not)."""
    found = []
    for process in stack.processes().values():
        for each in process.open_files():
            # Where libuuid has a state of its own, a UUID made of the time leaves its file open.
            inside = Path(each.path).is_relative_to(stack.data) or Path(each.path).parent == LIBUUID
            if psutil.LINUX and each.mode != "r" and not inside:
                found.append(f"{process.name()}: {each.path}")
    return found


def test_in_the_background(tmp_path: Path) -> None:
    """`tq up -d`, the commands beside it and `tq down` leave nothing open, and nothing outside the data dir."""
    data, temporary = tmp_path / "state" / "tq" / "data", tmp_path / "tmp"
    temporary.mkdir(mode=0o700)
    tq = Cli(bare_environment(tmp_path) | {"TQ_DATA_DIR": str(data), "TMPDIR": str(temporary)}, tmp_path)
    with Watch(tmp_path) as watch, no_umask():
        try:
            started = tq("up", "-d", "--port", "auto")
            assert started.returncode == 0, started.stderr
            assert tq("submit", "Hello", "--to", "fr", "--ask-key", stdin=f"{KEY}\n").returncode == 0
            for line in (["ps"], ["doctor"], ["logs"]):
                tq(*line)
        finally:
            assert tq("down").returncode == 0
    assert watch.open_to_others() == {}
    assert {Path(path).parts[0] for path in watch.seen} == {"state", "tmp"}
    assert temporary_files(watch) == []
    assert str((data / "secret.key").relative_to(tmp_path)) in watch.seen


@pytest.mark.parametrize("command", [["up", "--port", "auto"], ["up", "-d", "--port", "auto"], ["flower"]])
def test_a_directory_of_other_things(tmp_path: Path, command: list[str]) -> None:
    """A data dir that is open and holds other files is refused in three lines, and left alone."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    (home / "thesis.txt").write_text("…")
    tq = Cli(bare_environment(tmp_path) | {"TQ_DATA_DIR": str(home)}, tmp_path)
    done = tq(*command)
    assert (done.returncode, done.stdout) == (1, "")
    assert error_lines(done.stderr) == ["error", "why", "fix"]
    assert "holds files that are not tq's" in done.stderr
    assert stat.S_IMODE(home.stat().st_mode) == 0o755
    assert [path.name for path in home.iterdir()] == ["thesis.txt"]
