"""The store against a model of it: random calls, legal and not, in random order, on a real server.

After every call all keys are read back and compared with the model. Time does not pass here: leases, retries,
records and heartbeats run out because their time is moved into the past.

TQ_TEST_SEED and TQ_HYPOTHESIS=thorough choose other and more examples (``properties.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from properties import EXAMPLES, THOROUGH
from servers import Valkey
from store_model import ENDED, LIVE, Entry, Model

from tq.messages import TRANSITIONS, Status
from tq.store import Store

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

IDS = ["a", "b", "c", "d"]
POISONED: Any = {"type": "poison", "message": "died", "retryable": False}
ERROR = '{"type": "rate-limited", "message": "x", "retryable": true}'
#: A time that is over, in ms.
PAST = 1000
#: Seconds that are not over before the test is.
LONG = 3600.0

UNFINISHED = set(Status) - {Status.COMPLETED}
REVIVABLE = (Status.FAILED, Status.CANCELLED)
#: Where it stands when the time of a message is over.
TIMED = {Status.RUNNING: "leases", Status.RETRYING: "due"} | dict.fromkeys(sorted(ENDED), "ended")
#: In a request: the word that marks this one alone.
NONCE = object()

ids = st.sampled_from(IDS)
processes = st.sampled_from(["host:1:p", "host:2:q"])
seals = st.sampled_from(["", "box 1", "box 2"])
#: Which of the messages that a rule is about.
picks = st.integers(0, len(IDS) - 1)


def some(*statuses: Status) -> Callable[[F], F]:
    """Only while there are messages of these statuses: without them the rule would say little."""

    def holds(machine: StoreMachine) -> bool:
        return bool(machine.model.of(*statuses))

    return precondition(holds)


class StoreMachine(RuleBasedStateMachine):
    """Calls of the store beside what the model says of them.

    Args:
        raw: the server, of this machine alone.
        store: on that server.
        runner: the loop that the store belongs to.
    """

    def __init__(self, raw: redis.Redis, store: Store, runner: asyncio.Runner) -> None:
        super().__init__()
        self.raw: Any = raw
        self.store = store
        self.runner = runner
        self.raw.flushall()
        self.model = Model()
        self.cursor = ""
        self.newest = 0
        self.calls = 0

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """A call of the store to its end."""
        return self.runner.run(call)

    def pick(self, number: int, *statuses: Status) -> tuple[str, Entry]:
        """A message of these statuses, of which there is one."""
        found = self.model.of(*statuses)
        message_id = found[number % len(found)]
        return message_id, self.model.entries[message_id]

    @initialize(
        statuses=st.lists(st.sampled_from(Status), max_size=len(IDS)),
        crashes=st.permutations([0, 0, 1, 2]),
        priorities=st.lists(st.sampled_from([0, 3, 3, 10]), min_size=len(IDS), max_size=len(IDS)),
        idempotencies=st.permutations(["", "", "k1", "k2"]),
        sealed=st.permutations(["", "", "box 1", "box 2"]),
    )
    def begin(
        self,
        statuses: list[Status],
        crashes: list[int],
        priorities: list[int],
        idempotencies: list[str],
        sealed: list[str],
    ) -> None:
        """Some messages, each somewhere on its way: from nothing at all chance would rarely get far."""
        details = zip(IDS, statuses, crashes, priorities, idempotencies, sealed, strict=False)
        for message_id, status, deaths, priority, idempotency, key in details:
            self.submit_one(message_id, "print-1", priority, idempotency, key, 1000)
            for _ in range(deaths):
                self.claim(self.model.of(Status.QUEUED).index(message_id), "host:1:p")
                self.lease_ends(self.model.of(Status.RUNNING).index(message_id), dies=True)
            steps = [] if status is Status.QUEUED else [status]
            if status in {Status.RETRYING, Status.COMPLETED, Status.FAILED}:
                steps.insert(0, Status.RUNNING)
            for step in steps:
                way = [*TRANSITIONS[self.model.entries[message_id].status]].index(step)
                self.set_status(self.model.of(*UNFINISHED).index(message_id), way)

    # -- submit ------------------------------------------------------------------------------------

    @rule(
        message_id=ids,
        text=st.sampled_from(["print-1", "print-2"]),
        idempotency=st.sampled_from(["", "k1", "k2"]),
        priority=st.sampled_from([0, 3, 3, 10]),
        sealed=seals,
        most=st.sampled_from([1000, 1000, 2, 0]),
    )
    def submit(self, message_id: str, text: str, idempotency: str, priority: int, sealed: str, most: int) -> None:
        """A new message, a repeated one, one that contradicts another, or one too many."""
        self.submit_one(message_id, text, priority, idempotency, sealed, most)

    def submit_one(self, message_id: str, text: str, priority: int, idempotency: str, sealed: str, most: int) -> None:
        """One call."""

        async def submit() -> Sequence[Any]:
            return await self.store.submit(
                message_id,
                fingerprint=text,
                idempotency=idempotency,
                priority=priority,
                body={"content": "Hello", "model_name": None, "metadata": {"target_language": "fr"}},
                languages="→fr",
                sealed=sealed,
                max_queued=most,
            )

        outcome, known, *_ = self.run(submit())
        queued = len(self.model.of(Status.QUEUED))
        first = self.model.idempotency.get(idempotency)
        entry = self.model.entries.get(message_id)
        if first is not None and first[1] in self.model.entries:
            assert (outcome, known) == ("same" if first[0] == text else "idempotency-conflict", first[1])
        elif entry is not None:
            assert (outcome, known) == ("same" if entry.print == text else "duplicate", message_id)
        elif queued >= most:
            assert (outcome, known) == ("full", str(queued))
        else:
            assert (outcome, known) == ("new", message_id)
            seq = int(self.raw.zscore("tq:status:queued", message_id))
            assert seq > self.newest, "seq does not grow"
            self.newest = seq
            self.model.submit(message_id, Entry(seq, priority, text, idempotency, sealed, own_key=bool(sealed)))

    # -- attempts ----------------------------------------------------------------------------------

    @some(Status.QUEUED)
    @rule(pick=picks, process=processes)
    def claim(self, pick: int, process: str) -> None:
        """What is queued can be had; whoever has not heard that it owns it hears it again."""
        message_id, entry = self.pick(pick, Status.QUEUED)
        self.calls += 1
        owner = f"{process}#{self.calls}"
        claims = [self.run(self.store.claim(message_id, owner, "model")) for _ in range(2)]
        self.model.take(message_id, owner)
        for claim in claims:
            assert claim is not None
            assert (claim.epoch, claim.sealed, claim.retries) == (entry.epoch, entry.sealed, entry.retries)
            assert (claim.message.status, claim.message.attempts) == (Status.RUNNING, entry.attempts)

    @some(Status.RUNNING)
    @rule(
        pick=picks, to=st.sampled_from([*TRANSITIONS[Status.RUNNING]]), retried=st.booleans(), tokens=st.integers(0, 3)
    )
    def settle(self, pick: int, to: Status, tokens: int, *, retried: bool) -> None:
        """To where a run can lead; told twice, it counts once."""
        message_id, entry = self.pick(pick, Status.RUNNING)
        fails = to in {Status.FAILED, Status.RETRYING}
        translation = f"translation {entry.epoch}" if to is Status.COMPLETED else ""
        for _ in range(2):
            assert self.run(
                self.store.settle(
                    message_id,
                    entry.epoch,
                    to,
                    fields={"error": ERROR if fails else "", "translation": translation},
                    delay=LONG,
                    info="word",
                    tokens=(tokens, 0),
                    retried=retried,
                )
            )
        entry.settled = entry.epoch
        entry.tokens += tokens
        entry.retries += retried
        self.model.move(message_id, to, error=fails, translation=translation or None)

    @some(Status.RUNNING)
    @rule(process=processes, behind=st.lists(st.sampled_from([0, 0, 1]), min_size=len(IDS), max_size=len(IDS)))
    def heartbeat(self, process: str, behind: list[int]) -> None:
        """Prolongs what runs under the epoch named, also what was all but lost; the rest is said to be lost."""
        entries = self.model.entries
        asked = {
            name: (entries[name].epoch if name in entries else 1) - late for name, late in zip(IDS, behind, strict=True)
        }
        lost = self.run(self.store.heartbeat(process, None, list(asked.items())))
        expected = {}
        for message_id, epoch in asked.items():
            entry = entries.get(message_id)
            if entry is None:
                expected[message_id] = "gone"
            elif entry.status is not Status.RUNNING:
                expected[message_id] = entry.status
            elif entry.epoch != epoch:
                expected[message_id] = "lost"
            else:
                entry.over = False
        assert lost == expected
        self.model.alive.add(process)

    # -- what people and programs outside do -------------------------------------------------------

    @some(*LIVE)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        """Whatever has not ended; a request that comes twice is applied once."""
        message_id, _ = self.pick(pick, *LIVE)
        assert self.twice("cancel", message_id, int(LONG * 1000), NONCE) == ["ok", "ok"]
        self.model.move(message_id, Status.CANCELLED)

    @some(*REVIVABLE)
    @rule(pick=picks, sealed=seals)
    def retry(self, pick: int, sealed: str) -> None:
        """What failed or was cancelled; with its own key again, if it had one."""
        message_id, entry = self.pick(pick, *REVIVABLE)
        answers = self.twice("retry", message_id, sealed, NONCE, "default", 0)
        if entry.own_key and not sealed:
            assert answers == [["missing-key"]] * 2
        else:
            assert answers == [["ok"]] * 2
            self.model.revive(message_id, sealed)

    @some(*UNFINISHED)
    @rule(pick=picks, way=st.integers(0, 4))
    def set_status(self, pick: int, way: int) -> None:
        """A program outside may go each way of the machine."""
        message_id, entry = self.pick(pick, *UNFINISHED)
        ways = [*TRANSITIONS[entry.status]]
        to = ways[way % len(ways)]
        fails = to in {Status.FAILED, Status.RETRYING}
        translation = "from outside" if to is Status.COMPLETED else None
        fields = ["error", ERROR] if fails else ["translation", translation] if translation else []
        before = entry.status
        answers = self.twice("set_status", message_id, to, *[int(LONG * 1000)] * 3, NONCE, "", *fields)
        if before in ENDED and entry.own_key:
            assert answers == [["missing-key", before]] * 2
            return
        if before in ENDED:
            self.model.revive(message_id, "")
        elif to is Status.RUNNING:
            self.model.take(message_id, "outside")
        else:
            self.model.move(message_id, to, error=fails or None, translation=translation)
        assert answers == [["ok", before], ["ok", to]]

    def twice(self, script: str, *arguments: Any) -> list[Any]:
        """A request, and the same once more by someone who got no answer: one word marks both."""
        self.calls += 1
        named = [f"word {self.calls}" if argument is NONCE else argument for argument in arguments]
        return [self.run(self.store.script(script, *named)) for _ in range(2)]

    # -- what time brings --------------------------------------------------------------------------

    @some(*TIMED)
    @rule(pick=picks)
    def time_runs_out(self, pick: int) -> None:
        """The lease of a running message ends, a retry falls due, a record is to be tidied up."""
        message_id, entry = self.pick(pick, *TIMED)
        self.raw.zadd(f"tq:{TIMED[entry.status]}", {message_id: PAST})
        entry.over = True

    @some(*ENDED)
    @rule(pick=picks, again=st.booleans())
    def record_expires(self, pick: int, *, again: bool) -> None:
        """The server drops the record of an ended message by itself, before the reaper comes; its id may be reused."""
        message_id, entry = self.pick(pick, *ENDED)
        self.raw.zadd("tq:ended", {message_id: PAST})
        self.raw.delete(f"tq:message:{message_id}")
        del self.model.entries[message_id]
        self.model.ghosts[message_id] = (entry.status, entry.seq)
        if again:
            self.submit_one(message_id, "print-2", 0, "", "", 1000)

    @rule(process=processes, alive=st.booleans())
    def heart(self, process: str, *, alive: bool) -> None:
        """A process begins to beat, or ends."""
        far = self.raw.time()[0] * 1000 + int(LONG * 1000)
        self.raw.zadd("tq:alive", {process: far if alive else PAST})
        (self.model.alive.add if alive else self.model.alive.discard)(process)

    @some(Status.RUNNING)
    @rule(pick=picks, dies=st.booleans())
    def lease_ends(self, pick: int, *, dies: bool) -> None:
        """Of a message whose process is dead, or lives, or is none of ours: only the first is a crash."""
        message_id, entry = self.pick(pick, Status.RUNNING)
        self.raw.zadd("tq:leases", {message_id: PAST})
        entry.over = True
        if entry.owner != "outside":
            self.heart(entry.owner.partition("#")[0], alive=not dies)
        self.reap(500)

    @rule(most=st.sampled_from([500, 2, 1]))
    def reap(self, most: int) -> None:
        """Puts right what is over, so many of each kind at most, and says what needs a token."""
        running = self.model.of(Status.RUNNING)
        tokens, failed, expired = self.run(self.store.reap(POISONED, most))
        queued, poisoned = self.model.reap(most)
        entries = [self.model.entries[message_id] for message_id in queued]
        assert [token.message_id for token in tokens] == queued
        assert [token.queue for token in tokens] == ["quarantine" if entry.quarantined else None for entry in entries]
        assert [token.priority for token in tokens] == [entry.priority for entry in entries]
        assert failed == poisoned
        lost = [name for name in queued if name in running]
        assert [each.message_id for each in expired] == lost
        assert [each.attempt for each in expired] == [self.model.entries[name].attempts for name in lost]

    @some(Status.QUEUED)
    @rule(pick=picks)
    def tokens_are_lost(self, pick: int) -> None:
        """Every queued message of an index gets another token, and no other message does."""
        index = self.pick(pick, Status.QUEUED)[1].index
        tokens = self.run(self.store.missing(index, tail=None, grace=-LONG))
        waiting = [name for name in self.model.of(Status.QUEUED) if self.model.entries[name].index == index]
        assert sorted(token.message_id for token in tokens) == waiting

    @some(Status.QUEUED)
    @rule()
    def ageing(self) -> None:
        """Only what is queued, and waits behind something more urgent, goes to the front."""
        aged = self.run(self.store.age(-LONG, share=1.0, most=2))
        priorities = [self.model.entries[name].index for name in self.model.of(Status.QUEUED)]
        for message_id in aged:
            entry = self.model.entries[message_id]
            assert entry.status is Status.QUEUED
            assert not entry.quarantined
            assert any(index != "quarantine" and int(index) > entry.priority for index in priorities)

    @some(Status.QUEUED)
    @rule()
    def next_is_the_most_urgent(self) -> None:
        """The next message is an aged one, or else of the highest priority that waits, the quarantine's last."""
        ranks = [*(str(priority) for priority in range(10, -1, -1)), "quarantine"]
        rank = {name: ranks.index(self.model.entries[name].index) for name in self.model.of(Status.QUEUED)}
        aged = set(self.raw.zrange("tq:aged", 0, -1))
        assert self.run(self.store.next_id()) in (aged or {name for name in rank if rank[name] == min(rank.values())})

    # -- what holds at all times -------------------------------------------------------------------

    @invariant()
    def nothing_else_is_possible(self) -> None:
        """What the state of a message, the fence or the table of transitions forbids is refused."""
        self.calls += 1
        message_id = IDS[self.calls % len(IDS)]
        entry = self.model.entries.get(message_id)
        status = entry.status if entry else None
        legal = TRANSITIONS[status] if status else {}
        epoch = entry.epoch if entry else 1
        calls: list[tuple[Coroutine[Any, Any, Any], Any]] = []
        if status is not Status.QUEUED:
            calls.append((self.store.claim(message_id, f"host:3:r#{self.calls}"), None))
        if status not in LIVE:
            calls.append((self.store.cancel(message_id), status or "gone"))
        if status not in REVIVABLE:
            calls.append((self.store.retry(message_id, "box"), (status or "gone", 0, 0)))
        for to in Status:
            calls += [(self.settle_with(message_id, other, to), False) for other in (epoch - 1, epoch + 1)]
            if to not in legal or status is not Status.RUNNING:
                known = entry is not None and status is to and entry.settled == epoch > 0
                calls.append((self.settle_with(message_id, epoch, to), known))
            if to not in legal:
                refused = self.store.set_status(message_id, to, fields={"error": ERROR}, lease=LONG, delay=LONG)
                calls.append((refused, ("illegal", status) if status else ("gone", "")))

        async def answers() -> list[Any]:
            return await asyncio.gather(*(call for call, _ in calls))

        assert self.run(answers()) == [expected for _, expected in calls]
        if entry is not None and status is not Status.RUNNING and epoch not in {0, entry.settled, entry.booked}:
            entry.booked = epoch
            entry.tokens += 1

    def settle_with(self, message_id: str, epoch: int, to: Status) -> Coroutine[Any, Any, bool]:
        """A call that must not do anything, but book what it cost when its message was taken from it; that once."""
        return self.store.settle(
            message_id, epoch, to, fields={"error": "", "translation": "void"}, tokens=(1, 1), retried=True
        )

    @invariant()
    def the_server_holds_what_the_model_says(self) -> None:
        """Every key is as it should be, and there is no other."""
        self.model.check(self.raw)

    @invariant()
    def changes_tell_all_and_nothing_else(self) -> None:
        """The stream has exactly the transitions that were made, in order."""
        entries = self.raw.xrange("tq:changes", f"({self.cursor}" if self.cursor else "-", "+")
        assert [(fields["id"], fields["s"]) for _, fields in entries] == self.model.changes
        self.model.changes.clear()
        if entries:
            self.cursor = entries[-1][0]

    @invariant()
    def what_people_see_is_true(self) -> None:
        """Documents, lists and figures agree with the model."""
        stats = self.run(self.store.stats())
        assert stats.counts == self.model.counts()
        listed = self.run(self.store.list(list(Status), below=None, limit=100))
        entries = self.model.entries
        there = [message_id for message_id, _ in listed if message_id in entries]
        assert there == sorted(entries, key=lambda name: -entries[name].seq)
        for message_id, seq in listed:
            if message_id in entries:
                assert seq == entries[message_id].seq
                message = self.run(self.store.get(message_id))
                assert message is not None
                self.model.check_document(message)
                assert self.run(self.store.outline(message_id)) == message.model_copy(
                    update={"content": "", "translation": None}
                )

    def teardown(self) -> None:
        """Say how it stood."""
        note(f"{self.model.entries} {self.model.ghosts}")


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real server of its own; what it has need not outlive it."""
    binary = None
    if request.param == "redis":
        binary = Valkey.redis_server()
        if binary is None:
            pytest.skip("redis-server is not installed: this runs on the embedded Valkey only")
    folder = tmp_path_factory.mktemp(f"stateful-{request.param}")
    with Valkey(folder, binary=binary, appendfsync="no") as valkey:
        yield valkey


@pytest.mark.timeout(0 if THOROUGH else 180)
def test_the_store_is_as_its_model(server: Valkey) -> None:
    """Whatever is called in whatever order, the store holds what the model holds, and nothing else."""
    with asyncio.Runner() as runner, server.client() as raw:
        store = Store(server.url, result_ttl=LONG, lease=LONG)

        class Machine(StoreMachine):
            def __init__(self) -> None:
                super().__init__(raw, store, runner)

        # To make a failure shorter can take minutes: more than CI has.
        phases = tuple(Phase) if THOROUGH else (Phase.explicit, Phase.generate)
        how = settings(max_examples=EXAMPLES * 6 // 10, stateful_step_count=40, phases=phases)
        try:
            run_state_machine_as_test(Machine, settings=how)
        finally:
            runner.run(store.aclose())
