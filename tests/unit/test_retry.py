"""The retry policy: one table for what it decides, properties for what holds whatever the numbers."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq import errors, retry
from tq.retry import MAX_RETRY_AFTER, GiveUp, RetryIn, RetryPolicy, decide

POLICY = RetryPolicy(max_retries=5, base=1.0, max_delay=600.0)
DAY = 86_400.0


def highest(low: float, high: float) -> float:
    """Instead of chance: the upper bound, so that the table can name it."""
    assert low == 0.0
    return high


def at(chance: float) -> Callable[[float, float], float]:
    """Instead of chance: a point between the bounds, 0 = the lower, 1 = the upper."""
    return lambda low, high: low + (high - low) * chance


TABLE = [
    # error, retries already spent, same_error -> seconds at most, or None = give up
    (errors.ProviderTimeout("x"), 0, None, 1.0),
    (errors.ProviderTimeout("x"), 1, None, 2.0),
    (errors.ProviderUnreachable("x"), 2, None, 4.0),
    (errors.ProviderFailure("x", status=500), 4, None, 16.0),
    (errors.ProviderFailure("x", status=500), 5, None, None),
    (errors.RateLimited("x"), 0, None, 1.0),
    (errors.RateLimited("x", retry_after=10.0), 0, None, 11.0),
    (errors.RateLimited("x", retry_after=900.0), 4, None, 990.0),
    (errors.RateLimited("x", retry_after=10.0), 5, None, None),
    (errors.RateLimited("x", retry_after=1e9), 0, None, DAY * 1.1),
    (errors.RateLimited("x", retry_after=0.0), 3, None, 8.0),
    (errors.RateLimited("x", retry_after=-5.0), 3, None, 8.0),
    (errors.RateLimited("x", retry_after=math.nan), 3, None, 8.0),
    (errors.RateLimited("x", retry_after=math.inf), 3, None, 8.0),
    (errors.ProviderFailure("x", status=503, retry_after=4.0), 0, None, 4.4),
    (errors.Truncated("x"), 0, None, 1.0),
    (errors.Truncated("x"), 1, None, None),
    (errors.Truncated("x"), 3, 0, 8.0),
    (errors.Truncated("x"), 3, 1, None),
    (errors.InvalidOutput("x"), 0, 0, 1.0),
    (errors.InvalidOutput("x"), 1, 1, None),
    (errors.UnexpectedError("x"), 0, None, 1.0),
    (errors.Unreachable("x"), 1, None, 2.0),
    (errors.QuotaExhausted("x", retry_after=1.0), 0, None, None),
    (errors.InvalidKey("x"), 0, None, None),
    (errors.PermissionRefused("x"), 0, None, None),
    (errors.UnknownModel("x"), 0, None, None),
    (errors.RequestRefused("x"), 0, None, None),
    (errors.Refused("x"), 0, None, None),
    (errors.KeyUnreadable("x"), 0, None, None),
    (errors.Poisoned("x"), 0, None, None),
]


@pytest.mark.parametrize(("error", "retries", "same_error", "seconds"), TABLE)
def test_table(error: errors.TqError, retries: int, same_error: int | None, seconds: float | None) -> None:
    """Each class, count and Retry-After leads to the wait, or the end, that the design names."""
    decision = decide(error, retries, POLICY, highest, same_error=same_error)
    if seconds is None:
        assert isinstance(decision, GiveUp)
        assert error.type in decision.reason
    else:
        assert isinstance(decision, RetryIn)
        assert decision.seconds == pytest.approx(seconds)


def test_backoff_is_capped() -> None:
    """With many retries left the wait stops growing at the cap, and nothing overflows."""
    policy = RetryPolicy(max_retries=10_000, base=1.0, max_delay=600.0)
    assert decide(errors.ProviderFailure("x"), 10, policy, highest) == RetryIn(600.0)
    assert decide(errors.ProviderFailure("x"), 9_999, policy, highest) == RetryIn(600.0)


def test_no_retries_wanted() -> None:
    """TQ_MAX_RETRIES=0 means one attempt, even when the provider says when to come back."""
    policy = RetryPolicy(max_retries=0, base=1.0, max_delay=600.0)
    assert isinstance(decide(errors.RateLimited("x", retry_after=1.0), 0, policy, highest), GiveUp)


def test_pure() -> None:
    """The module reads no clock and has no randomness of its own."""
    names = set(vars(retry)) | set(inspect.getclosurevars(decide).globals)
    assert not names & {"time", "random", "asyncio", "datetime", "sleep"}


policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 100),
    base=st.floats(0.001, 3600),
    max_delay=st.floats(0.001, 86_400),
)


@st.composite
def failures(draw: st.DrawFn) -> errors.TqError:
    """Every class of error; from a provider also with any Retry-After that a header could be read as."""
    cls = draw(st.sampled_from([*errors.ERRORS.values()]))
    if issubclass(cls, errors.AttemptError):
        return cls("x", retry_after=draw(st.none() | st.floats() | st.floats(0.001, 1e6)))
    return cls("x")


def asked(error: errors.TqError) -> float | None:
    """The wait that the provider has asked for, if that says anything."""
    seconds = getattr(error, "retry_after", None)
    return seconds if seconds is not None and 0 < seconds < math.inf else None


@given(failures(), st.integers(0, 200), st.none() | st.integers(0, 3), policies, st.floats(0, 1))
def test_every_decision_is_within_its_bounds(
    error: errors.TqError, retries: int, same_error: int | None, policy: RetryPolicy, chance: float
) -> None:
    """Whether there is a retry follows from class and counts; when, from the cap or the provider, and chance."""
    own = error.max_retries if isinstance(error, errors.AttemptError) else None
    counted = retries if same_error is None else same_error
    again = error.retryable and retries < policy.max_retries and (own is None or counted < own)
    decision = decide(error, retries, policy, at(chance), same_error=same_error)
    assert isinstance(decision, RetryIn if again else GiveUp)
    if isinstance(decision, GiveUp):
        assert decision.reason.startswith(f"{error.type}: ")
    elif (wanted := asked(error)) is not None:
        believed = min(wanted, MAX_RETRY_AFTER)
        assert believed <= decision.seconds <= believed * 1.1 * (1 + 1e-9)
    else:
        assert 0 <= decision.seconds <= policy.max_delay
        assert decision.seconds <= policy.base * 2.0**retries


@given(policies)
def test_caps_only_grow_and_end_at_the_longest_delay(policy: RetryPolicy) -> None:
    """Each cap is twice the one before, up to TQ_RETRY_MAX_DELAY, where they stay."""
    patient = RetryPolicy(10**9, policy.base, policy.max_delay)
    caps = []
    for retries in [*range(64), 1000, 10**8]:
        decision = decide(errors.ProviderTimeout("x"), retries, patient, highest)
        assert isinstance(decision, RetryIn)
        caps.append(decision.seconds)
    assert caps == sorted(caps)
    assert caps[0] == min(policy.base, policy.max_delay)
    assert all(after == min(2 * before, policy.max_delay) for before, after in pairwise(caps[:64]))
    assert caps[-1] == caps[63] == policy.max_delay


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.integers(0, 20), policies)
def test_jitter_is_all_of_its_range(chances: list[float], retries: int, policy: RetryPolicy) -> None:
    """Chance moves the wait over the whole range from nothing to the cap, in proportion."""
    patient = RetryPolicy(100, policy.base, policy.max_delay)
    cap = decide(errors.RateLimited("x"), retries, patient, highest)
    assert isinstance(cap, RetryIn)
    for chance in chances:
        decision = decide(errors.RateLimited("x"), retries, patient, at(chance))
        assert isinstance(decision, RetryIn)
        assert decision.seconds == pytest.approx(cap.seconds * chance)


@given(st.integers(0, 4), st.integers(0, 2**32))
def test_same_chance_same_decision(retries: int, seed: int) -> None:
    """All randomness comes from the function handed in."""
    first, second = (
        decide(errors.ProviderFailure("x"), retries, POLICY, random.Random(seed).uniform) for _ in range(2)
    )
    assert first == second


@given(types=st.lists(st.sampled_from(sorted(errors.ERRORS)), min_size=1, max_size=200), counted=st.booleans())
def test_every_run_of_failures_ends(types: list[str], *, counted: bool) -> None:
    """Whatever fails in whatever order: a message has max_retries + 1 attempts at most."""
    retries, last = 0, ""
    for kind in types:
        same = int(kind == last) if counted else None
        if isinstance(decide(errors.ERRORS[kind]("x"), retries, POLICY, highest, same_error=same), GiveUp):
            break
        retries, last = retries + 1, kind
    assert retries <= POLICY.max_retries
