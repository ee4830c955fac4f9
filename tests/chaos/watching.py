"""Observers: all changes as the store tells them, and what a client is told meanwhile; and whether they agree."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import httpx
import redis
from broker import UNAVAILABLE, Broker
from ledger import ENDED, Ledger

from tq.errors import AttemptDeferred
from tq.messages import TRANSITIONS, Status

#: Milliseconds by which a client's clock and the stream's may differ on one machine.
SLACK = 50
LEGAL = {(str(before), str(after)) for before, afters in TRANSITIONS.items() for after in afters}


class Change(NamedTuple):
    """A transition: when (Unix milliseconds), to which status, with how many attempts so far, and why."""

    at: int
    status: str
    attempts: int
    info: str


class Sight(NamedTuple):
    """What a client was told between two instants (Unix milliseconds)."""

    asked: float
    told: float
    message_id: str
    status: str
    attempts: int


class ChangeLog(threading.Thread):
    """Every change, read from the store's stream as it comes, through every outage."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(daemon=True, name="change-log")
        self._broker = broker
        self._last = "0-0"
        self._stopped = threading.Event()
        self.changes: dict[str, list[Change]] = defaultdict(list)
        self.start()

    def run(self) -> None:
        """Read on until stopped."""
        while not self._stopped.is_set():
            try:
                with self._broker.client(socket_timeout=5) as client:
                    while not self._stopped.is_set():
                        self._read(client)
            except (*UNAVAILABLE, redis.ResponseError, OSError, AssertionError):
                self._stopped.wait(0.05)

    def _read(self, client: redis.Redis) -> None:
        answer: Any = client.xread({"tq:changes": self._last}, count=5000, block=100)
        for cursor, fields in answer[0][1] if answer else ():
            self._last = cursor.decode()
            change = Change(int(self._last.partition("-")[0]), fields[b"s"].decode(), int(fields[b"a"]), "")
            self.changes[fields[b"id"].decode()].append(change._replace(info=fields[b"i"].decode()))

    def caught_up(self) -> bool:
        """Whether nothing was changed that is not known here."""
        with self._broker.client() as client:
            newest: Any = client.xrevrange("tq:changes", count=1)
        return not newest or newest[0][0].decode() == self._last

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self.join(10)

    def count(self, status: str) -> int:
        """How many transitions to a status there were."""
        return sum(change.status == status for changes in list(self.changes.values()) for change in list(changes))

    def since(self, message_id: str, status: str) -> float | None:
        """Unix time of the first transition of a message to a status."""
        return next((each.at / 1000 for each in self.changes.get(message_id, ()) if each.status == status), None)


class Observer(threading.Thread):
    """A client that keeps asking for messages, single and in lists, and remembers what it was told."""

    def __init__(self, connect: Callable[[], httpx.Client], ledger: Ledger, rng: random.Random) -> None:
        super().__init__(daemon=True, name="observer")
        self._connect = connect
        self._ledger = ledger
        self._rng = rng
        self._stopped = threading.Event()
        self.sights: list[Sight] = []
        self.untrue: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.start()

    def run(self) -> None:
        """Ask until stopped, some twenty times a second."""
        while not self._stopped.is_set():
            try:
                with self._connect() as http:
                    while not self._stopped.wait(0.05):
                        self._ask(http)
            except (httpx.TransportError, AssertionError):
                self._stopped.wait(0.2)

    def _ask(self, http: httpx.Client) -> None:
        ids = self._ledger.acknowledged
        if not ids:
            return
        one = self._rng.random() < 0.8
        message_id = self._rng.choice(ids)
        asked = time.time() * 1000
        answer = http.get(f"/messages/{message_id}") if one else http.get("/messages", params={"limit": "50"})
        told = time.time() * 1000
        self.statuses[answer.status_code] += 1
        if answer.status_code == 404:
            self.untrue.append(f"{message_id}, acknowledged, is unknown")
        if answer.status_code == 200:
            for document in [answer.json()] if one else answer.json()["messages"]:
                self._remember(document, asked, told)

    def _remember(self, document: dict[str, Any], asked: float, told: float) -> None:
        name, status = document["message_id"], document["status"]
        self.sights.append(Sight(asked, told, name, status, document["attempts"]))
        entry = self._ledger.entries.get(name)
        if entry is None:
            return
        if document["content"] != entry.content:
            self.untrue.append(f"{name} has another's content")
        if (status == "completed") != (document["translation"] is not None):
            self.untrue.append(f"{name} is {status} with translation {document['translation']!r}")
        if status == "completed" and document["translation"] != entry.translation:
            self.untrue.append(f"{name} has another's translation: {document['translation']!r}")
        if (document["finished_at"] is not None) != (status in ENDED):
            self.untrue.append(f"{name} is {status} and finished_at is {document['finished_at']}")

    def close(self) -> None:
        """Stop asking."""
        self._stopped.set()
        self.join(60)


def illegal_changes(log: ChangeLog) -> list[str]:
    """Transitions that the state machine does not have, and statuses that came out of nowhere."""
    wrong = []
    for message_id, changes in log.changes.items():
        if changes[0].status != Status.QUEUED:
            wrong.append(f"{message_id} began as {changes[0].status}")
        for before, after in pairwise(changes):
            # What was put off before anything was sent was no attempt.
            least = before.attempts - (after.info == AttemptDeferred.type)
            if (before.status, after.status) not in LEGAL or after.attempts < least:
                wrong.append(f"{message_id} went from {before} to {after}")
    return wrong


def untrue_sights(log: ChangeLog, sights: list[Sight]) -> list[str]:
    """What a client was told that was not so at any instant between its question and the answer."""
    wrong = []
    seen: dict[str, int] = {}
    for sight in sights:
        changes = log.changes.get(sight.message_id, [])
        first = seen.get(sight.message_id, 0)
        for index in range(first, len(changes)):
            until = changes[index + 1].at if index + 1 < len(changes) else float("inf")
            begun = changes[index].at <= sight.told + SLACK
            if changes[index].status == sight.status and begun and until >= sight.asked - SLACK:
                seen[sight.message_id] = index
                break
        else:
            wrong.append(f"{sight.message_id} was said to be {sight.status} at {sight.told:.0f}: {changes}")
    return wrong
