"""The worker process: options, and what runs beside Celery's consumer.

Three steps join Celery's own blueprint, so that a plain ``celery -A tq worker`` has them too: which
queues may be popped (``Slots``), and the heartbeat and the reaper (``Housekeeping``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from celery import bootsteps, signals
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.worker import state
from kombu.transport import virtual

from tq import __version__
from tq.celery import app
from tq.connection import REDIS_ERRORS
from tq.identity import identity, log_format, process_name
from tq.messages import DEFAULT, HIGH_PRIORITY, QUARANTINE, QUEUES
from tq.pool import TaskPool
from tq.queue import TranslationQueue
from tq.reaper import Reaper
from tq.settings import Settings, get_settings
from tq.tasks import attempts
from tq.validation.identify import detect_language

logger = logging.getLogger(__name__)

#: One slot in so many is kept for high_priority, from this many slots up, and at most this many.
_RESERVE: Final = 50
_RESERVE_FROM: Final = 4
_RESERVE_MOST: Final = 20
#: Seconds in which the answer to a BRPOP must come: kombu has it wait for one.
_LONGEST_POP: Final = 1.5


def reserved_slots(slots: int) -> int:
    """How many slots default messages may not take, so that an urgent one never waits for all of them."""
    return 0 if slots < _RESERVE_FROM else min(_RESERVE_MOST, max(1, slots // _RESERVE))


class QueueOrder:
    """Which queues a worker asks Redis for next, and in which order: kombu's queue cycle.

    Strict by priority; ``default`` only while slots beyond the reserve are free, ``quarantine`` only
    while none of it runs here.

    Args:
        channel: the kombu channel that the worker consumes from.
        slots: messages in flight at most; 0 = no limit.
    """

    def __init__(self, channel: Any, slots: int) -> None:
        self._channel = channel
        self._slots = slots or sys.maxsize
        self._limits = {QUARANTINE: 1}
        self._held: dict[str, str] = {}
        self._count: Counter[str] = Counter()
        self._queues: list[str] = []
        self._left_out = False
        self._connection: tuple[Any, int] | None = None
        self._count_tokens()

    # What kombu calls on a queue cycle.

    def update(self, queues: Sequence[str]) -> None:
        """The queues consumed from have changed."""
        order = {HIGH_PRIORITY: 0, DEFAULT: 1}
        reserve = reserved_slots(self._slots) if HIGH_PRIORITY in queues else 0
        self._limits[DEFAULT] = self._slots - reserve
        self._queues = sorted(queues, key=lambda name: (order.get(name, 2), name))

    def consume(self, n: int) -> list[str]:
        """The queues of the next BRPOP."""
        allowed = [name for name in self._queues if self._free(name)]
        self._left_out = len(allowed) < len(self._queues)
        if self._left_out:
            self._remember_connection()
        return allowed[:n]

    def rotate(self, last_used: str) -> None:
        """Nothing: the order is by priority, not by turns."""

    # How many tokens of each queue are held: popped and not acknowledged.

    def _free(self, queue: str) -> bool:
        return self._count[queue] < self._limits.get(queue, sys.maxsize)

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
        if self._left_out and self._free(queue) and not self._channel.closed:
            self._interrupt_pop()

    def close(self) -> None:
        """Take nothing more: what the BRPOP under way has popped goes back to where it was, for other workers."""
        channel = self._channel
        # The connection on which a BRPOP is under way. kombu would look at the answer after the drain.
        connection, channel._in_poll = channel._in_poll, None  # noqa: SLF001 - from here on it is not kombu's affair
        if not connection:
            return
        if not connection.can_read(timeout=_LONGEST_POP):
            connection.disconnect()
        elif popped := connection.read_response():
            with channel.conn_or_acquire() as client:
                client.rpush(*popped)

    # A BRPOP that leaves a queue out would go on waiting for up to a second after that queue may be
    # asked for again: end it from another connection, so that the next one asks for all.

    def _remember_connection(self) -> None:
        connection = self._channel.client.connection
        if self._connection is None or self._connection[0] is not connection._sock:  # noqa: SLF001 - identifies a reconnect
            connection.send_command("CLIENT", "ID")
            self._connection = (connection._sock, int(connection.read_response()))  # noqa: SLF001 - as above

    def _interrupt_pop(self) -> None:
        self._left_out = False
        if self._connection is not None and self._channel._in_poll:  # noqa: SLF001 - is a BRPOP under way?
            with self._channel.conn_or_acquire() as client:
                client.client_unblock(self._connection[1])


class Slots(bootsteps.StartStopStep):
    """Puts ``QueueOrder`` in charge, and consumes from the quarantine whatever ``-Q`` says."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Called for every new connection to the broker."""
        channel = consumer.task_consumer.channel
        if hasattr(channel, "_queue_cycle"):
            channel._queue_cycle = QueueOrder(channel, consumer.initial_prefetch_count)  # noqa: SLF001 - kombu has no setter
            # kombu would put unacknowledged tokens back when a connection ends; with the connection gone
            # that raises, and the worker ends. The store knows what is queued, tokens need no rescue.
            channel.do_restore = False
        consumer.add_task_queue(QUARANTINE)
        if hasattr(channel, "_queue_cycle"):
            channel._update_queue_cycle()  # noqa: SLF001 - tells it the queues

    def close(self, consumer: Any) -> None:
        """Called when this worker begins to stop, and not when its connection is lost."""
        order = getattr(consumer.task_consumer.channel, "_queue_cycle", None)
        if isinstance(order, QueueOrder):
            try:
                order.close()
            except REDIS_ERRORS as error:
                logger.debug("a token waits for the reaper: %s", type(error).__name__)


class Housekeeping(bootsteps.StartStopStep):
    """Heartbeat and reaper of a worker, from its first connection to its end."""

    requires = (Slots,)

    def __init__(self, consumer: Any, **options: Any) -> None:
        self._reaper: threading.Thread | None = None
        super().__init__(consumer, **options)

    def start(self, consumer: Any) -> None:
        """From now on this worker is listed as alive."""
        slots = consumer.initial_prefetch_count
        provider = get_settings().provider_name

        def describe() -> dict[str, Any]:
            return {
                "name": process_name(),
                "version": __version__,
                "provider": provider,
                "slots": slots,
                "running": len(state.active_requests),
            }

        attempts.get().heart.announce(describe)
        if isinstance(consumer.pool, TaskPool):
            attempts.get().share(slots)
        if self._reaper is None:
            # Half a second of work, at the first long text else: nothing should wait for it then.
            threading.Thread(target=detect_language, args=("x" * 50,), name="tq-languages", daemon=True).start()
            self._reaper = threading.Thread(target=lambda: asyncio.run(_reap()), name="tq-reaper", daemon=True)
            self._reaper.start()

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 - celery's signature
        """It takes nothing new: a drain begins, or the broker is gone. Leases are kept."""
        attempts.get().heart.unlist()


async def _reap() -> None:
    await Reaper(TranslationQueue(), identity.get()).run()


app.steps["consumer"].update({Slots, Housekeeping})


@signals.worker_shutdown.connect
def _stop_heart(**_: Any) -> None:
    attempts.get().heart.stop()


@signals.celeryd_init.connect
def _default_concurrency(options: dict[str, Any], conf: Any, **_: Any) -> None:
    # Celery's own default is the number of cores, which suits processes and not coroutines.
    pool = options.get("pool_cls") or options.get("pool")
    if pool in (None, TaskPool) and not options.get("concurrency"):
        conf.worker_concurrency = get_settings().concurrency


# -- tq worker -------------------------------------------------------------------------------------


def run(
    settings: Settings,
    *,
    queues: str | None = None,
    pool: str | None = None,
    loglevel: str = "INFO",
) -> int:
    """Run a worker in the foreground until it is stopped; returns the exit code.

    Args:
        settings: of this process.
        queues: comma separated; both when None.
        pool: another pool of Celery's (``solo``, ``threads``, ``prefork``); tq's own when None.
        loglevel: of the log on stderr.
    """
    set_up_logging(loglevel)
    # Meant for pickle, which tq does not accept; in a container everyone is root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # About a setting that this app has made its choice of.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    argv = ["--quiet", "worker", "--queues", queues or ",".join(QUEUES), "--hostname", f"tq-{os.getpid()}@%h"]
    argv += ["--concurrency", str(settings.concurrency), "--loglevel", loglevel]
    # Both only serve features that the store replaces (revokes, leader election), and delay the start.
    argv += ["--without-gossip", "--without-mingle"]
    if pool:
        argv += ["--pool", pool]
    try:
        app.worker_main(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def set_up_logging(loglevel: str) -> None:
    """One line a message on stderr; Celery's own lines only from WARNING up."""

    def configure(**_: Any) -> None:
        logging.basicConfig(level=loglevel, format=log_format(), datefmt="%H:%M:%S", force=True)
        for name in ("celery", "kombu", "amqp", "httpx", "openai"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # Every failure is in tq's own line already; Celery would repeat it with a traceback.
        logging.getLogger("celery.app.trace").setLevel(logging.CRITICAL)

    signals.setup_logging.connect(configure, weak=False)
