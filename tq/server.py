"""The HTTP API: who may use its routes, how it begins and ends, and the server that runs it.

``uvicorn tq.server:app`` works, and ``tq api`` is ``serve``. Every answer that is not a success is a
problem document (see ``problems``), also for paths that do not exist and for defects of tq.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tq import __version__, problems
from tq.apidocs import DocumentedApi
from tq.attempts import Attempts
from tq.errors import Unauthorised, Unreachable
from tq.events import Streams
from tq.ports import require_free_port
from tq.queue import TranslationQueue
from tq.reaper import Reaper
from tq.routes import router
from tq.settings import Settings, get_settings

logger = logging.getLogger(__name__)

#: What anyone may ask, token or not: that something answers here, and whether it lives.
OPEN_PATHS: Final = frozenset({"/", "/health"})
#: Seconds that open requests, and what is left to publish, get when the server stops.
_GRACE: Final = 5


class Gate:
    """Around everything: asks for the token, and answers defects with a problem document.

    Args:
        app: what is behind it.
        tokens: of which each opens the API; none = it is open.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[str]) -> None:
        self._app = app
        self._tokens = [token.encode() for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI's own
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not self._may_enter(scope):
            refusal = Unauthorised(
                "this API wants a bearer token", fix="send `Authorization: Bearer …` with a token of TQ_API_TOKEN"
            )
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

    def _may_enter(self, scope: Scope) -> bool:
        if not self._tokens or (scope["method"] == "GET" and scope["path"] in OPEN_PATHS):
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1 or given[0][:7].lower() != b"bearer ":
            return False
        token = given[0][7:].strip()
        # All are compared, each in constant time: how long it takes says nothing about them.
        return any([secrets.compare_digest(token, known) for known in self._tokens])  # noqa: C419 - see above


def create_app(settings: Settings) -> DocumentedApi:
    """The API for these settings; nothing is connected before it starts."""

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        name = f"api@{socket.gethostname()}:{os.getpid()}"
        queue = TranslationQueue(settings)
        attempts = Attempts(queue, name)
        streams = Streams(queue)
        reaper = asyncio.create_task(Reaper(queue, name).run())
        try:
            with streams.closed_by_signals():
                yield {"queue": queue, "attempts": attempts, "streams": streams}
        finally:
            reaper.cancel()
            await asyncio.gather(reaper, return_exceptions=True)
            await attempts.aclose()
            # What is not published in time is published by another process's reaper.
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await queue.aclose()

    tokens = settings.api_tokens
    app = DocumentedApi(
        secured=bool(tokens),
        open_paths=OPEN_PATHS,
        title="tq",
        summary="A translation job queue.",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.include_router(router)
    problems.install(app, router.routes)
    app.add_middleware(Gate, tokens=tokens)
    return app


def serve(settings: Settings) -> None:
    """Run the API in the foreground until SIGINT or SIGTERM.

    Raises:
        StackError: the port is in use, or the host is none of this machine.
    """
    require_free_port(settings.api_host, settings.api_port, service="API", setting="TQ_API")
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        log_config=_LOGGING,
    )


_LOGGING: Final[dict[str, Any]] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"short": {"format": "%(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "short"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"tq": {"level": "INFO"}, "uvicorn": {"level": "INFO"}},
}

app = create_app(get_settings())
