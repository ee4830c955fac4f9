"""What became of messages lately, and what providers said: the cause of failures that no check can bring about."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from tq.doctor.finding import Finding, doubtful, wrong
from tq.failures import FailureGroup, Failures
from tq.figures import RateInfo
from tq.layout import age, count, span
from tq.tallies import History

#: How far back failures are believed to be about how things are now.
_LATELY: Final = timedelta(hours=24)
#: Minutes in which attempts failed without one that succeeded.
_MINUTES: Final = 10
_AGAIN: Final = "then `tq retry --failed`"
#: Types of errors that somebody has to mend, with how.
_MENDED: Final = {
    "invalid-key": f"correct OPENAI_API_KEY where the worker runs, and restart it; {_AGAIN}",
    "permission-refused": f"give the key the rights to this model, or use another; {_AGAIN}",
    "quota-exhausted": f"fill up the account, or use another key; {_AGAIN}",
    "unknown-model": f"correct TQ_MODEL or OPENAI_BASE_URL where the worker runs, and restart it; {_AGAIN}",
    "key-unreadable": "give every tq process the same TQ_SECRET_KEY",
    "budget-exceeded": f"raise TQ_BUDGET_PER_DAY, or wait for the next day (UTC); {_AGAIN}",
}
#: And those that are tried again, until that is given up.
_RETRIED: Final = {
    "provider-unreachable": "start the provider, or correct OPENAI_BASE_URL where the worker runs",
    "provider-timeout": "see whether the provider works; give it fewer at once (TQ_CONCURRENCY), or longer "
    "(TQ_REQUEST_TIMEOUT)",
    "provider-failure": "see what the provider says, and try again later",
    "rate-limited": "ask for higher limits, or submit less at once",
}


def failures(found: Failures, history: History) -> Finding:
    """What messages failed of lately, as far as somebody has to mend it."""
    now = datetime.now(UTC)
    recent = [group for group in found.groups if group.type in _MENDED and now - group.newest < _LATELY]
    lasting = [group for group in recent if not _completed_since(history, group.newest)]
    if lasting:
        return wrong("failures", _said(lasting, now), _MENDED[lasting[0].type])
    if recent:
        detail = f"{_said(recent, now)}; others were completed since"
        return doubtful(
            "failures", detail, "if they brought a key of their own, it is that one: `tq list --status failed`"
        )
    total = sum(group.count for group in found.groups)
    if total:
        return Finding("failures", f"{count(total, 'message')} failed, none lately of a key or a quota")
    return Finding("failures", "no message has failed")


def _said(groups: Iterable[FailureGroup], now: datetime) -> str:
    return "; ".join(
        f"{count(group.count, 'message')} failed with {group.type}, the newest "
        f"{age((now - group.newest).total_seconds())} ago"
        for group in groups
    )


def _completed_since(history: History, moment: datetime) -> bool:
    # A minute that it lies in may have completed them before it.
    return any(minute.completed for minute in history.minutes if minute.at > moment)


def attempts(history: History) -> Finding:
    """Whether attempts succeed."""
    lately = history.minutes[-_MINUTES:]
    completed = sum(minute.completed for minute in lately)
    errors: dict[str, int] = {}
    for minute in lately:
        for kind, number in minute.errors.items():
            errors[kind] = errors.get(kind, 0) + number
    if errors and not completed:
        kind = max(errors, key=lambda each: errors[each])
        detail = f"none succeeded in the last {_MINUTES} minutes, and {errors[kind]} failed with {kind}"
        fix = _RETRIED.get(kind) or _MENDED.get(kind) or f"`tq list --status failed --error {kind}` shows them"
        return wrong("attempts", detail, fix)
    if not completed:
        return Finding("attempts", f"there were none in the last {_MINUTES} minutes")
    troubles = ", ".join(f"{number} failed with {kind}" for kind, number in sorted(errors.items()))
    return Finding(
        "attempts", f"{completed} succeeded in the last {_MINUTES} minutes" + (f", {troubles}" if troubles else "")
    )


def limits(rates: Iterable[RateInfo]) -> Finding:
    """Whether an account is empty, or is asked to wait."""
    known = [*rates]
    empty = [rate for rate in known if rate.exhausted]
    if empty:
        said = ", ".join(f"{rate.host} (key {rate.key}, {rate.model})" for rate in empty)
        detail = f"the account has no quota left: {said}; it is tried again in {span(empty[0].exhausted)}"
        return wrong("limits", detail, _MENDED["quota-exhausted"])
    cooling = [rate for rate in known if rate.cool_down]
    if cooling:
        said = ", ".join(f"{rate.host} ({rate.model}) for {span(rate.cool_down)}" for rate in cooling)
        return doubtful("limits", f"a provider asked to wait: {said}", "submit less at once, or ask for higher limits")
    return Finding("limits", "no provider asks to wait" if known else "nothing is known of any provider's")
