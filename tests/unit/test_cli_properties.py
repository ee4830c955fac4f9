"""The command line, whatever it is given: no traceback, an exit code of the contract, an error of three lines.

Commands run in this process, against an API that is not there. Those that would start something get one argument
too many, and those that go on until Ctrl-C are not asked to.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from properties import EXAMPLES
from servers import free_port

from tq.cli import app, main
from tq.fields import check_message_id
from tq.languages import check_language
from tq.settings import get_settings
from tq.terminal import clean

#: DESIGN 1.3.
EXIT_CODES = {0, 1, 2, 3, 4, 5, 124, 130}
COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # it is a group
#: They start what the test would have to stop.
STARTERS = {"up", "api", "worker", "flower"}
#: With these, commands go on until Ctrl-C; a traceback is what --debug is for. Also their short forms.
ENDLESS = {"--follow", "-f", "--watch", "--debug", "--fo", "--wat", "--d"}
#: Loose values that programs have stumbled over, besides those of Hypothesis.
ODD = [
    *("", " ", "-", "--", "-1", "0", "1", "11", "1e3", "nan", "inf", "-inf", "1" * 400, "0x10", "１", "\u0660"),
    *("fr", "pt-BR", "xx", "und", "en_US", "queued", "QUEUED", "auto", "next", "a/b", "../..", "x" * 5000),
    *("\x1b[2J\x07", "\n", "\u202e", "\udcff", "é", "%s%n{0}", "$(id)", "http://", "http://[::1", "http://\x01/"),
    *("ftp://x/", "http://user:pass@127.0.0.1:1/", "/", "/no/such/file", "-h", "--help", "--no-such-option"),
]

#: What a system can hand to a program: no NUL, and undecodable bytes as lone surrogates (PEP 383).
words = st.sampled_from(ODD) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
    max_size=20,
)


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module", autouse=True)
def nothing_there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty data dir and working directory, and a port where nobody listens."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text").write_text("Hello")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TQ_DATA_DIR", str(folder / "data"))
        patch.setenv("TQ_URL", f"http://127.0.0.1:{free_port()}")
        get_settings.cache_clear()
        yield folder
    get_settings.cache_clear()


def run(*args: str, stdin: bytes = b"") -> Outcome:
    """Run a command line in this process, with files for its streams."""
    get_settings.cache_clear()
    before = dict(os.environ)
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(stdin)
        files[0].seek(0)
        streams = [TextIOWrapper(file, "utf-8", write_through=True) for file in files]
        with pytest.MonkeyPatch.context() as patch:
            for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            patch.setattr(sys, "argv", ["tq", *args])
            try:
                code = main()
            finally:
                os.environ.clear()
                os.environ.update(before)
        for file in files:
            file.seek(0)
        out, err = (file.read().decode() for file in files[1:])
    return Outcome(code, out, err)


def check(outcome: Outcome) -> None:
    """What holds for every command line."""
    assert outcome.code in EXIT_CODES
    assert "Traceback" not in outcome.err
    assert clean(outcome.err, keep="\n") == outcome.err, "an argument reached the terminal as it was"
    lines = outcome.err.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    for number in starts:
        more = [line for line in lines[number + 1 : number + 3] if line.startswith(("  why   ", "  fix   "))]
        assert more, f"neither why nor fix: {outcome.err}"
    if outcome.code == 0:
        assert not starts
    assert "is broken" not in outcome.err, "this is what a defect looks like"


#: Values that make sense, so that what is odd comes further than to the first check.
SENSIBLE = {
    **dict.fromkeys(("--to", "--from"), ("fr", "pt-BR")),
    **dict.fromkeys(("--priority", "--limit", "--concurrency", "--grace", "--timeout"), ("0", "1", "10")),
    "--status": ("queued", "failed"),
    "--id": ("a", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    "--url": ("http://127.0.0.1:1", "http://localhost:1/"),
    "--file": ("text",),
}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command, and of its options and arguments any, in any order, with any value or none."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    options = {
        option: parameter.is_flag
        for parameter in COMMANDS[name].params
        for option in parameter.opts
        if option.startswith("-") and option not in ENDLESS
    }
    line = []
    for _ in range(draw(st.integers(0, 5))):
        option = draw(st.sampled_from(sorted(options or {"--help": True})))
        value = draw(st.sampled_from(SENSIBLE.get(option, ("a",))) | words)
        piece = draw(st.sampled_from([[option], [value], [option, value], [f"{option}={value}"]]))
        if len(piece) == 1 or not options.get(option):
            line += piece
    line = [part for part in line if not part.startswith(tuple(ENDLESS))]
    before = draw(st.just([]) | st.tuples(st.sampled_from(["--url", "--version", "-h"]), words).map(list))
    # An option in front of them takes one of them for its value at most.
    surplus = ["surplus", "surplus"] if name in STARTERS else []
    return [*before, name, *line, *surplus]


@given(command_lines(), st.binary(max_size=30))
def test_no_command_line_is_too_odd(line: list[str], stdin: bytes) -> None:
    """Real options in any order with odd values end in an exit code of the contract, and in no traceback."""
    check(run(*line, stdin=stdin))


@given(st.lists(words, max_size=5))
def test_nor_is_nonsense(line: list[str]) -> None:
    """Arguments that are no command at all are refused, or show the help."""
    outcome = run(*line)
    check(outcome)
    if line and line[0] not in {*COMMANDS, "-h", "--help"} and outcome.code == 0:
        assert outcome.out


def submit(*args: str) -> int:
    """The exit code of a submission: 2 = refused, 5 = it would have been sent."""
    outcome = run("submit", "Hello", *args)
    check(outcome)
    assert outcome.out == ""
    return outcome.code


#: Each opens a client of HTTP, which takes a while.
fewer = settings(max_examples=EXAMPLES // 3)
numbers = st.integers(-(10**30), 10**30) | st.integers(-3, 13)


@fewer
@given(numbers)
def test_a_priority_is_0_to_10(priority: int) -> None:
    """Any other number is refused before anything is sent."""
    assert submit(f"--priority={priority}") == (5 if 0 <= priority <= 10 else 2)


@fewer
@given(st.floats() | st.floats(-2, 2))
@example(math.nan)
@example(-0.0)
def test_a_timeout_is_not_negative(timeout: float) -> None:
    """Nor is it no number."""
    assert submit(f"--timeout={timeout!r}") == (5 if timeout >= 0 else 2)


@fewer
@given(numbers | st.integers(99_990, 100_010))
def test_a_limit_has_bounds(limit: int) -> None:
    """Of how many messages a list may have."""
    assert run("list", f"--limit={limit}").code == (5 if 1 <= limit <= 100_000 else 2)


@pytest.mark.parametrize("option", ["--to", "--from"])
@fewer
@given(tag=words | st.from_regex(r"[A-Za-z]{1,3}(-[A-Za-z0-9]{1,8}){0,2}", fullmatch=True))
def test_a_language_is_a_known_tag(option: str, tag: str) -> None:
    """What the rule for languages refuses, the command line refuses."""
    assert submit(f"{option}={tag}") == (5 if accepted(check_language, tag) else 2)


@fewer
@given(
    words | st.from_regex(r"[A-Za-z0-9._~:@+=-]{1,130}", fullmatch=True),
    st.sampled_from(["status", "cancel", "retry"]),
)
def test_an_id_is_safe(message_id: str, command: str) -> None:
    """What is no id is refused on submit, and not found elsewhere, before anything is sent."""
    valid = accepted(check_message_id, message_id)
    assert submit(f"--id={message_id}") == (5 if valid else 2)
    outcome = run(command, "--", message_id)
    check(outcome)
    assert outcome.code == (5 if valid else 3)


def accepted(rule: Any, value: str) -> bool:
    """Whether a rule takes a value."""
    try:
        rule(value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "line",
    [
        *(("api", f"--port={port}") for port in ("0", "-1", "65536", "1.5", "http")),
        *(("up", f"--port={port}") for port in ("0", "-1", "65536", "1.5", "http", "")),
        *((command, f"--concurrency={number}") for command in ("up", "worker") for number in ("0", "-1", "10001", "x")),
        *((command, f"--grace={seconds}") for command in ("up", "down") for seconds in ("-1", "nan", "soon")),
        ("worker", "--queues=celery"),
        ("worker", "--queues="),
        ("worker", "--pool=gevent"),
        ("worker", "--loglevel=loud"),
    ],
    ids=" ".join,
)
def test_nothing_starts_beyond_its_bounds(line: tuple[str, ...]) -> None:
    """Numbers and names that cannot be are refused with 2, and not replaced by others."""
    outcome = run(*line)
    check(outcome)
    assert (outcome.code, outcome.out) == (2, "")
