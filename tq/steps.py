"""What takes more than one request, step by step: generators that yield what is to be done. No I/O.

Plans (``tq.plans``) whose steps are requests, for both clients of the API.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from tq import submissions, wire
from tq.errors import PASSING, InvalidMessage, NoAnswer, TooManyStreams, TqError
from tq.failures import Retried
from tq.messages import Message, Submission
from tq.patience import LAST, PAUSES, WAIT_BREAKS, Breaks, Deadline, Ears, Watching, id_of, require_several
from tq.plans import Pause, Plan
from tq.submissions import Batch, Fetch
from tq.wire import MOST_ITEMS, MOST_LOOKED_UP, Request

T = TypeVar("T")

#: Seconds for which a submit, or a look, is tried again while the API is away.
_SHORT_BREAKS: Final = 5.0
#: Seconds of one long poll; proxies often end what is silent for 60.
_LONG_POLL: Final = 25.0
#: Bytes, and JSON values at most, of one batch: far below what the API takes.
_MOST_BYTES: Final = 4 * 2**20
_MOST_VALUES: Final = 100_000


#: A submission: its id, and as JSON.
Encoded = tuple[str | None, bytes]

Steps = Generator[Request[Any] | Pause, Any, T]


def read(request: Request[T], *, met: Callable[[], bool]) -> Steps[T]:
    """What is asked for; a short absence of the API is waited for."""
    return (yield from _ask(request, Breaks(_SHORT_BREAKS, met=met), Deadline(None), silences=False))


def _ask(request: Request[T], breaks: Breaks, deadline: Deadline, *, silences: bool = True) -> Steps[T]:
    """Send it again while the API is away, or has no room: for what is harmless when it arrives twice.

    Args:
        request: what is sent.
        breaks: for how long that is put up with.
        deadline: it is not sent after this.
        silences: whether also when no answer came in time, which has taken long already.
    """
    while True:
        try:
            answer: T = yield request.bounded(deadline.bound)
        except PASSING as error:
            if deadline.passed or (isinstance(error, NoAnswer) and not silences):
                raise
            yield Pause(deadline.within(breaks.pause(error)))
        else:
            breaks.over()
            return answer


# -- submit ----------------------------------------------------------------------------------------


def submit(
    submission: Submission, idempotency_key: str | None, deadline: Deadline, *, met: Callable[[], bool]
) -> Steps[Message]:
    """Submit one message; what makes it safe to repeat is its id, or the key.

    Raises:
        WaitTimeout: it was not accepted before the deadline.
    """
    request = wire.submit(submission, idempotency_key)
    try:
        return (yield from _ask(request, Breaks(_SHORT_BREAKS, met=met), deadline))
    except PASSING as error:
        if not deadline.passed:
            raise
        raise deadline.missed(
            f"message {submission.message_id} was not accepted",
            because=error,
            fix="it may have been: look it up by its id, or submit it again with that",
        ) from None


def submit_each(
    items: Iterable[Submission | TqError | Fetch], patience: float, *, met: Callable[[], bool]
) -> Plan[None]:
    """Give one result for each item, in order; see ``submissions.submit_each``."""
    breaks = Breaks(max(_SHORT_BREAKS, patience), met=met)

    def send(batch: Sequence[Encoded]) -> Steps[list[Message | TqError]]:
        return _ask(wire.submit_batch(batch), breaks, Deadline(None))

    return submissions.submit_each(_batches(items), send, patience)


def _batches(items: Iterable[Submission | TqError | Fetch]) -> Iterator[Batch[bytes] | Fetch]:
    """Items encoded, in batches that one request may hold; those that are errors stay in their places."""
    batch: list[Encoded | TqError] = []
    size = values = 0
    for item in items:
        if isinstance(item, Fetch):
            if batch:
                yield Batch(batch)
            batch, size, values = [], 0, 0
            yield item
            continue
        entry = item if isinstance(item, TqError) else (item.message_id, wire.encoded(item))
        body = b"" if isinstance(entry, TqError) else entry[1]
        # At most: they may stand in strings.
        further = sum(map(body.count, (b",", b"[", b"{"))) + 1
        if batch and (len(batch) == MOST_ITEMS or size + len(body) > _MOST_BYTES or values + further > _MOST_VALUES):
            yield Batch(batch)
            batch, size, values = [], 0, 0
        batch.append(entry)
        size += len(body)
        values += further
    if batch:
        yield Batch(batch)


# -- retry -----------------------------------------------------------------------------------------


def retry_failures(kind: str | None) -> Steps[Retried]:
    """All failed messages, or those with this type of error, a thousand at a time."""
    done: Retried = yield wire.retry_failures(kind, None)
    while done.next_cursor is not None:
        done = done.and_then((yield wire.retry_failures(kind, done.next_cursor)))
    return done


# -- look ------------------------------------------------------------------------------------------


def get_many(message_ids: Iterable[str | Message], *, met: Callable[[], bool]) -> Steps[list[Message | TqError]]:
    """Each message, or why there is none, in order."""
    require_several(message_ids)
    ids = [*map(id_of, message_ids)]
    results: list[Message | TqError] = []
    for start in range(0, len(ids), MOST_LOOKED_UP):
        results += yield from read(wire.lookup(ids[start : start + MOST_LOOKED_UP]), met=met)
    return results


def wait(message_id: str, deadline: Deadline, *, met: Callable[[], bool]) -> Steps[Message]:
    """The message once it has ended, by long polls; by short ones where the API does not know them.

    Raises:
        WaitTimeout: it had not ended at the deadline.
    """
    watching = Watching(message_id, deadline, PAUSES)
    breaks = Breaks(WAIT_BREAKS, met=met)
    ears, patient = Ears(), True
    while True:
        seconds = _long_poll(deadline) if patient and ears.open else 0.0
        asked = time.monotonic()
        try:
            message: Message = yield wire.get(message_id, seconds).bounded(deadline.bound)
        except PASSING as error:
            watching.require_time(error)
            if isinstance(error, TooManyStreams) and seconds:
                ears.refused(error)
            else:
                yield Pause(deadline.within(breaks.pause(error)))
            continue
        except InvalidMessage:
            if not patient:
                raise
            patient = False
            continue
        breaks.over()
        if message.ended:
            return message
        watching.is_news(message)
        pause = watching.pause()
        if time.monotonic() - asked < max(seconds / 2, LAST):
            yield Pause(pause)  # it did not wait: it is older, or about to stop; or the deadline is near


def _long_poll(deadline: Deadline) -> float:
    left = deadline.left
    # A little less than there is, so that the answer is here before the deadline.
    return _LONG_POLL if left is None else max(0.0, min(_LONG_POLL, left - LAST))
