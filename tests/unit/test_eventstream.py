"""What the bytes of a stream of changes mean, however they are cut."""

from __future__ import annotations

import pytest
from gateway import event, gap

from tq.errors import ChangesMissed
from tq.eventstream import EventStream, News


def told(news: list[News]) -> list[str]:
    """Cursors of changes, and where some are missing."""
    found: list[str] = []
    for each in news:
        found += [f"missed, go on at {each.cursor}"] if isinstance(each, ChangesMissed) else [c.cursor for c in each]
    return found


def test_changes_and_gaps_in_order() -> None:
    """A gap stands between the changes before and after it, and says where the stream goes on."""
    stream = EventStream("1-0")
    news = stream.feed(event("2-0") + event("3-0") + gap("3-0", "9-0") + event("10-0"))
    assert told(news) == ["2-0", "3-0", "missed, go on at 9-0", "10-0"]
    assert stream.cursor == "10-0"


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_bytes_in_any_pieces(size: int) -> None:
    """Where the network cuts them makes no difference, nor does the kind of line end."""
    data = b"id: 1-0\nretry: 2000\n\n" + event("2-0").replace(b"\n", b"\r\n") + gap("2-0", "5-0") + event("6-0")
    stream = EventStream()
    found = [each for start in range(0, len(data), size) for each in told(stream.feed(data[start : start + size]))]
    assert found == ["2-0", "missed, go on at 5-0", "6-0"]


def test_signs_of_life() -> None:
    """A comment says nothing, with an id it moves the cursor; what comes after it is not another thing for that."""
    stream = EventStream()
    signs = [b": ping\n\n", b"id: 4-0\n: ping\n\n", b": ping\nid: 5-0\n\n", b": ping\n\n", b"id: 5-1\n\n"]
    cursors = [(stream.feed(sign), stream.cursor)[1] for sign in signs]
    assert cursors == [None, "4-0", "5-0", "5-0", "5-1"]
    assert told(stream.feed(b"".join(signs))) == []
    assert told(stream.feed(event("6-0") + b"id: 7-0\n\n")) == ["6-0"]
    assert stream.cursor == "7-0"


def test_a_new_connection_begins_anew() -> None:
    """Half an event of a connection that broke is forgotten, its name too; the cursor is asked for."""
    stream = EventStream("1-0")
    stream.feed(b'id: 8-0\nevent: gap\ndata: {"after"')
    assert stream.request().headers["Last-Event-ID"] == "1-0"
    assert told(stream.feed(event("2-0"))) == ["2-0"]


def test_what_is_no_stream() -> None:
    """Other data, and a line without an end, are refused."""
    with pytest.raises(ValueError, match="validation error"):
        EventStream().feed(b"data: hello\n\n")
    with pytest.raises(ValueError, match="without an end"):
        EventStream().feed(b"x" * (2**20 + 1))
