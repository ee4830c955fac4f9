"""The garbage collector of a process that holds thousands of messages, or answers thousands of requests."""

from __future__ import annotations

import gc
from typing import Final

#: Allocations more than releases until young objects are looked at, and how often that until older ones are.
#: Python's own 700 looks through everything in flight over and over: a fifth of a worker's time.
_THRESHOLDS: Final = (50_000, 20, 50)


def collect_rarely() -> None:
    """Look for cycles seldom, and never again in what has been imported by now. Most garbage is freed without it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
