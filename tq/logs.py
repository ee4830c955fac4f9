"""Log lines of services: cut from bytes, kept in bounded files, shown with a prefix, read back in order."""

from __future__ import annotations

import codecs
import contextlib
import heapq
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, NamedTuple, TextIO

from tq import jsonlog

#: Bytes after which a log file becomes ``<name>.log.1``; one such file is kept.
MAX_FILE: Final = 5 * 2**20
#: Characters after which a line that does not end is cut.
_MAX_LINE: Final = 16 * 1024
#: Lines that wait for a slow terminal; further ones are only in the files.
_MAX_WAITING: Final = 10_000
_NAME_WIDTH: Final = 6
_RESET: Final = "\x1b[0m"
#: A log line must not move the cursor or recolour the terminal.
_CONTROLS: Final = {code: "�" for code in (*range(0x20), 0x7F) if chr(code) != "\t"}


class Line(NamedTuple):
    """One line: when it was read (aware), the service that wrote it, and the text without line break."""

    when: datetime
    service: str
    text: str


def format_line(line: Line, colors: Mapping[str, str] | None = None) -> str:
    """``12:00:03 worker │ text`` in local time; the prefix in the service's SGR colour, if it has one."""
    prefix = f"{line.when.astimezone():%H:%M:%S} {line.service:<{_NAME_WIDTH}} │"
    color = (colors or {}).get(line.service)
    return f"\x1b[{color}m{prefix}{_RESET} {line.text}" if color else f"{prefix} {line.text}"


def stored_line(line: Line, colors: Mapping[str, str] | None = None) -> str:
    """A line of a log, whatever format it was written in: an object as it is, all else as ``format_line`` has it."""
    return line.text if jsonlog.is_object(line.text) else format_line(line, colors)


def json_line(line: Line) -> str:
    """The object that a service wrote, unchanged; what is none becomes one."""
    return jsonlog.passed_on(line.when, line.service, line.text)


class LineSplitter:
    """Cuts a stream of bytes into lines; what is not UTF-8, and control characters, become U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, data: bytes, *, end: bool = False) -> list[str]:
        """The lines that are complete with ``data``; with ``end`` also a last one without line break."""
        *lines, self._rest = (self._rest + self._decoder.decode(data, final=end)).split("\n")
        while len(self._rest) >= _MAX_LINE:
            lines.append(self._rest[:_MAX_LINE])
            self._rest = self._rest[_MAX_LINE:]
        if end and self._rest:
            lines.append(self._rest)
            self._rest = ""
        return [line.removesuffix("\r").translate(_CONTROLS) for line in lines]


class LogFile:
    """A service's log: ``<ISO time> <text>`` a line, 0600, at most two files of ``max_bytes``.

    A disk that is full or gone must not stop the service: what cannot be written is dropped.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_FILE) -> None:
        self._path = path
        self._max = max_bytes
        self._fd = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, lines: Sequence[Line]) -> None:
        """Append the lines."""
        stamped = (f"{line.when.astimezone(UTC).isoformat(timespec='milliseconds')} {line.text}\n" for line in lines)
        with contextlib.suppress(OSError):
            os.write(self._fd, "".join(stamped).encode())
            if os.fstat(self._fd).st_size > self._max:
                self._path.replace(_older(self._path))
                fresh = self._open()
                os.close(self._fd)
                self._fd = fresh

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Console:
    """Shows lines on a stream, from a thread of its own.

    A terminal that is stopped (Ctrl-S), or a pipe that nobody reads, must hold up neither the
    services nor the one who supervises them: beyond ``_MAX_WAITING`` waiting lines, the rest is counted.
    """

    def __init__(self, out: TextIO, colors: Mapping[str, str] | None = None, *, as_json: bool = False) -> None:
        self._out = out
        self._as_json = as_json
        self._colors = colors if _wants_color(out) else None
        self._queue: queue.Queue[str | None] = queue.Queue(_MAX_WAITING)
        self._dropped = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """Show a line of our own; nothing once closed."""
        self._put(self._own(text, "info"))

    def _own(self, text: str, level: str) -> str:
        if not self._as_json:
            return text
        return jsonlog.line(datetime.now(UTC), level, "stack", "stack", text.strip())

    def _put(self, text: str) -> None:
        if self._closed:
            return
        try:
            self._queue.put_nowait(text)
        except queue.Full:
            self._dropped += 1

    def show(self, lines: Sequence[Line]) -> None:
        """Show log lines."""
        for line in lines:
            self._put(json_line(line) if self._as_json else format_line(line, self._colors))

    def close(self, timeout: float = 2.0) -> None:
        """Show what waits, for ``timeout`` seconds at most, and nothing after it."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout)
        self._thread.join(timeout)

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the pipe's reader is gone, or the stream closed
            while (text := self._queue.get()) is not None:
                self._write(text)
                if self._queue.empty():
                    self._flush()
            self._flush()
            return
        while self._queue.get() is not None:
            pass

    def _flush(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            text = f"… {dropped} lines were too fast for this terminal; `tq logs` has them"
            self._write(self._own(text, "warning"))
        self._out.flush()

    def _write(self, text: str) -> None:
        try:
            self._out.write(text + "\n")
        except UnicodeEncodeError:
            encoding = self._out.encoding or "ascii"
            self._out.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def _wants_color(out: TextIO) -> bool:
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def read_logs(paths: Mapping[str, Path], *, follow: Callable[[], bool] | None = None) -> Iterator[Line]:
    """The lines of several logs, oldest first.

    Args:
        paths: the log file of each service; a missing one is an empty one.
        follow: go on with new lines, for as long as this returns True.
    """
    tails = [_Tail(service, path) for service, path in paths.items()]
    try:
        yield from heapq.merge(*(tail.history() for tail in tails), key=_time)
        while follow is not None:
            goes_on = follow()
            fresh = sorted((line for tail in tails for line in tail.read()), key=_time)
            yield from fresh
            if not goes_on:
                return
            if not fresh:
                time.sleep(0.2)
    finally:
        for tail in tails:
            tail.close()


class _Tail:
    """Reads one log on, also across its rotation."""

    def __init__(self, service: str, path: Path) -> None:
        self._service = service
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        self._last = datetime.fromtimestamp(0, UTC)

    def history(self) -> Iterator[Line]:
        """What is there now, the rotated file first."""
        with contextlib.suppress(FileNotFoundError), _older(self._path).open("rb") as older:
            yield from self._lines(older)
        yield from self.read()

    def read(self) -> Iterator[Line]:
        """What came since the last call."""
        rotated = self._file is None or self._rotated(self._file)  # asked first: then the old one is complete
        if self._file is not None:
            yield from self._lines(self._file)
        if rotated:
            self.close()
            with contextlib.suppress(FileNotFoundError):
                self._file = self._path.open("rb")
                yield from self._lines(self._file)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _rotated(self, file: IO[bytes]) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._path.stat().st_ino != os.fstat(file.fileno()).st_ino
        return True

    def _lines(self, file: IO[bytes]) -> Iterator[Line]:
        for raw in file:
            self._rest += raw
            if self._rest.endswith(b"\n"):
                line = self._parse(self._rest.decode("utf-8", "replace")[:-1])
                self._rest = b""
                yield line

    def _parse(self, raw: str) -> Line:
        stamp, _, text = raw.partition(" ")
        with contextlib.suppress(ValueError):
            when = datetime.fromisoformat(stamp)
            if when.tzinfo is not None:
                self._last = when
                return Line(when, self._service, text)
        # Not from LogFile.write (a traceback of the detached supervisor): as old as its neighbour.
        return Line(self._last, self._service, raw)


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _time(line: Line) -> datetime:
    return line.when
