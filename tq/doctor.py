"""`tq doctor`: checks of everything that a message needs on its way, each with what mends it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from tq import __version__
from tq.errors import TqError, Unreachable
from tq.figures import Stats
from tq.layout import span
from tq.options import connect
from tq.ports import http_url, require_free_port
from tq.queue import TranslationQueue
from tq.settings import Settings, load_settings, redacted
from tq.stackfile import find_stack
from tq.terminal import clean, paint, write

_TIMEOUT: Final = 3.0
_UNREACHABLE: Final = Unreachable.exit_code
#: Seconds that clocks may differ by, and bytes that should be free for the embedded Valkey.
_SKEW: Final = 5.0
_LEAST_FREE: Final = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; ``exit_code`` is 0 when all is well, and ``fix`` says what mends it otherwise."""

    name: str
    detail: str
    fix: str = ""
    exit_code: int = 0


def run_checks(url: str | None, *, as_json: bool = False) -> int:
    """Run all checks, printing each as it ends; 0 = all well, 5 = nothing reachable, 1 = something else."""
    codes = set()
    for finding in _checks(url):
        codes.add(finding.exit_code)
        if as_json:
            ok = not finding.exit_code
            write(json.dumps({"check": finding.name, "ok": ok, "detail": finding.detail, "fix": finding.fix or None}))
            continue
        mark = paint("✘", "31", sys.stdout) if finding.exit_code else paint("✔", "32", sys.stdout)
        write(f"{mark} {finding.name:<9} {clean(finding.detail)}")
        if finding.fix:
            write(f"            fix: {clean(finding.fix)}")
    return _UNREACHABLE if _UNREACHABLE in codes else max(codes)


def _checks(url: str | None) -> Iterator[Finding]:
    try:
        settings = load_settings()
    except TqError as error:
        yield _failed("settings", error)
        return
    yield Finding("settings", "usable; `tq config` lists them")
    remote = url or settings.url
    if remote is None:
        yield _data_dir(settings)
    name = "redis" if remote is None else "api"
    try:
        with connect(url) as backend:
            backend.health()
            yield Finding(name, f"{settings.store_name if remote is None else redacted(remote)} answers")
            stats = backend.stats()
    except TqError as error:
        yield _failed(name, error)
    else:
        yield _workers(stats)
        yield _paused(stats)
        if remote is None:
            yield from asyncio.run(_store_checks(settings))
    if remote is not None:
        yield _api(remote)
        return
    yield _priorities()
    yield from _services(settings)
    yield _provider(settings)


def _failed(name: str, error: TqError) -> Finding:
    code = _UNREACHABLE if error.exit_code == _UNREACHABLE else 1
    return Finding(name, f"{error.what}: {error.why}" if error.why else error.what, error.fix, code)


def _data_dir(settings: Settings) -> Finding:
    path = settings.data_dir
    fix = "make it a directory that this user can write, or set TQ_DATA_DIR"
    if not path.exists():
        parent = next(folder for folder in path.parents if folder.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding("data dir", f"{path} will be made")
        return Finding("data dir", f"{path} cannot be made: {parent} is not writable", fix, 1)
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        return Finding("data dir", f"{path} is not a directory that this user can write", fix, 1)
    left = shutil.disk_usage(path).free
    if left < _LEAST_FREE:
        detail = f"only {left // 2**20} MiB are free for {path}: Redis will soon refuse what is submitted"
        return Finding("data dir", detail, "make room, or set TQ_DATA_DIR to another disk", 1)
    if path.stat().st_mode & 0o077:
        return Finding("data dir", f"{path} is open to other users", f"chmod 700 {path}", 1)
    return Finding("data dir", f"{path} is writable")


def _workers(stats: Stats) -> Finding:
    if not stats.workers:
        return Finding("worker", "none is running", "start one with `tq worker` or `tq up`", 1)
    slots = sum(worker.slots for worker in stats.workers)
    others = sorted({worker.version for worker in stats.workers} - {__version__})
    if others:
        detail = f"a worker is of version {', '.join(others)}, this is {__version__}"
        return Finding("worker", detail, "run the same version everywhere", 1)
    return Finding("worker", f"{len(stats.workers)} running, {slots} slots")


def _paused(stats: Stats) -> Finding:
    if stats.paused:
        names = " ".join(stats.paused)
        return Finding("paused", f"nothing begins of {', '.join(stats.paused)}", f"`tq resume {names}`", 1)
    return Finding("paused", "no queue is")


async def _store_checks(settings: Settings) -> list[Finding]:
    queue = TranslationQueue(settings)
    try:
        info, ahead, sealed = await asyncio.gather(
            queue.store.safeguards(), queue.store.clock_ahead(), queue.store.any_sealed()
        )
        return [_durability(info), _clock(ahead), _secret(queue, sealed)]
    except TqError as error:
        return [_failed("redis", error)]
    finally:
        await queue.aclose()


def _clock(ahead: float) -> Finding:
    if abs(ahead) > _SKEW:
        word = "ahead of" if ahead > 0 else "behind"
        detail = f"that of Redis is {span(abs(ahead))} {word} this machine's: ages shown here are wrong by that"
        return Finding("clock", detail, "set both by the network (NTP)", 1)
    return Finding("clock", "this machine and Redis agree on the time")


def _secret(queue: TranslationQueue, sealed: tuple[str, bytes] | None) -> Finding:
    """Whether keys that messages brought can be opened here."""
    if sealed is None:
        return Finding("keys", "no message waits with a key of its own")
    try:
        queue.sealer.unseal(*sealed)
    except TqError as error:
        return _failed("keys", error)
    return Finding("keys", "those that messages brought can be opened")


def _durability(info: Mapping[str, str]) -> Finding:
    """Whether Redis keeps what it was given; see docs/reliability.md."""
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy != "noeviction":
        detail = f"Redis throws keys away when its memory is full (maxmemory-policy {policy}): messages get lost"
        return Finding("durable", detail, "set maxmemory-policy noeviction in its configuration", 1)
    if info.get("aof_enabled") != "1":
        detail = "Redis keeps no log on disk (appendonly no): when it ends, messages get lost"
        return Finding("durable", detail, "set appendonly yes, and appendfsync always to lose nothing at all", 1)
    return Finding("durable", "Redis logs to disk and evicts nothing")


def _priorities() -> Finding:
    # A `-b` or another configuration of Celery's could undo them, and priorities with them.
    from tq.celery import app
    from tq.tokens import PRIORITY_STEPS

    options = app.connection_for_write().transport_options
    if app.connection_for_write().transport.driver_type != "redis":
        return Finding("priority", "the broker sorts by priority itself")
    if options.get("priority_steps") != PRIORITY_STEPS or options.get("queue_order_strategy") != "priority":
        return Finding("priority", "Celery's transport options are not tq's", "start workers from tq's own app", 1)
    return Finding("priority", f"{len(PRIORITY_STEPS)} steps in two queues, strict")


def _services(settings: Settings) -> Iterator[Finding]:
    # A running stack may have taken other ports than the settings name (`tq up --port auto`).
    stack = find_stack(settings)
    api = stack.api_url if stack else http_url(settings.api_host, settings.api_port)
    flower = stack.flower_url if stack else http_url(settings.flower_host, settings.flower_port)
    if _answers(f"{api}/health", '"status"'):
        yield _api(api)
    else:
        yield _port("api", settings.api_host, settings.api_port, "TQ_API")
    if _answers(f"{flower}/healthcheck", "OK"):
        yield Finding("flower", f"{flower} answers")
    else:
        yield _port("flower", settings.flower_host, settings.flower_port, "TQ_FLOWER")


def _api(url: str) -> Finding:
    """That it is of this version, and that its clock is right."""
    shown = redacted(url).rstrip("/")
    try:
        answer = httpx.get(f"{url.rstrip('/')}/health", timeout=_TIMEOUT, trust_env=False)
        version = str(answer.json()["version"])
        ahead = parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return Finding("api", f"{shown} does not answer as tq's API does", "correct TQ_URL (or --url)", 1)
    if version != __version__:
        detail = f"{shown} is of version {version}, this is {__version__}"
        return Finding("api", detail, "run the same version everywhere", 1)
    if abs(ahead) > _SKEW:
        return Finding("api", f"the clock of {shown} is off by {span(abs(ahead))}", "set it by the network (NTP)", 1)
    return Finding("api", f"{shown} answers, version {version}")


def _answers(url: str, expected: str) -> bool:
    try:
        answer = httpx.get(url, timeout=_TIMEOUT, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.is_success and expected in answer.text


def _port(name: str, host: str, port: int, setting: str) -> Finding:
    try:
        require_free_port(host, port, service=name, setting=setting)
    except TqError as error:
        return _failed(name, error)
    return Finding(name, f"does not run; port {port} is free")


def _provider(settings: Settings) -> Finding:
    if settings.provider_name == "pseudo":
        return Finding(
            "provider", "pseudo: its output is accents, NOT a translation; set OPENAI_API_KEY or OPENAI_BASE_URL"
        )
    key = settings.openai_api_key
    base = (settings.openai_base_url or "https://api.openai.com/v1").rstrip("/")
    if key is None and settings.openai_base_url is None:
        return Finding("provider", "openai, but there is no key", "set OPENAI_API_KEY", 1)
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    try:
        answer = httpx.get(f"{base}/models", headers=headers, timeout=_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as error:
        detail = f"{redacted(base)} does not answer: {type(error).__name__}"
        return Finding("provider", detail, "start it, or correct OPENAI_BASE_URL", 1)
    return _provider_answer(redacted(base), answer, settings)


def _provider_answer(base: str, answer: httpx.Response, settings: Settings) -> Finding:
    status = answer.status_code
    if status in {401, 403}:
        return Finding("provider", f"{base} refuses the key (status {status})", "correct OPENAI_API_KEY", 1)
    if answer.is_redirect:
        detail = f"{base} redirects (status {status}), which is not followed"
        return Finding("provider", detail, "set OPENAI_BASE_URL to the final address", 1)
    if status >= 500:
        return Finding("provider", f"{base} answers with status {status}", "try again later", 1)
    known = "the key is accepted" if settings.openai_api_key and answer.is_success else "it answers"
    return Finding("provider", f"{base}: {known}; model {settings.model}")
