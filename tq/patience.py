"""How long a client waits, and for what: pure bookkeeping, shared by the clients that block and the one that awaits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeGuard

from pydantic import BaseModel

from tq.errors import ConnectionLost, NoAnswer, TooManyStreams, TqError, WaitTimeout
from tq.messages import TERMINAL, Change, Message, Status

#: Messages that are looked at with one request.
LOOK: Final = 200
#: Seconds between two looks at one message over HTTP: the first pause, and the longest.
PAUSES: Final = (0.05, 1.0)
#: Seconds between two looks at what has ended: meanwhile more may.
ROUND: Final = 0.2
#: Seconds for which a wait, or a stream, puts up with an API that cannot be reached.
WAIT_BREAKS: Final = 30.0
#: Seconds that the first requests of who waits have, and the last one at the deadline.
_FIRST: Final = 1.0
#: Seconds that somebody may wait; what is longer has no end.
_LONGEST: Final = 365 * 86_400.0
LAST: Final = 0.25
#: Seconds until a full queue is tried again: the first pause, and the longest.
_FULL: Final = (0.25, 5.0)
#: Seconds until a place among those who listen is asked for again, if the API does not say.
_DEAF: Final = 10.0
#: Seconds until what broke is tried again: the first pause, and the longest.
_BREAKS: Final = (0.1, 2.0)
_LEAST_TRIES: Final = 3


def id_of(message: str | Message) -> str:
    """The id of a message, given as such or whole.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(message, Message):
        return message.message_id
    if not isinstance(message, str):
        raise TypeError(f"a message is given by its id, or as a Message, and not as {type(message).__name__}")
    return message


def require_several(items: object) -> None:
    """Return unless one thing is given where many are wanted, as whose parts it would be taken.

    Raises:
        TypeError: it is.
    """
    if isinstance(items, (str, bytes, BaseModel)):
        raise TypeError(f"several are wanted, and not one {type(items).__name__}: put it into a list")


class Deadline:
    """When somebody's patience ends.

    Args:
        timeout: seconds from now; None, and more than anybody waits: never.
    """

    def __init__(self, timeout: float | None) -> None:
        if timeout is not None and timeout > _LONGEST:
            timeout = None  # or locks, sockets and loops would have to count as far, and cannot
        self.timeout = timeout
        now = time.monotonic()
        self._end = None if timeout is None else now + timeout
        self._least = now + _FIRST

    @property
    def passed(self) -> bool:
        """Whether it has ended."""
        return self._end is not None and time.monotonic() >= self._end

    @property
    def left(self) -> float | None:
        """Seconds until then; None: no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    @property
    def bound(self) -> float | None:
        """Seconds that a request may take which begins now; None: as many as usual.

        However short the timeout is, there is time for a first look, and for one at the deadline.
        """
        return None if self._end is None else max(max(self._end, self._least) - time.monotonic(), LAST)

    def within(self, seconds: float) -> float:
        """That many seconds, or fewer if it ends before."""
        return seconds if self._end is None else max(0.0, min(seconds, self._end - time.monotonic()))

    def missed(self, what: str, *, because: TqError | None = None, fix: str) -> WaitTimeout:
        """What is raised when it has passed: ``what`` says what had not happened by then."""
        # Not what floats are: 1.9999871.
        spoken = f"{self.timeout or 0:.2f}".rstrip("0").rstrip(".")
        return WaitTimeout(f"{what} after {spoken} s", why=because.record()["message"] if because else "", fix=fix)


class Watching:
    """One message that is looked at again and again.

    Args:
        message_id: which.
        deadline: until when.
        pauses: seconds between two looks: the first pause, and the longest.
    """

    def __init__(self, message_id: str, deadline: Deadline, pauses: tuple[float, float]) -> None:
        self._message_id = message_id
        self._deadline = deadline
        self._pause, self._longest = pauses
        self._seen: tuple[Status, int] | None = None

    def is_news(self, message: Message) -> bool:
        """Whether its status or attempt is another one than at the last look."""
        before, self._seen = self._seen, (message.status, message.attempts)
        return self._seen != before

    def pause(self) -> float:
        """Seconds until the next look.

        Raises:
            WaitTimeout: there is no time left.
        """
        self.require_time()
        pause = self._deadline.within(self._pause)
        self._pause = min(self._pause * 1.5, self._longest)
        return pause

    def require_time(self, because: TqError | None = None) -> None:
        """Return while there is time left.

        Raises:
            WaitTimeout: there is none; ``because`` of what the last look raised, if it did.
        """
        if self._deadline.passed:
            stands = f"is still {self._seen[0]}" if self._seen else "has not ended"
            missed = self._deadline.missed(
                f"message {self._message_id} {stands}", because=because, fix="it goes on: ask again with `tq status`"
            )
            missed.message_id = self._message_id
            raise missed


class Gathering:
    """Many messages that are waited for: looked at once, and again when a change says that they have ended.

    Args:
        messages: ids, or messages; one that has ended already counts as seen, and so does an error.
        timeout: seconds; None: for ever.

    Raises:
        TypeError: one of them is something else.

    Attributes:
        ended: those given that had ended already.
        error: the first one, given or found.
    """

    def __init__(self, messages: Iterable[str | Message | TqError], timeout: float | None) -> None:
        self.deadline = Deadline(timeout)
        require_several(messages)
        self.error: TqError | None = None
        given: dict[str, str | Message] = {}
        for message in messages:
            if isinstance(message, TqError):
                self.error = self.error or message
            else:
                given[id_of(message)] = message
        self.ended = [each for each in given.values() if isinstance(each, Message) and each.ended]
        over = {message.message_id for message in self.ended}
        self._open = dict.fromkeys(message_id for message_id in given if message_id not in over)
        self._count = len(given)
        self._due = dict.fromkeys(self._open)
        self._looked = -ROUND

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, message_id: str) -> None:
        """Wait for another one."""
        if message_id not in self._open:
            self._open[message_id] = self._due[message_id] = None
            self._count += 1

    def drop(self, message_id: str) -> None:
        """Wait for one no longer."""
        self._open.pop(message_id, None)
        self._due.pop(message_id, None)

    def hear(self, changes: Iterable[Change]) -> None:
        """Take note of what has happened."""
        for change in changes:
            if change.message_id in self._open and change.status in TERMINAL:
                self._due[change.message_id] = None

    def miss(self) -> None:
        """Changes may have been missed: all are to be looked at again."""
        self._due = dict.fromkeys(self._open)

    @property
    def is_due(self) -> bool:
        """Whether there are further ones to look at."""
        return bool(self._due)

    def due(self) -> list[str]:
        """Ids to look at now: few looks at many, rather than one at each as it ends."""
        if len(self._due) < min(LOOK, len(self._open)) and time.monotonic() - self._looked < ROUND:
            return []
        self._looked = time.monotonic()
        ids = list(self._due)[:LOOK]
        for message_id in ids:
            del self._due[message_id]
        return ids

    def found(
        self, ids: Iterable[str], results: Iterable[Message | TqError]
    ) -> Iterator[tuple[str, Message | TqError]]:
        """Those that have ended, of what a look at these ids has found, and those that do not exist."""
        for message_id, result in zip(ids, results, strict=True):
            if message_id in self._open and (isinstance(result, TqError) or result.ended):
                self.drop(message_id)
                yield message_id, result

    def good(self, result: Message | TqError) -> TypeGuard[Message]:
        """Whether this is a message; the first error is kept."""
        if isinstance(result, TqError):
            self.error = self.error or result
            return False
        return True

    def require_all(self) -> None:
        """Return if no error was among them.

        Raises:
            TqError: the first.
        """
        if self.error is not None:
            raise self.error

    def require_time(self, because: TqError | None = None) -> None:
        """Return while there is time left.

        Raises:
            WaitTimeout: there is none; ``because`` of what the last look raised, if it did.
        """
        if self.deadline.passed:
            raise self.deadline.missed(
                f"{len(self._open)} of {self._count} messages have not ended",
                because=because,
                fix="they go on: wait for them again",
            )


class Progress:
    """For how long a full queue is waited for: some seconds from the last message on that it took.

    Args:
        patience: seconds; 0: it is not.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: float | None = None
        self._pause = _FULL[0]

    def made(self) -> None:
        """It took some."""
        self._since, self._pause = None, _FULL[0]

    def pause(self, asked: float | None) -> float | None:
        """Seconds until the next try, as many as the API asks for, if it does; None: no more tries."""
        now = time.monotonic()
        self._since = self._since or now
        left = self._since + self._patience - now
        if left <= 0:
            return None
        pause, self._pause = self._pause, min(self._pause * 2, _FULL[1])
        return min(asked or pause, left)


class Ears:
    """Whether the API lets us listen to a stream of changes, or hold a request until a message has ended.

    It serves so many at once; who is one too many looks again and again, and asks for a place at times.
    """

    def __init__(self) -> None:
        self._again = 0.0

    @property
    def open(self) -> bool:
        """Whether to ask for it."""
        return time.monotonic() >= self._again

    def refused(self, error: TooManyStreams) -> None:
        """There was no place."""
        self._again = time.monotonic() + (error.retry_after or _DEAF)


class Breaks:
    """How often, and for how long, it is put up with that the API is away, or has no room.

    A break is put up with for ``most`` seconds, once there was something to lose: an address at which nothing ever
    listened is not tried twice.

    Args:
        most: seconds.
        met: whether the API has answered this client by now; asked at each break, as many may begin at once.
    """

    def __init__(self, most: float, *, met: Callable[[], bool]) -> None:
        self._most = most
        self._met = met
        self._listened = False
        self._since: float | None = None
        self._tries = 0
        self._pause = _BREAKS[0]

    def over(self) -> None:
        """The API has answered."""
        self._listened, self._since, self._tries, self._pause = True, None, 0, _BREAKS[0]

    def pause(self, error: TqError) -> float:
        """Seconds until the next try: as many as the API asks for, if it does.

        Raises:
            TqError: the error, which is not put up with any longer.
        """
        # A connection that was taken had somebody there, whatever became of it.
        self._listened |= isinstance(error, ConnectionLost) and not error.refused
        if not (self._listened or self._met()):
            raise error
        now = time.monotonic()
        self._since = self._since or now
        self._tries += 1
        # Where a try takes long, the time may be over with the second that breaks; silence has taken long by itself.
        enough = self._tries >= _LEAST_TRIES or isinstance(error, NoAnswer)
        asked = error.retry_after or 0.0
        if (now - self._since >= self._most and enough) or asked > self._most:
            raise error
        pause, self._pause = self._pause, min(self._pause * 2, _BREAKS[1])
        return max(pause, asked)
