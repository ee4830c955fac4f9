"""The API that a client talks to: where it is, who we are for it, and what its silence or refusal means."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar

import httpx

from tq import tracing
from tq.errors import ApiError, ConnectionLost, InvalidSettings, NoAnswer, TqError, Unauthorised, Unreachable
from tq.eventstream import EventStream, News
from tq.retryafter import retry_after
from tq.settings import Settings, get_settings, is_loopback, redacted
from tq.wire import PROBLEM, Request, error_of

T = TypeVar("T")

_CONNECT_TIMEOUT: Final = 3.0
#: Seconds that a client may give the API for an answer: what is longer is meant as none, which no client has.
_LONGEST_TIMEOUT: Final = 86_400.0
#: Seconds without a sign of life (the API sends one every 10) after which a stream is dead.
_STREAM_TIMEOUT: Final = 40.0
#: What a proxy answers in the place of an API that it does not reach.
_GATEWAY: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_FIX: Final = "start it with `tq up` or `tq api`, or correct TQ_URL (or --url)"


class Remote:
    """One API, as a client of either kind needs it.

    Args:
        url: of the API; TQ_URL when None, else the API that TQ_API_HOST and TQ_API_PORT name.
        token: bearer token; the first of TQ_API_TOKEN when None.
        timeout: seconds for one answer, at most a day.

    Attributes:
        name: the URL, without a password.

    Raises:
        InvalidSettings: the URL is not one, the token cannot be sent, or the timeout is not so many seconds.
    """

    def __init__(self, url: str | None, token: str | None, timeout: float) -> None:
        settings = get_settings()
        given = url or settings.url or _own_url(settings)
        try:
            self._url = httpx.URL(given if given.endswith("/") else f"{given}/")
            usable = self._url.scheme in {"http", "https"} and bool(self._url.host)
        except (httpx.InvalidURL, UnicodeEncodeError):
            usable = False
        if not usable:
            raise InvalidSettings(
                "the URL of the API is not usable", fix="give one like http://127.0.0.1:8000 (TQ_URL, or --url)"
            )
        self.name = redacted(given).rstrip("/")
        # What was read from a file often has the end of its line.
        token = (token if token is not None else next(iter(settings.api_tokens), "")).strip()
        if not (token.isascii() and token.isprintable()):
            raise InvalidSettings(
                "the API token is not usable",
                why="it has characters that a header cannot carry",
                fix="correct TQ_API_TOKEN",
            )
        self._headers = httpx.Headers({"Authorization": f"Bearer {token}"} if token else {})
        if not (isinstance(timeout, (int, float)) and 0 < timeout <= _LONGEST_TIMEOUT):
            raise InvalidSettings(
                "the timeout of the client is not usable",
                why=f"{timeout!r} is not a number of seconds, above 0 and at most a day",
                fix="leave it out for 30 s an answer; how long a wait may take is said there: wait(…, timeout=…)",
            )
        self._timeout = timeout
        self._met = False

    def was_met(self) -> bool:
        """Whether it has ever answered us."""
        return self._met

    def options(self) -> dict[str, Any]:
        """For ``httpx.Client`` and ``httpx.AsyncClient``."""
        # A proxy of the environment is not meant for this machine itself.
        return {"base_url": self._url, "headers": self._headers, "trust_env": not is_loopback(self._url.host)}

    def arguments(self, request: Request[Any]) -> dict[str, Any]:
        """For ``request`` and ``stream`` of either client of httpx."""
        timeout, within = self._timeout + request.patience, request.within
        limits = self._limits(timeout) if within is None else self._limits(min(timeout, within), within)
        return self._arguments(request, limits)

    def stream_arguments(self, request: Request[Any]) -> dict[str, Any]:
        """The same for a stream, whose length nobody knows."""
        return self._arguments(request, self._limits(_STREAM_TIMEOUT))

    def _limits(self, timeout: float, pool: float | None = None) -> httpx.Timeout:
        # However many wait for a free connection, that is not the API's silence.
        return httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT), pool=pool)

    def _arguments(self, request: Request[Any], timeout: httpx.Timeout) -> dict[str, Any]:
        content = {} if request.content is None else {"Content-Type": "application/json"}
        return {
            "method": request.method,
            "url": request.path,
            "params": request.params,
            "headers": {"Accept": "application/json", **content, **tracing.headers(), **request.headers},
            "content": request.content,
            "timeout": timeout,
        }

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Around whatever httpx does.

        Raises:
            Unreachable: there was no connection to be had.
            ConnectionLost: the connection was refused, did not come about in time, or broke.
            NoAnswer: the API did not answer in time.
        """
        kind: Callable[..., Unreachable]
        try:
            yield
        except httpx.ConnectTimeout:
            kind, why = partial(ConnectionLost, refused=True), "it does not answer in time"
        except httpx.PoolTimeout:
            kind, why = Unreachable, "all connections to it are in use"
        except (httpx.TimeoutException, TimeoutError):
            kind, why = NoAnswer, "it does not answer in time"
        except httpx.ConnectError as error:
            # Without the number that the system gives the error.
            kind, why = partial(ConnectionLost, refused=True), str(error).rpartition("] ")[2]
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            kind, why = ConnectionLost, "the connection broke before the answer was whole"
        except (httpx.TransportError, httpx.StreamError) as error:
            kind, why = Unreachable, type(error).__name__
        else:
            return
        # Outside of the handlers, so that no exception of httpx, which holds the request, is kept in ours.
        raise kind(f"the API at {self.name} cannot be reached", why=why, fix=_FIX)

    def read(self, request: Request[T], answer: httpx.Response, body: bytes | bytearray) -> T:
        """What the request is answered with.

        Raises:
            TqError: what the API's problem document says.
            Unauthorised: it wants another token.
            ConnectionLost: a proxy answers that it does not reach the API.
            ApiError: this is no answer of tq's.
        """
        if not answer.is_success:
            raise self.error(answer, body)
        self._met = True
        try:
            result = request.read(None if answer.status_code == 204 else json.loads(body))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self.foreign(request.noun) from None
        if isinstance(result, list) and (asked := retry_after(answer.headers, time.time())) is not None:
            for each in result:
                if isinstance(each, TqError) and each.retryable:
                    each.retry_after = asked
        return result

    def foreign(self, noun: str) -> ApiError:
        """Somebody else answers there."""
        return ApiError(
            f"the API at {self.name} answered with something that is not a {noun}",
            why="it is another version, or not tq",
            fix="check that TQ_URL (or --url) is the root of a tq API, and of this version",
        )

    def error(self, answer: httpx.Response, body: bytes | bytearray) -> TqError:
        """What a refusal means."""
        error = self._problem(body) or self._foreign_refusal(answer)
        error.retry_after = retry_after(answer.headers, time.time())
        return error

    def _problem(self, body: bytes | bytearray) -> TqError | None:
        with suppress(ValueError):
            problem = json.loads(body)
            if isinstance(problem, dict) and str(problem.get("type", "")).startswith(PROBLEM):
                self._met = True
                return error_of(problem)
        return None

    def _foreign_refusal(self, answer: httpx.Response) -> TqError:
        status = answer.status_code
        if status == HTTPStatus.UNAUTHORIZED:
            return Unauthorised(f"the API at {self.name} wants a token", fix="set TQ_API_TOKEN to one that it knows")
        if status in _GATEWAY:
            why = f"a proxy before it answers {status} {HTTPStatus(status).phrase}"
            return ConnectionLost(f"the API at {self.name} cannot be reached", why=why, fix=_FIX)
        return ApiError(
            f"{self.name} does not answer as tq's API does",
            why=f"status {status}, not of tq's contract",
            fix="check that TQ_URL (or --url) is the root of a tq API, and of this version",
        )

    def begin(self, stream: EventStream, answer: httpx.Response) -> None:
        """Take note of how a stream begins; a refusal has been read.

        Raises:
            TqError: it does not.
        """
        if not answer.is_success:
            raise self.error(answer, answer.content)
        self._met = True
        stream.over = answer.status_code == 204

    def feed(self, stream: EventStream, data: bytes) -> list[News]:
        """What a stream brings.

        Raises:
            ApiError: something else than changes.
        """
        try:
            return stream.feed(data)
        except ValueError:
            raise self.foreign("stream of changes") from None

    def silent(self) -> NoAnswer:
        """It has not begun in time."""
        return NoAnswer(f"the API at {self.name} cannot be reached", why="it does not answer in time", fix=_FIX)

    def ended(self) -> ConnectionLost:
        """A stream that goes on for ever has ended."""
        return ConnectionLost(f"the API at {self.name} ended the stream of changes", fix="it may be restarting")


def _own_url(settings: Settings) -> str:
    from tq.ports import http_url  # late: brings psutil, and only this case needs it

    return http_url(settings.api_host, settings.api_port)
