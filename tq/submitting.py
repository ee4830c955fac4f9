"""Submitting, following and showing messages on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from typing import Final, TextIO

from tq import tracing
from tq.backend import Backend, SubmissionFields, make_submission
from tq.board import ahead_of
from tq.errors import ERRORS, OutputLost, TqError, WaitTimeout
from tq.layout import wrap
from tq.lines import progress
from tq.messages import Message, Status, Submission
from tq.pausing import paused_of, warn_of_pause
from tq.progress import Progress
from tq.sheet import document
from tq.terminal import clean, columns_of, note, paint, report, write, write_exact, write_json
from tq.timeline import TimelineEntry

_COLORS: Final = {"running": "36", "retrying": "33", "completed": "32", "failed": "31"}
_NO_WORKER: Final = "queued, but no worker is running: start one with `tq worker` or `tq up`"
_PSEUDO: Final = (
    "NOT a translation, but pseudo output: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own, "
    "and start the worker again"
)


def prepare(content: str, languages: Sequence[str | None], fields: SubmissionFields) -> list[Submission]:
    """One submission for each language; all are checked before the first is sent."""
    return [make_submission(content, **_with_target(fields, language)) for language in languages]


def _with_target(fields: SubmissionFields, language: str | None) -> SubmissionFields:
    return {**fields, "to": language}


def submit(
    backend: Backend, submissions: Sequence[Submission], idempotency_key: str | None, *, show: bool, as_json: bool
) -> list[Message]:
    """Submit them in order, and say so: on stdout when that is all (``show``), else on stderr.

    Raises:
        OutputLost: stdout cannot be written; what was accepted by then is said on stderr.
    """
    tracing.set_up("tq", brief=True)
    messages: list[Message] = []
    with Progress("submitting"):
        for submission in submissions:
            message = backend.submit(submission, idempotency_key)
            messages.append(message)
            try:
                if show and as_json:
                    write_json(message.document())
                elif show and not sys.stdout.isatty():
                    write(message.message_id)
                elif show:
                    write(_progress(message, sys.stdout, ahead=_ahead(backend, message)))
            except OutputLost:
                note(f"accepted all the same: {' '.join(message.message_id for message in messages)}")
                raise
    if show and not as_json and sys.stdout.isatty():
        note(f"follow it: tq status {' '.join(message.message_id for message in messages)} --follow")
    _warn_without_worker(backend, messages)
    _warn_of_pause(backend, messages)
    return messages


def _warn_without_worker(backend: Backend, messages: Sequence[Message]) -> None:
    # What was accepted is accepted, whether or not the figures can be had.
    with suppress(TqError):
        if any(not message.ended for message in messages) and not backend.stats().workers:
            _say(_NO_WORKER)


def _warn_of_pause(backend: Backend, messages: Sequence[Message]) -> None:
    queues = {message.queue for message in messages if message.status is Status.QUEUED}
    for queue in sorted(queues & {*paused_of(backend)} if queues else ()):
        warn_of_pause(queue)


def _say(sentence: str) -> None:
    note(wrap(sentence, columns_of(sys.stderr), 2) if sys.stderr.isatty() else sentence)


def _ahead(backend: Backend, message: Message) -> int | None:
    if message.status is not Status.QUEUED:
        return None
    with suppress(TqError):
        return ahead_of(message, backend.stats())
    return None


def _progress(message: Message, stream: TextIO, *, ahead: int | None = None, so_far: str = "") -> str:
    """How a message stands, as one line."""
    message_id, status, word = progress(message, datetime.now(UTC), ahead)
    word = " · ".join(each for each in (so_far, word) if each)
    painted = paint(status, _COLORS.get(status, ""), stream) + " " * (10 - len(status))
    line = f"{message_id}  {painted} {word}".rstrip()
    return wrap(line, columns_of(stream), 2) if stream.isatty() else line


@contextmanager
def _going_on(messages: Sequence[Message]) -> Iterator[None]:
    """Around a wait: who interrupts it, or has no more time, is told that the messages do not end with it."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"{_goes_on(messages)}: {_follow(messages)}")
        raise
    except WaitTimeout as error:
        raise WaitTimeout(error.what, why=error.why, fix=f"{_goes_on(messages)}: `{_follow(messages)}`") from None


def _goes_on(messages: Sequence[Message]) -> str:
    return "it goes on" if len(messages) == 1 else "they go on"


def _follow(messages: Sequence[Message]) -> str:
    return f"tq status {' '.join(clean(message.message_id) for message in messages)} --follow"


def await_end(backend: Backend, message: Message, timeout: float | None, *, as_json: bool) -> None:
    """Show on stderr how a message goes on, and at its end the translation on stdout: in a pipe to the byte.

    Args:
        backend: where it is.
        message: which.
        timeout: seconds, or None.
        as_json: the whole document instead of the translation.

    Raises:
        TqError: it failed or was cancelled.
        WaitTimeout: it had not ended in time.
    """
    note(_progress(message, sys.stderr, ahead=_ahead(backend, message)))
    with _going_on([message]), Progress(str(message.status), in_pipes=False) as waiting:
        for state in backend.watch(message.message_id, timeout):
            if (state.status, state.attempts) != (message.status, message.attempts):
                note(_progress(state, sys.stderr))
            message = state
            waiting.say(str(message.status))
    _deliver(message, as_json=as_json, exact=True)


def await_all(backend: Backend, messages: Sequence[Message], timeout: float | None, *, as_json: bool) -> int:
    """The same for several at once: a translation each, in their order in a pipe, with its language on a terminal.

    Returns:
        The exit code of the first that failed, or 0.

    Raises:
        TqError: they cannot be waited for any longer.
        WaitTimeout: not all had ended in time; those that had are shown.
    """
    ended: dict[str, Message] = {}
    left = [message.message_id for message in messages]
    codes: list[int] = []

    def deliver(*, all_of_them: bool) -> None:
        """Show what is next, and with ``all_of_them`` what comes after one that has not ended, too."""
        for message_id in [*left]:
            if message_id in ended:
                left.remove(message_id)
                codes.append(_delivered(ended[message_id], as_json=as_json))
            elif not all_of_them:
                break

    for message in messages:
        note(_progress(message, sys.stderr))
    going = [*messages]
    with _going_on(going), Progress(f"0 of {len(messages)}", in_pipes=False) as waiting:
        try:
            for message in backend.wait_many(messages, timeout):
                ended[message.message_id] = message
                going[:] = [each for each in going if each.message_id != message.message_id]
                so_far = f"{len(ended)} of {len(messages)}"
                note(_progress(message, sys.stderr, so_far=so_far))
                waiting.say(so_far)
                deliver(all_of_them=sys.stdout.isatty())
        finally:
            deliver(all_of_them=True)
    return next(filter(None, codes), 0)


def _delivered(message: Message, *, as_json: bool) -> int:
    try:
        _deliver(message, as_json=as_json, exact=False)
    except OutputLost:
        raise
    except TqError as error:
        return report(error)
    return 0


def _deliver(message: Message, *, as_json: bool, exact: bool) -> None:
    """The translation of a message that has ended; ``exact``: alone, and not a byte more than it in a pipe.

    Raises:
        TqError: it failed or was cancelled.
    """
    if as_json:
        write_json(message.document())
    if message.status is not Status.COMPLETED:
        raise failure(message)
    if message.provider == "pseudo":
        _warn_of_pseudo()
    if as_json:
        return
    text = message.translation or ""
    if not sys.stdout.isatty():
        write_exact(text if exact or text.endswith("\n") else f"{text}\n")
        return
    shown = clean(text, keep="\n\t")
    if not exact:
        label = paint(clean(str(message.metadata.get("target_language"))), "1", sys.stdout)
        shown = f"{label}{chr(10) if chr(10) in shown.rstrip(chr(10)) else '  '}{shown}"
    write(shown, "" if shown.endswith("\n") else "\n")


@cache
def _warn_of_pseudo() -> None:  # cached: once a command is enough
    _say(_PSEUDO)


def failure(message: Message) -> TqError:
    """What is said of a message that did not end well; the exit code is 1 whatever the reason."""
    if message.error is None:
        return TqError(f"message {message.message_id} was {message.status}")
    title = ERRORS[message.error.type].title if message.error.type in ERRORS else message.error.type
    again = f"tq retry {message.message_id}"
    return TqError(
        f"message {message.message_id} {message.status}: {title[:1].lower()}{title[1:]}",
        why=message.error.message,
        fix=_FIXES.get(message.error.type, "`{}` queues it again").format(again),
    )


_FIXES: Final = {
    "invalid-key": "correct OPENAI_API_KEY and start the worker again, or give a key: `{} --ask-key`",
    "quota-exhausted": "fill up the account, then `{}`",
    "unknown-model": "correct the model (TQ_MODEL, --model) or OPENAI_BASE_URL, then `{}`",
}


def show(backend: Backend, message: Message, *, as_json: bool) -> None:
    """Print all of a message, and what became of it."""
    if as_json:
        write_json(message.document())
        return
    # An API of an older version has none.
    timeline: Sequence[TimelineEntry] = ()
    with suppress(TqError):
        timeline = backend.timeline(message.message_id)
    write(sheet(message, timeline))
    _warn_of_pause(backend, [message])


def sheet(message: Message, timeline: Sequence[TimelineEntry]) -> str:
    """All of a message, with its heading in colour where that is welcome."""
    room = columns_of(sys.stdout) if sys.stdout.isatty() else None
    heading, _, rest = document(message, datetime.now(UTC), timeline, room).partition("\n")
    message_id, _, status = heading.partition("  ")
    heading = f"{paint(message_id, '1', sys.stdout)}  {paint(status, _COLORS.get(status, ''), sys.stdout)}"
    return f"{heading}\n{rest}"


def follow(backend: Backend, message_id: str, *, as_json: bool) -> None:
    """Print a message's changes, and all of it at its end.

    Raises:
        TqError: it failed or was cancelled.
    """
    with Progress("looking", in_pipes=False) as waiting:
        for message in backend.watch(message_id):
            if as_json:
                show(backend, message, as_json=True)
            else:
                write(_progress(message, sys.stdout))
            waiting.say(str(message.status))
    if not as_json:
        show(backend, message, as_json=False)
    if message.status is not Status.COMPLETED:
        raise failure(message)
