"""The reaper: what no worker is left to do.

Every few seconds, in every worker and in the API; a short lock lets one of them do the work, and
nothing breaks when two do. It publishes tokens for leases that expired, retries that are due, and
queued messages whose token got lost, and moves those that waited too long to the front.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from tq.celery import broker_url
from tq.connection import REDIS_ERRORS, connect
from tq.errors import TqError
from tq.messages import HIGH_PRIORITY, MAX_PRIORITY, MIN_PRIORITY, QUARANTINE, get_queue_for_priority
from tq.queue import TranslationQueue
from tq.records import Token
from tq.tokens import list_name, priority_step

logger = logging.getLogger(__name__)

#: Seconds between two rounds, and after which a token that should have been popped counts as lost.
INTERVAL: Final = 5.0
GRACE: Final = 10.0
#: Ageing: at most this share of what is dequeued, and this many at once.
_AGED_SHARE: Final = 1 / 20
_AGED_MOST: Final = 50
#: Where workers put what they answer to remote control, in seconds until it expires; keys looked at in a round.
_REPLIES: Final = "*.reply.celery.pidbox"
_REPLIES_TTL: Final = 30
_SCANNED: Final = 1000


class Reaper:
    """One process's reaper; belongs to the loop it runs on.

    Args:
        queue: the queue whose messages it tends.
        name: this process, as the lock's owner.
    """

    def __init__(self, queue: TranslationQueue, name: str) -> None:
        self._queue = queue
        self._store = queue.store
        self._name = name
        self._broker: Redis | None = None
        self._cursor = 0

    async def run(self) -> None:
        """Reap for ever; errors are logged once per outage, and the next round tries again."""
        down = False
        while True:
            try:
                if await self._store.lock_reaper(self._name, INTERVAL * 0.9):
                    await self.reap()
                down = False
            except Exception as error:  # noqa: BLE001 - a broker's library raises what it likes; the reaper must live
                if not down:
                    known = isinstance(error, (TqError, *REDIS_ERRORS))
                    logger.warning("the reaper waits: %s", error if known else type(error).__name__)
                down = True
            await asyncio.sleep(INTERVAL)

    async def reap(self) -> int:
        """One round; returns how many tokens it published."""
        count = await self._queue.requeue_due()
        for index in [*range(MAX_PRIORITY, MIN_PRIORITY - 1, -1), QUARANTINE]:
            # Unless the broker can be asked what comes next, nothing is known to be lost.
            known, tail = await self._tail(index)
            if known:
                count += await self._publish(await self._store.missing(index, tail=tail, grace=GRACE))
        await self._forget_replies()
        return count + await self._age()

    async def _forget_replies(self) -> None:
        """Have answers expire that came too late: to ``celery inspect``, or to a Flower that is gone.

        A list in which nobody waits any more for what workers answer stays for ever, as kombu gives it no TTL.
        """
        if not self._queue.publisher.is_redis:
            return
        redis = self._redis()
        self._cursor, keys = await redis.scan(self._cursor, match=_REPLIES, count=_SCANNED)
        for key in keys:
            if await redis.ttl(key) == -1:
                await redis.expire(key, _REPLIES_TTL)

    async def _publish(self, tokens: Sequence[Token]) -> int:
        self._queue.publisher.soon(tokens)
        await self._queue.publisher.flush()
        return len(tokens)

    async def _tail(self, index: int | str) -> tuple[bool, str | None]:
        """Whether it is known what a worker would pop next for an index, and its id (None: nothing)."""
        queue = QUARANTINE if isinstance(index, str) else get_queue_for_priority(index)
        if not self._queue.publisher.is_redis:
            return await asyncio.to_thread(self._is_empty, queue), None
        step = priority_step(queue, 0 if isinstance(index, str) else index)
        token = await self._redis().lindex(list_name(queue, step), -1)
        return True, json.loads(token)["headers"]["id"] if token else None

    def _redis(self) -> Redis:
        if self._broker is None:
            settings = self._queue.settings
            url = settings.store_url if settings.broker_url is None else broker_url(settings)
            self._broker = connect(url)
        return self._broker

    def _is_empty(self, queue: str) -> bool:
        with self._queue.publisher.app.connection_for_read() as connection, connection.channel() as channel:
            return bool(channel.queue_declare(queue=queue, passive=True).message_count == 0)

    async def _age(self) -> int:
        ids = await self._store.age(self._queue.settings.max_wait, share=_AGED_SHARE, most=_AGED_MOST)
        for message_id in ids:
            await self._publish([Token(message_id, HIGH_PRIORITY, MAX_PRIORITY)])
            if self._queue.publisher.is_redis:
                # From behind all that waits at this priority to the very front: what was pushed last
                # is popped next. A token that slips in between is moved instead, which does no harm.
                key = list_name(HIGH_PRIORITY, 0)
                await self._redis().lmove(key, key, "LEFT", "RIGHT")
        return len(ids)
