"""Queues that are paused, as commands tell of them that show messages of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from tq.backend import Backend
from tq.errors import TqError
from tq.terminal import note


def paused_of(backend: Backend) -> Sequence[str]:
    """The queues that are paused, as far as the figures can be had: they are not what was asked for."""
    with suppress(TqError):
        return backend.stats().paused
    return ()


def warn_of_pause(queue: str) -> None:
    """Say that a queue is paused, and how it goes on."""
    note(f"the queue {queue} is paused: `tq resume {queue}`")
