"""The HTTP API: how it begins and ends, and the server that runs it.

``uvicorn tq.server:app`` works, and ``tq api`` is ``serve``. Every answer that is not a success is a
problem document (see ``problems``), also for paths that do not exist and for defects of tq.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final

import uvicorn

from tq import __version__, controls, following, jsonlog, page, problems, tracing
from tq.apidocs import DocumentedApi
from tq.attempts import Attempts
from tq.bodies import most_bytes
from tq.courier import Courier
from tq.events import Streams
from tq.garbage import collect_rarely
from tq.gate import OPEN_PATHS, Gate
from tq.limits import Limits
from tq.ports import require_free_port
from tq.probe import Probe
from tq.protocol import bounded
from tq.queue import TranslationQueue
from tq.reaper import Reaper
from tq.routes import router
from tq.settings import Settings, get_settings

#: Seconds that open requests, and what is left to publish, get when the server stops.
_GRACE: Final = 5
#: File descriptors that are not connections of clients: Redis, logs, the process itself.
_OTHER_FILES: Final = 256


def create_app(settings: Settings, limits: Limits | None = None) -> DocumentedApi:
    """The API for these settings; nothing is connected before it starts."""
    limits = limits or Limits()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        tracing.set_up("tq-api")
        name = f"api@{socket.gethostname()}:{os.getpid()}"
        queue = TranslationQueue(settings)
        attempts = Attempts(queue, name)
        streams = Streams(queue)
        helpers = [asyncio.create_task(each.run()) for each in (Reaper(queue, name), Courier(queue))]
        try:
            with streams.closed_by_signals():
                yield {"queue": queue, "attempts": attempts, "streams": streams, "probe": Probe(queue)}
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await streams.aclose()
            await attempts.aclose()
            # What is not published in time is published by another process's reaper.
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await queue.aclose()

    app = DocumentedApi(
        secured=bool(settings.api_tokens),
        open_paths=OPEN_PATHS,
        title="tq",
        summary="A translation job queue.",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        # Spans of requests where somebody takes spans. Logs could hold what a request held; the other spans are detail.
        telemetry={"logs": False, "operation_spans": False, "exclude": _is_routine},
    )
    routers = (router, following.router, controls.router, page.router)
    for each in routers:
        app.include_router(each)
    problems.install(app, [route for each in routers for route in each.routes])
    app.add_middleware(Gate, settings=settings, limits=limits, most=most_bytes(settings, batch=True))
    return app


def serve(settings: Settings, limits: Limits | None = None) -> None:
    """Run the API in the foreground until SIGINT or SIGTERM.

    Raises:
        StackError: the port is in use, or the host is none of this machine.
    """
    require_free_port(settings.api_host, settings.api_port, service="API", setting="TQ_API")
    limits = limits or Limits()
    limits = replace(limits, connections=_possible_connections(limits.connections))
    collect_rarely()
    uvicorn.run(
        create_app(settings, limits),
        host=settings.api_host,
        port=settings.api_port,
        http=bounded(limits),
        ws="none",
        access_log=False,
        server_header=False,
        timeout_keep_alive=limits.idle,
        timeout_graceful_shutdown=_GRACE,
        log_config=_logging(settings),
    )


def _possible_connections(wanted: int) -> int:
    """As many as are wanted, or as this process may have open: without a file descriptor nobody is answered."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, soft - _OTHER_FILES))


def _is_routine(scope: MutableMapping[str, Any]) -> bool:
    """Whether a trace of this request would only be noise: somebody looks again and again, or for hours."""
    path: str = scope.get("path", "")
    return path in {"/health", "/ready", "/metrics"} or path.endswith("/events")


def _logging(settings: Settings) -> dict[str, Any]:
    """The log on stderr, uvicorn's own lines included."""
    short = {"format": "%(levelname)s %(message)s"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {"()": jsonlog.JsonFormatter, "service": "api"} if settings.log_format == "json" else short
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {"tq": {"level": "INFO"}, "uvicorn": {"level": "INFO"}},
    }


app = create_app(get_settings())
