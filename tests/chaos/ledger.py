"""The ledger: what was submitted, what of it was acknowledged, and how it must end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from llm_faults import MARKER, fake_translation

COMPLETED = frozenset({"completed"})
ENDED = frozenset({"completed", "failed", "cancelled"})


@dataclass(slots=True)
class Entry:
    """One submit.

    Attributes:
        message_id: chosen by the ledger, so that an answer that got lost can be asked for again.
        content: what was to be translated; no two are alike.
        priority: 0 … 10.
        acknowledged: Unix time of the 2xx; None without one. Without, it may or may not have been accepted.
        ends: the terminal statuses that are right for it.
        outcomes: how many times it ends: more than once only if it was revived by hand.
    """

    message_id: str
    content: str
    priority: int
    acknowledged: float | None = None
    ends: frozenset[str] = COMPLETED
    outcomes: int = 1

    @property
    def translation(self) -> str:
        """What the stand-in says to it."""
        return fake_translation(MARKER.sub("", self.content).strip())


class Ledger:
    """All submits of a scenario; used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.entries: dict[str, Entry] = {}

    def new(self, priority: int, fault: str = "", words: str = "") -> Entry:
        """An entry for a message that is about to be submitted."""
        with self._lock:
            message_id = f"m{len(self.entries):06d}"
            middle = f"@@fault:{fault}@@ " if fault else ""
            entry = Entry(message_id, f"Text {message_id} {middle}{words or 'to translate'}", priority)
            self.entries[message_id] = entry
            return entry

    def add(self, message_id: str, content: str, priority: int) -> None:
        """An entry for a message that was accepted under an id of tq's own making."""
        with self._lock:
            self.entries[message_id] = Entry(message_id, content, priority, acknowledged=time.time())

    def acknowledge(self, message_id: str) -> None:
        """A 2xx came."""
        with self._lock:
            self.entries[message_id].acknowledged = time.time()

    def expect(self, ids: Iterable[str], *ends: str, outcomes: int = 1) -> None:
        """That these end otherwise than completed, or more than once."""
        for message_id in ids:
            self.entries[message_id].ends = frozenset(ends)
            self.entries[message_id].outcomes = outcomes

    @property
    def acknowledged(self) -> list[str]:
        """The ids that must not be lost, in the order of their submits."""
        with self._lock:
            return [entry.message_id for entry in self.entries.values() if entry.acknowledged is not None]

    def forget(self, message_id: str) -> None:
        """It is not counted as acknowledged any more: a scenario has taken it away by force."""
        with self._lock:
            self.entries[message_id].acknowledged = None
