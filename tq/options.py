"""What several commands share: the parts of their command lines, and the backend they talk to."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tq.errors import UsageError
from tq.languages import OFFERED
from tq.statuses import StatusName

if TYPE_CHECKING:
    from tq.backend import Backend

#: Seconds that completing an id may take; a shell that hangs is worse than no completion.
_COMPLETION_PATIENCE = 0.3


def complete_language(incomplete: str) -> list[str]:
    """Languages that begin so."""
    return [tag for tag in OFFERED if tag.startswith(incomplete)]


def complete_id(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest messages that begin so; none when the queue is not quick to answer."""
    found: list[tuple[str, str]] = []

    def look() -> None:
        with suppress(Exception), connect(None) as backend:
            messages, _ = backend.list(limit=200)
            found.extend((message.message_id, f"{message.status} {message.languages}") for message in messages)

    # Loaded before the clock runs: it is the queue that may hang, not Python.
    with suppress(Exception):
        import tq.local  # noqa: F401 - see above
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_COMPLETION_PATIENCE)
    return [item for item in list(found) if item[0].startswith(incomplete)]


Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="Talk HTTP to this API instead of the broker.  [TQ_URL]", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one document a line.", show_default=False)]
Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...", help="Message ids, or how they begin.", autocompletion=complete_id, show_default=False
    ),
]
OptionalIds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID...]", help="Message ids, or how they begin.", autocompletion=complete_id, show_default=False
    ),
]
StatusFilter = Annotated[
    StatusName | None, typer.Option("--status", help="Only messages of this status.", show_default=False)
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
        key = sys.stdin.buffer.readline().decode("ascii", "replace")
    if not key.strip():
        raise UsageError("no key was given", why="the answer, or the first line of stdin, is empty")
    return key.strip()


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("TQ_DEBUG", "") not in {"", "0"}
