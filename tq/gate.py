"""The gate before all routes: who may use the API, and what becomes of defects.

Asked on every request, in this order: no token and other machines reach the API (403); Host header
(400, 421); too many connections (503); token (401); origin (403); announced size of the body (413).
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tq import problems, session
from tq.errors import (
    ContentTooLarge,
    HostRefused,
    MalformedRequest,
    OriginRefused,
    Overloaded,
    TokenNotSet,
    TqError,
    Unauthorised,
    Unreachable,
)
from tq.limits import Limits
from tq.settings import Settings, host_name, is_loopback
from tq.upload import Room, Upload

logger = logging.getLogger(__name__)

#: What anyone may ask, token or not: that something answers here, and whether it lives.
OPEN_PATHS: Final = frozenset({"/", "/health"})
#: Where a token is shown for a session, and what the page needs to ask for one.
LOGIN: Final = "/login"
LOGOUT: Final = "/logout"
_PAGE_FILES: Final = "/static/page/"
#: The server's mark, among a scope's ``extensions``, on the requests of a connection beyond the limit.
OVERLOADED: Final = "tq.overloaded"

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: Of a Content-Length: 64 bits.
_MAX_DIGITS: Final = 20

#: The headers that are looked at.
_SEEN: Final = frozenset(
    {
        b"host",
        b"authorization",
        b"cookie",
        b"origin",
        b"sec-fetch-site",
        b"content-length",
        b"transfer-encoding",
        b"expect",
    }
)
#: Stands for the value of a header that came twice, and is the value of none.
_REPEATED: Final = b"\0"

_AUTHORITY: Final = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::([0-9]{0,5}))?")
_DEFAULT_PORTS: Final[Mapping[bytes, bytes]] = {b"http": b"80", b"https": b"443"}

Fields = Mapping[bytes, bytes]


class Gate:
    """Around everything: lets in who may enter, and answers defects with a problem document.

    Args:
        app: what is behind it.
        settings: say who may enter: tokens (none = no token is asked for) and names of the API.
        limits: what a request may cost.
        most: bytes of the largest body that any route takes.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, limits: Limits, most: int) -> None:
        self._app = app
        self._known_tokens = settings.api_tokens
        self._tokens = [token.encode() for token in settings.api_tokens]
        self._own_name = host_name(settings.api_host)
        self._port = settings.api_port
        self._allowed = settings.allowed_hosts
        self._limits = limits
        self._most = most
        # One request of the largest kind does not keep all others out.
        self._room = Room(max(limits.bodies, 2 * most))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI's own
        if scope["type"] == "http":
            fields = _seen(scope)
            if not _has_body(fields):
                await self._answer(scope, fields, receive, send)
                return
            expects = fields.get(b"expect", b"").lower() == b"100-continue"
            upload = Upload(receive, send, self._limits, self._room, expects=expects)
            try:
                await self._answer(scope, fields, upload.receive, upload.send)
            finally:
                upload.close()
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, fields: Fields, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope, fields)
        if refusal is not None:
            await problems.response(refusal, problems.instance_of(scope))(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            # The server stops, and has waited for this request long enough.
            if not begun:
                stopping = Unreachable("the API stops", fix="ask again: another one may be starting")
                await problems.response(stopping, problems.instance_of(scope))(scope, receive, send)
        except ClientDisconnect:
            logger.debug("a client left before its request was complete")
        except Exception as error:  # noqa: BLE001 - nothing else may turn a defect into an answer
            answer = problems.unexpected(error, problems.instance_of(scope))
            if not begun:
                await answer(scope, receive, send)

    # -- who may enter -----------------------------------------------------------------------------

    def _refusal(self, scope: Scope, fields: Fields) -> TqError | None:
        """Why a request is not let in; None when it is."""
        method: str = scope["method"]
        path: str = scope["path"]
        reading = method in _READS
        return (
            self._no_token(scope)
            or self._bad_host(scope, fields)
            or (_overloaded(path) if OVERLOADED in scope.get("extensions", ()) else None)
            or (None if _is_open(method, path) else self._bad_token(fields, reading=reading))
            or (None if reading else self._bad_origin(fields))
            or self._bad_size(fields, reading=reading)
        )

    def _no_token(self, scope: Scope) -> TqError | None:
        if self._tokens or _is_local(scope):
            return None
        return TokenNotSet(
            "this API can be reached by other machines, and no token is set",
            why="whoever reaches it could read and submit messages",
            fix="set TQ_API_TOKEN, or have it listen on 127.0.0.1",
        )

    def _bad_host(self, scope: Scope, fields: Fields) -> TqError | None:
        value = fields.get(b"host")
        if value is None and scope["http_version"] == "1.0":
            return None  # no browser's, and complete without it (RFC 9112, 3.2)
        name = _name(value or b"")
        if not name:
            return MalformedRequest("the request must have one Host header, of the form name or name:port")
        if self._knows(name, scope):
            return None
        return HostRefused(
            "this API does not answer to the name in the Host header",
            why="a page on the Internet could have a name of its own point to this machine (DNS rebinding)",
            fix="ask http://127.0.0.1 or localhost; behind a proxy, add the name to TQ_API_ALLOWED_HOSTS",
        )

    def _knows(self, name: str, scope: Scope) -> bool:
        if "*" in self._allowed or name in self._allowed:
            return True
        server = scope.get("server")
        if server is not None and is_loopback_address(server[0]):
            return name == self._own_name or _is_loopback_name(name)
        # Elsewhere a name only has to be known when names are listed: a token is asked for, or (a unix
        # socket) no browser gets here.
        return not self._allowed or name == self._own_name

    def _bad_token(self, fields: Fields, *, reading: bool) -> TqError | None:
        if not self._tokens:
            return None
        given = fields.get(b"authorization", b"")
        token = given[7:].strip() if given[:7].lower() == b"bearer " else b""
        # All are compared, each in constant time: how long it takes says nothing about them.
        if any([secrets.compare_digest(token, known) for known in self._tokens]):  # noqa: C419 - see above
            return None
        if b"cookie" in fields and self._has_session(fields, reading=reading):
            return None
        return Unauthorised(
            "this API wants a bearer token", fix="send `Authorization: Bearer …` with a token of TQ_API_TOKEN"
        )

    def _has_session(self, fields: Fields, *, reading: bool) -> bool:
        """Whether a browser asks that has shown a token; to write, it must say that a page of this API asks."""
        if not reading and fields.get(b"sec-fetch-site", b"").lower() != b"same-origin" and b"origin" not in fields:
            return False
        return session.holds(fields[b"cookie"].decode("latin-1"), self._port, self._known_tokens)

    def _bad_origin(self, fields: Fields) -> TqError | None:
        """Browsers say where a page comes from that writes; other programs say nothing (Fetch, 3.2)."""
        site = fields.get(b"sec-fetch-site", b"none").lower()
        origin = fields.get(b"origin")
        if site in {b"same-origin", b"none"} and (origin is None or self._own_origin(origin, fields)):
            return None
        return OriginRefused(
            "a page of another site may not change anything here",
            why="the browser says so (Origin, Sec-Fetch-Site)",
            fix="use a page of this API itself, or a program; a proxy must pass the Host header on unchanged",
        )

    def _own_origin(self, origin: bytes, fields: Fields) -> bool:
        scheme, _, authority = origin.lower().partition(b"://")
        if scheme not in _DEFAULT_PORTS:
            return False
        # The scheme of the request itself is not known behind a proxy, so each side's port is completed with it.
        asked = _endpoint(fields.get(b"host", b""), scheme)
        given = _endpoint(authority, scheme)
        return given is not None and (given == asked or given[0] in self._allowed)

    def _bad_size(self, fields: Fields, *, reading: bool) -> TqError | None:
        """What a length announces; one that is not known is measured on the way (``Upload``, ``read_json``)."""
        if reading:
            return ContentTooLarge("a request of this method has no body") if _has_body(fields) else None
        length = fields.get(b"content-length", b"")
        if not length.isdigit() or len(length) > _MAX_DIGITS or int(length) <= self._most:
            return None
        return ContentTooLarge(f"the body is larger than {self._most} bytes", fix="submit less at once")


def _seen(scope: Scope) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _SEEN:
            fields[name] = _REPEATED if name in fields else value
    return fields


def _has_body(fields: Fields) -> bool:
    return fields.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in fields


def _is_local(scope: Scope) -> bool:
    """Whether the accepted socket is one that only this machine reaches: loopback, or a unix socket."""
    server = scope.get("server")
    return server is not None and (server[1] is None or is_loopback_address(server[0]))


def _is_open(method: str, path: str) -> bool:
    if method == "GET":
        return path in OPEN_PATHS or path == LOGIN or path.startswith(_PAGE_FILES)
    return method == "POST" and path in {LOGIN, LOGOUT}


def _overloaded(path: str) -> TqError | None:
    if path == "/health":
        return None
    return Overloaded("the API has as many connections as it may", fix="ask again in a moment")


@lru_cache(256)
def is_loopback_address(address: str) -> bool:
    """Whether this is an address that only this machine reaches."""
    return is_loopback(address)


@lru_cache(256)
def _is_loopback_name(name: str) -> bool:
    # Browsers resolve localhost, and all below it, to this machine without asking the DNS (RFC 6761, 6.3).
    return is_loopback(name) or name.endswith(".localhost")


def _name(authority: bytes) -> str:
    """The canonical name in a Host header; "" when it is none."""
    endpoint = _endpoint(authority, b"http")
    return endpoint[0] if endpoint else ""


def _endpoint(authority: bytes, scheme: bytes) -> tuple[str, bytes] | None:
    # Longer ones are none, and must not fill the cache.
    return _parsed(authority, scheme) if len(authority) < 300 else None


@lru_cache(512)
def _parsed(authority: bytes, scheme: bytes) -> tuple[str, bytes] | None:
    match = _AUTHORITY.fullmatch(authority)
    name = host_name(match[1].decode()) if match else ""
    return (name, match[2] or _DEFAULT_PORTS[scheme]) if match and name else None
