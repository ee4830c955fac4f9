"""What takes several steps, one by one: generators that yield what is to be done, and what they have found. No I/O.

``Backend`` takes the steps by blocking and ``AsyncClient`` by awaiting. What a step raises is thrown in where it was
yielded. A step that has ``within`` may take so many seconds, None: as many as usual.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tq.errors import PASSING, ChangesMissed, TooManyStreams
from tq.messages import Message
from tq.patience import ROUND, Breaks, Deadline, Ears, Gathering, Watching

#: Seconds between two looks at all messages where no stream of changes is to be had, at most.
_LONGEST_REST: Final = 2.0

T = TypeVar("T")
Plan = Generator[object, Any, T]


@dataclass(frozen=True, slots=True)
class Pause:
    """Sleep so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Get:
    """Look at one message; answers it."""

    message_id: str
    within: float | None


@dataclass(frozen=True, slots=True)
class Look:
    """Look at up to ``patience.LOOK`` messages; answers a list: each message, or why there is none."""

    ids: Sequence[str]
    within: float | None


@dataclass(frozen=True, slots=True)
class Listen:
    """Open the stream of changes; answers what hears them, once it has begun."""

    within: float | None


@dataclass(frozen=True, slots=True)
class Hear:
    """Answers the changes that such a one has heard, within ``patience.ROUND`` seconds when there are none."""

    ear: Any
    within: float | None


@dataclass(frozen=True, slots=True)
class Give:
    """Hand on what was found."""

    items: Iterable[Any]


def giving(plan: Plan[T]) -> Plan[None]:
    """A plan that hands on what another one returns."""
    result = yield from plan
    yield Give([result])


def watch(message_id: str, deadline: Deadline, pauses: tuple[float, float], breaks: Breaks) -> Plan[None]:
    """Give a message, and again whenever its status or attempt is another one, until it has ended."""
    watching = Watching(message_id, deadline, pauses)
    while True:
        try:
            message: Message = yield Get(message_id, deadline.bound)
        except PASSING as error:
            watching.require_time(error)
            yield Pause(deadline.within(breaks.pause(error)))
            continue
        breaks.over()
        if watching.is_news(message):
            yield Give([message])
        if message.ended:
            return
        yield Pause(watching.pause())


def gather(waiting: Gathering, breaks: Breaks) -> Plan[None]:
    """Give the id and the message of each that has ended, as they do, or the error of those that do not exist."""
    deadline, ears, rest = waiting.deadline, Ears(), ROUND
    ear = None
    while waiting:
        try:
            if ear is None and ears.open:
                # Opened before the first look: what changes in between is seen twice rather than never.
                ear = yield Listen(deadline.bound)
                waiting.miss()
            if due := waiting.due():
                yield Give(waiting.found(due, (yield Look(due, deadline.bound))))
            if ear is not None and waiting:
                waiting.hear((yield Hear(ear, deadline.bound)))
            elif waiting and not (due and waiting.is_due):
                yield Pause(deadline.within(rest))
                rest = min(rest * 1.5, _LONGEST_REST)
                waiting.miss()
            breaks.over()
        except ChangesMissed:
            waiting.miss()
        except TooManyStreams as full:
            ear = None
            ears.refused(full)
            waiting.miss()
            yield Pause(deadline.within(rest))
        except PASSING as error:
            waiting.miss()
            waiting.require_time(error)
            yield Pause(deadline.within(breaks.pause(error)))
        if waiting:
            waiting.require_time()
