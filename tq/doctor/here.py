"""What tq needs of this machine: a data dir of its own, and ports."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final

import httpx

from tq import datadir
from tq.doctor.api import api
from tq.doctor.finding import Finding, doubtful, failed, wrong
from tq.errors import TqError
from tq.ports import http_url, require_free_port
from tq.processes import command_of, environment_of, port_holder
from tq.settings import Settings, environment_name
from tq.stackfile import find_stack, read

_TIMEOUT: Final = 3.0
#: Bytes that should be free for the embedded Valkey.
_LEAST_FREE: Final = 512 * 2**20
#: How Python runs tq, and Celery an app.
_OURS: Final = {("-m", "tq"), ("-A", "tq"), ("--app", "tq")}
_REDIS: Final = ("redis_url", "redis_host", "redis_port", "redis_db")


def data_dir(settings: Settings) -> Finding:
    """Whether it is, or can be, this user's alone, with room in it."""
    path = settings.data_dir
    try:
        there = datadir.examine(settings)
    except TqError as error:
        return failed("data dir", error)
    left = shutil.disk_usage(there).free
    if left < _LEAST_FREE:
        detail = f"only {left // 2**20} MiB are free for {path}: Redis will soon refuse what is submitted"
        return wrong("data dir", detail, "make room, or set TQ_DATA_DIR to another disk")
    if there != path:
        return Finding("data dir", f"{path} will be made")
    if datadir.is_open(path):
        if datadir.holds_others(path):
            detail = f"{path} is open to other users, and holds files that are not tq's: `tq up` refuses it"
            return wrong("data dir", detail, f"chmod 700 {path}, or set TQ_DATA_DIR to a directory for tq alone")
        return doubtful("data dir", f"{path} is open to other users; `tq up` tightens it", f"chmod 700 {path}")
    return Finding("data dir", f"{path} is writable")


def services(settings: Settings) -> Iterator[Finding]:
    """What listens on the ports of API and Flower, and whose it is."""
    # A running stack may have taken other ports than the settings name (`tq up --port auto`).
    stack = find_stack(settings)
    api_url = stack.api_url if stack else http_url(settings.api_host, settings.api_port)
    flower_url = stack.flower_url if stack else http_url(settings.flower_host, settings.flower_port)
    foreign = None if stack else _foreign("api", settings, settings.api_port, "TQ_API")
    if foreign or not _answers(f"{api_url}/health", '"status"'):
        yield foreign or _port("api", settings.api_host, settings.api_port, "TQ_API")
    else:
        yield api(api_url)
    foreign = None if stack else _foreign("flower", settings, settings.flower_port, "TQ_FLOWER")
    if foreign or not _answers(f"{flower_url}/healthcheck", "OK"):
        yield foreign or _port("flower", settings.flower_host, settings.flower_port, "TQ_FLOWER")
    else:
        yield Finding("flower", f"{flower_url} answers")


def _foreign(name: str, settings: Settings, port: int, setting: str) -> Finding | None:
    """That another installation of tq has the port; None when it has not, or nobody can tell."""
    holder = port_holder(port)
    if holder is None:
        return None
    theirs = {key.upper(): value for key, value in environment_of(holder[0]).items() if value}
    place = theirs.get(environment_name("data_dir"))
    if place is None or not _is_tq(holder[0], Path(place).expanduser()) or _same(settings, theirs, Path(place)):
        return None
    return wrong(
        name,
        f"port {port} belongs to the tq on another data dir, {place} (pid {holder[0]})",
        f"stop that one (`TQ_DATA_DIR={place} tq down`), set {setting}_PORT, or start with `tq up --port auto`",
    )


def _is_tq(pid: int, place: Path) -> bool:
    """Whether it is a process of tq's: whatever a shell starts is given the settings that it exports."""
    stack = read(place / "stack.json")
    if stack is not None and any(each.process and each.process.pid == pid for each in stack.services):
        return True
    words = command_of(pid)
    named = any(Path(word).name == "tq" for word in words[:2])
    return named or any(pair in _OURS for pair in pairwise(words)) or any("tq.server" in word for word in words)


def _same(settings: Settings, theirs: Mapping[str, str], place: Path) -> bool:
    """Whether that environment's messages are these settings'."""
    given = {name: getattr(settings, name) for name in _REDIS if name in settings.model_fields_set}
    ours = {name: str(getattr(value, "get_secret_value", lambda value=value: value)()) for name, value in given.items()}
    named = {name: theirs[environment_name(name)] for name in _REDIS if environment_name(name) in theirs}
    # Every process of a stack is given all settings, also those that are as they are by default.
    if settings.redis_db == 0:
        ours.pop("redis_db", None)
    if named.get("redis_db") == "0":
        named.pop("redis_db")
    if ours or named:
        return ours == named
    return place.expanduser().absolute() == settings.data_dir


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
        return failed(name, error)
    return Finding(name, f"does not run; port {port} is free")
