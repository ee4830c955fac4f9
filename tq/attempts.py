"""The attempts that run in this process: claim, translate, settle, and the heartbeat that keeps them.

An attempt owns its message for as long as its lease is prolonged. The heartbeat runs on a thread and
a loop of its own, so that a busy process does not lose its leases; what it learns (cancelled, taken
over) aborts the attempt at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeVar

from tq import jsonlog, tracing
from tq.bill import Bill
from tq.checkpoints import NOTHING, Spent, StoredCheckpoints
from tq.connection import to_the_end
from tq.errors import (
    AttemptCancelled,
    AttemptDeferred,
    AttemptError,
    AttemptLost,
    AttemptReleased,
    BudgetExceeded,
    QueuePaused,
    TqError,
    UnexpectedError,
    queue_paused,
)
from tq.glossary import terms_of
from tq.heart import Heart
from tq.messages import HIGH_FROM, Message, Status
from tq.providers import Job
from tq.queue import TranslationQueue, illegal
from tq.records import Claim, Token
from tq.retry import RetryIn, RetryPolicy, decide
from tq.translation import Translation, Translator

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds between two tries to reach the store, at first and at most.
_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
#: Retries due within so many seconds are not left to the reaper, which looks every five.
_SOON: Final = 10.0
_LATER: Final = 300.0
#: Seconds until another model is tried.
_AT_ONCE: Final = 0.05
#: Seconds for which a queue that was found paused is left alone.
_PAUSED: Final = 1.0
#: Seconds for which it is known whether messages are queued.
_FRESH: Final = 0.05


@dataclass(frozen=True, slots=True)
class Settled:
    """How an attempt ended: the status that the store has now, and why it is not ``completed``.

    ``status`` is None when the attempt left no mark: its token was stale, or the message was taken
    over, cancelled or put back meanwhile.
    """

    status: Status | None
    error: TqError | None = None
    delay: float = 0.0


class _Attempt:
    """One run of one message, on this process's loop."""

    def __init__(self, claim: Claim, task: asyncio.Task[Any], bill: Bill) -> None:
        self.claim = claim
        self.began = time.monotonic()
        self.bill = bill
        self.account = ""
        self.span: tracing.Span | None = None
        self.model = ""
        self.why_aborted: TqError | None = None
        self._task = task
        self._settling = False

    def abort(self, why: TqError) -> None:
        """Stop it, unless its outcome is on its way to the store. Callable from any thread."""

        def cancel() -> None:
            if not self._settling:
                self.why_aborted = self.why_aborted or why
                self._task.cancel()

        self._task.get_loop().call_soon_threadsafe(cancel)

    def settle(self) -> float:
        """From now on it is not aborted any more; returns the seconds it took."""
        self._settling = True
        return time.monotonic() - self.began


class Attempts:
    """Runs messages for one process; belongs to the loop of its queue.

    Args:
        queue: where the messages are.
        name: the process, for claims, heartbeats and the list of workers.
    """

    def __init__(self, queue: TranslationQueue, name: str) -> None:
        self._queue = queue
        self._settings = queue.settings
        self._name = name
        self._translator = Translator(self._settings, queue.store, self._more_comes, self._arrived)
        self._prices = queue.budget.prices
        self._slots = 0
        self._coming: set[str] = set()
        self._depth = (0.0, False)
        self._paused: dict[str, float] = {}
        self._policy = RetryPolicy(
            self._settings.max_retries, self._settings.retry_base, self._settings.retry_max_delay
        )
        self._running: dict[str, _Attempt] = {}
        self._numbers = count()
        self._looks: dict[int, asyncio.TimerHandle | asyncio.Task[None]] = {}
        self._heart = Heart(self._settings, name, self._leases, self._abort)

    @property
    def heart(self) -> Heart:
        """The heartbeat; it starts by itself with the first attempt."""
        return self._heart

    def share(self, slots: int) -> None:
        """From now on messages may share calls: so many of them can run here at once."""
        self._slots = slots

    def is_paused(self, queue: str) -> bool:
        """Whether nothing of a queue could begin a moment ago: it is not worth while to take tokens of it."""
        return time.monotonic() < self._paused.get(queue, 0.0)

    async def aclose(self) -> None:
        """Stop the heartbeat and close the providers' connections."""
        for look in list(self._looks.values()):
            look.cancel()
        self._heart.stop()
        await self._translator.aclose()

    # -- one attempt -------------------------------------------------------------------------------

    async def perform(self, message_id: str) -> Settled:
        """Claim a message, translate it, record the outcome. Never raises for what the provider does."""
        # From before its claim: from then on it is not queued any more.
        self._coming.add(message_id)
        try:
            claim = await self._claim(message_id)
            return Settled(None) if claim is None else await self._run(claim)
        finally:
            self._arrived(message_id)

    async def process(self, message_id: str | None = None) -> Message | None:
        """Translate one message here and now: the one named, or the next (None: nothing waits).

        Raises:
            UnknownMessage: the id does not exist.
            IllegalTransition: the message named is not queued.
            QueuePaused: its queue is paused.
        """
        while True:
            wanted = await self._queue.store.next_id() if message_id is None else message_id
            if wanted is None:
                return None
            message = await self._queue.get(wanted)
            claim = await self._claim(wanted) if message.status is Status.QUEUED else None
            if claim is not None:
                await self._run(claim)
                return await self._queue.get(wanted)
            if message_id is not None:
                message = await self._queue.get(wanted)
                if message.status is Status.QUEUED and self.is_paused(message.queue):
                    raise queue_paused(message.queue)
                raise illegal(wanted, message.status, Status.RUNNING)

    async def _claim(self, message_id: str) -> Claim | None:
        # A claim that is on its way when this process stops may be granted, and nobody would hold it.
        claim, stopping = await to_the_end(self._take(message_id))
        if claim is not None and stopping:
            await self._release(claim)
            return None
        if claim is not None and claim.calls:
            self._queue.publisher.soon([Token(claim.calls, None, claim.message.priority, front=True)])
        return claim

    async def _take(self, message_id: str) -> Claim | None:
        """Claim, however long the store is away: a claim without an answer may have been granted.

        Asked again by the same owner it is answered again, so that it is known in the end.
        """
        owner = f"{self._name}#{next(self._numbers)}"
        try:
            return await self._until_stored(lambda: self._queue.store.claim(message_id, owner, self._settings.model))
        except QueuePaused as error:
            self._paused[error.queue] = time.monotonic() + _PAUSED
            return None

    async def _release(self, claim: Claim, spent: Spent = NOTHING, account: str = "") -> None:
        message_id = claim.message.message_id
        try:
            await self._queue.release(claim, spent, account)
            logger.info("%s put back: this worker stops", message_id, extra=_said(claim, status=Status.QUEUED))
        except TqError as error:
            logger.warning(
                "%s was not put back, its lease will expire: %s",
                message_id,
                error,
                extra=_said(claim, error=error.type),
            )

    async def _run(self, claim: Claim) -> Settled:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an attempt runs in an asyncio task")
        message = claim.message
        if former := self._running.get(message.message_id):
            former.abort(AttemptLost("taken over by a later attempt of this process"))
        attempt = self._running[message.message_id] = _Attempt(claim, task, Bill(self._prices))
        self._heart.start()
        try:
            with _traced(claim) as attempt.span:
                logger.info(
                    "%s %s p%d started",
                    message.message_id,
                    message.languages,
                    message.priority,
                    extra=_said(claim, status=Status.RUNNING),
                )
                outcome = await self._translate(attempt)
                settled = await self._settle(attempt, outcome)
                _note(attempt, settled)
                return settled
        finally:
            if self._running.get(message.message_id) is attempt:
                del self._running[message.message_id]

    async def _translate(self, attempt: _Attempt) -> Translation | TqError:
        message = attempt.claim.message
        try:
            job = self._job(attempt.claim)
            attempt.account, attempt.model = job.account, job.model
            kept = StoredCheckpoints(self._queue.store, message.message_id, attempt.claim.epoch, job.account)
            return await self._translator.translate(job, attempt.bill, kept)
        except (AttemptError, AttemptDeferred, BudgetExceeded) as error:
            return error
        except asyncio.CancelledError:
            # Ours to end, whoever cancelled: by the heartbeat with a reason, else this process stops.
            if task := asyncio.current_task():
                task.uncancel()
            return attempt.why_aborted or AttemptReleased("this worker stops")
        except Exception as error:  # noqa: BLE001 - a defect must not leave the message running for ever
            name = type(error).__name__
            logger.error("%s: %s", message.message_id, name, extra=_said(attempt.claim, error=name))  # noqa: TRY400 - no traceback: it may hold text
            return UnexpectedError(f"an unexpected {type(error).__name__} in tq or a library")

    def _job(self, claim: Claim) -> Job:
        message, metadata = claim.message, claim.message.metadata
        key = self._queue.unseal(claim)
        models = self._models(claim)
        return Job(
            content=message.content,
            target_language=str(metadata["target_language"]),
            source_language=_text(metadata.get("source_language")),
            domain=_text(metadata.get("domain")),
            model=models[min(claim.fallback, len(models) - 1)],
            api_key=key,
            correction=claim.last_error,
            complaints=claim.complaints,
            context=_text(metadata.get("context")),
            formality=_text(metadata.get("formality")),
            instructions=_text(metadata.get("instructions")),
            terms=terms_of(metadata),
            parameters={**self._settings.parameters, **(message.parameters or {})},
            message_id=message.message_id,
            account=self._queue.account(key),
            urgent=message.priority >= HIGH_FROM,
            alone=not self._slots or message.priority >= HIGH_FROM,
            reuse=message.cache,
        )

    def _models(self, claim: Claim) -> Sequence[str]:
        """What to try, in this order."""
        return self._settings.models_of(claim.first_model, claim.message.fallback_models)

    async def _more_comes(self) -> bool:
        """Whether more messages may get here soon: some are on their way, or queued, and a slot gets free for them."""
        if self._coming:
            return True
        if self._translator.waiting >= len(self._running) >= self._slots:
            return False
        now = time.monotonic()
        if now - self._depth[0] > _FRESH:
            self._depth = (now, await self._queue.store.queued() > 0)
        # What was queued when this began may be on its way by now.
        return self._depth[1] or bool(self._coming)

    def _arrived(self, message_id: str) -> None:
        self._coming.discard(message_id)

    async def _settle(self, attempt: _Attempt, outcome: Translation | TqError) -> Settled:
        claim, seconds = attempt.claim, attempt.settle()
        message_id = claim.message.message_id
        if isinstance(outcome, AttemptLost | AttemptCancelled):
            logger.info("%s %s", message_id, outcome, extra=_said(claim, error=outcome.type))
            await self._book(attempt)
            return Settled(None, outcome)
        if isinstance(outcome, AttemptReleased):
            await self._release(claim, attempt.bill.close(), attempt.account)
            return Settled(None, outcome)
        if isinstance(outcome, Translation):
            settled, fields, info = _completed(outcome)
        elif isinstance(outcome, AttemptDeferred):
            settled, fields, info = Settled(Status.RETRYING, outcome, outcome.delay), {}, outcome.type
        else:
            settled, fields, info = self._failed(claim, outcome)
        if attempt.span is not None and settled.status is Status.RETRYING:
            fields["traced"] = attempt.span.carrier
        # What was found is paid for: it gets a last moment when this process stops.
        applied, _ = await to_the_end(self._record(attempt, settled, fields, info))
        if applied is None:
            logger.warning(
                "%s: its outcome is lost with this worker, its lease will expire", message_id, extra=_said(claim)
            )
            return Settled(None, AttemptReleased("this worker stops"))
        if not applied:
            logger.warning("%s was taken over by another worker; this outcome is void", message_id, extra=_said(claim))
            return Settled(None, AttemptLost("another attempt owns the message"))
        said = _said(
            claim,
            status=settled.status,
            seconds=round(seconds, 3),
            tokens=attempt.bill.tokens,
            model=attempt.model or None,
            error=settled.error.type if settled.error else None,
            delay=round(settled.delay, 3) if settled.status is Status.RETRYING else None,
        )
        logger.log(*_log_line(message_id, settled, seconds, attempt.bill.tokens), extra=said)
        if settled.status is Status.RETRYING:
            # Many that are put off come back one after the other: the reaper's rounds would bunch them.
            self._look_after(settled.delay, _LATER if isinstance(settled.error, AttemptDeferred) else _SOON)
        return settled

    async def _record(self, attempt: _Attempt, settled: Settled, fields: dict[str, str], info: str) -> bool:
        claim, spent = attempt.claim, attempt.bill.close()
        deferred = isinstance(settled.error, AttemptDeferred)
        return await self._until_stored(
            lambda: self._queue.store.settle(
                claim.message.message_id,
                claim.epoch,
                settled.status or Status.FAILED,
                fields=fields,
                delay=settled.delay,
                info=info,
                tokens=(spent.prompt_tokens, spent.completion_tokens),
                cost=spent.cost,
                account=attempt.account if attempt.bill.tokens else "",
                retried=settled.status is Status.RETRYING and not deferred and "fallback" not in fields,
                deferred=deferred,
                calls=attempt.bill.calls,
                model="" if deferred else attempt.model,
            )
        )

    async def _book(self, attempt: _Attempt) -> None:
        """What the calls cost is owed, though the message was taken from the attempt."""
        claim, spent = attempt.claim, attempt.bill.close()
        if spent != NOTHING:
            await to_the_end(
                self._until_stored(
                    lambda: self._queue.store.book(
                        claim.message.message_id,
                        claim.epoch,
                        tokens=(spent.prompt_tokens, spent.completion_tokens),
                        cost=spent.cost,
                        account=attempt.account,
                    )
                )
            )

    def _look_after(self, delay: float, most: float) -> None:
        """Have a retry that is due before the reaper's next round queued in time.

        One look serves all that are due in the same tenth of a second; should this process end, the
        reaper of another finds them.
        """
        if delay > most:
            return
        loop = asyncio.get_running_loop()
        tenth = int((loop.time() + delay) * 10) + 1
        if tenth in self._looks:
            return

        async def look() -> None:
            self._looks.pop(tenth)
            try:
                await self._queue.requeue_due()
            except TqError as error:
                logger.debug("a retry waits for the reaper: %s", error)

        def begin() -> None:
            self._looks[tenth] = loop.create_task(look())

        self._looks[tenth] = loop.call_at(tenth / 10, begin)

    def _failed(self, claim: Claim, error: TqError) -> tuple[Settled, dict[str, str], str]:
        provider = self._translator.provider_for(claim.sealed or None)
        fields = {"error": json.dumps(error.record(), ensure_ascii=False), "provider": provider, "switched": ""}
        decision = decide(
            error, claim.retries, self._policy, random.uniform, same_error=int(claim.last_error == error.type)
        )
        if isinstance(decision, RetryIn):
            return Settled(Status.RETRYING, error, decision.seconds), fields, error.type
        models = self._models(claim)
        if isinstance(error, AttemptError) and error.of_the_model and claim.fallback + 1 < len(models):
            # The next model starts afresh: with all retries, and without being told of another one's mistakes.
            following = claim.fallback + 1
            fields |= {"fallback": str(following), "fallback_model": models[following], "retries": "", "switched": "1"}
            return Settled(Status.RETRYING, error, _AT_ONCE), fields, error.type
        return Settled(Status.FAILED, error), fields, error.type

    async def _until_stored(self, call: Callable[[], Awaitable[T]]) -> T:
        """Keep trying until the store answers; it decides what still counts."""
        pause = _PAUSE
        while True:
            try:
                return await call()
            except QueuePaused:
                raise
            except TqError as error:
                logger.warning("waiting for the store: %s", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    # -- what the heartbeat asks and says ----------------------------------------------------------

    def _leases(self) -> list[tuple[str, int]]:
        return [(message_id, attempt.claim.epoch) for message_id, attempt in list(self._running.items())]

    def _abort(self, message_id: str, epoch: int, status: str) -> None:
        attempt = self._running.get(message_id)
        if attempt is not None and attempt.claim.epoch == epoch:
            attempt.abort(
                AttemptCancelled("cancelled while it ran")
                if status == Status.CANCELLED
                else AttemptLost("taken over: the message is someone else's now")
            )


def _traced(claim: Claim) -> AbstractContextManager[tracing.Span | None]:
    """The span of an attempt: in the trace of its message's submission, linked to the attempt before."""
    message = claim.message
    return tracing.span(
        f"attempt {message.queue}",
        "CONSUMER",
        {
            "messaging.system": "tq",
            "messaging.operation.name": "attempt",
            "messaging.operation.type": "process",
            "messaging.destination.name": message.queue,
            "messaging.message.id": message.message_id,
            "tq.priority": message.priority,
            "tq.languages": message.languages,
            "tq.attempt": message.attempts,
        },
        parent=claim.trace,
        links=(claim.traced,),
    )


def _note(attempt: _Attempt, settled: Settled) -> None:
    if attempt.span is None:
        return
    attempt.span.note(tq__status=settled.status, tq__tokens=attempt.bill.tokens)
    if settled.error is not None:
        attempt.span.fail(settled.error)


def _completed(outcome: Translation) -> tuple[Settled, dict[str, str], str]:
    fields = {
        "translation": outcome.text,
        "warnings": json.dumps(list(outcome.warnings)) if outcome.warnings else "",
        "provider": outcome.provider,
        "error": "",
    }
    if outcome.cached:
        fields["cached"] = "1"
    if outcome.detected_language:
        fields["detected"] = outcome.detected_language
    return Settled(Status.COMPLETED), fields, outcome.provider


def _said(claim: Claim, **more: str | float | None) -> Mapping[str, Any]:
    """What a line of this attempt says besides its words."""
    message = claim.message
    return jsonlog.fields(message_id=message.message_id, attempt=message.attempts, queue=message.queue, **more)


def _log_line(message_id: str, settled: Settled, seconds: float, tokens: int) -> tuple[Any, ...]:
    if settled.status is Status.COMPLETED:
        return logging.INFO, "%s completed %.1fs, %d tokens", message_id, seconds, tokens
    error = settled.error
    kind = error.type if error else ""
    if settled.status is Status.RETRYING:
        return logging.INFO, "%s retrying in %.1fs: %s, %s", message_id, settled.delay, kind, error
    return logging.WARNING, "%s failed: %s, %s", message_id, kind, error


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
