"""`tq doctor`: checks of everything that a message needs on its way, each with what mends it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator

from tq.backend import Backend
from tq.doctor import past
from tq.doctor.api import api
from tq.doctor.finding import UNREACHABLE, Finding, failed
from tq.doctor.fleet import fleet
from tq.doctor.here import data_dir, services
from tq.doctor.provider import provider
from tq.doctor.store import broker, priorities, store
from tq.errors import ApiError, TqError
from tq.options import connect, explained
from tq.progress import Progress
from tq.settings import Settings, load_settings
from tq.terminal import columns_of, write, write_json

#: What is looked at, and what finds out.
_Check = tuple[str, Callable[[], Iterable[Finding]]]


def run_checks(url: str | None, *, as_json: bool = False) -> int:
    """Run all checks, printing each as it ends.

    Returns:
        0 = all well, 5 = nothing reachable, 4 = who answers refuses us, 1 = something else.
    """
    codes = set()
    room = columns_of(sys.stdout) if sys.stdout.isatty() else None
    for finding in _findings(url):
        codes.add(finding.exit_code)
        if as_json:
            write_json(finding.document())
        else:
            write(finding.text(room))
    return max(codes)


def _findings(url: str | None) -> Iterator[Finding]:
    try:
        settings = load_settings()
    except TqError as error:
        yield failed("settings", error)
        return
    yield Finding("settings", "usable; `tq config` lists them")
    remote = url or settings.url
    checks = _of_here(settings, url) if remote is None else [("the API", lambda: _remote(url, remote))]
    for what, check in checks:
        with Progress(f"looking at {what}"):
            found = [*check()]
        yield from found


def _of_here(settings: Settings, url: str | None) -> Iterator[_Check]:
    yield "the data dir", lambda: [data_dir(settings)]
    yield "Redis", lambda: _queue(settings, url)
    if (other := settings.broker_url) is not None:
        yield "the broker", lambda: [broker(settings, other.get_secret_value())]
    yield "Celery", lambda: [priorities(settings)]
    yield "API and Flower", lambda: services(settings)
    yield "the provider", lambda: [provider(settings)]


def _queue(settings: Settings, url: str | None) -> Iterator[Finding]:
    with connect(url) as backend:
        try:
            backend.health()
        except TqError as error:
            yield failed("redis", error)
            return
        yield Finding("redis", f"{settings.store_name} answers")
        yield from store(settings)
        try:
            yield from _work(backend, settings)
        except TqError as error:
            yield failed("figures", error)


def _remote(url: str | None, root: str) -> list[Finding]:
    try:
        with connect(url) as backend:
            trouble = str(backend.health().get("broker", ""))
            work = [*_work(backend, None)]
    except TqError as error:
        return [api(root, explained(error))]
    if trouble.startswith("unreachable"):
        detail = f"the API says that it is {trouble}"
        work = [Finding("broker", detail, "start it, or correct the settings of the API", UNREACHABLE), *work]
    return [api(root), *work]


def _work(backend: Backend, settings: Settings | None) -> Iterator[Finding]:
    """Of the fleet, and of what became of messages; ``settings`` when the workers are this machine's."""
    stats = backend.stats()
    yield from fleet(stats, settings)
    yield past.limits(stats.rates)
    try:
        history, failures = backend.history(), backend.failures()
    except ApiError:
        return  # it is of an older version
    yield past.failures(failures, history)
    yield past.attempts(history)
