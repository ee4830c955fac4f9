"""What a worker asks Redis for next: which queues, in which order, and how many tokens at once."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from queue import Empty
from time import monotonic
from typing import Any, Final

from kombu.transport import virtual

from tq.connection import REDIS_ERRORS
from tq.messages import DEFAULT, HIGH_PRIORITY, QUARANTINE

logger = logging.getLogger(__name__)

#: One slot in so many is kept for high_priority, from this many slots up, and at most this many.
_RESERVE: Final = 50
_RESERVE_FROM: Final = 4
_RESERVE_MOST: Final = 5
#: Seconds in which the answer to a pop must come: kombu has it wait for one.
_LONGEST_POP: Final = 1.5
#: Tokens taken at once at most. Each pop is a write, which a Redis that syncs always puts on disk before it answers.
_MOST: Final = 20


def reserved_slots(slots: int) -> int:
    """How many slots default messages may not take, so that an urgent one never waits for all of them."""
    return 0 if slots < _RESERVE_FROM else min(_RESERVE_MOST, max(1, slots // _RESERVE))


class QueueOrder:
    """Which queues a worker asks Redis for next, in which order, and how much of them: kombu's queue cycle.

    Strict by priority; ``default`` only while slots beyond the reserve are free, ``quarantine`` only
    while none of it runs here. As many tokens as there are slots for come with one answer.

    Args:
        channel: the kombu channel that the worker consumes from.
        slots: messages in flight at most; 0 = no limit.
        is_paused: whether a queue is to be left alone now.
    """

    def __init__(self, channel: Any, slots: int, is_paused: Callable[[str], bool]) -> None:
        self._channel = channel
        self._slots = slots or sys.maxsize
        self._is_paused = is_paused
        self._limits = {QUARANTINE: 1}
        self._held: dict[str, str] = {}
        self._count: Counter[str] = Counter()
        self._queues: list[str] = []
        self._left_out = False
        self._connection: tuple[Any, int] | None = None
        self._count_tokens()
        if _pops_many(channel):
            channel._brpop_start = self._start_pop  # noqa: SLF001 - kombu has no setter
            channel._brpop_read = channel.handlers["BRPOP"] = self._read_popped  # noqa: SLF001 - as above

    # What kombu calls on a queue cycle.

    def update(self, queues: Sequence[str]) -> None:
        """The queues consumed from have changed."""
        order = {HIGH_PRIORITY: 0, DEFAULT: 1}
        reserve = reserved_slots(self._slots) if HIGH_PRIORITY in queues else 0
        self._limits[DEFAULT] = self._slots - reserve
        self._queues = sorted(queues, key=lambda name: (order.get(name, 2), name))

    def consume(self, n: int) -> list[str]:
        """The queues of the next pop."""
        open_ = [name for name in self._queues if not self._is_paused(name)]
        allowed = [name for name in open_ if self._room(name) > 0]
        self._left_out = len(allowed) < len(open_)
        if self._left_out:
            self._remember_connection()
        return allowed[:n]

    def rotate(self, last_used: str) -> None:
        """Nothing: the order is by priority, not by turns."""

    # Instead of kombu's BRPOP, which takes one token: BLMPOP, from the first list that has any.

    def _start_pop(self) -> None:
        channel = self._channel
        queues = self.consume(len(channel.active_queues))
        if not queues:
            return
        # Those in quarantine run one at a time; the others hold as many slots as they are tokens.
        rooms = [self._room(name) for name in queues if name != QUARANTINE]
        most = min([self._slots - self._count.total(), *rooms])
        keys = [channel._q_for_pri(name, step) for step in channel.priority_steps for name in queues]  # noqa: SLF001 - how kombu names its lists
        connection = channel._in_poll = channel.client.connection  # noqa: SLF001 - as kombu's own does
        channel._brpop_sent_at = monotonic()  # noqa: SLF001 - as kombu's own does
        count = max(1, min(_MOST, most))
        connection.send_command("BLMPOP", channel.brpop_timeout, len(keys), *keys, "RIGHT", "COUNT", count)

    def _read_popped(self, **options: Any) -> bool:
        channel = self._channel
        connection = channel.client.connection
        try:
            try:
                popped = channel.client.parse_response(connection, "BLMPOP", **options)
            except channel.connection_errors:
                connection.disconnect()
                raise
            if not popped:
                raise Empty
            key, tokens = popped
            queue = _text(key).rsplit(channel.sep, 1)[0]
            taken = 1 if queue == QUARANTINE else len(tokens)
            if tokens[taken:]:
                self._put_back(key, tokens[taken:])
            for token in tokens[:taken]:
                channel.connection._deliver(json.loads(token), queue)  # noqa: SLF001 - as kombu's own does
            return True
        finally:
            channel._in_poll = None  # noqa: SLF001 - as kombu's own does

    def _put_back(self, key: Any, tokens: Sequence[Any]) -> None:
        with self._channel.conn_or_acquire() as client:
            client.rpush(key, *reversed(tokens))

    # How many tokens of each queue are held: popped and not acknowledged.

    def _room(self, queue: str) -> int:
        return self._limits.get(queue, sys.maxsize) - self._count[queue]

    def _count_tokens(self) -> None:
        """Keep the tokens that are held in this process's memory alone.

        kombu also writes each into Redis until it is acknowledged, to put it back an hour after its worker
        died. The store knows what is queued, so tokens need no rescue, and what is not written cannot be
        refused by a Redis whose memory is full, hang with it, or stay behind.
        """
        qos = self._channel.qos

        def append(message: Any, tag: str) -> None:
            virtual.QoS.append(qos, message, tag)
            queue = message.delivery_info["routing_key"]
            self._held[tag] = queue
            self._count[queue] += 1

        def ack(tag: str) -> None:
            virtual.QoS.ack(qos, tag)
            self._release(tag)

        def reject(tag: str, requeue: bool = False) -> None:  # noqa: ARG001, FBT001, FBT002 - kombu's signature
            ack(tag)

        qos.append, qos.ack, qos.reject = append, ack, reject

    def _release(self, tag: str) -> None:
        queue = self._held.pop(tag, None)
        if queue is None:
            return
        self._count[queue] -= 1
        if self._left_out and self._room(queue) > 0 and not self._channel.closed:
            self._interrupt_pop()

    def close(self) -> None:
        """Take nothing more: what the pop under way has taken goes back to where it was, for other workers."""
        channel = self._channel
        # The connection on which a pop is under way. kombu would look at the answer after the drain.
        connection, channel._in_poll = channel._in_poll, None  # noqa: SLF001 - from here on it is not kombu's affair
        if not connection:
            return
        if not connection.can_read(timeout=_LONGEST_POP):
            connection.disconnect()
        elif popped := connection.read_response():
            key, tokens = popped
            self._put_back(key, tokens if isinstance(tokens, list) else [tokens])

    # A pop that leaves a queue out would go on waiting for up to a second after that queue may be
    # asked for again: end it from another connection, so that the next one asks for all.

    def _remember_connection(self) -> None:
        connection = self._channel.client.connection
        if self._connection is None or self._connection[0] is not connection._sock:  # noqa: SLF001 - identifies a reconnect
            connection.send_command("CLIENT", "ID")
            self._connection = (connection._sock, int(connection.read_response()))  # noqa: SLF001 - as above

    def _interrupt_pop(self) -> None:
        self._left_out = False
        if self._connection is not None and self._channel._in_poll:  # noqa: SLF001 - is a pop under way?
            with self._channel.conn_or_acquire() as client:
                client.client_unblock(self._connection[1])


def _pops_many(channel: Any) -> bool:
    """Whether this is a Redis that knows LMPOP, and with it BLMPOP: since 7.0."""
    if not hasattr(channel, "_brpop_start") or channel.global_keyprefix:
        return False
    try:
        with channel.conn_or_acquire() as client:
            client.execute_command("LMPOP", 1, "tq:nothing", "RIGHT")
            return True
    except REDIS_ERRORS as error:
        logger.debug("tokens are taken one by one: %s", type(error).__name__)
        return False


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
