"""The garbage collector of a process that holds thousands of messages, or answers thousands of requests."""

from __future__ import annotations

import gc
from typing import Final

#: Allocations more than releases until young objects are looked at, and how often that until older ones are.
#: Python's own 700 looks through everything in flight over and over: a fifth of a worker's time. But the errors of
#: failed calls are cycles, old by the time they are garbage: looked for too seldom, ten thousand took 460 MB.
_THRESHOLDS: Final = (10_000, 2, 10)


def collect_rarely() -> None:
    """Look for cycles seldom, and never again in what has been imported by now. Most garbage is freed without it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
