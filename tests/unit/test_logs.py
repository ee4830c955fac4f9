"""Log lines: cutting, formatting, bounded files, and showing them on streams that are slow or gone."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tq.logs import Console, Line, LineSplitter, LogFile, format_line, read_logs, stored_line

NOON = datetime(2026, 1, 2, 12, 0, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param([b"a\nb\n"], ["a", "b"], id="lines"),
        pytest.param([b"a\nb"], ["a", "b"], id="last-line-without-break"),
        pytest.param([b"a\r\n\r\n"], ["a", ""], id="crlf"),
        pytest.param([b"gr\xc3", b"\xbc\xc3\x9fe\n"], ["grüße"], id="character-cut-in-two"),
        pytest.param([b"a\xffb\n"], ["a\ufffdb"], id="not-utf8"),
        pytest.param([b"end \xc3"], ["end \ufffd"], id="cut-off-character"),
        pytest.param([b"\x1b[31mred\x07\tx\n"], ["\ufffd[31mred\ufffd\tx"], id="control-characters"),
        pytest.param([b""], [], id="nothing"),
    ],
)
def test_splitter(chunks: list[bytes], expected: list[str]) -> None:
    """Bytes become lines: nothing is lost, and nothing can steer the terminal."""
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    assert lines + splitter.feed(b"", end=True) == expected


def test_splitter_is_bounded() -> None:
    """A line that never ends is cut, with all of its characters kept."""
    splitter = LineSplitter()
    lines = [line for _ in range(40) for line in splitter.feed(b"x" * 1000)]
    assert len(lines) == 2
    assert "".join(lines + splitter.feed(b"", end=True)) == "x" * 40_000


def test_format_line() -> None:
    """Names share one width, and only a service with a colour gets one."""
    line = Line(NOON, "api", "text")
    clock = f"{NOON.astimezone():%H:%M:%S}"
    assert format_line(line) == f"{clock} api    │ text"
    assert format_line(line, {"api": "36"}) == f"\x1b[36m{clock} api    │\x1b[0m text"
    assert format_line(line, {"worker": "32"}) == format_line(line)


def test_log_file_rotates_and_is_read_in_order(tmp_path: Path) -> None:
    """A log keeps one older file, both are private and bounded, and reading begins with the older one."""
    path = tmp_path / "api.log"
    log = LogFile(path, max_bytes=2000)
    for number in range(100):
        log.write([Line(NOON + timedelta(seconds=number), "api", f"line {number} ")])
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["api.log", "api.log.1"]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert all(file.stat().st_size < 2100 for file in files)
    lines = list(read_logs({"api": path}))
    numbers = [int(line.text.split()[1]) for line in lines]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) > 40
    assert lines[-1] == Line(NOON + timedelta(seconds=99), "api", "line 99 ")


def test_logs_are_merged_by_time(tmp_path: Path) -> None:
    """Lines of several services come in the order of time; a line without time stays with its neighbour."""
    for name, seconds in (("api", (0, 2)), ("worker", (1, 3))):
        log = LogFile(tmp_path / f"{name}.log")
        log.write([Line(NOON + timedelta(seconds=each), name, f"{name} {each}") for each in seconds])
        log.close()
    with (tmp_path / "api.log").open("a") as file:
        file.write("Traceback (most recent call last):\n")
    names = ("api", "worker", "missing")
    lines = list(read_logs({name: tmp_path / f"{name}.log" for name in names}))
    assert [line.text for line in lines] == [
        "api 0",
        "worker 1",
        "api 2",
        "Traceback (most recent call last):",
        "worker 3",
    ]


def test_following_sees_new_lines_also_across_a_rotation(tmp_path: Path) -> None:
    """Following yields what is written after it began, whichever file it is in, and ends when told to."""
    path = tmp_path / "api.log"
    log = LogFile(path, max_bytes=1000)
    log.write([Line(NOON, "api", "old")])
    rounds = iter(range(6))

    def write_more() -> bool:
        number = next(rounds)
        log.write([Line(NOON + timedelta(seconds=number + 1), "api", f"{number} {'x' * 400}")])
        return number < 5

    texts = [line.text.split()[0] for line in read_logs({"api": path}, follow=write_more)]
    log.close()
    assert texts == ["old", "0", "1", "2", "3", "4", "5"]


def test_lines_that_are_objects() -> None:
    """A log that was written as JSON is shown as it is, whoever reads it; all other lines have their prefix."""
    text = '{"time":"2026-01-02T12:00:00Z","message":"hello"}'
    assert stored_line(Line(NOON, "api", text)) == text
    for other in ("hello", "{not JSON}", '["a list"]'):
        assert stored_line(Line(NOON, "api", other)) == format_line(Line(NOON, "api", other))


def test_full_disk_does_not_raise(tmp_path: Path) -> None:
    """A log that cannot be written drops lines instead of stopping the stack."""
    log = LogFile(tmp_path / "api.log")
    os.close(log._fd)
    log._fd = os.open("/dev/full", os.O_WRONLY) if Path("/dev/full").exists() else os.open(os.devnull, os.O_RDONLY)
    log.write([Line(NOON, "api", "text")])
    log.close()


def test_console_shows_lines_in_order() -> None:
    """Plain text and log lines come out in the order given, without colour on what is no terminal."""
    out = io.StringIO()
    console = Console(out, {"api": "36"})
    console.say("banner")
    console.show([Line(NOON, "api", "one"), Line(NOON, "api", "two")])
    console.close()
    console.say("too late")
    clock = f"{NOON.astimezone():%H:%M:%S}"
    assert out.getvalue() == f"banner\n{clock} api    │ one\n{clock} api    │ two\n"


@pytest.mark.parametrize(
    ("environment", "colored"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_console_colours(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *, colored: bool) -> None:
    """A terminal gets colours, unless NO_COLOR or a dumb terminal forbid them."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out = Terminal()
    console = Console(out, {"api": "36"})
    console.show([Line(NOON, "api", "one")])
    console.close()
    assert ("\x1b[36m" in out.getvalue()) is colored


def test_console_without_unicode() -> None:
    """A stream that cannot encode a character gets a question mark instead of an error."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    console = Console(out)
    console.say("✔ api")
    console.close()
    assert raw.getvalue() == b"? api\n"


def test_console_of_a_stopped_terminal() -> None:
    """A stream that takes nothing holds up nobody; what did not fit is counted when it goes on."""
    goes_on = threading.Event()

    class Stopped(io.StringIO):
        def write(self, text: str) -> int:
            assert goes_on.wait(30)
            return super().write(text)

    out = Stopped()
    console = Console(out)
    for number in range(10_100):
        console.say(str(number))
    goes_on.set()
    console.close(30)
    lines = out.getvalue().splitlines()
    dropped = 10_100 - (len(lines) - 1)
    assert 0 < dropped <= 100
    assert lines[-1] == f"… {dropped} lines were too fast for this terminal; `tq logs` has them"


def test_console_without_reader() -> None:
    """A pipe whose reader has gone is given up quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    out = os.fdopen(writer, "w")
    console = Console(out)
    for _ in range(3):
        console.say("x" * 100_000)
    console.close()
    assert not console._thread.is_alive()
    with contextlib.suppress(BrokenPipeError):
        out.close()
