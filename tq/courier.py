"""The courier: takes webhooks that are due, and delivers them.

One runs in the API, and one beside each worker's reaper, which takes only what no API has taken for some seconds: so a
worker does not spend its time on them while an API is there, and without one they are delivered all the same. At least
once, always with the same id: whoever dies in between has a lease that runs out.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tq.connection import REDIS_ERRORS
from tq.errors import TqError
from tq.jsonlog import fields
from tq.queue import TranslationQueue
from tq.webhooks import Delivery, Outbox, can_sign, signing_keys

if TYPE_CHECKING:
    from tq.delivery import Answer, Resolve, Sender

logger = logging.getLogger(__name__)

#: Seconds between two looks for what is due; of a worker, also how long it leaves them to an API.
POLL: Final = 0.5
WORKER_POLL: Final = 2.0
#: Longer than an attempt can take.
_LEASE: Final = 45.0
#: Seconds until the next attempt; after the last of them it is given up, a day and some hours after the first.
DELAYS: Final = (5.0, 30.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
_JITTER: Final = 0.2
_MOST_RETRY_AFTER: Final = 36_000.0
#: Receivers that may have as many under way as one may (TQ_CALLBACK_PARALLEL) at the same time, and how many there are
#: under way in all; more than the names that may hang (``lookups``).
_RECEIVERS: Final = 8
_LEAST: Final = 64
_MOST: Final = 512
#: Taken at once: each look is one script, which Redis does nothing beside.
_TAKEN: Final = 64
#: Under way to one that did not answer last time, who may not hold up others.
_EACH_ILL: Final = 1
#: Seconds until a webhook is looked at again whose name was not even asked for.
_POSTPONED: Final = 3.0
#: Receivers that are remembered as not answering.
_MOST_ILL: Final = 1000
#: Seconds that what is under way gets when the process ends.
_GRACE: Final = 2.0


def next_delay(attempt: int, asked: float | None, delays: Sequence[float] = DELAYS) -> float | None:
    """Seconds until the attempt after this one (1 is the first), with jitter; None when it was the last.

    ``asked`` is what the receiver's Retry-After said: it is kept, up to ten hours, and never shortens the pause.
    """
    if attempt > len(delays):
        return None
    pause = delays[attempt - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)
    if asked is None:
        return pause
    asked = min(asked, _MOST_RETRY_AFTER)
    return max(pause, asked + random.uniform(0, asked * _JITTER / 2))


class Courier:
    """One process's courier; belongs to the loop it runs on.

    Args:
        queue: whose messages' webhooks it delivers.
        poll: seconds between two looks.
        overdue: seconds that a webhook must have been due.
        most: webhooks under way at a time, of which one receiver has half at most; None = as many as fit the settings.
        delays: see ``DELAYS``.
        timeout: seconds for one request; what ``delivery`` says when None.
        resolve: see ``Sender``.
    """

    def __init__(
        self,
        queue: TranslationQueue,
        *,
        poll: float = POLL,
        overdue: float = 0.0,
        most: int | None = None,
        delays: Sequence[float] = DELAYS,
        timeout: float | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._queue = queue
        self._outbox = Outbox(queue.store, queue.settings.result_ttl)
        self._poll = poll
        self._overdue = overdue
        parallel = queue.settings.callback_parallel
        self._most = min(max(_LEAST, _RECEIVERS * parallel), _MOST) if most is None else most
        self._each = min(parallel, max(1, self._most // 2))
        self._delays = delays
        self._timeout = timeout
        self._resolve = resolve
        self._sender: Sender | None = None
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._ill: dict[str, None] = {}

    async def run(self) -> None:
        """Deliver for ever; errors are logged once per outage, and the next round tries again."""
        if not can_sign(self._queue.settings):
            return
        down = False
        try:
            while True:
                count = 0
                try:
                    count = await self.look()
                    down = False
                except Exception as error:  # noqa: BLE001 - a defect of one round must not be the end of all
                    if not down:
                        known = isinstance(error, (TqError, *REDIS_ERRORS))
                        logger.warning("webhooks wait: %s", error if known else type(error).__name__)
                    down = True
                await self._pause(count)
        finally:
            await self._leave()

    async def look(self) -> int:
        """Begin to deliver what is due; returns how many that are."""
        room = min(self._most - len(self._tasks), _TAKEN)
        if room <= 0:
            return 0
        busy = Counter(self._tasks.values())
        rooms = {
            receiver: max(0, (_EACH_ILL if receiver in self._ill else self._each) - busy[receiver])
            for receiver in {*busy, *self._ill}
        }
        taken = await self._outbox.take(room, each=self._each, lease=_LEASE, overdue=self._overdue, rooms=rooms)
        for delivery in taken:
            task = asyncio.create_task(self._deliver(delivery))
            self._tasks[task] = delivery.receiver
            task.add_done_callback(self._tasks.pop)
        return len(taken)

    async def _pause(self, count: int) -> None:
        # There may be more of what was just taken: the next look follows as soon as one of them is done.
        if count and self._tasks:
            await asyncio.wait(self._tasks, timeout=self._poll, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(self._poll * random.uniform(0.8, 1.2))

    async def _leave(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE)
        for task in self._tasks:
            task.cancel()
        if self._sender is not None:
            self._sender.close()

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            sender = self._sender or self._open()
            began = time.monotonic()
            answer = await sender.send(delivery.url, delivery.event, delivery.body)
            self._note(delivery.receiver, answer)
            await self._settle(delivery, answer, time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - its lease runs out, and it is tried again
            known = isinstance(error, TqError)
            said = _fields(delivery, error=error.type if isinstance(error, TqError) else type(error).__name__)
            logger.warning(
                "the webhook of message %s waits: %s",
                delivery.message_id,
                error if known else type(error).__name__,
                extra=said,
            )

    def _open(self) -> Sender:
        # Not before there is something to send: the import costs what most workers never need.
        from tq.delivery import TIMEOUT, Sender

        settings = self._queue.settings
        self._sender = Sender(
            signing_keys(settings, self._queue.sealer),
            private=settings.callback_private,
            timeout=TIMEOUT if self._timeout is None else self._timeout,
            resolve=self._resolve,
        )
        return self._sender

    def _note(self, receiver: str, answer: Answer) -> None:
        if not answer.begun:
            return
        self._ill.pop(receiver, None)
        if answer.status is None:
            self._ill[receiver] = None
            if len(self._ill) > _MOST_ILL:
                self._ill.pop(next(iter(self._ill)))

    async def _settle(self, delivery: Delivery, answer: Answer, seconds: float) -> None:
        if not answer.begun:
            await self._outbox.postpone(delivery, _POSTPONED * random.uniform(0.8, 1.2))
            return
        if not answer.error:
            if await self._outbox.settle(delivery, "delivered", http_status=answer.status):
                logger.info(
                    "the webhook of message %s to %s is delivered, HTTP %d",
                    delivery.message_id,
                    delivery.receiver,
                    answer.status,
                    extra=_fields(delivery, "delivered", http_status=answer.status, seconds=round(seconds, 3)),
                )
            return
        delay = None if answer.final else next_delay(delivery.turn, answer.retry_after, self._delays)
        status = "pending" if delay is not None else "disabled" if answer.status == 410 else "failed"
        settled = await self._outbox.settle(
            delivery, status, delay=delay or 0.0, http_status=answer.status, error=answer.error
        )
        if settled and delay is None:
            logger.warning(
                "the webhook of message %s to %s is given up after %d: %s",
                delivery.message_id,
                delivery.receiver,
                delivery.attempt,
                answer.error if answer.status is None else f"HTTP {answer.status}",
                extra=_fields(delivery, status, error=answer.error, http_status=answer.status),
            )


def _fields(delivery: Delivery, webhook: str | None = None, **more: str | float | None) -> Mapping[str, Any]:
    return fields(
        message_id=delivery.message_id,
        webhook=webhook,
        attempt=delivery.attempt,
        receiver=delivery.receiver,
        event=delivery.event,
        **more,
    )
