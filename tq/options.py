"""What several commands share: the parts of their command lines, and the backend they talk to."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tq.errors import TqError, Unauthorised, UsageError
from tq.languages import OFFERED, check_language
from tq.statuses import CallbackStatus, StatusName

if TYPE_CHECKING:
    from tq.backend import Backend


class _InAnyCase(str):
    """A text that begins with what begins so in other letters, too: Typer looks whether what is offered does."""

    __slots__ = ()

    def startswith(self, *args: Any) -> bool:
        """See above."""
        return self.lower().startswith(args[0].lower(), *args[1:])


def complete_language(incomplete: str) -> list[str]:
    """Languages that begin so, whatever the case."""
    return [each for each in map(_InAnyCase, OFFERED) if each.startswith(incomplete)]


def complete_id(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids of messages that begin so."""
    return _offers(ctx, incomplete)


def complete_unended(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids of messages that can be cancelled."""
    return _offers(ctx, incomplete, "queued", "running", "retrying")


def complete_ended_badly(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids of messages that can be queued again."""
    return _offers(ctx, incomplete, "failed", "cancelled")


def complete_ended(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids of messages that have ended, whose webhooks can be sent again."""
    return _offers(ctx, incomplete, "completed", "failed", "cancelled")


def complete_error(incomplete: str) -> list[str]:
    """Types of errors that messages have and that begin so."""
    from tq.errors import ERRORS, AttemptError, BudgetExceeded

    kinds = (AttemptError, BudgetExceeded)
    return [slug for slug, kind in ERRORS.items() if issubclass(kind, kinds) and slug.startswith(incomplete)]


def complete_model(incomplete: str) -> list[str]:
    """Models of the settings that begin so."""
    with suppress(Exception):
        from tq.settings import get_settings

        settings = get_settings()
        models = dict.fromkeys([settings.model, *settings.fallback_models])
        return [name for name in models if name.startswith(incomplete)]
    return []


def _offers(ctx: typer.Context, incomplete: str, *statuses: StatusName) -> list[tuple[str, str]]:
    # The URL stands on the line, after the command or before it.
    urls = [each.params.get("url") for each in (ctx, ctx.parent) if each is not None]
    with suppress(Exception):
        from tq.completion import offers

        given = ctx.params.get("ids") or ()
        found = offers(incomplete, statuses, next(filter(None, urls), None))
        return [(_InAnyCase(message_id), word) for message_id, word in found if message_id not in given]
    return []


def _known_language(value: str | None) -> str | None:
    if value is not None:
        try:
            check_language(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return value


Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="Talk HTTP to this API instead of the broker.  [TQ_URL]", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line.", show_default=False)]


def _ids(complete: Callable[[typer.Context, str], list[tuple[str, str]]], metavar: str = "ID...") -> Any:
    return typer.Argument(
        metavar=metavar, help="Message ids, or how they begin.", autocompletion=complete, show_default=False
    )


Ids = Annotated[list[str], _ids(complete_id)]
IdsToCancel = Annotated[list[str], _ids(complete_unended)]
IdsToSend = Annotated[list[str], _ids(complete_ended)]
IdsToRetry = Annotated[list[str] | None, _ids(complete_ended_badly, "[ID...]")]
StatusFilter = Annotated[
    StatusName | None, typer.Option("--status", help="Only messages of this status.", show_default=False)
]
ToFilter = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="LANG",
        help="Only this target language.",
        callback=_known_language,
        autocompletion=complete_language,
        show_default=False,
    ),
]
FromFilter = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="LANG",
        help="Only this source language, given or detected.",
        callback=_known_language,
        autocompletion=complete_language,
        show_default=False,
    ),
]
ModelFilter = Annotated[
    str | None,
    typer.Option("--model", help="Only those of this model.", autocompletion=complete_model, show_default=False),
]
ErrorFilter = Annotated[
    str | None,
    typer.Option(
        "--error",
        metavar="TYPE",
        help="Only those with this type of error, such as invalid-key.",
        autocompletion=complete_error,
        show_default=False,
    ),
]
CallbackFilter = Annotated[
    CallbackStatus | None,
    typer.Option("--callback", help="Only those whose webhook stands so.", show_default=False),
]
PriorityFilter = Annotated[
    int | None,
    typer.Option("--priority", metavar="0..10", min=0, max=10, help="Only this priority.", show_default=False),
]
AskKey = Annotated[
    bool,
    typer.Option(
        "--ask-key",
        help="Ask for an api key for this message alone; in a pipe it is the first line of stdin.",
        show_default=False,
    ),
]
Glossary = Annotated[
    Path | None,
    typer.Option(
        "--glossary",
        metavar="FILE",
        help="Terms and their translations: a CSV file with the columns source, target and, if you like, mandatory.",
        show_default=False,
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="TEXT|@FILE",
        help="What the text is part of or about; sent, not translated.",
        show_default=False,
    ),
]
Formality = Annotated[
    Literal["formal", "informal"] | None, typer.Option("--formality", help="How to address people.", show_default=False)
]
Instructions = Annotated[
    str | None,
    typer.Option("--instructions", metavar="TEXT", help="How to translate, in your own words.", show_default=False),
]
FallbackModels = Annotated[
    list[str] | None,
    typer.Option(
        "--fallback-model",
        metavar="M",
        help="Model to try when the first fails; again for more, in order.  [default: TQ_FALLBACK_MODELS]",
        autocompletion=complete_model,
        show_default=False,
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUE",
        help="Sent with the request, such as temperature=0.2; again for more.",
        show_default=False,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Take no earlier translation of the same text.", show_default=False),
]
Callback = Annotated[
    str | None,
    typer.Option(
        "--callback",
        metavar="URL",
        help="Where a signed webhook is sent when it has ended; see `tq webhook-secret`.",
        show_default=False,
    ),
]
Estimate = Annotated[
    bool,
    typer.Option("--estimate", help="Print tokens and cost, and submit nothing.", show_default=False),
]


def connect(url: str | None) -> Backend:
    """The API at ``url`` or TQ_URL, else the store itself."""
    from tq.settings import get_settings

    if url is not None or get_settings().url is not None:
        from tq.client import Client

        return Client(url)
    from tq.local import LocalClient

    return LocalClient()


def explained(error: TqError) -> TqError:
    """An error as who types commands can use it: to them a token is a setting, and no header."""
    if not isinstance(error, Unauthorised):
        return error
    from tq.settings import get_settings

    if get_settings().api_tokens:
        why, fix = "that of TQ_API_TOKEN is another one", "set TQ_API_TOKEN to one that the API was started with"
    else:
        why, fix = (
            "TQ_API_TOKEN is not set",
            "set TQ_API_TOKEN, in the environment or in .env, to one that the API knows",
        )
    return Unauthorised("the API wants a token that it knows", why=why, fix=fix)


def ask_key() -> str:
    """A key that is typed without echo, or the first line of a pipe: never an argument, which all users can see.

    Raises:
        UsageError: none was given.
    """
    import getpass
    import sys

    if sys.stdin.isatty():
        key = getpass.getpass("API key for this message: ")
    else:
        try:
            key = sys.stdin.buffer.readline().decode("ascii", "replace")
        except OSError:
            key = ""
    if not key.strip():
        raise UsageError(
            "no key was given", why="the answer, or the first line of stdin, is empty", fix="type it, or pipe it in"
        )
    return key.strip()


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("TQ_DEBUG", "") not in {"", "0"}
