"""Submitting, following and showing messages on the command line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final, TextIO

from pydantic import JsonValue

from tq import tracing
from tq.backend import Backend, SubmissionFields, make_submission
from tq.errors import ERRORS, InvalidMessage, TqError, UsageError
from tq.glossary import read_csv
from tq.lines import ahead_of, document, progress
from tq.messages import Message, Status, Submission
from tq.terminal import clean, note, paint, wants_style, write, write_exact
from tq.timeline import TimelineEntry

_COLORS: Final = {"running": "36", "retrying": "33", "completed": "32", "failed": "31"}
_NO_WORKER: Final = "queued, but no worker is running: start one with `tq worker` or `tq up`"
_PSEUDO: Final = (
    "NOT a translation, but pseudo output: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own, "
    "and start the worker again"
)


def read_text(text: str | None, file: Path | None, *, key: bool) -> str | None:
    """The text to submit: the argument, a file, or stdin; None when there is none on a terminal.

    Raises:
        UsageError: two sources, a file that cannot be read, or stdin is wanted for the key as well.
        InvalidMessage: it is not UTF-8.
    """
    if text is not None and file is not None:
        raise UsageError("there are two texts", why="one is an argument, the other is --file", fix="give one of them")
    if file is not None:
        return _read_file(file)
    if text is not None and text != "-":
        return text
    if text is None and sys.stdin.isatty():
        return None
    if key:
        raise UsageError(
            "stdin cannot be both the text and the key", fix="give the text as an argument, or with --file"
        )
    return _decode(sys.stdin.buffer.read(), "stdin")


def read_context(given: str | None) -> str | None:
    """The context to send along: as given, or the file that it names with ``@``.

    Raises:
        UsageError: the file cannot be read.
        InvalidMessage: it is not UTF-8.
    """
    return _read_file(Path(given[1:])) if given is not None and given.startswith("@") else given


def read_parameters(given: Sequence[str]) -> dict[str, JsonValue]:
    """``["temperature=0.2"]`` as ``{"temperature": 0.2}``: a value is JSON if it can be, else a text.

    Raises:
        UsageError: one has no name, or no value.
    """
    parameters: dict[str, JsonValue] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not name or not equals:
            raise UsageError(f"--param {item!r} is not NAME=VALUE", fix="for example --param temperature=0.2")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    return parameters


def read_glossary(path: Path | None) -> list[dict[str, JsonValue]] | None:
    """The terms of a CSV file, as metadata has them.

    Raises:
        UsageError: it cannot be read, or is not a glossary.
        InvalidMessage: it is not UTF-8.
    """
    if path is None:
        return None
    try:
        terms = read_csv(_read_file(path))
    except ValueError as error:
        raise UsageError(f"{path} is not a glossary", why=str(error)) from None
    return [
        {"source": term.source, "target": term.target} | ({"mandatory": True} if term.mandatory else {})
        for term in terms
    ]


def _read_file(path: Path) -> str:
    try:
        return _decode(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", why=error.strerror or type(error).__name__) from None


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage(
            f"the text of {name} is not UTF-8", why=f"byte {error.start} is not", fix="convert it first, with iconv"
        ) from None


def prepare(content: str, languages: Sequence[str | None], fields: SubmissionFields) -> list[Submission]:
    """One submission for each language; all are checked before the first is sent."""
    return [make_submission(content, **_with_target(fields, language)) for language in languages]


def _with_target(fields: SubmissionFields, language: str | None) -> SubmissionFields:
    return {**fields, "to": language}


def submit(
    backend: Backend, submissions: Sequence[Submission], idempotency_key: str | None, *, show: bool, as_json: bool
) -> list[Message]:
    """Submit them in order, and say so: on stdout when that is all (``show``), else on stderr."""
    tracing.set_up("tq", brief=True)
    messages = []
    for submission in submissions:
        message = backend.submit(submission, idempotency_key)
        messages.append(message)
        if show and as_json:
            write(json.dumps(message.document(), ensure_ascii=False))
        elif show and not sys.stdout.isatty():
            write(message.message_id)
        elif show:
            _say(message, sys.stdout, ahead=_ahead(backend, message))
    if show and not as_json and sys.stdout.isatty():
        note(f"follow it: tq status {' '.join(message.message_id for message in messages)} --follow")
    _warn_without_worker(backend, messages)
    _warn_of_pause(backend, messages)
    return messages


def _warn_without_worker(backend: Backend, messages: Sequence[Message]) -> None:
    # What was accepted is accepted, whether or not the figures can be had.
    with suppress(TqError):
        if any(not message.ended for message in messages) and not backend.stats().workers:
            note(_NO_WORKER)


def _warn_of_pause(backend: Backend, messages: Sequence[Message]) -> None:
    with suppress(TqError):
        queues = {message.queue for message in messages if message.status is Status.QUEUED}
        for queue in sorted(queues & {*backend.stats().paused} if queues else ()):
            note(f"the queue {queue} is paused: `tq resume {queue}`")


def _ahead(backend: Backend, message: Message) -> int | None:
    if message.status is not Status.QUEUED:
        return None
    with suppress(TqError):
        return ahead_of(message, backend.stats())
    return None


def _say(message: Message, stream: TextIO, ahead: int | None = None) -> None:
    message_id, status, word = progress(message, datetime.now(UTC), ahead)
    stream.write(f"{message_id}  {paint(f'{status:<10}', _COLORS.get(status, ''), stream)} {word}".rstrip() + "\n")
    stream.flush()


def await_end(backend: Backend, message: Message, deadline: float | None, *, as_json: bool, exact: bool) -> None:
    """Show on stderr how a message goes on, and at its end the translation on stdout.

    Args:
        backend: where it is.
        message: which.
        deadline: of ``time.monotonic``, or None.
        as_json: the whole document instead of the translation.
        exact: in a pipe, not a byte more than the translation; else each ends its line.

    Raises:
        TqError: it failed or was cancelled.
        WaitTimeout: it had not ended at the deadline.
    """
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    _say(message, sys.stderr, ahead=_ahead(backend, message))
    for state in backend.watch(message.message_id, left):
        if (state.status, state.attempts) != (message.status, message.attempts):
            _say(state, sys.stderr)
        message = state
    if as_json:
        write(json.dumps(message.document(), ensure_ascii=False))
    if message.status is not Status.COMPLETED:
        raise failure(message)
    if message.provider == "pseudo":
        _warn_of_pseudo()
    if not as_json:
        _write_translation(message.translation or "", exact=exact)


@cache
def _warn_of_pseudo() -> None:  # cached: once a command is enough
    note(_PSEUDO)


def _write_translation(text: str, *, exact: bool) -> None:
    if sys.stdout.isatty():
        write(clean(text, keep="\n\t"), "" if text.endswith("\n") else "\n")
    else:
        write_exact(text if exact or text.endswith("\n") else f"{text}\n")


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
        write(json.dumps(message.document(), ensure_ascii=False))
        return
    # An API of an older version has none.
    timeline: Sequence[TimelineEntry] = ()
    with suppress(TqError):
        timeline = backend.timeline(message.message_id)
    heading, _, rest = document(message, datetime.now(UTC), timeline).partition("\n")
    if wants_style(sys.stdout):
        message_id, _, status = heading.partition("  ")
        heading = f"{paint(message_id, '1', sys.stdout)}  {paint(status, _COLORS.get(status, ''), sys.stdout)}"
    write(f"{heading}\n{rest}")
    _warn_of_pause(backend, [message])


def follow(backend: Backend, message_id: str, *, as_json: bool) -> None:
    """Print a message's changes, and all of it at its end.

    Raises:
        TqError: it failed or was cancelled.
    """
    for message in backend.watch(message_id):
        if as_json:
            show(backend, message, as_json=True)
        else:
            _say(message, sys.stdout)
    if not as_json:
        show(backend, message, as_json=False)
    if message.status is not Status.COMPLETED:
        raise failure(message)
