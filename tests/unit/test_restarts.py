"""When crashed services start again: a table of crash times against waits, no clock involved."""

from __future__ import annotations

import pytest

from tq.restarts import RestartPolicy, Restarts

POLICY = RestartPolicy()


def waits(policy: RestartPolicy, runs: list[float]) -> list[float | None]:
    """The wait after each of some runs (seconds) that all crash, each started after the wait before it."""
    restarts = Restarts(policy)
    now = 1000.0
    answers: list[float | None] = []
    for seconds in runs:
        started = now
        now += seconds
        answers.append(wait := restarts.crashed(started=started, now=now))
        now += wait or 0.0
    return answers


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        pytest.param([0.0], [1.0], id="first"),
        pytest.param([0.0] * 5, [1.0, 2.0, 4.0, 8.0, None], id="five-at-once-are-too-many"),
        pytest.param([20.0] * 7, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0], id="doubles-up-to-the-ceiling"),
        pytest.param([20.0, 20.0, 60.0, 0.0], [1.0, 2.0, 1.0, 2.0], id="a-long-run-begins-anew"),
        pytest.param([59.0, 59.0], [1.0, 2.0], id="a-run-just-short-of-the-window-does-not"),
        # The fifth crash comes 11 + 1 + 2 + 4 + 8 + 4 * 8.5 = 60 s after the first, then just later.
        pytest.param([11.0, 11.25, 11.25, 11.25, 11.25], [1.0, 2.0, 4.0, 8.0, None], id="five-in-exactly-the-window"),
        pytest.param([11.0, 11.25, 11.25, 11.25, 11.5], [1.0, 2.0, 4.0, 8.0, 16.0], id="five-in-just-more"),
    ],
)
def test_waits(runs: list[float], expected: list[float | None]) -> None:
    """Waits double from 1 s to 30 s, a run of a minute begins anew, and five crashes in a minute end it."""
    assert waits(POLICY, runs) == expected


def test_other_policies() -> None:
    """All four numbers of a policy are used."""
    policy = RestartPolicy(first=0.5, ceiling=0.8, limit=3, window=10.0)
    assert waits(policy, [0.0] * 3) == [0.5, 0.8, None]
    assert waits(policy, [6.0] * 4) == [0.5, 0.8, 0.8, 0.8]
    assert str(policy) == "3 times in 10 s"
