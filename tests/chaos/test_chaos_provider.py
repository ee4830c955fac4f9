"""What a provider can do: hang, drip, refuse, break off, ask for patience."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from itertools import pairwise
from typing import NamedTuple

import pytest
from llm_faults import Call
from servers import wait_until
from stage import MakeStage, Stage

from tq.errors import AttemptDeferred

#: TQ_REQUEST_TIMEOUT, and what recording the end of an attempt may take beyond it, in seconds.
DEADLINE = 4.0
MARGIN = 1.0

# -- 13, 14: no complete answer ----------------------------------------------------------------------


@pytest.mark.scenario(13, "the provider hangs", ci=("embedded",), weight=20)
def test_provider_hangs(stage: MakeStage) -> None:
    """The deadline ends each hanging attempt and a retry follows; what does not hang is not held up."""
    check_unanswered(stage, "timeout")


@pytest.mark.scenario(14, "the provider drips a byte a second", ci=("redis",), weight=20)
def test_provider_drips(stage: MakeStage) -> None:
    """The deadline is for the whole answer: that bytes keep coming does not prolong it."""
    check_unanswered(stage, "drip=1")


def check_unanswered(stage: MakeStage, fault: str) -> None:
    """Half of the messages are not answered once or twice; the other half is, all the while."""
    with stage(TQ_REQUEST_TIMEOUT=str(DEADLINE), TQ_RETRY_BASE="0.2") as s:
        s.submit(20)  # the first call of a worker costs it the import of the SDK
        s.wait_ended()
        times = s.rng.randrange(1, 3)
        hanging = s.submit(s.rng.randrange(30, 60), fault=f"{fault}x{times}")
        wait_until(lambda: s.provider.inflight >= 20, "many hang")
        innocent = s.submit(s.rng.randrange(20, 40))
        s.wait_ended()
        wait_until(s.log.caught_up, "the change log has caught up")
        attempts = [attempt for name in hanging for attempt in attempts_of(s, name)]
        given_up = [attempt for attempt in attempts if attempt.end == "retrying"]
        assert len(given_up) == times * len(hanging)
        assert {attempt.info for attempt in given_up} == {"provider-timeout"}
        longest, shortest = max(each.seconds for each in given_up), min(each.seconds for each in given_up)
        assert shortest > DEADLINE - 0.1
        assert longest < DEADLINE + MARGIN
        # A worker that waited for one that hangs would take as long for those beside it.
        beside = max(attempt.seconds for name in innocent for attempt in attempts_of(s, name))
        assert beside < DEADLINE / 2
        s.note(hanging=len(hanging), times=times, longest_attempt_s=longest, longest_innocent_s=beside)


class Attempt(NamedTuple):
    """One run of a message: how long it took, and the status and the word it ended with."""

    seconds: float
    end: str
    info: str


def attempts_of(s: Stage, message_id: str) -> list[Attempt]:
    """The attempts of a message, by the store's clock."""
    return [
        Attempt((after.at - before.at) / 1000, after.status, after.info)
        for before, after in pairwise(s.log.changes[message_id])
        if before.status == "running"
    ]


# -- 15: failures that pass ----------------------------------------------------------------------------

RETRIES = 5
#: TQ_RETRY_BASE: so large that the third retry already meets the cap of TQ_RETRY_MAX_DELAY.
BASE = 100.0
CAP = 600.0
#: Jitter that may be added to a Retry-After.
LATER = 1.1
#: Longer waits are not waited for: the clock is turned forward.
LONG = 5.0


class Failure(NamedTuple):
    """A failure that passes: how the stand-in is told, the error it becomes, and when to come back.

    Attributes:
        fault: for one call.
        error: the type of the error.
        asked: seconds of its Retry-After; None = it does not say.
        date: whether it says so as a date, which has whole seconds only.
    """

    fault: str
    error: str
    asked: float | None = None
    date: bool = False


FAILURES = (
    Failure("429=1", "rate-limited", 1),
    Failure("429=3", "rate-limited", 3),
    Failure("429-date=3", "rate-limited", 3, date=True),
    Failure("429-ms=1500", "rate-limited", 1.5),
    Failure("503=2", "provider-failure", 2),
    Failure("429=700", "rate-limited", 700),  # above the cap, and honoured
    Failure("429", "rate-limited"),
    Failure("500", "provider-failure"),
    Failure("502", "provider-failure"),
    Failure("reset", "provider-unreachable"),
    Failure("reset-early", "provider-unreachable"),
    Failure("disconnect", "provider-unreachable"),
    Failure("cut", "provider-unreachable"),
)


@pytest.mark.scenario(15, "429 with Retry-After, 500s and resets, mixed", weight=60)
def test_provider_fails_for_a_while(stage: MakeStage) -> None:
    """Delays that the provider asks for are honoured, others stay below 600 s, and five retries are all there are."""
    with stage(TQ_RETRY_BASE=f"{BASE:g}") as s:
        plans: dict[str, list[Failure]] = {}
        for _ in range(30):
            plan = s.rng.choices(FAILURES, k=s.rng.randrange(1, RETRIES + 3))
            words = " ".join(f"@@fault:{failure.fault}x1@@" for failure in plan)
            ids = s.submit(s.rng.randrange(5, 15), words=f"{words} to translate")
            plans |= dict.fromkeys(ids, plan)
            if len(plan) > RETRIES:
                s.ledger.expect(ids, "failed")
        delays = Delays(s)
        wait_until(delays.all_ended, delays.__str__, 150)
        wait_until(s.log.caught_up, "the change log has caught up")
        check_attempts(s, plans)
        check_delays(s, plans, delays.seen)
        backoffs = [seconds for (name, n), seconds in delays.seen.items() if plans[name][n - 1].asked is None]
        s.note(
            messages=len(plans),
            doomed=sum(len(plan) > RETRIES for plan in plans.values()),
            retries=len(delays.seen),
            longest_backoff_s=max(backoffs),
            backoffs_above_300_s=sum(seconds > CAP / 2 for seconds in backoffs),
        )
        assert max(backoffs) > CAP / 2, "else the cap would not have been put to the test"


class Delays:
    """Notes every delay that is ordered, and lets long ones pass at once.

    Attributes:
        seen: seconds from the end of an attempt until the retry is due, by message and number of attempts.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.seen: dict[tuple[str, int], float] = {}

    def all_ended(self) -> bool:
        """Whether nothing is left to wait for; notes, and turns the clock forward for, what is ordered by now."""
        s = self._stage
        passed = []
        with s.broker.client(decode_responses=True) as client:
            due = client.zrange("tq:due", 0, -1, withscores=True)
            for name, at in due:
                changes = s.log.changes.get(name, ())
                last = changes[-1] if changes else None
                if last is None or last.status != "retrying" or (name, last.attempts) in self.seen:
                    continue
                if last.info == AttemptDeferred.type:
                    continue
                seconds = self.seen[name, last.attempts] = (at - last.at) / 1000
                if seconds > LONG:
                    passed.append(name)
            if passed:
                client.zadd("tq:due", dict.fromkeys(passed, time.time() * 1000), xx=True)
        return not due and not any(status in {"queued", "running", "retrying"} for status in s.statuses().values())

    def __str__(self) -> str:
        return f"all have ended: {Counter(self._stage.statuses().values())}"


def check_attempts(s: Stage, plans: dict[str, list[Failure]]) -> None:
    """Each message was tried once more than it failed, and at most six times; each failure is what it was."""
    calls = calls_of(s)
    for name, plan in plans.items():
        failures = plan[: RETRIES + 1]
        expected = len(failures) + (len(plan) <= RETRIES)
        errors = [attempt.info for attempt in attempts_of(s, name) if attempt.end != "completed"]
        errors = [error for error in errors if error != AttemptDeferred.type]  # no try
        assert len(calls[name]) == expected, f"{name} {plan}: {s.log.changes[name]}"
        assert s.log.changes[name][-1].attempts == expected
        assert errors == [failure.error for failure in failures], f"{name} {plan}: {s.log.changes[name]}"


def check_delays(s: Stage, plans: dict[str, list[Failure]], seen: dict[tuple[str, int], float]) -> None:
    """What the provider asks for is ordered and kept; what it does not is at most the backoff and the cap."""
    calls = calls_of(s)
    for (name, number), seconds in seen.items():
        failure = plans[name][number - 1]
        if failure.asked is None:
            assert 0 <= seconds <= min(CAP, BASE * 2 ** (number - 1)) + MARGIN, f"{name} {failure} {seconds}"
            continue
        # The header is written after the call came, and read before its end was recorded.
        assert failure.asked - MARGIN - failure.date <= seconds, f"{name} {failure} {seconds}"
        assert seconds <= failure.asked * LATER + MARGIN, f"{name} {failure} {seconds}"
        if seconds > LONG:
            continue
        before, after = calls[name][number - 1 : number + 1]
        earliest = int(before.at + failure.asked) if failure.date else before.at + failure.asked
        assert after.at >= earliest, f"{name} was called again {after.at - before.at:.2f} s after {failure}"


def calls_of(s: Stage) -> dict[str, list[Call]]:
    """The provider's calls by message."""
    names = {entry.content.strip(): name for name, entry in s.ledger.entries.items()}
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in list(s.provider.calls):
        calls[names[call.content]].append(call)
    return calls


# -- 16: failures that do not pass ---------------------------------------------------------------------

#: What another attempt cannot help, and the error it becomes.
FATAL = {
    "400": "request-refused",
    "401": "invalid-key",
    "402": "quota-exhausted",
    "403": "permission-refused",
    "404": "unknown-model",
    "422": "request-refused",
    "quota": "quota-exhausted",
    "refusal": "refusal",
    "filter": "refusal",
}


@pytest.mark.scenario(16, "400, 401 and what else no retry can help", ci=("redis",), weight=15)
def test_provider_refuses(stage: MakeStage) -> None:
    """Each fails at once, after one call, for its own reason; what is beside them completes."""
    with stage() as s:
        refused: dict[str, str] = {}
        innocent: list[str] = []
        began = time.monotonic()
        for _ in range(20):
            fault = s.rng.choice(["400", "401", *FATAL])
            refused |= dict.fromkeys(s.submit(s.rng.randrange(5, 15), fault=fault), FATAL[fault])
            innocent += s.submit(s.rng.randrange(5, 15))
        s.ledger.expect(refused, "failed")
        s.wait_ended()
        seconds = time.monotonic() - began
        wait_until(s.log.caught_up, "the change log has caught up")
        calls = calls_of(s)
        for name, error in refused.items():
            assert [change.status for change in s.log.changes[name]] == ["queued", "running", "failed"]
            assert len(calls[name]) == s.log.changes[name][-1].attempts == 1, s.log.changes[name]
            assert attempts_of(s, name)[0].info == error, f"{s.ledger.entries[name].content}: {s.log.changes[name]}"
        s.note(refused=len(refused), innocents=len(innocent), all_ended_after_s=seconds)
