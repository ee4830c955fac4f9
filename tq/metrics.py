"""What ``GET /metrics`` says, made at each scrape of what the store knows; every name of tq's own begins with ``tq_``.

Counters come from the store, so that they outlive every process and are the same whichever API answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tq.errors import ERRORS, AttemptError, BudgetExceeded
from tq.exposition import TEXT, Family, counter, gauge, render
from tq.figures import DEFAULT_ACCOUNT, Backlog, RateInfo, Stats
from tq.known import KnownModels
from tq.messages import MAX_PRIORITY, MIN_PRIORITY, QUARANTINE, QUEUES, get_queue_for_priority
from tq.settings import Settings
from tq.tallies import OTHER, OUTCOMES, REASONED, Totals

#: Reasons that are listed before they happen: a counter that appears with its first count has no rate.
_REASONS: Final = (
    *(kind for kind, cls in ERRORS.items() if issubclass(cls, AttemptError)),
    BudgetExceeded.type,
    OTHER,
)


@dataclass(frozen=True, slots=True)
class Process:
    """The process that answers; ``started`` is a Unix time."""

    streams: int = 0
    started: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    files: int = 0


def this_process(streams: int) -> Process:
    """The figures of this process, which has so many event streams open."""
    from tq.processes import usage  # late: psutil takes its time, and only a scrape needs it

    started, cpu, memory, files = usage()
    return Process(streams, started, cpu, memory, files)


def figures(
    stats: Stats,
    totals: Totals,
    process: Process,
    backlog: Backlog | None = None,
    *,
    settings: Settings,
    version: str,
    media: str = TEXT,
    known: KnownModels | None = None,
) -> str:
    """The figures as Prometheus reads them; ``known`` are the models of the settings."""
    families = [
        gauge("tq_info", "What answers here.", [({"version": version, "provider": settings.provider_name}, 1)]),
        *_queue(stats, settings),
        *_attempts(totals),
        *_webhooks(totals, backlog or Backlog()),
        *_provider(stats, totals, known or KnownModels(settings)),
        *_workers(stats),
        *_spend(stats),
        *_process(process),
    ]
    return render(families, media)


def _queue(stats: Stats, settings: Settings) -> Iterator[Family]:
    depths = {(depth.queue, depth.priority): depth for depth in stats.priorities}
    # Levels where nothing waits are listed too: a series that vanishes looks like a missing target.
    levels = [(get_queue_for_priority(level), level) for level in range(MAX_PRIORITY, MIN_PRIORITY - 1, -1)]
    known = [*levels, (QUARANTINE, None)]
    labels = [{"queue": queue, "priority": "" if level is None else str(level)} for queue, level in known]
    found = [depths.get(level) for level in known]
    yield gauge(
        "tq_queued_messages",
        "Messages that wait, by queue and priority.",
        [(label, depth.queued if depth else 0) for label, depth in zip(labels, found, strict=True)],
    )
    yield gauge(
        "tq_oldest_wait_seconds",
        "How long the longest-waiting message has waited, by queue and priority.",
        [(label, depth.oldest_wait if depth else 0) for label, depth in zip(labels, found, strict=True)],
    )
    yield gauge(
        "tq_oldest_unfinished_seconds",
        "How long ago the oldest message was submitted, or tried again by hand, that has not ended; by queue.",
        [({"queue": queue}, stats.oldest_unfinished_by_queue.get(queue, 0)) for queue in QUEUES],
    )
    yield gauge(
        "tq_max_queued_messages", "TQ_MAX_QUEUED: above it, submissions are refused.", [({}, settings.max_queued)]
    )
    yield gauge(
        "tq_messages",
        "Messages kept, by status.",
        [({"status": status}, count) for status, count in stats.counts.items()],
    )
    yield gauge(
        "tq_paused_queues",
        "1: nothing of this queue begins, as somebody paused it.",
        [({"queue": queue}, int(queue in stats.paused)) for queue in (*QUEUES, QUARANTINE)],
    )
    yield gauge("tq_running_messages", "Messages that are being translated.", [({}, stats.running)])
    yield gauge(
        "tq_throughput_per_minute",
        "Attempts begun, and messages ended, in the last minute.",
        [({"kind": kind}, value) for kind, value in stats.throughput.items()],
    )


def _attempts(totals: Totals) -> Iterator[Family]:
    yield counter("tq_submitted", "Messages accepted.", [({}, totals.submitted)])
    yield counter(
        "tq_refused_submissions",
        "Messages that were not accepted, by reason.",
        [({"reason": reason}, count) for reason, count in totals.refused.items()],
    )
    yield counter(
        "tq_ended_messages",
        "Messages that have ended, by status; one that is tried again may end again.",
        [({"status": status}, count) for status, count in totals.ended.items()],
    )
    pairs = [(outcome, reason) for outcome in OUTCOMES for reason in (_REASONS if outcome in REASONED else ("",))]
    pairs += [pair for pair in totals.attempts if pair not in pairs]
    yield counter(
        "tq_attempts",
        "Attempts that have ended, by outcome; of failed and retried ones the reason is the type of the error.",
        [
            ({"outcome": outcome, "reason": reason}, totals.attempts.get((outcome, reason), 0))
            for outcome, reason in pairs
        ],
    )
    yield counter("tq_lease_expiries", "Leases that ran out: a worker died, or stood still.", [({}, totals.expiries)])


def _webhooks(totals: Totals, backlog: Backlog) -> Iterator[Family]:
    yield counter(
        "tq_webhooks",
        "Attempts to deliver a webhook, by outcome; retried ones are followed by another.",
        [({"outcome": outcome}, count) for outcome, count in totals.hooks.items()],
    )
    yield gauge(
        "tq_webhooks_pending",
        "Webhooks that are not delivered yet, and not given up; those that are sent again later are among them.",
        [({}, backlog.pending)],
    )
    yield gauge(
        "tq_webhooks_oldest_due_seconds",
        "For how long the webhook has been due that has been for longest; 0: none is, or all of them are under way.",
        [({}, backlog.overdue)],
    )


def _provider(stats: Stats, totals: Totals, known: KnownModels) -> Iterator[Family]:
    yield Family(
        "tq_provider_call_seconds",
        "histogram",
        "How long calls to the provider took that were answered, or timed out; refused ones do not count.",
        [({"le": bound}, count) for bound, count in totals.calls],
        total=totals.calls_seconds,
    )
    yield counter("tq_provider_refusals", "Calls that a provider refused with 429.", [({}, totals.throttled)])
    yield counter(
        "tq_provider_requests",
        "Requests to a provider, by endpoint, key and model; other: keys of callers, and models that only they name.",
        [({"host": host, "key": key, "model": model}, count) for (host, key, model), count in totals.sent.items()],
    )
    accounts: dict[tuple[str, str, str], list[RateInfo]] = {}
    for rate in stats.rates:
        accounts.setdefault(_account(rate, known), []).append(rate)
    groups = [(dict(zip(("host", "key", "model"), account, strict=True)), rates) for account, rates in accounts.items()]
    for name, text, read in (
        (
            "cool_down_seconds",
            "Nothing is sent for so long, after a refusal; 0: it is. Of several accounts the longest.",
            lambda rate: rate.cool_down,
        ),
        (
            "exhausted_seconds",
            "The account is empty, and is tried again after so long; 0: it is not. Of several the longest.",
            lambda rate: rate.exhausted,
        ),
        (
            "put_off_seconds",
            "Until the last message that was put off has its turn, about.",
            lambda rate: rate.waiting,
        ),
    ):
        yield gauge(f"tq_provider_{name}", text, [(labels, max(map(read, rates))) for labels, rates in groups])
    yield gauge(
        "tq_provider_limit_per_minute",
        "The limit of an account as it is applied now, in requests or tokens, and who said so; of several the highest.",
        [
            ({**labels, "dimension": dimension, "source": source}, limit)
            for labels, rates in groups
            for (dimension, source), limit in _limits(rates).items()
        ],
    )


def _account(rate: RateInfo, known: KnownModels) -> tuple[str, str, str]:
    """As the requests are counted: callers choose keys and models, and a series stays for each that there ever was."""
    return rate.host, rate.key if rate.key == DEFAULT_ACCOUNT else OTHER, known.label(rate.model)


def _limits(rates: Sequence[RateInfo]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for rate in rates:
        for dimension, limit in rate.limits.items():
            place = dimension, limit.source
            found[place] = max(limit.per_minute, found.get(place, 0))
    return found


def _workers(stats: Stats) -> Iterator[Family]:
    workers = [({"worker": worker.name, "provider": worker.provider}, worker) for worker in stats.workers]
    yield gauge("tq_workers", "Live workers.", [({}, len(stats.workers))])
    yield gauge("tq_worker_slots", "Messages that a worker may hold.", [(label, each.slots) for label, each in workers])
    yield gauge(
        "tq_worker_running_messages",
        "Messages that a worker held at its last heartbeat.",
        [(label, each.running) for label, each in workers],
    )


def _spend(stats: Stats) -> Iterator[Family]:
    spent = stats.spend.total
    yield gauge(
        "tq_tokens_today",
        "Tokens of this UTC day, by kind; unpriced are those of both whose price is not known.",
        [
            ({"kind": "prompt"}, spent.prompt_tokens),
            ({"kind": "completion"}, spent.completion_tokens),
            ({"kind": "unpriced"}, spent.unpriced_tokens),
        ],
    )
    yield gauge(
        "tq_known_cost_today",
        "What the tokens of this UTC day cost whose price is known.",
        [({"currency": stats.spend.currency or ""}, spent.known_cost)],
    )
    if stats.spend.budget:
        yield gauge("tq_budget_per_day", "TQ_BUDGET_PER_DAY: what each account may spend.", [({}, stats.spend.budget)])


def _process(process: Process) -> Iterator[Family]:
    yield gauge("tq_event_streams", "Event streams that this process has open.", [({}, process.streams)])
    # The names that every Prometheus client gives them.
    yield gauge("process_start_time_seconds", "When this process began, as a Unix time.", [({}, process.started)])
    yield counter("process_cpu_seconds", "CPU time that it has used.", [({}, process.cpu)])
    yield gauge("process_resident_memory_bytes", "Memory that it holds.", [({}, process.memory)])
    yield gauge("process_open_fds", "Files and connections that it has open.", [({}, process.files)])
