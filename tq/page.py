"""The page for people: rendered here, whole or in the parts that it asks for again when something has changed.

A little JavaScript (``static/page/tq.js``) listens to the stream of changes and puts the parts in place; what a button
does is a request to the API itself. Texts of messages are not part of any of this until somebody asks for them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tq import __version__, gate, session
from tq.charts import charts_of
from tq.errors import TqError
from tq.filters import MessageFilter
from tq.lines import age, money, row_of, span
from tq.messages import MAX_PRIORITY, MIN_PRIORITY, QUEUES, Status, get_queue_for_priority
from tq.routing import MessageId, queue_of

if TYPE_CHECKING:
    from jinja2 import Environment

    from tq.figures import Stats

router = APIRouter(include_in_schema=False)

_PAGE: Final = 25
#: Bytes of a login form, and seconds that a wrong token costs, one after the other.
_MOST: Final = 4096
_PENALTY: Final = 1.0
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
    Status.QUEUED: "·",
    Status.RUNNING: "▸",
    Status.RETRYING: "↻",
    Status.COMPLETED: "✔",
    Status.FAILED: "✘",
    Status.CANCELLED: "–",
}


def wanted(request: Request) -> bool:
    """Whether a person asks with a browser, and not a program."""
    return "text/html" in request.headers.get("accept", "")


async def respond(request: Request) -> Response:
    """The page, or what asks for a token first."""
    tokens = queue_of(request).settings.api_tokens
    if tokens and not session.is_valid(session.read(request.headers.get("cookie", "")), tokens):
        return _html("login.html", failed=False)
    given = {name: value for name, value in request.query_params.items() if name in _FILTERS and value}
    # A page that was linked to with a filter that is none shows all of it: a form is there to correct it.
    try:
        chosen = _chosen(given)
    except ValueError:
        given, chosen = {}, (None, MessageFilter())
    overview = await _overview(request)
    messages = await _messages(request, *chosen, given, None)
    return _html("page.html", login=bool(tokens), given=dict.fromkeys(_FILTERS, "") | given, **overview, **messages)


@router.post(gate.LOGIN)
async def login(request: Request) -> Response:
    """Begin a session with a token."""
    queue = queue_of(request)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST:
            break
    try:
        given = parse_qs(body[:_MOST].decode()).get("token", [""])[0].strip()
    except (UnicodeDecodeError, ValueError):
        given = ""
    known = [token for token in queue.settings.api_tokens if secrets.compare_digest(token.encode(), given.encode())]
    if not known:
        # One after the other, whoever asks: guesses get no faster by being many.
        async with _guessing():
            await asyncio.sleep(_PENALTY)
        return _html("login.html", status=401, failed=True)
    answer = RedirectResponse("/", 303, {"Cache-Control": "no-store"})
    secure = request.url.scheme == "https"
    answer.set_cookie(
        session.NAME, session.issue(known[0]), session.LIFETIME, secure=secure, httponly=True, samesite="strict"
    )
    return answer


@router.post("/logout")
async def logout() -> Response:
    """End the session of this browser."""
    answer = RedirectResponse("/", 303, {"Cache-Control": "no-store"})
    answer.delete_cookie(session.NAME, httponly=True, samesite="strict")
    return answer


@router.get("/page/overview")
async def overview(request: Request) -> Response:
    """Figures, charts, queues, workers and limits."""
    return _html("overview.html", **await _overview(request))


@router.get("/page/failures")
async def failures(request: Request) -> Response:
    """Failed messages by reason."""
    return _html("failures.html", failures=await queue_of(request).failures())


_Word = Annotated[str, Query(max_length=128)]


@router.get("/page/messages")
async def messages(request: Request, cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$")] = None) -> Response:
    """A page of the table of messages."""
    given = {name: value for name, value in request.query_params.items() if name in _FILTERS and value}
    try:
        chosen = _chosen(given)
    except ValueError as error:
        return _html("messages.html", rows=[], more=None, older="", table_trouble=str(error), filtered=True, first=True)
    return _html("messages.html", **await _messages(request, *chosen, given, cursor))


@router.get("/page/messages/{message_id}")
async def message(request: Request, message_id: MessageId) -> Response:
    """All of a message but its texts."""
    queue = queue_of(request)
    found, timeline = await asyncio.gather(queue.get(message_id), queue.timeline(message_id))
    return _html("message.html", message=found, timeline=timeline, now=datetime.now(UTC), row=row_of(found))


_FILTERS: Final = ("status", "to", "source", "priority", "model", "error", "q")


def _chosen(given: Mapping[str, str]) -> tuple[Status | None, MessageFilter]:
    """The filters of a query.

    Raises:
        ValueError: one is none.
    """
    words = {name: value[:128] for name, value in given.items() if name not in {"status", "priority"}}
    priority = None
    if "priority" in given:
        priority = int(given["priority"]) if given["priority"].isdecimal() and len(given["priority"]) < 3 else -1
        if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
            raise ValueError("The priority is a number from 0 to 10.")
    return Status(given["status"]) if "status" in given else None, MessageFilter(priority=priority, **words)


async def _overview(request: Request) -> dict[str, Any]:
    queue = queue_of(request)
    known = {
        "version": __version__,
        "provider": queue.settings.provider_name,
        "queues": QUEUES,
        "trouble": None,
        "stats": None,
        "charts": [],
        "levels": [],
    }
    try:
        stats, history = await asyncio.gather(queue.stats(), queue.history())
    except TqError as error:
        return known | {"trouble": error}
    return known | {"stats": stats, "charts": charts_of(history.minutes), "levels": _levels(stats)}


def _levels(stats: Stats) -> list[dict[str, Any]]:
    """Each priority with what waits, as a share of the highest bar."""
    depths = {depth.priority: depth for depth in stats.priorities}
    most = max((depth.queued for depth in stats.priorities), default=0)
    return [
        {
            "priority": "quarantine" if level is None else level,
            "queue": "quarantine" if level is None else get_queue_for_priority(level),
            "queued": depths[level].queued if level in depths else 0,
            "oldest": depths[level].oldest_wait if level in depths else 0.0,
            "share": round(100 * depths[level].queued / most, 1) if level in depths else 0,
        }
        for level in (*range(MAX_PRIORITY, MIN_PRIORITY - 1, -1), None)
        if level is not None or level in depths
    ]


async def _messages(
    request: Request,
    status: Status | None,
    matching: MessageFilter,
    given: Mapping[str, str],
    cursor: str | None,
) -> dict[str, Any]:
    now = datetime.now(UTC)
    try:
        found, more = await queue_of(request).list(status, limit=_PAGE, cursor=cursor, matching=matching)
    except TqError as error:
        return {"rows": [], "more": None, "older": "", "table_trouble": error, "filtered": bool(given), "first": True}
    return {
        "rows": [(message, row_of(message)) for message in found],
        "table_trouble": None,
        "now": now,
        "more": more,
        "older": urlencode({**given, "cursor": more}) if more else "",
        "filtered": bool(given),
        "first": cursor is None,
    }


@cache
def _guessing() -> asyncio.Lock:
    return asyncio.Lock()


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
    environment.filters |= {"age": age, "span": span, "money": money}
    environment.globals |= {"statuses": [*Status], "glyphs": _GLYPHS, "version": __version__}
    return environment
