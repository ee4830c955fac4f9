"""The worker process: options, and what runs beside Celery's consumer.

Three steps join Celery's own blueprint, so that a plain ``celery -A tq worker`` has them too: which
queues may be popped (``Slots``), events in groups (``Events``), and the heartbeat and the reaper (``Housekeeping``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import warnings
from typing import Any, Final

from celery import bootsteps, signals
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.worker import state

from tq import __version__, tracing
from tq.celery import app
from tq.connection import REDIS_ERRORS
from tq.courier import WORKER_POLL, Courier
from tq.identity import identity, log_handler, process_name
from tq.messages import QUARANTINE, QUEUES
from tq.pool import TaskPool
from tq.queue import TranslationQueue
from tq.queueorder import QueueOrder
from tq.reaper import Reaper
from tq.settings import Settings, get_settings
from tq.tasks import attempts

logger = logging.getLogger(__name__)

#: Seconds that an event waits for others, and how many go at once.
_EVENTS_EVERY: Final = 0.1
_MOST_EVENTS: Final = 500
#: How a warning of Celery's begins.
_CHOSEN: Final = r"\s*In Celery 5\.1 we introduced an optional breaking change"
#: Seconds in which Celery finds a broker again that answers: it pauses up to 30 between two tries.
_RECONNECT: Final = 60.0
#: Under way at a time, where no API delivers them.
_MOST_WEBHOOKS: Final = 8


class Slots(bootsteps.StartStopStep):
    """Puts ``QueueOrder`` in charge, and consumes from the quarantine whatever ``-Q`` says."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Called for every new connection to the broker."""
        channel = consumer.task_consumer.channel
        if hasattr(channel, "_queue_cycle"):
            is_paused = attempts.get().is_paused
            channel._queue_cycle = QueueOrder(channel, consumer.initial_prefetch_count, is_paused)  # noqa: SLF001 - kombu has no setter
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


class Events(bootsteps.StartStopStep):
    """Sends Celery's events in groups: one PUBLISH for what happened in a moment, not one for each loop turn."""

    requires = ("celery.worker.consumer.events:Events", Slots)

    def start(self, consumer: Any) -> None:
        """Called for every new connection to the broker."""
        dispatcher, hub = consumer.event_dispatcher, consumer.hub
        if hub is None or not dispatcher.enabled:
            return
        due = False

        def flush() -> None:
            nonlocal due
            due = False
            # Another one, or none, if the connection was lost meanwhile.
            if consumer.event_dispatcher is not None:
                consumer.event_dispatcher.flush()

        def soon() -> None:
            nonlocal due
            last = dispatcher._group_buffer["task"][-1:]  # noqa: SLF001 - it does not say which it was
            if last and last[0]["type"] == "task-retried":
                # To Flower a RETRY undoes whatever came before it: not the REVOKED of a cancellation that follows.
                consumer.on_send_event_buffered()
            elif not due:
                due = True
                hub.call_later(_EVENTS_EVERY, flush)

        dispatcher.buffer_limit = _MOST_EVENTS
        dispatcher.on_send_buffered = soon

    def close(self, consumer: Any) -> None:
        """Called when this worker begins to stop: the hub's timers do not run any more."""
        if consumer.hub is not None and consumer.event_dispatcher is not None:
            consumer.event_dispatcher.on_send_buffered = consumer.on_send_event_buffered
            consumer.on_send_event_buffered()


class Housekeeping(bootsteps.StartStopStep):
    """Heartbeat and reaper of a worker, from its first connection to its end."""

    requires = (Slots,)

    def __init__(self, consumer: Any, **options: Any) -> None:
        self._reaper: threading.Thread | None = None
        self._drains = False
        super().__init__(consumer, **options)

    def start(self, consumer: Any) -> None:
        """From now on this worker is listed as alive."""
        slots = consumer.initial_prefetch_count
        provider = get_settings().provider_name
        tasks = consumer.task_consumer
        queues = sorted(queue.name for queue in tasks.queues)
        # What differs from another process's is why messages would not be found, or not in order.
        steps = list(getattr(tasks.channel, "priority_steps", ()))

        def describe() -> dict[str, Any]:
            return {
                "name": process_name(),
                "version": __version__,
                "provider": provider,
                "slots": slots,
                "running": len(state.active_requests),
                "queues": queues,
                "steps": steps,
            }

        attempts.get().heart.announce(describe)
        if isinstance(consumer.pool, TaskPool):
            attempts.get().share(slots)
        if self._reaper is None:
            self._reaper = threading.Thread(target=lambda: asyncio.run(_reap()), name="tq-reaper", daemon=True)
            self._reaper.start()

    def close(self, consumer: Any) -> None:  # noqa: ARG002 - celery's signature
        """A drain begins: it takes nothing new. Leases are kept."""
        self._drains = True
        attempts.get().heart.unlist()

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 - celery's signature
        """Called when a connection is lost, too: who comes back soon has not gone."""
        if not self._drains:
            attempts.get().heart.unlist(_RECONNECT)


async def _reap() -> None:
    queue = TranslationQueue()
    courier = Courier(queue, poll=WORKER_POLL, overdue=WORKER_POLL, most=_MOST_WEBHOOKS)
    await asyncio.gather(Reaper(queue, identity.get()).run(), courier.run())


app.steps["consumer"].update({Slots, Events, Housekeeping})


@signals.worker_shutdown.connect
def _stop_heart(**_: Any) -> None:
    attempts.get().heart.stop()


@signals.celeryd_after_setup.connect
def _after_setup(**_: Any) -> None:
    # Not before: what it warns of would be in no log.
    tracing.set_up("tq-worker")
    # About a setting that this app has made its choice of. Celery has it shown always, at each loss of the broker.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning, message=_CHOSEN)


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
    argv = ["--quiet", "worker", "--queues", queues or ",".join(QUEUES), "--hostname", f"tq-{os.getpid()}@%h"]
    argv += ["--concurrency", str(settings.concurrency), "--loglevel", loglevel]
    # Both only serve features that the store replaces (revokes, leader election), and delay the start.
    argv += ["--without-gossip", "--without-mingle"]
    if pool:
        argv += ["--pool", pool]
    workers: list[Any] = []

    def remember(instance: Any, **_: Any) -> None:
        workers.append(instance)

    signals.celeryd_init.connect(remember, weak=False)
    try:
        app.worker_main(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    # Celery's command returns whatever happened. Unless somebody had it stop, it ended of an error, which is logged.
    asked = state.should_stop is not None or state.should_terminate is not None
    return 0 if asked else int(any(worker.exitcode for worker in workers))


def set_up_logging(loglevel: str) -> None:
    """One line a message on stderr; Celery's own lines only from WARNING up."""

    def configure(**_: Any) -> None:
        logging.basicConfig(level=loglevel, handlers=[log_handler("worker")], force=True)
        for name in ("celery", "kombu", "amqp", "httpx", "openai"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # Every failure is in tq's own line already; Celery would repeat it with a traceback.
        logging.getLogger("celery.app.trace").setLevel(logging.CRITICAL)

    signals.setup_logging.connect(configure, weak=False)
