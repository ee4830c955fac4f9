"""`tq pause`, `tq resume` and `tq webhook-secret`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from tq.options import Url, connect
from tq.progress import Progress
from tq.terminal import write

if TYPE_CHECKING:
    from tq.backend import Backend

_QUEUES = ("high_priority", "default")


def complete_queue(incomplete: str) -> list[str]:
    """Queues that begin so."""
    return [name for name in (*_QUEUES, "quarantine") if name.startswith(incomplete)]


_Queues = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[QUEUE...]",
        help="high_priority (priority 5 and above), default or quarantine.  [default: the first two]",
        autocompletion=complete_queue,
        show_default=False,
    ),
]


def pause(queues: _Queues = None, *, url: Url = None) -> None:
    """Pause queues: nothing more of them begins until they are resumed.

    What runs goes on, and messages are accepted. It lasts, whatever is restarted.
    """
    _each(queues, url, "paused", lambda backend, queue: backend.pause(queue))


def resume(queues: _Queues = None, *, url: Url = None) -> None:
    """Go on with queues that were paused."""
    _each(queues, url, "resumed", lambda backend, queue: backend.resume(queue))


def _each(queues: list[str] | None, url: str | None, word: str, action: Callable[[Backend, str], None]) -> None:
    with connect(url) as backend:
        for queue in queues or _QUEUES:
            with Progress("asking"):
                action(backend, queue)
            write(f"{queue}  {word}")


def webhook_secret(
    *,
    new: Annotated[
        bool, typer.Option("--new", help="Make one for TQ_WEBHOOK_SECRET instead.", show_default=False)
    ] = False,
) -> None:
    """Print the secret that signs webhooks, for receivers to verify them.

    That of TQ_WEBHOOK_SECRET, or the one that was made in the data dir.
    """
    from tq.signing import as_text, new_secret

    if new:
        write(new_secret())
        return
    from tq.errors import InvalidSettings
    from tq.sealing import load_sealer
    from tq.settings import load_settings, redacted
    from tq.webhooks import can_sign, signing_keys

    settings = load_settings()
    if settings.url is not None and settings.webhook_secret is None and settings.secret_key is None:
        raise InvalidSettings(
            "the secret that signs webhooks is not known here",
            why=f"the API at {redacted(settings.url)} (TQ_URL or --url) signs with one of its own",
            fix="run this where the API runs, without TQ_URL, or set the same TQ_WEBHOOK_SECRET there and here",
        )
    if not can_sign(settings):
        raise InvalidSettings(
            "there is no secret to sign webhooks with",
            why="neither TQ_WEBHOOK_SECRET nor TQ_SECRET_KEY is set",
            fix="give every tq process the same TQ_WEBHOOK_SECRET: `tq webhook-secret --new` makes one",
        )
    for key in signing_keys(settings, load_sealer(settings)):
        write(as_text(key))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(pause)
    app.command()(resume)
    app.command()(webhook_secret)
