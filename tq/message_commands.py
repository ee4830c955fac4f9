"""The commands that look at messages and change them: status, list, tail, cancel, retry, callback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tq.errors import OutputLost, StoreRefused, TqError, Unauthorised, UnknownMessage, Unreachable, UsageError
from tq.options import (
    AskKey,
    CallbackFilter,
    ErrorFilter,
    FromFilter,
    Ids,
    IdsToCancel,
    IdsToRetry,
    IdsToSend,
    Json,
    ModelFilter,
    PriorityFilter,
    StatusFilter,
    ToFilter,
    Url,
    ask_key,
    connect,
    debugging,
)
from tq.progress import Progress
from tq.terminal import report, wants_style, write, write_json

if TYPE_CHECKING:
    from tq.backend import Backend


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(status)
    app.command("list")(list_)
    for command in (tail, cancel, retry, callback):
        app.command()(command)


def status(
    ids: Ids,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until it has ended.", show_default=False)
    ] = False,
    json: Json = False,
    url: Url = None,
) -> int:
    """Show messages.

    With --follow the exit code is 1 for one that failed or was cancelled.
    """
    from tq import submitting

    with connect(url) as backend:

        def show(message_id: str) -> None:
            if follow:
                submitting.follow(backend, message_id, as_json=json)
            else:
                submitting.show(backend, backend.get(message_id), as_json=json)

        return _each(ids, _of_one(backend, show), silent=follow)


def list_(  # noqa: PLR0913 - Typer takes the options from the signature
    *,
    status: StatusFilter = None,
    to: ToFilter = None,
    source: FromFilter = None,
    priority: PriorityFilter = None,
    model: ModelFilter = None,
    error: ErrorFilter = None,
    callback: CallbackFilter = None,
    q: Annotated[
        str | None,
        typer.Option("--q", metavar="TEXT", help="Only those with this in their id or metadata.", show_default=False),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only those whose id begins so.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="How many.")] = 20,
    json: Json = False,
    url: Url = None,
) -> None:
    """List messages, newest first.

    Languages find what is more exact, too: fr finds fr-CA.
    """
    from tq import listing
    from tq.filters import MessageFilter

    matching = MessageFilter(
        to=to, source=source, priority=priority, model=model, error=error, q=q, prefix=prefix, callback=callback
    )
    with connect(url) as backend:
        listing.show_list(backend, status, matching, limit, as_json=json)


def tail(
    *,
    status: StatusFilter = None,
    to: ToFilter = None,
    priority: PriorityFilter = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Watch messages change, until Ctrl-C.

    A live table on a terminal; a line for each change in a pipe.
    """
    from tq.filters import ChangeFilter
    from tq.messages import status_of
    from tq.tail import tail_lines, tail_screen

    with connect(url) as backend:
        wanted = ChangeFilter(status_of(status) if status else None, to, priority)
        if wants_style(sys.stdout) and not json:
            tail_screen(backend, wanted)
        tail_lines(backend, wanted, as_json=json)


def cancel(ids: IdsToCancel, *, url: Url = None) -> int:
    """Cancel messages that have not ended.

    A running attempt is aborted.
    """
    with connect(url) as backend:

        def one(message_id: str) -> None:
            write(f"{message_id}  {backend.cancel(message_id).status}")

        return _each(ids, _of_one(backend, one))


def retry(
    ids: IdsToRetry = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="All messages that failed.", show_default=False)] = False,
    key: AskKey = False,
    url: Url = None,
) -> int:
    """Queue failed or cancelled messages again."""
    from tq import listing

    if bool(ids) == failed:
        raise UsageError("name the messages, or give --failed for all that failed", fix="see `tq retry --help`")
    api_key = ask_key() if key else None
    with connect(url) as backend:
        if failed:
            return listing.retry_failed(backend, api_key)

        def one(message_id: str) -> None:
            write(f"{message_id}  {backend.retry(message_id, api_key).status}")

        return _each(ids or [], _of_one(backend, one))


def callback(ids: IdsToSend, *, json: Json = False, url: Url = None) -> int:
    """Send the webhooks of messages again.

    At once, of messages that have ended; `tq list --callback failed` finds those that were given up.
    """
    with connect(url) as backend:

        def one(message_id: str) -> None:
            message = backend.send_callback(message_id)
            if json:
                write_json(message.document())
            else:
                write(f"{message_id}  {message.callback.status if message.callback else ''}")

        return _each(ids, _of_one(backend, one))


def _of_one(backend: Backend, action: Callable[[str], None]) -> Callable[[str], None]:
    """The action for an id, or for the only one that begins so."""

    def act(given: str) -> None:
        try:
            action(given)
        except UnknownMessage:
            action(_resolved(backend, given))

    return act


def _resolved(backend: Backend, given: str) -> str:
    try:
        return backend.resolve(given)
    except UnknownMessage:
        # Ids of tq's own making have no small letters, which are easier to type.
        if given == given.upper():
            raise
        try:
            return backend.resolve(given.upper())
        except UnknownMessage:
            pass
        raise


def _each(ids: Sequence[str], action: Callable[[str], None], *, silent: bool = False) -> int:
    """Do it for each, going on after an error of one; returns the exit code of the first error."""
    code = 0
    with Progress("", silent=silent) as progress:
        for number, message_id in enumerate(ids):
            progress.say(f"{number} of {len(ids)}" if len(ids) > 1 else "looking")
            try:
                action(message_id)
            except (Unreachable, StoreRefused, Unauthorised, OutputLost):
                raise  # it would be the same for all the others
            except TqError as error:
                if debugging():
                    raise
                shown = report(error)
                code = code or shown
    return code
