"""The translation queue: what a person, a program, the API and the workers do with messages.

Everything goes through the store; afterwards a wake-up token is published by task name. Submitting
is done when the store has the message: the token may follow a moment later, and the reaper repeats
one that got lost.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final

from ulid import ULID

from tq import jsonlog, tracing
from tq.checkpoints import NOTHING, Spent
from tq.errors import (
    ContentTooLarge,
    DuplicateMessage,
    ErrorRecord,
    IdempotencyConflict,
    IllegalTransition,
    InvalidMessage,
    MissingKey,
    NoCallback,
    Poisoned,
    QueueFull,
    ReportedError,
    StoreFull,
    StoreRefused,
    TqError,
    UnknownMessage,
    UnknownQueue,
    Unreachable,
    queue_paused,
    unknown_message,
)
from tq.failures import Failures, Retried
from tq.fields import check_some_text, check_text, is_message_id
from tq.figures import DEFAULT_ACCOUNT, RateInfo, Stats
from tq.filters import MessageFilter
from tq.known import KnownModels
from tq.messages import (
    QUARANTINE,
    QUEUES,
    TERMINAL,
    TRANSITIONS,
    Change,
    Message,
    Status,
    Submission,
    get_queue_for_priority,
    utc,
)
from tq.publisher import Publisher, token_of
from tq.ratelimit import Limiter
from tq.records import Claim, Expired, Token, callback_of
from tq.room import Room
from tq.sealing import Sealer, load_sealer
from tq.settings import Settings, get_settings
from tq.spending import Budget
from tq.store import POISON_AFTER, open_store
from tq.tallies import History, slug
from tq.targets import target
from tq.timeline import TimelineEntry, entries
from tq.webhooks import check_callback

logger = logging.getLogger(__name__)

_MAX_LIST: Final = 200
#: Failed messages that are retried at once.
_MOST_RETRIED: Final = 1000
#: Messages that one round of the reaper's script moves at most: it blocks Redis meanwhile.
_MOST_DUE: Final = 500
_MAX_CURSOR: Final = 18
#: Of a key's digest: enough to tell keys apart, and short enough to be shown.
_ACCOUNT_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A message that is on its way into the store."""

    answer: Awaitable[Sequence[Any]]
    message_id: str
    priority: int
    body: Mapping[str, Any] = field(repr=False)
    span: tracing.Span | None = None


class TranslationQueue:
    """The verbs of tq over one store; belongs to one asyncio loop.

    All methods may raise ``Unreachable``, ``StoreRefused`` or ``StoreFull`` besides what they name.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or get_settings()
        self.store = open_store(self.settings)
        self.publisher = Publisher(self.settings, self.store)
        self.budget = Budget(self.settings)
        self.room = Room(self.settings.max_queued)
        self._sealer: Sealer | None = None

    @cached_property
    def known(self) -> KnownModels:
        """The models of the settings."""
        return KnownModels(self.settings, self.budget.prices)

    @property
    def sealer(self) -> Sealer:
        """Seals and opens api keys; its secret is read at first use."""
        if self._sealer is None:
            self._sealer = load_sealer(self.settings)
        return self._sealer

    def account(self, api_key: str | None) -> str:
        """Who pays for a message: a digest of the key that it brought, or ``default``."""
        return self.sealer.digest(api_key)[:_ACCOUNT_DIGITS] if api_key else DEFAULT_ACCOUNT

    def _payer(self, api_key: str | None) -> tuple[str, int]:
        """The account, and what it may spend a day in billionths; 0 = anything."""
        return self.account(api_key), self.budget.nano

    def _seal(self, message_id: str, api_key: str | None) -> str:
        return base64.b64encode(self.sealer.seal(message_id, api_key)).decode() if api_key else ""

    def unseal(self, claim: Claim) -> str | None:
        """The api_key that the claimed message brought along, if any.

        Raises:
            KeyUnreadable: it was sealed with another TQ_SECRET_KEY.
        """
        if not claim.sealed:
            return None
        return self.sealer.unseal(claim.message.message_id, base64.b64decode(claim.sealed))

    async def aclose(self) -> None:
        """Publish what is due and close the connections."""
        await self.publisher.flush()
        await self.store.aclose()

    # -- submit ------------------------------------------------------------------------------------

    async def submit(self, submission: Submission, idempotency_key: str | None = None) -> Message:
        """Store a message and wake a worker; the message is durable when this returns.

        The same id or idempotency key with the same body answers the message that is there.

        Raises:
            ContentTooLarge: the content is above TQ_MAX_CONTENT bytes.
            DuplicateMessage: the id exists with another body.
            IdempotencyConflict: the key was used with another body.
            QueueFull: TQ_MAX_QUEUED messages wait already.
            BudgetExceeded: TQ_BUDGET_PER_DAY is spent for its key.
            InvalidMessage: there is a budget, and the model has no price; or nothing would be sent to its callback_url.
        """
        return await self._finish(self._begin(submission, idempotency_key))

    def _begin(self, submission: Submission, idempotency_key: str | None = None) -> _Submitted:
        """Send it to the store."""
        self._check_size(submission)
        self.budget.check(submission)
        check_callback(submission.callback_url, self.settings)
        digest = _idempotency_digest(idempotency_key)
        key = submission.api_key.get_secret_value() if submission.api_key else None
        message_id = submission.message_id or str(ULID())
        body = self._body(submission)
        languages = f"{body['metadata'].get('source_language') or ''}→{body['metadata']['target_language']}"
        span = tracing.start(
            f"submit {submission.queue}",
            "PRODUCER",
            {
                "messaging.system": "tq",
                "messaging.operation.name": "submit",
                "messaging.operation.type": "send",
                "messaging.destination.name": submission.queue,
                "messaging.message.id": message_id,
                "tq.priority": submission.priority,
                "tq.languages": languages,
            },
        )
        answer = self.store.submit(
            message_id,
            fingerprint=submission.fingerprint(self.sealer.digest(key) if key else ""),
            idempotency=digest,
            priority=submission.priority,
            body=body,
            languages=languages,
            sealed=self._seal(message_id, key),
            max_queued=self.settings.max_queued,
            payer=self._payer(key),
            trace=span.carrier if span else "",
            receiver=target(submission.callback_url).authority if submission.callback_url else "",
        )
        return _Submitted(answer, message_id, submission.priority, body, span)

    async def _finish(self, submitted: _Submitted) -> Message:
        """What the store said to it."""
        if submitted.span is None:
            return await self._outcome(submitted)
        try:
            return await self._outcome(submitted)
        except TqError as error:
            submitted.span.fail(error)
            raise
        finally:
            submitted.span.end()

    async def _outcome(self, submitted: _Submitted) -> Message:
        outcome, known, now, queued, paused = await submitted.answer
        self.room.hear(queued, get_queue_for_priority(submitted.priority), paused=bool(paused))
        if outcome == "new":
            trace = submitted.span.carrier if submitted.span else ""
            self.publisher.soon([Token(submitted.message_id, None, submitted.priority, trace=trace)])
            return _new_message(submitted.message_id, submitted.priority, submitted.body, now)
        if outcome == "same":
            message = await self.get(known)
            if message.status is Status.QUEUED:
                # It may be asked for again because we failed to say yes before its token was published.
                self.publisher.soon([token_of(message)])
            return message
        if outcome == "budget":
            raise self.budget.exceeded(int(known), now)
        raise self._refusal(outcome, known)

    async def submit_many(self, submissions: Sequence[Submission | TqError]) -> builtins.list[Message | TqError]:
        """Submit several; one result each, in order: the message or why it was refused.

        An item that is an error already (it could not be parsed) is passed on in its place.
        """
        # All are on their way before the first is waited for: a task for each would cost as much as its submit.
        results: builtins.list[_Submitted | Message | TqError] = []
        for item in submissions:
            try:
                results.append(item if isinstance(item, TqError) else self._begin(item))
            except TqError as error:
                results.append(error)
        return [await self._end(result) if isinstance(result, _Submitted) else result for result in results]

    async def _end(self, submitted: _Submitted) -> Message | TqError:
        try:
            return await self._finish(submitted)
        except TqError as error:
            return error

    def _check_size(self, submission: Submission) -> None:
        size = len(submission.content.encode())
        if size > self.settings.max_content:
            raise ContentTooLarge(
                f"the content has {size} bytes",
                why=f"TQ_MAX_CONTENT allows {int(self.settings.max_content)}",
                fix="submit it in parts, or raise TQ_MAX_CONTENT",
            )

    def _body(self, submission: Submission) -> dict[str, Any]:
        metadata = dict(submission.metadata)
        if not metadata.get("target_language"):
            metadata["target_language"] = self.settings.target_language
        return {
            "content": submission.content,
            "model_name": submission.model_name,
            "metadata": metadata,
            **submission.options(),
        }

    def _refusal(self, outcome: str, known: str) -> TqError:
        if outcome == "duplicate":
            return DuplicateMessage(
                f"a message with the id {known!r} exists already",
                why="its content, priority, model, metadata or key differ from this one's",
                fix="use another message_id, or submit exactly the same body to get the existing message",
            )
        if outcome == "idempotency-conflict":
            return IdempotencyConflict(
                "this idempotency key was used before, with another body",
                why=f"it belongs to message {known!r}",
                fix="use a new key for a new message",
            )
        return QueueFull(
            f"{known} messages wait already",
            why=f"TQ_MAX_QUEUED allows {self.settings.max_queued}",
            fix="submit again later; nothing was stored",
        )

    # -- look --------------------------------------------------------------------------------------

    async def get(self, message_id: str) -> Message:
        """The message.

        Raises:
            UnknownMessage: there is none.
        """
        message = await self.store.get(message_id) if is_message_id(message_id) else None
        if message is None:
            raise unknown_message(message_id)
        return message

    async def outline(self, message_id: str) -> Message:
        """The message without its texts: its content is "".

        Raises:
            UnknownMessage: there is none.
        """
        message = await self.store.outline(message_id) if is_message_id(message_id) else None
        if message is None:
            raise unknown_message(message_id)
        return message

    async def get_many(self, message_ids: Sequence[str]) -> builtins.list[Message | TqError]:
        """Several messages; one result each, in order: the message, or ``UnknownMessage``."""
        known = [message_id for message_id in message_ids if is_message_id(message_id)]
        found = dict(zip(known, await asyncio.gather(*map(self.store.get, known)), strict=True))
        return [found.get(message_id) or unknown_message(message_id) for message_id in message_ids]

    async def timeline(self, message_id: str) -> builtins.list[TimelineEntry]:
        """Every status that a message entered, oldest first.

        Raises:
            UnknownMessage: there is none.
        """
        found = await self.store.log(message_id) if is_message_id(message_id) else None
        if found is None:
            raise unknown_message(message_id)
        return entries(*found)

    async def failures(self) -> Failures:
        """Failed messages by reason, the most frequent first."""
        return Failures(groups=await self.store.failures())

    async def list(
        self,
        status: Status | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        matching: MessageFilter | None = None,
        texts: bool = True,
    ) -> tuple[builtins.list[Message], str | None]:
        """Messages, newest first, and the cursor of the page after (None: this was the last).

        With a filter a page may have fewer than ``limit`` although there is one after it: no more than some thousand
        are looked at for each. Without ``texts`` these are not read, and the messages have none.

        Raises:
            InvalidMessage: the cursor is not one of ours, or the limit is not 1 to 200.
        """
        if not 1 <= limit <= _MAX_LIST:
            raise InvalidMessage(f"limit must be from 1 to {_MAX_LIST}")
        below = _below(cursor)
        matching = matching or MessageFilter()
        # What was sent, or is to be, is of messages that have ended.
        told = matching.callback not in {None, "waiting"}
        statuses = [status] if status else [each for each in Status if each in TERMINAL or not told]
        if matching == MessageFilter(prefix=matching.prefix):
            # One more than wanted says whether there are more.
            if matching.prefix:
                known = await self.store.beginning(matching.prefix, statuses, most=_MAX_LIST)
                found = [(message_id, seq) for message_id, seq in known if below is None or seq < below][: limit + 1]
            else:
                found = await self.store.list(statuses, below=below, limit=limit + 1)
            more = found[limit - 1][1] if len(found) > limit else None
        else:
            found, more = await self.store.find(matching, statuses, below=below, limit=limit)
        read = self.store.get if texts else self.store.outline
        messages = await asyncio.gather(*(read(message_id) for message_id, _ in found[:limit]))
        # One may have expired meanwhile, or have moved on to another status.
        there = [message for message in messages if message is not None and message.status in statuses]
        return there, None if more is None else str(more)

    async def next(self) -> Message | None:
        """The message that a worker would take next, untouched; None when nothing waits."""
        message_id = await self.store.next_id()
        return await self.store.get(message_id) if message_id else None

    async def stats(self) -> Stats:
        """Depths, counts, workers, throughput, what was spent today, and the providers' limits."""
        stats, rates = await asyncio.gather(self.store.stats(), Limiter(self.store, self.settings, self.known).state())
        known = [RateInfo.model_validate(asdict(rate)) for rate in rates]
        return stats.model_copy(update={"spend": self.budget.complete(stats.spend), "rates": known})

    async def history(self) -> History:
        """What came of messages and attempts in each minute of the last hour."""
        return await self.store.history()

    async def changes(self, after: str | None = None, *, block: float = 1.0) -> AsyncIterator[builtins.list[Change]]:
        """Batches of transitions after a cursor (None: from now on), for ever.

        A quiet round of ``block`` seconds yields an empty batch, so that a caller can look up.
        """
        cursor = after or await self.store.newest_cursor()
        while True:
            batch = await self.store.changes(cursor, block=block)
            cursor = batch[-1].cursor if batch else cursor
            yield batch

    # -- change ------------------------------------------------------------------------------------

    async def cancel(self, message_id: str) -> Message:
        """Cancel a message that has not ended; a running attempt is aborted at its next heartbeat.

        Raises:
            UnknownMessage: there is none.
            IllegalTransition: it has ended.
        """
        answer = await self.store.cancel(message_id) if is_message_id(message_id) else "gone"
        if answer == "gone":
            raise unknown_message(message_id)
        if answer != "ok":
            raise illegal(message_id, Status(answer), Status.CANCELLED)
        await self.publisher.announce([message_id], Status.CANCELLED)
        return await self.get(message_id)

    async def retry(self, message_id: str, api_key: str | None = None) -> Message:
        """Queue a failed or cancelled message again, with a new budget of retries.

        Args:
            message_id: which.
            api_key: a key for this message; needed again if it was submitted with one.

        Raises:
            UnknownMessage: there is none.
            IllegalTransition: it has not failed and was not cancelled.
            MissingKey: its own key was deleted when it ended, and none is given.
            BudgetExceeded: TQ_BUDGET_PER_DAY is spent for its key.
        """
        if not is_message_id(message_id):
            raise unknown_message(message_id)
        answer, spent, now = await self.store.retry(message_id, self._seal(message_id, api_key), self._payer(api_key))
        if answer == "gone":
            raise unknown_message(message_id)
        if answer == "missing-key":
            raise missing_key(message_id)
        if answer == "budget":
            raise self.budget.exceeded(spent, now)
        if answer != "ok":
            raise illegal(message_id, Status(answer), Status.QUEUED)
        return await self._wake(message_id)

    async def retry_failures(self, kind: str | None = None, cursor: str | None = None) -> Retried:
        """Queue failed messages again, up to a thousand, newest first: all, or those with this type of error.

        Args:
            kind: of error.
            cursor: ``next_cursor`` of the thousand before.

        Raises:
            InvalidMessage: the cursor is not one of ours.
            Unreachable: Redis does not answer; some may have been queued.
        """
        found = await self.store.failed(kind, below=_below(cursor), limit=_MOST_RETRIED)
        count = refused = 0
        for start in range(0, len(found), _MAX_LIST):
            chunk = [message_id for message_id, _ in found[start : start + _MAX_LIST]]
            for outcome in await asyncio.gather(*map(self.retry, chunk), return_exceptions=True):
                if isinstance(outcome, Message):
                    count += 1
                elif isinstance(outcome, Unreachable | StoreRefused | StoreFull) or not isinstance(outcome, TqError):
                    raise outcome
                elif not isinstance(outcome, UnknownMessage | IllegalTransition):
                    refused += 1
        more = str(found[-1][1]) if len(found) == _MOST_RETRIED else None
        return Retried(retried=count, refused=refused, next_cursor=more)

    async def send_callback(self, message_id: str) -> Message:
        """Send the webhook of a message that has ended again: at once, and as often as one that was never sent.

        It has the same id as before. One that is under way is not sent twice for it.

        Raises:
            UnknownMessage: there is none.
            NoCallback: it has no callback_url, or has not ended.
        """
        answer = await self.store.call_back(message_id) if is_message_id(message_id) else "gone"
        if answer == "gone":
            raise unknown_message(message_id)
        if answer == "none":
            raise NoCallback(f"message {message_id!r} has no callback_url", fix="name one when you submit")
        if answer != "ok":
            raise NoCallback(f"message {message_id!r} is {answer}", why="its webhook is sent when it has ended")
        return await self.get(message_id)

    async def pause(self, queue: str) -> None:
        """Have nothing more of a queue begin until it is resumed; what runs goes on.

        Raises:
            UnknownQueue: there is none of that name.
        """
        await self.store.pause(_known(queue), paused=True)

    async def resume(self, queue: str) -> None:
        """Go on with a queue that was paused.

        Raises:
            UnknownQueue: there is none of that name.
        """
        await self.store.pause(_known(queue), paused=False)
        # What was held meanwhile needs a token again.
        await self.requeue_due()

    async def set_status(
        self, message_id: str, status: Status, *, translation: str | None = None, error: str | ErrorRecord | None = None
    ) -> Message:
        """Move a message on for a program that translates outside of tq's workers.

        ``running`` gives it a lease of TQ_LEASE or TQ_REQUEST_TIMEOUT, whichever is longer; when that
        runs out the message is queued again. ``completed`` needs a translation.

        Raises:
            UnknownMessage: there is none.
            IllegalTransition: the state machine has no such way.
            MissingKey: queued again, and its own key was deleted when it ended.
            QueuePaused: it cannot begin now.
            InvalidMessage: completed without a translation, or one with another status.
        """
        fields = _reported(status, translation, error)
        if not is_message_id(message_id):
            raise unknown_message(message_id)
        outcome, before = await self.store.set_status(
            message_id,
            status,
            fields=fields,
            lease=max(self.settings.lease, self.settings.request_timeout),
            delay=self.settings.retry_base,
            reason=slug(json.loads(fields["error"])["type"]) if "error" in fields else "",
        )
        if outcome == "gone":
            raise unknown_message(message_id)
        if outcome == "missing-key":
            raise missing_key(message_id)
        if outcome == "paused":
            raise queue_paused((await self.get(message_id)).queue)
        if outcome == "illegal":
            raise illegal(message_id, Status(before), status)
        if status is Status.QUEUED:
            return await self._wake(message_id)
        await self.publisher.announce([message_id], status)
        return await self.get(message_id)

    async def release(self, claim: Claim, spent: Spent = NOTHING, account: str = "") -> bool:
        """Put a claimed message back: this worker stops. False when it is not the claim's any more.

        Args:
            claim: whose message it is.
            spent: what its attempt has cost so far.
            account: who pays that.
        """
        message = claim.message
        released = await self.store.settle(
            message.message_id,
            claim.epoch,
            Status.QUEUED,
            fields={},
            info="released",
            tokens=(spent.prompt_tokens, spent.completion_tokens),
            cost=spent.cost,
            account=account,
        )
        if released:
            self.publisher.soon([token_of(message)])
        return released

    async def requeue_due(self) -> int:
        """Queue what is due: retries, and messages whose lease expired; returns how many.

        One that was under its worker process again and again when that died fails instead.
        """
        count = 0
        poisoned = Poisoned(f"the worker process died {POISON_AFTER} times while it ran this message").record()
        while True:
            tokens, failed, expired = await self.store.reap(poisoned, _MOST_DUE)
            self.publisher.soon(tokens)
            _log_leases(expired, {token.message_id: token for token in tokens}, failed)
            await self.publisher.announce(failed, Status.FAILED)
            await self.publisher.flush()
            count += len(tokens)
            if len(tokens) < _MOST_DUE:
                return count

    async def blame(self, message_id: str, process: str) -> Poisoned | None:
        """Fail a message in quarantine under which its process died; None when it was not under it.

        Args:
            message_id: which.
            process: what had it, as ``process_name`` says.
        """
        error = Poisoned("the process in which it ran by itself died, as worker processes had before")
        return error if await self.store.blame(message_id, process, error.record()) else None

    async def _wake(self, message_id: str) -> Message:
        message = await self.get(message_id)
        self.publisher.soon([token_of(message)])
        return message


def _log_leases(expired: Sequence[Expired], tokens: Mapping[str, Token], failed: Sequence[str]) -> None:
    for each in expired:
        token = tokens[each.message_id]
        logger.info(
            "message %s is queued again: the lease of its attempt %d at %s ran out",
            each.message_id,
            each.attempt,
            each.process,
            extra=jsonlog.fields(
                message_id=each.message_id,
                status=Status.QUEUED,
                attempt=each.attempt,
                queue=token.queue or get_queue_for_priority(token.priority),
                process=each.process,
            ),
        )
    for message_id in failed:
        said = jsonlog.fields(message_id=message_id, status=Status.FAILED, error=Poisoned.type)
        logger.warning("message %s failed: %s", message_id, Poisoned.type, extra=said)


def _below(cursor: str | None) -> int | None:
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _MAX_CURSOR):
        raise InvalidMessage("the cursor is not valid", fix="pass next_cursor of the page before, unchanged")
    return int(cursor)


def _known(queue: str) -> str:
    if queue not in (*QUEUES, QUARANTINE):
        raise UnknownQueue(f"there is no queue {queue[:64]!r}", fix=f"one of {', '.join((*QUEUES, QUARANTINE))}")
    return queue


def missing_key(message_id: str) -> MissingKey:
    """409: said the same for both ways to try a message again."""
    return MissingKey(
        f"message {message_id!r} was submitted with an api_key of its own",
        why="that key was deleted when the message ended",
        fix="give it again: `api_key` in the body of POST /messages/{id}/retry, or `tq retry --ask-key`",
    )


def illegal(message_id: str, current: Status, wanted: Status) -> IllegalTransition:
    """409: said the same everywhere."""
    ways = ", ".join(TRANSITIONS[current]) or "nothing: it is final"
    return IllegalTransition(
        f"message {message_id!r} is {current} and cannot become {wanted}", why=f"from {current} it can become {ways}"
    )


def _idempotency_digest(key: str | None) -> str:
    if key is None:
        return ""
    if not 1 <= len(key) <= 255 or not all(" " <= char <= "~" for char in key):
        raise InvalidMessage("the idempotency key must be 1 to 255 printable ASCII characters")
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _new_message(message_id: str, priority: int, body: Mapping[str, Any], created: int) -> Message:
    return Message(
        message_id=message_id,
        status=Status.QUEUED,
        queue=get_queue_for_priority(priority),
        priority=priority,
        content=body["content"],
        model_name=body["model_name"],
        metadata=body["metadata"],
        provider=None,
        translation=None,
        error=None,
        warnings=[],
        attempts=0,
        created_at=utc(created),
        started_at=None,
        finished_at=None,
        next_retry_at=None,
        usage=None,
        cache=body.get("cache", True),
        fallback_models=body.get("fallback_models", []),
        parameters=body.get("parameters", {}),
        callback=callback_of(body, {}),
    )


def _reported(status: Status, translation: str | None, error: str | ErrorRecord | None) -> dict[str, str]:
    if (status is Status.COMPLETED) != (translation is not None):
        raise InvalidMessage(
            "a translation belongs to the status completed, and to no other",
            errors=[{"field": "translation", "message": "required with completed, not allowed otherwise"}],
        )
    if error is not None and status not in {Status.FAILED, Status.RETRYING}:
        raise InvalidMessage(
            "an error belongs to the status failed or retrying",
            errors=[{"field": "error", "message": "only allowed with failed or retrying"}],
        )
    try:
        if translation is not None:
            check_some_text(translation)
        check_text(error["type"] + error["message"] if isinstance(error, dict) else error or "")
    except ValueError as problem:
        raise InvalidMessage(f"the translation or the error {problem}") from None
    fields: dict[str, str] = {}
    if status is Status.COMPLETED and translation:
        fields |= {"translation": translation, "provider": "outside"}
    if status in {Status.FAILED, Status.RETRYING}:
        record = error if isinstance(error, dict) else ReportedError(error or "reported without a reason").record()
        fields["error"] = json.dumps(record)
    return fields
