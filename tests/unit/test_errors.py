"""Errors know their consequences."""

from __future__ import annotations

import pickle

import pytest

from tq.errors import ERRORS, AttemptError, RateLimited, TqError

EXIT_CODES = {1, 2, 3, 4, 5, 124, 130}


@pytest.mark.parametrize("cls", ERRORS.values(), ids=ERRORS)
def test_every_error_says_what_follows(cls: type[TqError]) -> None:
    """Type, title, HTTP status and exit code are set and of the contract."""
    assert cls.type == cls.type.lower()
    assert cls.title
    assert 400 <= cls.http_status < 600
    assert cls.exit_code in EXIT_CODES
    assert cls("what", why="why", fix="fix").record() == {
        "type": cls.type,
        "message": "what: why",
        "retryable": cls.retryable,
    }


@pytest.mark.parametrize("cls", ERRORS.values(), ids=ERRORS)
def test_an_error_says_why(cls: type[TqError]) -> None:
    """As text it is what a traceback shows, and a log: what happened, and why if that is known."""
    assert str(cls("what", why="why", fix="fix")) == "what: why"
    assert str(cls("what", fix="fix")) == "what"


def test_types_are_unique() -> None:
    """A type names one class."""
    every = [TqError]
    for cls in every:
        every += cls.__subclasses__()
    named = [cls.type for cls in every if "type" in cls.__dict__]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("cls", [c for c in ERRORS.values() if issubclass(c, AttemptError)])
def test_errors_survive_a_process_boundary(cls: type[AttemptError]) -> None:
    """Pickled and back they are the same, keyword parts included: prefork pools need that."""
    error = cls("what", why="why", fix="fix", status=429, retry_after=3.5)
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own data
    assert type(back) is cls
    assert (back.what, back.why, back.fix, back.status, back.retry_after) == ("what", "why", "fix", 429, 3.5)


def test_retry_after_is_kept() -> None:
    """The provider's wish reaches the retry policy."""
    assert RateLimited("x", retry_after=7).retry_after == 7
