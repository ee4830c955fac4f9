"""Whether the workers that run are the right ones, and whether they work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tq import __version__
from tq.doctor.finding import Finding, doubtful, wrong
from tq.figures import QueueDepth, Stats, WorkerInfo
from tq.layout import age, count, span
from tq.messages import DEFAULT, HIGH_PRIORITY, QUEUES
from tq.queueorder import reserved_slots
from tq.settings import Settings
from tq.tokens import PRIORITY_STEPS

#: Seconds after which a message should have begun, with a slot free for it: lost tokens are repeated long before.
_TOO_LONG: Final = 30.0
_RESTART: Final = "restart it: `tq down`, then `tq up`, or `tq worker`"


def fleet(stats: Stats, settings: Settings | None) -> Iterator[Finding]:
    """What the figures say.

    Args:
        stats: the figures.
        settings: of this shell; None when it is another machine's workers that are looked at.
    """
    yield _workers(stats.workers, settings)
    if stats.workers:
        yield _queues(stats)
        yield _steps(stats.workers)
    yield _paused(stats)
    if stats.workers:
        yield _waiting(stats)


def _workers(workers: Sequence[WorkerInfo], settings: Settings | None) -> Finding:
    if not workers:
        return wrong("worker", "none is running", "start one with `tq worker` or `tq up`")
    others = [f"{each.name} is of version {each.version}" for each in workers if each.version != __version__]
    if others:
        return wrong("worker", f"{', '.join(others)}, this is {__version__}", "run the same version everywhere")
    running = f"{len(workers)} running, {count(sum(each.slots for each in workers), 'slot')}"
    providers = sorted({each.provider for each in workers})
    if len(providers) > 1:
        each_runs = ", ".join(f"{each.name} runs {each.provider}" for each in workers)
        detail = f"they differ: {each_runs}; what pseudo answers is accents, not a translation"
        return wrong("worker", detail, "give all of them the same key and provider, and restart them")
    if settings is None or providers == [settings.provider_name]:
        return Finding("worker", f"{running}, provider {providers[0]}")
    names = ", ".join(each.name for each in workers)
    if settings.provider_name == "openai":
        detail = f"{names} runs {providers[0]}, while this shell has a key or an endpoint: it was started without"
        return wrong("worker", detail, _RESTART)
    detail = f"{running}, provider {providers[0]}; one that is started from this shell would run pseudo"
    return doubtful("worker", detail, "set OPENAI_API_KEY or OPENAI_BASE_URL here, too")


def _serves(worker: WorkerInfo, queue: str) -> bool:
    return not worker.queues or queue in worker.queues


def _where(stats: Stats, queues: Iterable[str]) -> str:
    """How many messages wait in these queues, as the end of a sentence."""
    waiting = sum(stats.queues.get(queue, 0) for queue in queues)
    return f", where {count(waiting, 'message')} wait{'s' * (waiting == 1)}" if waiting else ""


def _queues(stats: Stats) -> Finding:
    alone = [queue for queue in QUEUES if not any(_serves(each, queue) for each in stats.workers)]
    if not alone:
        return Finding("queues", "a worker serves each of them")
    detail = f"no worker serves {' and '.join(alone)}" + _where(stats, alone)
    return wrong("queues", detail, "start one without -Q: `tq worker`")


def _steps(workers: Sequence[WorkerInfo]) -> Finding:
    others = [each for each in workers if each.steps and each.steps != PRIORITY_STEPS]
    if others:
        splits = ", ".join(f"{each.name} splits queues into {len(each.steps)} steps" for each in others)
        detail = f"{splits}, and here it is {len(PRIORITY_STEPS)}: what others submit is not found, or not in order"
        return wrong("steps", detail, "run the same version everywhere, and workers from tq's own app")
    return Finding("steps", f"{len(PRIORITY_STEPS)} steps of priority in two queues, strict")


def _paused(stats: Stats) -> Finding:
    if stats.paused:
        names = " ".join(stats.paused)
        detail = f"nothing begins of {', '.join(stats.paused)}" + _where(stats, stats.paused)
        return wrong("paused", detail, f"`tq resume {names}`")
    return Finding("paused", "no queue is")


def _free(worker: WorkerInfo, queue: str) -> int:
    kept = reserved_slots(worker.slots) if queue == DEFAULT and _serves(worker, HIGH_PRIORITY) else 0
    return max(0, worker.slots - worker.running - kept) if _serves(worker, queue) else 0


def _waiting(stats: Stats) -> Finding:
    """Whether somebody waits for no reason that is to be seen."""

    def free(depth: QueueDepth) -> int:
        return sum(_free(each, depth.queue) for each in stats.workers)

    open_ = [depth for depth in stats.priorities if depth.queue in QUEUES and depth.queue not in stats.paused]
    stuck = [depth for depth in open_ if depth.oldest_wait > _TOO_LONG and free(depth)]
    if stuck:
        worst = max(stuck, key=lambda depth: depth.oldest_wait)
        detail = (
            f"a message of {worst.queue} has waited for {age(worst.oldest_wait)}, while {count(free(worst), 'slot')} "
            f"{'is' if free(worst) == 1 else 'are'} free"
        )
        return wrong("waiting", detail, "see what the worker says (`tq logs worker`), and restart it")
    oldest = max((depth.oldest_wait for depth in open_), default=0.0)
    held = any(stats.queues.get(queue) for queue in stats.paused)
    detail = f"nothing waits for longer than {span(oldest)}" if open_ else "nothing waits"
    return Finding("waiting", f"{detail}, but in what is paused" if held else detail)
