"""The publisher: wake-up tokens and events.

Where the broker is the store's own Redis, tokens are pushed with the store's other commands; else, and when somebody
listens to what Celery publishes (instrumentation does), they are sent by way of Celery.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from redis.exceptions import OutOfMemoryError

from tq import tracing
from tq.messages import QUARANTINE, Message, Status, get_queue_for_priority
from tq.records import Token
from tq.settings import Settings
from tq.store import Store
from tq.tokens import TASK_NAME, list_name, priority_step, token_text

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger(__name__)

#: How Celery's events call the ends that a message can come to outside of a worker.
_EVENTS: Final = {
    Status.CANCELLED: "task-revoked",
    Status.FAILED: "task-failed",
    Status.COMPLETED: "task-succeeded",
}
_EVENT_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "task-revoked": {"terminated": False, "signum": None, "expired": False},
    "task-failed": {"exception": "Failed outside of a worker", "traceback": None},
    "task-succeeded": {"result": None, "runtime": 0.0},
}

#: At maxmemory a script goes through whose first write needs no memory (see lua/prelude.lua).
_PUSH: Final = """
redis.call('DEL', 'tq:nothing')
for i = 2, #ARGV, 2 do redis.call(ARGV[1], ARGV[i], ARGV[i + 1]) end
"""


class Publisher:
    """Publishes tokens in groups: what becomes due while a group is on its way forms the next.

    A failure is logged and left to the reaper, for the store knows what is queued.

    Args:
        settings: of this process.
        store: where tokens are pushed when it is the broker, too; None = they always go by way of Celery.
    """

    def __init__(self, settings: Settings, store: Store | None = None) -> None:
        self._settings = settings
        broker = settings.broker_url
        scheme = "redis" if broker is None else urlsplit(broker.get_secret_value()).scheme
        self.is_redis = scheme.startswith(("redis", "sentinel"))
        self._store = store if broker is None else None
        self._due: list[Token] = []
        self._running: asyncio.Task[None] | None = None

    @cached_property
    def app(self) -> Celery:
        """The Celery app of the settings; its import takes longer than a submit."""
        from tq.celery import app_for

        return app_for(self._settings)

    def soon(self, tokens: Sequence[Token]) -> None:
        """Publish on this loop, without waiting."""
        self._due += tokens
        if self._due and (self._running is None or self._running.done()):
            self._running = asyncio.create_task(self._drain())

    async def flush(self) -> None:
        """Return when everything due has been published, or has failed to be."""
        while self._running is not None and not self._running.done():
            # Others wait for the same group: one of them who is cancelled must not end it.
            await asyncio.shield(self._running)

    async def _drain(self) -> None:
        while self._due:
            group, self._due = self._due, []
            try:
                if self._store is not None and not _is_watched():
                    await self._push_here(self._store, group)
                else:
                    await asyncio.to_thread(self.publish, group)
            except Exception as error:  # noqa: BLE001 - whatever it is, the reaper publishes again
                logger.warning("%d tokens were not published now (%s); they will be", len(group), type(error).__name__)

    async def _push_here(self, store: Store, tokens: Sequence[Token]) -> None:
        # Those for the front last, and the first of them last of all: what is pushed there last is popped next.
        front = [token for token in tokens if token.front]
        pushes: list[str] = []
        for token in [*(token for token in tokens if not token.front), *front[::-1]]:
            queue, step = self._place(token)
            text = token_text(token.message_id, queue, step)
            pushes += ["RPUSH" if token.front else "LPUSH", list_name(queue, step), text]
        await store.script("push", *pushes)

    async def announce(self, message_ids: Sequence[str], status: Status) -> None:
        """Tell Flower of an end that no worker saw; a failure to do so is of no consequence."""
        event = _EVENTS.get(status)
        if event is None or not message_ids:
            return

        def send() -> None:
            with self.app.events.default_dispatcher() as dispatcher:
                for message_id in message_ids:
                    dispatcher.send(event, uuid=message_id, **_EVENT_FIELDS[event])

        try:
            await asyncio.to_thread(send)
        except Exception as error:  # noqa: BLE001 - events inform, nothing depends on them
            logger.debug("an event was not sent: %s", type(error).__name__)

    def publish(self, tokens: Sequence[Token]) -> None:
        """Publish now, in the calling thread."""
        front = [token for token in tokens if token.front]
        if usual := [token for token in tokens if not token.front]:
            self._publish(usual)
        if front and self.is_redis:
            with self.app.producer_pool.acquire(block=True, timeout=10) as producer:
                self._push(front[::-1], producer.channel, "RPUSH")

    def _publish(self, tokens: Sequence[Token]) -> None:
        if _is_watched():
            # Instrumentation looks the task up by its name, and ends no span for one that it does not find.
            import_module(TASK_NAME.rpartition(".")[0])
        try:
            with self.app.producer_pool.acquire(block=True, timeout=10) as producer:
                if len(tokens) == 1 or not self.is_redis:
                    for token in tokens:
                        self._send(token, producer)
                    return
                with producer.batch(500):
                    for token in tokens:
                        self._send(token, producer)
        except Exception as error:
            if not (self.is_redis and is_full(error)):
                raise
            # The connection of the failed producer is of no use any more.
            with self.app.connection_for_write() as connection:
                self._push(tokens, connection.default_channel, "LPUSH")

    def _push(self, tokens: Sequence[Token], channel: Any, push: str) -> None:
        """Publish even to a Redis whose memory is full: what was accepted must go on, for its end frees memory."""
        from kombu import serialization

        pushes = [push]
        for token in tokens:
            queue, step = self._place(token)
            task = self.app.amqp.as_task_v2(token.message_id, TASK_NAME, args=(token.message_id,))
            kind, encoding, body = serialization.dumps(task.body, "json")
            message = channel.prepare_message(body, step, kind, encoding, task.headers, task.properties)
            channel._inplace_augment_message(message, "", queue)  # noqa: SLF001 - what its basic_publish does
            pushes += [list_name(queue, step), json.dumps(message)]
        with channel.conn_or_acquire() as client:
            client.eval(_PUSH, 0, *pushes)

    def _place(self, token: Token) -> tuple[str, int]:
        queue = token.queue or get_queue_for_priority(token.priority)
        return queue, priority_step(queue, token.priority) if self.is_redis else token.priority

    def _send(self, token: Token, producer: Any) -> None:
        queue, priority = self._place(token)
        # Instrumentation adds a span here: that belongs to the token's own message, though a group is sent together.
        with tracing.within(token.trace):
            self.app.send_task(
                TASK_NAME,
                args=(token.message_id,),
                task_id=token.message_id,
                queue=queue,
                priority=priority,
                producer=producer,
            )


def _is_watched() -> bool:
    """Whether somebody wants to know of, or add to, what Celery publishes."""
    signals = sys.modules.get("celery.signals")
    return signals is not None and bool(signals.before_task_publish.receivers or signals.after_task_publish.receivers)


def is_full(error: BaseException | None) -> bool:
    """Whether Redis refused for want of memory, below whatever kombu has wrapped around that."""
    while error is not None:
        if isinstance(error, OutOfMemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def token_of(message: Message) -> Token:
    """The token that wakes a worker for a message."""
    return Token(message.message_id, message.queue if message.queue == QUARANTINE else None, message.priority)
