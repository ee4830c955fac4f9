"""What the store should hold, in plain Python: the state machine of DESIGN 2.2, and how it shows in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tq.messages import QUEUES, TRANSITIONS, Message, Status, get_queue_for_priority

ENDED = {Status.COMPLETED, Status.FAILED, Status.CANCELLED}
LIVE = set(Status) - ENDED
#: Of a message whose process died under it.
QUARANTINE_AFTER, POISON_AFTER = 2, 10
#: Keys that say nothing of a single message; the stream is checked by itself.
COUNTERS = {"tq:seq", "tq:claims", "tq:ageing", "tq:changes", "tq:full", "tq:totals"}


@dataclass
class Entry:
    """A message."""

    seq: int
    priority: int
    print: str
    idempotency: str
    sealed: str
    own_key: bool
    status: Status = Status.QUEUED
    quarantined: bool = False
    epoch: int = 0
    attempts: int = 0
    crashes: int = 0
    retries: int = 0
    tokens: int = 0
    owner: str = ""
    settled: int = 0
    booked: int = 0
    error: bool = False
    translation: str | None = None
    #: How often it was tried again by hand.
    revivals: int = 0
    #: The lease, the retry or the record has run out, and nobody has noticed yet.
    over: bool = False

    @property
    def index(self) -> str:
        """Which index of queued messages it belongs in."""
        return "quarantine" if self.quarantined else str(self.priority)


class Model:
    """All messages, and what else the store knows of them.

    Attributes:
        entries: by id.
        ghosts: status and seq of records that have expired, and that the reaper has not tidied up.
        idempotency: print and id behind each digest; the message may be gone.
        alive: processes whose heart beats.
        changes: what the stream of changes has to say since it was last read.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.ghosts: dict[str, tuple[Status, int]] = {}
        self.idempotency: dict[str, tuple[str, str]] = {}
        self.alive: set[str] = set()
        self.changes: list[tuple[str, Status]] = []
        #: When each life began, as it was first seen: by seq and number of the life.
        self._began: dict[tuple[int, int], float] = {}

    def of(self, *statuses: Status) -> list[str]:
        """The ids of these statuses, sorted."""
        return sorted(name for name, entry in self.entries.items() if entry.status in statuses)

    def over(self, *statuses: Status) -> list[str]:
        """Those of them whose time is over."""
        return [name for name in self.of(*statuses) if self.entries[name].over]

    # -- transitions -------------------------------------------------------------------------------

    def submit(self, message_id: str, entry: Entry) -> None:
        """A new message."""
        self.entries[message_id] = entry
        self.ghosts.pop(message_id, None)
        if entry.idempotency:
            self.idempotency[entry.idempotency] = (entry.print, message_id)
        self.changes.append((message_id, Status.QUEUED))

    def move(self, message_id: str, to: Status, *, error: bool | None = None, translation: str | None = None) -> None:
        """A transition, with what each brings along; ``error``: whether there is one now, None = as before."""
        entry = self.entries[message_id]
        assert to in TRANSITIONS[entry.status], "the model itself went an illegal way"
        if entry.status in ENDED or to is Status.COMPLETED:
            entry.error = False
        entry.error = entry.error if error is None else error
        entry.status, entry.over, entry.owner, entry.translation = to, False, "", translation
        if to in ENDED:
            entry.sealed = ""
        self.changes.append((message_id, to))

    def take(self, message_id: str, owner: str) -> None:
        """A claim; the epoch is its fence."""
        self.move(message_id, Status.RUNNING)
        entry = self.entries[message_id]
        entry.owner = owner
        entry.epoch += 1
        entry.attempts += 1

    def revive(self, message_id: str, sealed: str) -> None:
        """A new life for what has ended: no crashes, no retries spent, out of quarantine."""
        self.move(message_id, Status.QUEUED)
        entry = self.entries[message_id]
        entry.crashes = entry.retries = 0
        entry.quarantined = False
        entry.revivals += 1
        entry.sealed, entry.own_key = sealed, entry.own_key or bool(sealed)

    def reap(self, most: int) -> tuple[list[str], list[str]]:
        """What is over, ``most`` of each kind: the ids that are queued again, and those that failed as poison."""
        queued, poisoned = [], []
        for message_id in self.over(Status.RUNNING)[:most]:
            entry = self.entries[message_id]
            if entry.owner != "outside" and entry.owner.partition("#")[0] not in self.alive:
                entry.crashes += 1
            if entry.crashes >= POISON_AFTER:
                self.move(message_id, Status.FAILED, error=True)
                poisoned.append(message_id)
            else:
                entry.quarantined = entry.quarantined or entry.crashes >= QUARANTINE_AFTER
                self.move(message_id, Status.QUEUED)
                queued.append(message_id)
        for message_id in self.over(Status.RETRYING)[:most]:
            self.move(message_id, Status.QUEUED)
            queued.append(message_id)
        for message_id in sorted({*self.over(*ENDED), *self.ghosts})[:most]:
            if self.ghosts.pop(message_id, None) is None:
                del self.entries[message_id]
        return queued, poisoned

    # -- how it shows ------------------------------------------------------------------------------

    def check(self, redis: Any) -> None:
        """Every key of the server is what the model says, and there is no other."""
        keys = [
            key for key in redis.keys("*") if not key.startswith(("tq:rate:", "tq:minute:")) and key not in COUNTERS
        ]
        pipe = redis.pipeline()
        for key in keys:
            kind = key.split(":")[1]
            if kind == "message":
                pipe.hgetall(key)
            elif kind in {"sealed", "idempotency"}:
                pipe.get(key)
            elif key == "tq:failures":
                pipe.smembers(key)
            else:
                pipe.zrange(key, 0, -1, withscores=True)
            pipe.pttl(key)
        answers = pipe.execute()
        values, ttls = dict(zip(keys, answers[::2], strict=True)), dict(zip(keys, answers[1::2], strict=True))
        self._check_records(values, ttls)
        self._check_idempotency(values, ttls)
        kinds = values.pop("tq:failures", set())
        self._check_failures(kinds, {key: dict(values.pop(key)) for key in [*values] if key.startswith("tq:failed:")})
        self._check_indexes({key: dict(value) for key, value in values.items() if isinstance(value, list)})

    def _check_failures(self, kinds: set[str], found: dict[str, dict[str, float]]) -> None:
        """Each failed message stands under one type of error, by its seq; every type that there is, is known."""
        assert found.keys() == {f"tq:failed:{kind}" for kind in kinds}
        failed = {name: float(entry.seq) for name, entry in self.entries.items() if entry.status is Status.FAILED}
        failed |= {name: float(seq) for name, (status, seq) in self.ghosts.items() if status is Status.FAILED}
        assert sum(map(len, found.values())) == len(failed)
        assert {name: seq for members in found.values() for name, seq in members.items()} == failed

    def _check_records(self, values: dict[str, Any], ttls: dict[str, int]) -> None:
        """What has ended has a TTL and no api key; nothing else has a TTL."""
        assert {key for key in values if key.startswith("tq:message:")} == {
            f"tq:message:{name}" for name in self.entries
        }
        sealed = {key: value for key, value in values.items() if key.startswith("tq:sealed:")}
        assert sealed == {f"tq:sealed:{name}": entry.sealed for name, entry in self.entries.items() if entry.sealed}
        assert {ttls[key] for key in sealed} <= {-1}
        for message_id, entry in self.entries.items():
            key = f"tq:message:{message_id}"
            assert _entry(values[key], entry) == entry, message_id
            assert (ttls[key] > 0) if entry.status in ENDED else (ttls[key] == -1)
            assert ("finished" in values[key]) == (entry.status in ENDED)
            assert ("due" in values[key]) == (entry.status is Status.RETRYING)

    def _check_idempotency(self, values: dict[str, Any], ttls: dict[str, int]) -> None:
        """Each key says which message it stands for, and lives as long as that."""
        found = {key: value for key, value in values.items() if key.startswith("tq:idempotency:")}
        assert found == {f"tq:idempotency:{key}": f"{text} {name}" for key, (text, name) in self.idempotency.items()}
        for entry in self.entries.values():
            if entry.idempotency:
                ttl = ttls[f"tq:idempotency:{entry.idempotency}"]
                assert (ttl > 0) if entry.status in ENDED else (ttl == -1)

    def _check_indexes(self, found: dict[str, dict[str, float]]) -> None:
        """Each message stands where its status says, by its seq, and nowhere else."""
        by_status: dict[Status, dict[str, float]] = {status: {} for status in Status}
        queued: dict[str, set[str]] = {}
        for message_id, entry in self.entries.items():
            by_status[entry.status][message_id] = entry.seq
            if entry.status is Status.QUEUED:
                queued.setdefault(f"tq:queued:{entry.index}", set()).add(message_id)
        for message_id, (status, seq) in self.ghosts.items():
            by_status[status][message_id] = seq
        for status, members in by_status.items():
            assert found.pop(f"tq:status:{status}", {}) == members
        for extra in ("tq:aged", "tq:republished"):
            assert set(found.pop(extra, ())) <= set(by_status[Status.QUEUED]), extra
        found.pop("tq:alive", None)
        self._check_open(found)
        self._check_lines(found)
        expected = queued | {
            "tq:leases": set(by_status[Status.RUNNING]),
            "tq:due": set(by_status[Status.RETRYING]),
            "tq:ended": {name for status in ENDED for name in by_status[status]},
        }
        assert {key: set(members) for key, members in found.items()} == {k: v for k, v in expected.items() if v}

    def _check_open(self, found: dict[str, dict[str, float]]) -> None:
        """What has not ended is known by its queue and by when its life began, and by nothing that happened since."""
        for queue in QUEUES:
            members = found.pop(f"tq:open:{queue}", {})
            assert set(members) == {
                name for name in self.of(*LIVE) if get_queue_for_priority(self.entries[name].priority) == queue
            }
            for name, began in members.items():
                entry = self.entries[name]
                assert self._began.setdefault((entry.seq, entry.revivals), began) == began, name

    def _check_lines(self, found: dict[str, dict[str, float]]) -> None:
        """Who stands in an account's line is queued at that priority, and an account has turns while it has a line."""
        lines = [key for key in found if key.startswith("tq:line:")]
        turns = {key: set(found.pop(key)) for key in [*found] if key.startswith("tq:turns:")}
        accounts: dict[str, set[str]] = {}
        for key in lines:
            _, _, priority, account = key.split(":")
            accounts.setdefault(f"tq:turns:{priority}", set()).add(account)
            for name in found.pop(key):
                assert (self.entries[name].status, self.entries[name].index) == (Status.QUEUED, priority)
        assert turns == accounts

    def check_document(self, message: Message) -> None:
        """What people are shown follows from the status."""
        entry = self.entries[message.message_id]
        assert (message.status, message.attempts, message.priority) == (entry.status, entry.attempts, entry.priority)
        assert (message.queue == "quarantine") == entry.quarantined
        assert (message.translation is not None) == (message.status is Status.COMPLETED)
        assert (message.finished_at is not None) == (message.status in ENDED)
        assert (message.next_retry_at is not None) == (message.status is Status.RETRYING)
        assert message.error is not None or message.status not in {Status.FAILED, Status.RETRYING}

    def counts(self) -> dict[Status, int]:
        """Messages by status, as far as the indexes know."""
        counts = dict.fromkeys(Status, 0)
        for status in [entry.status for entry in self.entries.values()] + [
            status for status, _ in self.ghosts.values()
        ]:
            counts[status] += 1
        return counts


def _entry(record: dict[str, str], model: Entry) -> Entry:
    """A record as the model has it; what is not in the record is taken from the model."""
    return Entry(
        seq=int(record["seq"]),
        priority=int(record["priority"]),
        print=record["print"],
        idempotency=record.get("idempotency", ""),
        sealed=model.sealed,
        own_key="own_key" in record,
        status=Status(record["status"]),
        quarantined=record.get("queue") == "quarantine",
        epoch=int(record.get("epoch", 0)),
        attempts=int(record.get("attempts", 0)),
        crashes=int(record.get("crashes", 0)),
        retries=int(record.get("retries", 0)),
        tokens=int(record.get("prompt_tokens", 0)),
        owner=record.get("owner", ""),
        settled=int(record.get("settled", 0)),
        booked=int(record.get("booked", 0)),
        error="error" in record,
        translation=record.get("translation"),
        revivals=model.revivals,
        over=model.over,
    )
