"""Where a stream of changes stands: what is asked for next, and what its bytes mean (server-sent events). No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tq import wire
from tq.errors import ChangesMissed
from tq.messages import Change, Status
from tq.statuses import StatusName
from tq.wire import Request

#: Bytes of one line; a change has a few hundred.
_MOST_BYTES: Final = 2**20
#: The event that stands for changes which the API does not have any more.
_GAP: Final = b"gap"

#: What a stream tells: changes in order, or that some are missing there.
News = list[Change] | ChangesMissed


class EventStream:
    """One stream of changes, over as many connections as it takes.

    Args:
        after: a cursor; from now on when None, or from its beginning when it is one message's.
        message_id: the message; all when None.
        wanted: which of all changes; see ``wire.wanted``.

    Attributes:
        cursor: what has been seen; a new connection goes on from here.
        over: whether there will be no more: the message has ended.
    """

    def __init__(
        self, after: str | None = None, message_id: str | None = None, wanted: Mapping[str, Any] | None = None
    ) -> None:
        self.cursor = after
        self.over = False
        self._message_id = message_id
        self._wanted = wanted or {}
        self._rest = self._name = self._data = self._id = b""

    def request(self) -> Request[None]:
        """What to ask for on a new connection."""
        self._rest = self._name = self._data = self._id = b""
        return wire.stream(self.cursor, self._message_id, self._wanted)

    def feed(self, data: bytes) -> list[News]:
        """What is complete with these bytes: at least a list of changes, which may be empty.

        Raises:
            ValueError: this is no stream of tq's.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MOST_BYTES:
            raise ValueError("a line without an end")
        changes: list[Change] = []
        news: list[News] = [changes]
        for line in lines:
            found = self._line(line.rstrip(b"\r"))
            if isinstance(found, Change):
                changes.append(found)
            elif found is not None:
                changes = []
                news += [found, changes]
        return news

    def _line(self, line: bytes) -> Change | ChangesMissed | None:
        name, _, value = line.partition(b":")
        if name == b"id":
            self._id = value.strip()
        elif name == b"event":
            self._name = value.strip()
        elif name == b"data":
            self._data = value
        elif not line:  # the end of an event, which may be an id alone
            name, data = self._name, self._data
            self._name = self._data = b""
            self.cursor = self._id.decode() or self.cursor
            if name == _GAP:
                return _missed(self.cursor or "")
            return Change.model_validate_json(data) if data else None
        return None


def chosen(
    after: str | None, message_id: str | None, status: Status | StatusName | None, to: str | None, priority: int | None
) -> EventStream:
    """The stream that ``Client.events`` is to read.

    Raises:
        InvalidMessage: there is no such status.
        TypeError: one message's, and a filter.
    """
    wanted = wire.wanted(status, to, priority)
    if message_id is not None and wanted:
        raise TypeError("the changes of one message cannot be filtered: pass message_id alone")
    return EventStream(after, message_id, wanted)


def _missed(cursor: str) -> ChangesMissed:
    return ChangesMissed(
        "changes were missed",
        why="the API does not have them any more: the stream was left for too long, or too much happened",
        fix="look at the messages again, and go on with events(after=error.cursor)",
        cursor=cursor,
    )
