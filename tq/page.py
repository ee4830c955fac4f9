"""The page for people: rendered here, whole or in the parts that it asks for again when something has changed.

Some JavaScript (``static/page``) listens to the stream of changes and patches the parts into place; what a button
does is a request to the API itself. Texts of messages are not part of any of this until somebody asks for them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from tq import __version__, gate, overview, session
from tq.errors import ERRORS, AttemptError, Overloaded, TqError
from tq.fields import MAX_MODEL_NAME
from tq.filters import MessageFilter
from tq.languages import OFFERED
from tq.layout import age, money, span
from tq.lines import Row, row_of
from tq.messages import MAX_PRIORITY, MIN_PRIORITY, Message, Status
from tq.routing import MessageId, probe_of, queue_of

if TYPE_CHECKING:
    from jinja2 import Environment

    from tq.queue import TranslationQueue

router = APIRouter(include_in_schema=False)

_PAGE: Final = 25
#: Bytes of a login form, seconds that a wrong token costs, one after the other, and how many wait for that at most.
_MOST: Final = 4096
_PENALTY: Final = 1.0
_MOST_WAITING: Final = 20
#: Digits of a cursor.
_MOST_DIGITS: Final = 18
_HEADERS: Final = {
    # Nothing from elsewhere, nothing inline: what is not in static/page does not run.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": a browser would then not say where a form comes from, and it would be refused.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept, Cookie",
}
_GLYPHS: Final[Mapping[str, str]] = {
    Status.QUEUED: "•",
    Status.RUNNING: "▸",
    Status.RETRYING: "↻",
    Status.COMPLETED: "✔",
    Status.FAILED: "✘",
    Status.CANCELLED: "–",
}
#: Metadata that is part of the texts, or has a place of its own.
_NOT_LISTED: Final = frozenset({"source_language", "target_language", "context", "instructions", "glossary"})


def wanted(request: Request) -> bool:
    """Whether a person asks with a browser, and not a program."""
    return "text/html" in request.headers.get("accept", "")


async def respond(request: Request) -> Response:
    """The page, or what asks for a token first."""
    queue = queue_of(request)
    settings = queue.settings
    tokens = settings.api_tokens
    if tokens and not session.holds(request.headers.get("cookie", ""), settings.api_port, tokens):
        return _html("login.html", failed="", next=str(request.url.query))
    given = _given(request)
    cursor = request.query_params.get("cursor", "")
    cursor = cursor if cursor.isascii() and cursor.isdigit() and len(cursor) <= _MOST_DIGITS else ""
    things, rows = await asyncio.gather(
        overview.look(queue, probe_of(request)), _messages(queue, given, cursor or None)
    )
    models = settings.models_of(None, ())
    rates = things["stats"].rates if things["trouble"] is None else []
    return _html(
        "page.html",
        login=bool(tokens),
        given=dict.fromkeys(_FILTERS, "") | given,
        cursor=cursor,
        target_language=_suggested(settings.target_language),
        model=settings.model,
        models=sorted({*models, *(rate.model for rate in rates)}),
        most_of_model=MAX_MODEL_NAME,
        languages=OFFERED,
        kinds=sorted(kind for kind, cls in ERRORS.items() if issubclass(cls, AttemptError)),
        **things,
        **rows,
    )


@router.get(gate.LOGIN)
async def show_login() -> Response:
    """The form is where the page would be."""
    return RedirectResponse("/", 303, {"Cache-Control": "no-store"})


@router.post(gate.LOGIN)
async def login(request: Request) -> Response:
    """Begin a session with a token."""
    settings = queue_of(request).settings
    form = await _form(request)
    given, place = form.get("token", "").strip(), form.get("next", "")
    known = [token for token in settings.api_tokens if secrets.compare_digest(token.encode(), given.encode())]
    if not known:
        if not await _pay(request):
            busy = Overloaded("many wrong tokens were given at once", fix="try again in a minute")
            return _html("login.html", status=429, failed=f"{busy.what.capitalize()}: {busy.fix}.", next=place)
        return _html("login.html", status=401, failed="No such token.", next=place)
    # A query of this page, and never another address.
    answer = RedirectResponse(f"/?{place}" if place else "/", 303, {"Cache-Control": "no-store"})
    secure = request.url.scheme == "https"
    answer.set_cookie(
        session.name(settings.api_port),
        session.issue(known[0]),
        session.LIFETIME,
        secure=secure,
        httponly=True,
        samesite="strict",
    )
    return answer


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST:
            break
    try:
        return {name: values[0] for name, values in parse_qs(body[:_MOST].decode()).items()}
    except (UnicodeDecodeError, ValueError):
        return {}


async def _pay(request: Request) -> bool:
    """Wait for a wrong token; False when too many wait already. Guesses get no faster by being many."""
    line = _line()
    if len(line.waiting) >= _MOST_WAITING:
        return False
    line.waiting.add(request)
    try:
        async with line.turn:
            # Who has left keeps nobody waiting.
            if not await request.is_disconnected():
                await asyncio.sleep(_PENALTY)
    finally:
        line.waiting.discard(request)
    return True


class _Line:
    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting: set[Request] = set()


@cache
def _line() -> _Line:
    return _Line()


@router.post(gate.LOGOUT)
async def logout(request: Request) -> Response:
    """End the session of this browser."""
    answer = RedirectResponse("/", 303, {"Cache-Control": "no-store"})
    answer.delete_cookie(session.name(queue_of(request).settings.api_port), httponly=True, samesite="strict")
    return answer


@router.get("/page/session")
async def show_session() -> Response:
    """Who asks has one, or needs none: the gate has let it in."""
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


@router.get("/page/overview")
async def show_overview(request: Request) -> Response:
    """Services, figures, charts, queues, limits and budgets."""
    return _html("overview.html", **await overview.look(queue_of(request), probe_of(request)))


@router.get("/page/failures")
async def show_failures(request: Request) -> Response:
    """Failed messages by reason."""
    found = await queue_of(request).failures()
    return _html("failures.html", failures=found, total=sum(group.count for group in found.groups))


@router.get("/page/messages")
async def show_messages(
    request: Request, cursor: Annotated[str | None, Query(pattern=rf"^[0-9]{{1,{_MOST_DIGITS}}}$")] = None
) -> Response:
    """A page of the table of messages."""
    return _html("messages.html", **await _messages(queue_of(request), _given(request), cursor))


@router.get("/page/rows")
async def show_rows(
    request: Request,
    id: Annotated[list[str], Query(max_length=_PAGE)],  # noqa: A002 - its name in the address
) -> Response:
    """Those rows of the table, whatever their status is by now."""
    queue = queue_of(request)
    found, paused = await asyncio.gather(
        asyncio.gather(*(queue.outline(each) for each in id), return_exceptions=True), queue.store.paused()
    )
    rows = [(message, row_of(message)) for message in found if isinstance(message, Message)]
    return _html("messages.html", **_table(rows, paused))


@router.get("/page/messages/{message_id}")
async def show_message(request: Request, message_id: MessageId) -> Response:
    """All of a message but its texts."""
    queue = queue_of(request)
    found, timeline, paused = await asyncio.gather(
        queue.outline(message_id), queue.timeline(message_id), queue.store.paused()
    )
    currency = queue.budget.prices.currency if queue.settings.prices else ""
    waits = found.status is Status.QUEUED and found.queue in paused
    return _html("message.html", message=found, timeline=timeline, hidden=_NOT_LISTED, currency=currency, is_held=waits)


_FILTERS: Final = ("status", "to", "source", "priority", "model", "error", "q")


def _given(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.query_params.items() if name in _FILTERS and value}


def _chosen(given: Mapping[str, str]) -> tuple[Status | None, MessageFilter]:
    """The filters of a query.

    Raises:
        ValueError: one is none.
    """
    status = given.get("status")
    if status and status not in [*Status]:
        raise ValueError(f"A status is one of {', '.join(Status)}.")
    words = {name: value[:MAX_MODEL_NAME] for name, value in given.items() if name not in {"status", "priority"}}
    priority = None
    if "priority" in given:
        priority = int(given["priority"]) if given["priority"].isdecimal() and len(given["priority"]) < 3 else -1
        if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
            raise ValueError("The priority is a number from 0 to 10.")
    return Status(status) if status else None, MessageFilter(priority=priority, **words)


async def _messages(queue: TranslationQueue, given: Mapping[str, str], cursor: str | None) -> dict[str, Any]:
    try:
        status, matching = _chosen(given)
        (found, more), paused = await asyncio.gather(
            queue.list(status, limit=_PAGE, cursor=cursor, matching=matching, texts=False), queue.store.paused()
        )
    except (ValueError, TqError) as error:
        return _table([], [], _sentences(error), given=given, cursor=cursor)
    return _table([(message, row_of(message)) for message in found], paused, more=more, given=given, cursor=cursor)


def _table(
    rows: Sequence[tuple[Message, Row]],
    paused: Sequence[str],
    trouble: str = "",
    *,
    more: str | None = None,
    given: Mapping[str, str] = MappingProxyType({}),
    cursor: str | None = None,
) -> dict[str, Any]:
    return {
        "rows": rows,
        "paused": paused,
        "table_trouble": trouble,
        "now": datetime.now(UTC),
        "more": more,
        "older": urlencode({**given, "cursor": more}) if more else "",
        "newest": urlencode(given),
        "filtered": bool(given),
        "first": cursor is None,
    }


def _html(template: str, status: int = 200, **values: Any) -> Response:
    return HTMLResponse(_templates().get_template(template).render(**values), status, _HEADERS)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "pages"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": age,
        "span": span,
        "money": money,
        "moment": _moment,
        "plain": _plain,
        "sentences": _sentences,
    }
    environment.globals |= {"statuses": [*Status], "glyphs": _GLYPHS, "version": __version__}
    return environment


def _suggested(language: str) -> str:
    """The language of the settings; where nobody has chosen one, not that of most texts that are tried first."""
    return "fr" if language == "en" else language


def _moment(at: datetime) -> Markup:
    """A time, which ``static/page/parts.js`` says in the reader's own."""
    text = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), text)


def _sentences(error: Exception) -> str:
    """What is wrong, why, and what to do, for people to read."""
    parts = [error.what, error.why, error.fix] if isinstance(error, TqError) else [str(error)]
    return " ".join(f"{part[0].upper()}{part[1:].rstrip('.')}." for part in parts if part)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
