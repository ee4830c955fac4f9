"""Text in columns: as wide as terminals draw it, and cut where it does not fit."""

from __future__ import annotations

import io
import re
import sys

import pytest

from tq import streams
from tq.layout import columns, cut, cut_middle, fitted_columns, pad, width, wrap
from tq.streams import is_utf8, shown


@pytest.mark.parametrize(
    ("text", "wide"),
    [("", 0), ("abc", 3), ("en→fr", 5), ("日本語", 6), ("été", 3), ("e\u0301", 1), ("한국", 4), ("a\u200db", 2)],
)
def test_width(text: str, wide: int) -> None:
    """East Asian letters take two columns, marks on another letter none."""
    assert width(text) == wide
    assert width(pad(text, 8)) == width(pad(text, 8, right=True)) == 8


@pytest.mark.parametrize("columns_", range(12))
@pytest.mark.parametrize("text", ["abcdefghij", "日本語日本語", "a日b本c語"])
def test_cutting(text: str, columns_: int) -> None:
    """It is never wider than it may be; what is missing shows as dots, at the end or in the middle."""
    for cutting in (cut, cut_middle):
        short = cutting(text, columns_)
        assert width(short) <= columns_
        assert short == text or not columns_ or "…" in short
    if 7 <= columns_ < width(text):
        assert cut_middle(text, columns_)[0] == text[0]
        assert cut_middle(text, columns_)[-1] == text[-1]


@pytest.mark.parametrize("room", range(8, 40))
@pytest.mark.parametrize(
    "text", ["one two  three four", "  indented: words follow", "日本語日本語日本語日本語", "", "\x1b[36mb\x1b[0m c"]
)
def test_wrapping(text: str, room: int) -> None:
    """Lines are broken between words, are as wide as may be, and hold all that was there."""
    lines = wrap(text, room, 3).split("\n")
    assert all(width(re.sub("\x1b\\[\\d*m", "", line)) <= max(room, 3 + len("indented:")) for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(line.startswith("   ") for line in lines[1:])
    if text.isascii():
        assert " ".join(" ".join(lines).split()) == " ".join(text.split())


def test_an_address_stays_whole() -> None:
    """People copy it."""
    address = "https://example.org/a/long/path"
    assert wrap(f"see {address} there", 12, 2) == f"see\n  {address}\n  there"


@pytest.mark.parametrize("room", range(17, 60))
def test_columns_that_fit(room: int) -> None:
    """What matters least is left out, a cell may lose its middle, and no line is too wide."""
    table = [("HOST", "KEY", "NOW", "429"), ("a-very-long-host.example.org", "1f0c", "open", "3")]
    lines = fitted_columns(table, room, least=("KEY", "NOW"), cuttable=("HOST",))
    assert all(width(line) <= room for line in lines)
    heading = lines[0].split()
    assert heading == [name for name in ("HOST", "KEY", "NOW", "429") if name in heading]
    assert heading[-1] == "429"
    assert ("KEY" in heading) <= ("NOW" in heading)
    if room >= 46:
        assert lines == columns(table)


def test_columns() -> None:
    """Each is as wide as its widest cell; lines do not end in blanks."""
    assert columns([("a", "日本", ""), ("bcd", "e", "f")]) == ["a    日本", "bcd  e     f"]


def test_a_stream_without_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it lacks has a plain form, which is what is measured, so that columns stay columns."""
    latin = io.TextIOWrapper(io.BytesIO(), "latin-1", errors=streams.PLAINLY)
    monkeypatch.setattr(sys, "stdout", latin)
    assert not is_utf8(latin)
    assert shown("en→fr ✔ ✘ ↻ · – … ⠹ été 日") == "en->fr + x ~ · - ... - été \\u65e5"
    assert columns([("en→fr", "x"), ("en-fr", "y")]) == ["en->fr  x", "en-fr   y"]
    assert cut("abcdefgh", 6) == "abc..."
    latin.write("→ …")
    latin.flush()
    assert latin.buffer.getvalue() == b"-> ..."


@pytest.mark.parametrize(("encoding", "known"), [("utf-8", True), ("UTF8", True), ("ascii", False), ("cp1252", False)])
def test_which_streams_have_all_characters(encoding: str, known: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    """Names of encodings are spelt in many ways."""
    assert is_utf8(io.TextIOWrapper(io.BytesIO(), encoding)) is known
