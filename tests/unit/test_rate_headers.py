"""What headers say about rate limits: every provider's spelling, and nonsense."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limited import LimitPolicy

from tq.rateheaders import Quota, quotas

NOW = 1_800_000_000.0
DATE = {"date": "Fri, 15 Jan 2027 08:00:00 GMT"}

OPENAI = {
    "x-ratelimit-limit-requests": "600",
    "x-ratelimit-remaining-requests": "599",
    "x-ratelimit-reset-requests": "100ms",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6ms",
}
#: A daily limit of requests that fills evenly, and a minute's one of tokens.
GROQ = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-remaining-requests": "14370",
    "x-ratelimit-reset-requests": "2m59.56s",
    "x-ratelimit-limit-tokens": "18000",
    "x-ratelimit-remaining-tokens": "17997",
    "x-ratelimit-reset-tokens": "7.66ms",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:01Z",
    "anthropic-ratelimit-tokens-limit": "40000",
    "anthropic-ratelimit-tokens-remaining": "40000",
    "anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:00Z",
}
CEREBRAS = {
    "x-ratelimit-limit-requests-day": "14400",
    "x-ratelimit-remaining-requests-day": "14000",
    "x-ratelimit-reset-requests-day": "33011.382867",
    "x-ratelimit-limit-tokens-minute": "60000",
    "x-ratelimit-remaining-tokens-minute": "59000",
    "x-ratelimit-reset-tokens-minute": "11.38",
}
MISTRAL = {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "59"}
OPENROUTER = {
    "x-ratelimit-limit": "20",
    "x-ratelimit-remaining": "10",
    "x-ratelimit-reset": "1800000050000",
}
DRAFT = {
    "ratelimit-policy": '"burst";q=100;w=60,"day";q=5000;w=86400',
    "ratelimit": '"burst";r=50;t=58, "day";r=4999;t=60',
}
OLD_DRAFT = {"ratelimit-limit": "100, 100;w=10", "ratelimit-remaining": "50", "ratelimit-reset": "9"}
MIDDLE_DRAFT = {"ratelimit": "limit=100, remaining=50, reset=58"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(
            OPENAI,
            {"requests": Quota(600, 599, 60, 0.1), "tokens": Quota(150_000, 149_984, 60, 0.006)},
            id="openai",
        ),
        pytest.param(
            GROQ,
            {
                "requests": Quota(14_400, 14_370, 86_400, 179.56, "rolling"),
                "tokens": Quota(18_000, 17_997, 60, 0.00766),
            },
            id="groq",
        ),
        pytest.param(
            ANTHROPIC | DATE,
            {"requests": Quota(50, 49, 60, 1.0), "tokens": Quota(40_000, 40_000, 60, 0.0)},
            id="anthropic",
        ),
        pytest.param(
            CEREBRAS,
            {
                "requests": Quota(14_400, 14_000, 86_400, 33_011.382867, "fixed"),
                "tokens": Quota(60_000, 59_000, 60, 11.38, "fixed"),
            },
            id="cerebras",
        ),
        pytest.param(MISTRAL, {"requests": Quota(60, 59)}, id="mistral"),
        pytest.param(OPENROUTER, {"requests": Quota(20, 10, 60, 50.0, "fixed")}, id="openrouter"),
        pytest.param(DRAFT, {"requests": Quota(100, 50, 60, 58.0, "fixed")}, id="draft"),
        pytest.param(OLD_DRAFT, {"requests": Quota(100, 50, 10, 9.0, "fixed")}, id="old-draft"),
        pytest.param(MIDDLE_DRAFT, {"requests": Quota(100, 50, 60, 58.0, "fixed")}, id="draft-between"),
        pytest.param({"x-ratelimit-limit-requests": "600"}, {}, id="nothing-remaining"),
        pytest.param({"content-type": "application/json"}, {}, id="none"),
    ],
)
def test_spellings(headers: dict[str, str], expected: dict[str, Quota]) -> None:
    """Each provider's headers as it documents them."""
    assert quotas(headers, NOW) == expected
    assert quotas({name.title(): value for name, value in headers.items()} | headers, NOW) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1m30.5s", 90.5),
        ("1h2m3s", 3723.0),
        ("2m59.56s", 179.56),
        ("1d", 86_400.0),
        ("0", 0.0),
        ("0.5", 0.5),
        ("12", 12.0),
        ("1800000030", 30.0),
        ("1800000030000", 30.0),
        ("2027-01-15T08:00:05Z", 5.0),
        ("2027-01-15T09:00:05.5+01:00", 5.5),
        ("Fri, 15 Jan 2027 08:00:07 GMT", 7.0),
        ("99999h", 86_400.0),
        ("2020-01-01T00:00:00Z", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("NaN", None),
        ("٣s", None),
        ("1" * 65, None),
        ("1s" * 40, None),
    ],
)
def test_resets(text: str, seconds: float | None) -> None:
    """Durations, moments, and what is neither; never negative, never more than a day."""
    headers = {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "5",
        "x-ratelimit-reset-requests": text,
    }
    reset = quotas(headers, NOW)["requests"].reset
    assert reset == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("limit", "remaining"),
    [
        ("0", "0"),
        ("-1", "5"),
        ("", "5"),
        ("inf", "1"),
        ("NaN", "1"),
        ("1e30", "1"),
        ("9" * 19, "1"),
        ("many", "1"),
        ("10", ""),
    ],
)
def test_limits_that_are_none(limit: str, remaining: str) -> None:
    """Zero, nonsense and astronomic limits are no limits."""
    assert quotas({"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": remaining}, NOW) == {}


def test_more_left_than_there_is() -> None:
    """No more is believed to be left than the limit."""
    headers = {"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "5000"}
    assert quotas(headers, NOW) == {"requests": Quota(10, 10)}


NAMES = sorted({*OPENAI, *GROQ, *ANTHROPIC, *CEREBRAS, *MISTRAL, *OPENROUTER, *DRAFT, *OLD_DRAFT, "date"})
values = st.one_of(
    st.text(max_size=80), st.sampled_from(["1", "0", "60", "1s", "6m0s", '"a";q=1;w=0', '"a";r=0;t=0', "1.", "9" * 18])
)


@given(st.dictionaries(st.sampled_from(NAMES), values))
def test_any_headers(headers: dict[str, Any]) -> None:
    """Whatever a server answers, what is read is within bounds."""
    for quota in quotas(headers, NOW).values():
        assert 1 <= quota.limit <= 10**9
        assert 0 <= quota.remaining <= quota.limit
        assert 1 <= quota.period <= 31 * 86_400
        assert quota.reset is None or 0 <= quota.reset <= 86_400


def test_long_headers_cost_nothing() -> None:
    """A megabyte in each header is read in no time (quadratic would be minutes)."""
    headers = dict.fromkeys(NAMES, "1m" * 500_000)
    began = time.perf_counter()
    assert quotas(headers, NOW) == {}
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("used", [1, 10, 300, 599])
def test_a_bucket_is_told_from_a_window(used: int) -> None:
    """What a bucket tells at any level is never taken for a window; what a window tells at its begin is."""
    bucket = LimitPolicy(600)
    window = LimitPolicy(600, kind="window")
    for _ in range(used):
        headers = bucket.admit(0.0)[1]
        told = window.admit(0.0)[1]
    assert quotas(headers, NOW)["requests"].kind == ""
    assert quotas({name.lower(): value for name, value in told.items()}, NOW)["requests"].kind == (
        "fixed" if used < 400 else ""
    )


def test_the_policy_itself() -> None:
    """The stand-in's limits: a bucket fills evenly, a window all at once; both say when to come again."""
    bucket = LimitPolicy(600, burst=2)
    assert [bucket.admit(0.0)[0] for _ in range(3)] == [True, True, False]
    good, headers = bucket.admit(0.05)
    assert (good, headers["Retry-After"], headers["x-ratelimit-remaining-requests"]) == (False, "1", "0")
    assert bucket.admit(0.11)[0]
    window = LimitPolicy(2, kind="window", period=5)
    assert [window.admit(t)[0] for t in (1.0, 1.5, 5.9, 6.0)] == [True, True, False, True]
    tokens = LimitPolicy(None, 100, headers=False)
    assert tokens.admit(0.0, 80) == (True, {})
    assert tokens.admit(0.0, 80) == (False, {"Retry-After": "36"})
