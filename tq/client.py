"""The HTTP client of tq's API: the verbs of the queue for programs elsewhere, and for `tq --url`.

from tq import Client
with Client("http://127.0.0.1:8000") as tq:
    message = tq.wait(tq.submit("Hello", to="fr", priority=9).message_id, timeout=60)
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from tq.backend import Backend, Changes
from tq.errors import (
    ERRORS,
    ApiError,
    ErrorRecord,
    InvalidMessage,
    InvalidSettings,
    TqError,
    Unauthorised,
    UnknownMessage,
    Unreachable,
)
from tq.fields import check_message_id
from tq.figures import Stats
from tq.messages import Change, Message, Status, Submission
from tq.settings import Settings, get_settings, is_loopback, redacted

M = TypeVar("M", bound=BaseModel)

_PROBLEM: Final = "urn:tq:problem:"
#: Items that the API takes in one batch.
_BATCH: Final = 1000
_CONNECT_TIMEOUT: Final = 3.0
#: Seconds without a sign of life (the API sends one every 15) after which a stream is dead.
_STREAM_TIMEOUT: Final = 40.0
#: Changes read ahead of a slow caller.
_MAX_WAITING: Final = 10_000


class Client(Backend):
    """tq's API. Use as a context manager, or call ``close``; safe to share between threads.

    Args:
        url: of the API; TQ_URL when None, else the API that TQ_API_HOST and TQ_API_PORT name.
        token: bearer token; the first of TQ_API_TOKEN when None.
        timeout: seconds for one answer.

    Raises:
        InvalidSettings: the URL is not one.
    """

    _pauses: ClassVar[tuple[float, float]] = (0.05, 1.0)

    def __init__(self, url: str | None = None, token: str | None = None, *, timeout: float = 30.0) -> None:
        settings = get_settings()
        given = url or settings.url or _own_url(settings)
        try:
            parsed = httpx.URL(given if given.endswith("/") else f"{given}/")
            usable = parsed.scheme in {"http", "https"} and bool(parsed.host)
        except httpx.InvalidURL:
            usable = False
        if not usable:
            raise InvalidSettings(
                "the URL of the API is not usable", fix="give one like http://127.0.0.1:8000 (TQ_URL, or --url)"
            )
        self._name = redacted(given).rstrip("/")
        token = token if token is not None else next(iter(settings.api_tokens), None)
        try:
            self._http = httpx.Client(
                base_url=parsed,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
                # A proxy of the environment is not meant for this machine itself.
                trust_env=not is_loopback(parsed.host),
            )
        except UnicodeEncodeError:
            raise InvalidSettings(
                "the API token is not usable",
                why="it has characters that a header cannot carry",
                fix="correct TQ_API_TOKEN",
            ) from None

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    # -- transport ---------------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded answer; None when the API has nothing to say (204)."""
        with self._reaching():
            answer = self._http.request(method, path, json=json, params=params, headers=headers)
        if answer.is_success:
            return None if answer.status_code == 204 else self._decode(answer)
        raise self._error(answer)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            why = "it does not answer in time"
        except (httpx.TransportError, httpx.StreamError) as error:
            # Without the number that the system gives the error.
            why = str(error).rpartition("] ")[2] if isinstance(error, httpx.ConnectError) else type(error).__name__
        else:
            return
        # Outside of the handlers, so that no exception of httpx, which holds the request, is kept in ours.
        raise Unreachable(
            f"the API at {self._name} cannot be reached",
            why=why,
            fix="start it with `tq up` or `tq api`, or correct TQ_URL (or --url)",
        )

    def _decode(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise self._foreign(answer) from None

    def _foreign(self, answer: httpx.Response) -> ApiError:
        return ApiError(
            f"{self._name} does not answer as tq's API does",
            why=f"status {answer.status_code}, not of tq's contract",
            fix="check that TQ_URL (or --url) is the root of a tq API, and of this version",
        )

    def _error(self, answer: httpx.Response) -> TqError:
        with suppress(ValueError):
            problem = answer.json()
            if isinstance(problem, dict) and str(problem.get("type", "")).startswith(_PROBLEM):
                return _from_problem(problem)
        if answer.status_code == 401:
            return Unauthorised(f"the API at {self._name} wants a token", fix="set TQ_API_TOKEN to one that it knows")
        return self._foreign(answer)

    def _parse(self, model: type[M], data: Any) -> M:
        try:
            return model.model_validate(data)
        except ValidationError:
            raise ApiError(
                f"the API at {self._name} answered with something that is not a {model.__name__.lower()}",
                why="it is another version, or not tq",
                fix="use the same version of tq on both sides",
            ) from None

    def _message(self, method: str, path: str, **options: Any) -> Message:
        return self._parse(Message, self._send(method, path, **options))

    # -- the verbs ---------------------------------------------------------------------------------

    def _submit(self, submission: Submission, idempotency_key: str | None) -> Message:
        headers = None if idempotency_key is None else {"Idempotency-Key": _header(idempotency_key)}
        return self._message("POST", "messages", json=_body(submission), headers=headers)

    def submit_many(self, submissions: Sequence[Submission | TqError]) -> list[Message | TqError]:
        """See ``Backend.submit_many``; a thousand a request."""
        good = [item for item in submissions if isinstance(item, Submission)]
        answers: Iterator[Message | TqError] = (
            result for start in range(0, len(good), _BATCH) for result in self._batch(good[start : start + _BATCH])
        )
        return [next(answers) if isinstance(item, Submission) else item for item in submissions]

    def _batch(self, submissions: Sequence[Submission]) -> list[Message | TqError]:
        data = self._send("POST", "messages/batch", json={"messages": [_body(item) for item in submissions]})
        results = data.get("results") if isinstance(data, dict) else None
        if not isinstance(results, list) or len(results) != len(submissions):
            raise ApiError(f"the API at {self._name} did not answer each item of the batch")
        return [
            self._parse(Message, item["message"]) if item.get("message") else _from_problem(item.get("error") or {})
            for item in results
        ]

    def get(self, message_id: str) -> Message:
        """See ``Backend.get``."""
        return self._message("GET", _path(message_id))

    def list(
        self, status: Status | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> tuple[list[Message], str | None]:
        """See ``Backend.list``."""
        params: dict[str, str | int] = {"limit": limit}
        if status is not None:
            params["status"] = str(status)
        if cursor is not None:
            params["cursor"] = cursor
        data = self._send("GET", "messages", params=params)
        if not isinstance(data, dict) or not isinstance(data.get("messages"), list):
            raise ApiError(f"the API at {self._name} did not answer with a list of messages")
        return [self._parse(Message, item) for item in data["messages"]], data.get("next_cursor")

    def next(self) -> Message | None:
        """See ``Backend.next``."""
        data = self._send("GET", "messages/next")
        return None if data is None else self._parse(Message, data)

    def cancel(self, message_id: str) -> Message:
        """See ``Backend.cancel``."""
        return self._message("POST", f"{_path(message_id)}/cancel")

    def retry(self, message_id: str, api_key: str | None = None) -> Message:
        """See ``Backend.retry``."""
        return self._message("POST", f"{_path(message_id)}/retry", json={"api_key": api_key} if api_key else None)

    def set_status(
        self, message_id: str, status: Status, *, translation: str | None = None, error: str | ErrorRecord | None = None
    ) -> Message:
        """See ``Backend.set_status``."""
        body = {"status": str(status), "translation": translation, "error": error}
        given = {name: value for name, value in body.items() if value is not None}
        return self._message("POST", f"{_path(message_id)}/status", json=given)

    def stats(self) -> Stats:
        """See ``Backend.stats``."""
        return self._parse(Stats, self._send("GET", "queue/stats"))

    def changes(self, after: str | None = None, *, block: float = 1.0) -> Changes:
        """See ``Backend.changes``."""
        return _EventStream(self, after, block)

    def health(self) -> dict[str, Any]:
        """The version of the API, and which broker it uses.

        Raises:
            Unreachable: it does not answer.
        """
        data = self._send("GET", "")
        if not isinstance(data, dict) or "version" not in data:
            raise ApiError(f"{self._name} does not answer as tq's API does")
        return data

    def events(self, after: str | None) -> Iterator[Change | str]:
        """One connection's changes after a cursor, and in between where it stands ("" if that is not known).

        Raises:
            Unreachable: the connection broke, or the API ended it.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
        timeout = httpx.Timeout(_STREAM_TIMEOUT, connect=_CONNECT_TIMEOUT)
        with self._reaching(), self._http.stream("GET", "events", headers=headers, timeout=timeout) as answer:
            if not answer.is_success:
                answer.read()
                raise self._error(answer)
            yield after or ""
            cursor, data = "", ""
            for line in answer.iter_lines():
                name, _, value = line.partition(":")
                if name == "id":
                    cursor = value.strip()
                elif name == "data":
                    data = value
                elif not line:
                    yield self._change(data) if data else cursor
                    data = ""
        raise Unreachable(f"the API at {self._name} ended the stream of changes", fix="it may be restarting")

    def _change(self, data: str) -> Change:
        try:
            return Change.model_validate_json(data)
        except ValidationError:
            raise ApiError(f"the API at {self._name} sent something that is not a change") from None


class _EventStream(Changes):
    """Reads in a thread of its own, so that a round can end while nothing comes."""

    def __init__(self, client: Client, after: str | None, block: float) -> None:
        self._client = client
        self._cursor = after
        self._block = block
        self._inbox: queue.Queue[Change | str | TqError] = self._connect()
        self._broken = False

    def _connect(self) -> queue.Queue[Change | str | TqError]:
        """Returns when the stream has begun: whatever happens from now on will be seen."""
        inbox: queue.Queue[Change | str | TqError] = queue.Queue(_MAX_WAITING)
        threading.Thread(target=self._read, args=(inbox, self._cursor), name="tq-events", daemon=True).start()
        first = inbox.get()
        if isinstance(first, TqError):
            raise first
        return inbox

    def _read(self, inbox: queue.Queue[Change | str | TqError], after: str | None) -> None:
        try:
            for item in self._client.events(after):
                inbox.put(item)
        except TqError as error:
            inbox.put(error)
        except Exception as error:  # noqa: BLE001 - a client closed under us fails in many ways; our reader must hear of it
            inbox.put(Unreachable("the stream of changes broke", why=type(error).__name__))

    def __next__(self) -> list[Change]:
        if self._broken:
            self._inbox, self._broken = self._connect(), False
        batch: list[Change] = []
        with suppress(queue.Empty):
            item = self._inbox.get(timeout=self._block)
            while not isinstance(item, TqError):
                if isinstance(item, Change):
                    batch.append(item)
                self._cursor = item.cursor if isinstance(item, Change) else item or self._cursor
                item = self._inbox.get_nowait()
            self._broken = True
            if not batch:
                raise item
        return batch


def _own_url(settings: Settings) -> str:
    from tq.ports import http_url  # late: brings psutil, and only this case needs it

    return http_url(settings.api_host, settings.api_port)


def _path(message_id: str) -> str:
    try:
        check_message_id(message_id)
    except ValueError as error:
        raise UnknownMessage(f"no message has the id {message_id[:128]!r}", why=str(error)) from None
    return f"messages/{quote(message_id, safe='')}"


def _header(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise InvalidMessage("the idempotency key must be 1 to 255 printable ASCII characters")
    return value


def _body(submission: Submission) -> dict[str, Any]:
    # What is as it is by default is left out: an older API may not know all of it.
    body = submission.model_dump(mode="json", exclude_defaults=True, exclude={"api_key"})
    if submission.api_key is not None:
        body["api_key"] = submission.api_key.get_secret_value()
    return body


def _from_problem(problem: Mapping[str, Any]) -> TqError:
    """The error that the API's problem document stands for, as the class that it was there."""
    cls = ERRORS.get(str(problem.get("type", "")).removeprefix(_PROBLEM), ApiError)
    what = str(problem.get("detail") or problem.get("title") or "the API reports an error")
    words = {name: str(problem.get(name) or "") for name in ("why", "fix")}
    if issubclass(cls, InvalidMessage):
        return cls(what, errors=problem.get("errors") or (), **words)
    return cls(what, **words)
