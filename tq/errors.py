"""Every error tq raises on purpose, and what each one means for the caller.

A class knows four things: its stable ``type`` (the slug that ends up in problem documents and in
``message.error.type``), whether a further attempt can help (``retryable``), the HTTP status it is
answered with, and the exit code of the command line. They are translated once, at the edge: by the
exception handler of ``server.py`` and by ``cli.main``. Nothing here imports anything of tq.

``str(error)`` never holds message text, a provider's answer or a key: errors travel into Celery
events, Flower, logs and HTTP answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, NotRequired, TypedDict

#: Characters of an id that cannot be one that are repeated.
_SHOWN: Final = 128


class ViolationRecord(TypedDict):
    """One thing that was wrong with a rejected answer: the rule's slug, in words, and what exactly.

    ``detail`` may quote the text: it belongs to the message document alone.
    """

    rule: str
    message: str
    detail: str


def complaints_of(violations: Sequence[ViolationRecord]) -> tuple[str, ...]:
    """What a model is told that is to mend them: each as exactly as it is known."""
    return tuple(item["detail"] or item["message"] for item in violations)


class ErrorRecord(TypedDict):
    """The ``error`` member of a message document."""

    type: str
    message: str
    retryable: bool
    violations: NotRequired[list[ViolationRecord]]


class FieldError(TypedDict):
    """One refused field of a request: where it is (``metadata.target_language``) and what is wrong."""

    field: str
    message: str


class TqError(Exception):
    """Base of all: what happened, why, and what mends it.

    Args:
        what: one sentence that names the problem.
        why: the cause, when it is known and not already in ``what``.
        fix: what the reader can do about it.

    Attributes:
        message_id: the message that it is about, if it is about one: one whose submit failed may be looked up by it,
            or submitted again with it. Clients know it; what the API and workers log does not need it.
        retry_after: seconds that whoever refused asks to wait, or None.
    """

    type: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    message_id: str | None = None
    retry_after: float | None = None

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what

    def record(self) -> ErrorRecord:
        """The error as a message document carries it."""
        return {"type": self.type, "message": str(self), "retryable": self.retryable}

    def extra(self) -> dict[str, Any]:
        """Further members of the problem document (RFC 9457 extension members)."""
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Celery pickles or re-creates exceptions by class and args: keep the keyword parts too.
        return (_rebuild, (type(self), self.__dict__, self.args))


@contextmanager
def about(message_id: str | None) -> Iterator[None]:
    """Errors that leave this say which message they are about."""
    try:
        yield
    except TqError as error:
        error.message_id = error.message_id or message_id
        raise


def _rebuild(cls: type[TqError], state: dict[str, Any], args: tuple[Any, ...]) -> TqError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


# -- what the caller did ---------------------------------------------------------------------------


class InvalidSettings(TqError):
    """A setting is out of bounds, or two settings contradict each other."""

    type = "invalid-settings"
    title = "Invalid settings"
    exit_code = 2


class UsageError(TqError):
    """The command line is not one that tq knows, or contradicts itself."""

    type = "usage"
    title = "Usage"
    exit_code = 2


class OutputLost(TqError):
    """What a command has to say cannot be written: stdout is closed, or its disk is full."""

    type = "output-lost"
    title = "Output lost"


class InvalidMessage(TqError):
    """The submitted message, or another request body, breaks the contract; ``errors`` says where."""

    type = "invalid-message"
    title = "Invalid message"
    http_status = 422
    exit_code = 2

    def __init__(self, what: str, *, why: str = "", fix: str = "", errors: Sequence[FieldError] = ()) -> None:
        super().__init__(what, why=why, fix=fix)
        self.errors = list(errors)

    def extra(self) -> dict[str, Any]:
        """The refused fields."""
        return {"errors": self.errors}


class MalformedRequest(TqError):
    """The body is not JSON, or not UTF-8; or the request is not HTTP."""

    type = "malformed-request"
    title = "Malformed request"
    http_status = 400
    exit_code = 2


class ContentTooLarge(TqError):
    """The content is above TQ_MAX_CONTENT bytes."""

    type = "content-too-large"
    title = "Content too large"
    http_status = 413
    exit_code = 2


class HeadersTooLarge(TqError):
    """The headers of a request are longer than any that tq wants to see."""

    type = "headers-too-large"
    title = "Headers too large"
    http_status = 431
    exit_code = 2


class RequestTimeout(TqError):
    """The request did not arrive in time."""

    type = "request-timeout"
    title = "Request timeout"
    retryable = True
    http_status = 408
    exit_code = 5


class UnknownMessage(TqError):
    """No message has this id (or it was finished longer than TQ_RESULT_TTL ago)."""

    type = "unknown-message"
    title = "Unknown message"
    http_status = 404
    exit_code = 3


def unknown_message(message_id: str, *, why: str = "") -> UnknownMessage:
    """404: said the same everywhere."""
    shown = message_id if len(message_id) <= _SHOWN else f"{message_id[:_SHOWN]}…"
    fix = "check the id; ended messages are kept for TQ_RESULT_TTL (7 days by default)"
    error = UnknownMessage(f"no message has the id {shown!r}", why=why, fix=fix)
    error.message_id = message_id
    return error


class IllegalTransition(TqError):
    """The message's status forbids what was asked."""

    type = "illegal-transition"
    title = "Illegal transition"
    http_status = 409
    exit_code = 2


class QueuePaused(TqError):
    """Nothing of this queue begins until somebody resumes it."""

    type = "queue-paused"
    title = "The queue is paused"
    http_status = 409
    exit_code = 2

    def __init__(self, what: str, *, queue: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.queue = queue


def queue_paused(queue: str) -> QueuePaused:
    """409: said the same everywhere."""
    return QueuePaused(
        f"the queue {queue!r} is paused",
        queue=queue,
        fix=f"resume it: `tq resume {queue}`, or POST /queues/{queue}/resume",
    )


class UnknownQueue(TqError):
    """No queue has this name."""

    type = "unknown-queue"
    title = "Unknown queue"
    http_status = 404
    exit_code = 3


class AmbiguousId(TqError):
    """Several messages have ids that begin so."""

    type = "ambiguous-id"
    title = "Several messages have such an id"
    http_status = 409
    exit_code = 2


class DuplicateMessage(TqError):
    """The id exists already, with another body."""

    type = "duplicate-message"
    title = "Duplicate message"
    http_status = 409
    exit_code = 2


class IdempotencyConflict(TqError):
    """The idempotency key was used before, with another body."""

    type = "idempotency-conflict"
    title = "Idempotency key used with another body"
    http_status = 409
    exit_code = 2


class MissingKey(TqError):
    """The message came with an api_key of its own, which was deleted when it ended."""

    type = "missing-key"
    title = "The message's own key is gone"
    http_status = 409
    exit_code = 2


class NoCallback(TqError):
    """The message has no webhook that could be sent now."""

    type = "no-callback"
    title = "No webhook to send"
    http_status = 409
    exit_code = 2


class BudgetExceeded(TqError):
    """TQ_BUDGET_PER_DAY is spent for this key and day: nothing is accepted, and nothing sent to the provider."""

    type = "budget-exceeded"
    title = "Budget spent"
    http_status = 402
    exit_code = 1


class Unauthorised(TqError):
    """The API wants a bearer token that was not given, or another one."""

    type = "unauthorised"
    title = "Not authorised"
    http_status = 401
    exit_code = 4


class TokenNotSet(TqError):
    """The API listens where other machines reach it, and no token keeps them out."""

    type = "token-not-set"
    title = "No token is set"
    http_status = 403
    exit_code = 4


class HostRefused(TqError):
    """The request was sent to a name that is not the API's (DNS rebinding, or a proxy it does not know)."""

    type = "host-not-allowed"
    title = "Host not allowed"
    http_status = 421
    exit_code = 4


class OriginRefused(TqError):
    """A page of another site made a browser send this."""

    type = "origin-not-allowed"
    title = "Origin not allowed"
    http_status = 403
    exit_code = 4


# -- what the surroundings did ---------------------------------------------------------------------


class Unreachable(TqError):
    """Redis, the broker or the API cannot be reached."""

    type = "unreachable"
    title = "Nothing reachable"
    retryable = True
    http_status = 503
    exit_code = 5


class ConnectionLost(Unreachable):
    """The connection to the API broke, or was refused; if it broke, nobody knows whether the request arrived."""

    def __init__(self, what: str, *, why: str = "", fix: str = "", refused: bool = False) -> None:
        super().__init__(what, why=why, fix=fix)
        self.refused = refused


class NoAnswer(ConnectionLost):
    """The API took the connection, and did not answer in time; nobody knows whether the request arrived."""


class StoreRefused(TqError):
    """Redis answered but refuses us: wrong password, missing permission."""

    type = "store-refused"
    title = "Redis refuses the connection"
    http_status = 503
    exit_code = 4


class StoreFull(TqError):
    """Redis has reached its maxmemory, or cannot write its disk; nothing was accepted."""

    type = "store-full"
    title = "Redis cannot take more"
    retryable = True
    http_status = 503
    exit_code = 5


class QueueFull(TqError):
    """TQ_MAX_QUEUED messages wait already (admission control); nothing was accepted."""

    type = "queue-full"
    title = "Queue full"
    retryable = True
    http_status = 503
    exit_code = 5


class Overloaded(TqError):
    """The API has as many connections, or as much in memory, as it may; nothing was accepted."""

    type = "overloaded"
    title = "Overloaded"
    retryable = True
    http_status = 503
    exit_code = 5


class TooManyStreams(TqError):
    """The API serves as many streams of changes, or waits, as it may; nothing was lost."""

    type = "too-many-streams"
    title = "Too many streams"
    retryable = True
    http_status = 429
    exit_code = 5


class ChangesMissed(TqError):
    """Changes were dropped from the stream before they were read; ``cursor`` is where it goes on."""

    type = "changes-missed"
    title = "Changes were missed"
    http_status = 410

    def __init__(self, what: str, *, cursor: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.cursor = cursor


class WaitTimeout(TqError):
    """The message had not ended when the caller's patience ran out; it goes on."""

    type = "wait-timeout"
    title = "Timed out"
    http_status = 504
    exit_code = 124


class MessageCancelled(TqError):
    """The message whose translation is wanted was cancelled."""

    type = "cancelled"
    title = "Message cancelled"
    http_status = 409


class ApiError(TqError):
    """tq's API answered with something that is not of its contract."""

    type = "api-error"
    title = "Unexpected answer of the API"
    http_status = 502
    exit_code = 5


class StackError(TqError):
    """The stack cannot start or stop: a port in use, a service that does not become healthy."""

    type = "stack"
    title = "Stack"
    exit_code = 1


# -- what ends or interrupts an attempt ------------------------------------------------------------


class AttemptError(TqError):
    """Base of whatever can end an attempt; ends up in ``message.error`` when it is the last one.

    Attributes:
        status: the HTTP status that the provider answered with, or None.
        retry_after: seconds that the provider asked us to wait, or None. Overrides the backoff.
        usage: prompt and completion tokens that were spent on an answer which was then rejected, or None.
        cause: class name of the library's exception behind this one, or "". The exception itself is not
            chained: its text may repeat the request or a key.
        max_retries: how often this class may be retried at most, below TQ_MAX_RETRIES; None = no
            limit of its own.
        of_the_model: whether another model may well do better.
    """

    http_status = 502
    max_retries: ClassVar[int | None] = None
    of_the_model: ClassVar[bool] = False

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        fix: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        usage: tuple[int, int] | None = None,
        cause: str = "",
    ) -> None:
        super().__init__(what, why=why, fix=fix)
        self.status = status
        self.retry_after = retry_after
        self.usage = usage
        self.cause = cause
        #: The answer's headers about rate limits, names in lower case.
        self.limits: Mapping[str, str] = {}


class Poisoned(AttemptError):
    """The worker process died under this message, again and again."""

    type = "poison"
    title = "Worker died under this message"


class KeyUnreadable(AttemptError):
    """The sealed api_key cannot be opened: this worker has another TQ_SECRET_KEY."""

    type = "key-unreadable"
    title = "Sealed key unreadable"


class UnexpectedError(AttemptError):
    """A defect of tq or of a library: kept as a failure so that nothing hangs."""

    type = "unexpected"
    title = "Unexpected error"
    retryable = True


class ReportedError(AttemptError):
    """The failure that a program outside reported through POST /messages/{id}/status."""

    type = "reported"
    title = "Reported failure"


class ProviderTimeout(AttemptError):
    """No complete answer within TQ_REQUEST_TIMEOUT."""

    type = "provider-timeout"
    title = "Provider timed out"
    retryable = True


class ProviderUnreachable(AttemptError):
    """No connection to the provider, or it broke before the answer was complete."""

    type = "provider-unreachable"
    title = "Provider unreachable"
    retryable = True


class ProviderFailure(AttemptError):
    """The provider answered 408, 409 or 5xx, or 200 with something that is not a completion."""

    type = "provider-failure"
    title = "Provider failed"
    retryable = True


class RateLimited(AttemptError):
    """The provider answered 429; ``retry_after`` when it said for how long."""

    type = "rate-limited"
    title = "Rate limited"
    retryable = True


class QuotaExhausted(AttemptError):
    """402, or 429 with ``insufficient_quota``: the account is empty, waiting does not help."""

    type = "quota-exhausted"
    title = "Quota exhausted"


class InvalidKey(AttemptError):
    """The provider answered 401: the key is wrong, expired or missing."""

    type = "invalid-key"
    title = "Key refused"
    exit_code = 1


class PermissionRefused(AttemptError):
    """The provider answered 403."""

    type = "permission-refused"
    title = "Permission refused"
    of_the_model = True


class UnknownModel(AttemptError):
    """The provider answered 404: no such model, or no such endpoint."""

    type = "unknown-model"
    title = "Unknown model or endpoint"
    of_the_model = True


class RequestRefused(AttemptError):
    """The provider answered 400, 413, 422 or another 4xx: the same request would be refused again."""

    type = "request-refused"
    title = "Request refused"
    of_the_model = True
    #: Members of the request that the answer may mean.
    blamed: frozenset[str] = frozenset()
    #: Whether it says that the text is too long for the model.
    too_long: bool = False


class Refused(AttemptError):
    """The model declined to translate (a refusal, or finish_reason content_filter)."""

    type = "refusal"
    title = "Model refused"
    of_the_model = True


class Truncated(AttemptError):
    """finish_reason ``length``: half a translation is not one. Retried once, with a changed request."""

    type = "truncated"
    title = "Truncated"
    of_the_model = True
    retryable = True
    max_retries = 1


class InvalidOutput(AttemptError):
    """The answer is not a translation: empty, or not of the expected form. Retried once, changed.

    ``violations`` say what is wrong with it, as far as it was looked at.
    """

    type = "invalid-output"
    title = "Invalid output"
    of_the_model = True
    retryable = True
    max_retries = 1

    def __init__(self, what: str, *, violations: Sequence[ViolationRecord] = (), **options: Any) -> None:
        super().__init__(what, **options)
        self.violations = list(violations)

    def record(self) -> ErrorRecord:
        """With what is wrong, in detail: for the message document alone."""
        return {**super().record(), "violations": self.violations} if self.violations else super().record()


class AttemptLost(TqError):
    """Someone else owns the message now (the lease ran out); whatever this attempt found is void."""

    type = "attempt-lost"
    title = "Attempt lost"


class AttemptCancelled(TqError):
    """The message was cancelled while this attempt ran."""

    type = "attempt-cancelled"
    title = "Attempt cancelled"


class AttemptDeferred(TqError):
    """The provider's limits leave no room for so many seconds: the message is put off, and nothing is spent."""

    type = "attempt-deferred"
    title = "Attempt put off"

    def __init__(self, what: str, *, delay: float = 0.0, why: str = "", fix: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.delay = delay


class AttemptReleased(TqError):
    """The process shuts down: the message was put back into the queue for another worker."""

    type = "attempt-released"
    title = "Attempt released"


def _tree(cls: type[TqError]) -> Iterator[type[TqError]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _tree(sub)


class ClientClosed(RuntimeError):
    """The client was closed, here or in another thread or task; its connections are gone.

    Not a ``TqError``: nothing is wrong with what was asked, nor with who was asked.
    """

    def __init__(self) -> None:
        super().__init__("the client was closed")


#: What passes by itself: an API, or a Redis behind it, that is away, restarts, or has no room just now.
PASSING: Final = (Unreachable, Overloaded, TooManyStreams)

#: slug -> class, for all errors above: what ``tq.Client`` raises again from a problem document.
ERRORS: dict[str, type[TqError]] = {cls.type: cls for cls in _tree(TqError) if "type" in cls.__dict__}
