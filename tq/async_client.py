"""The HTTP client of tq's API for asyncio: the verbs of ``tq.Client``, awaited.

from tq import AsyncClient
async with AsyncClient("http://127.0.0.1:8000") as tq:
    print(await tq.translate("Hello", to="fr"))
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack
from weakref import WeakSet

import httpx

from tq import steps, wire
from tq.async_reader import AsyncChanges
from tq.crowd import Crowd
from tq.errors import PASSING, ClientClosed, ErrorRecord, TqError, UnknownMessage, about
from tq.eventstream import EventStream, chosen
from tq.failures import Failures, Retried
from tq.fields import is_message_id
from tq.figures import Stats
from tq.filters import CANDIDATES, MessageFilter, only_one
from tq.interruptible import Interruptible
from tq.messages import Change, Message, Status, Submission, translation_of
from tq.patience import PAUSES, ROUND, WAIT_BREAKS, Breaks, Deadline, Gathering, id_of
from tq.plans import Get, Give, Hear, Listen, Look, Pause, Plan, gather, giving, watch
from tq.portal import PerProcess
from tq.remote import Remote
from tq.statuses import StatusName
from tq.submissions import Fetch, SubmissionFields, checked, fetched, prepared
from tq.tallies import History
from tq.timeline import TimelineEntry
from tq.wire import Request

T = TypeVar("T")

#: Long polls at once, each of which takes a connection.
_MOST_POLLS: Final = 16
#: Requests at once: httpx looks at all that wait for a connection whenever one of them is done.
_MOST_REQUESTS: Final = 64


@dataclass
class _State:
    """What belongs to one process."""

    http: httpx.AsyncClient
    crowd: Crowd
    readers: WeakSet[AsyncChanges] = field(default_factory=WeakSet)
    polls: int = 0
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_REQUESTS))
    under_way: Interruptible = field(default_factory=Interruptible)


class AsyncClient:
    """tq's API. Use as an async context manager, or await ``close``; belongs to one event loop.

    Every verb means what it does in ``tq.Client``, and raises the same errors.

    Args:
        url: of the API; TQ_URL when None, else the API that TQ_API_HOST and TQ_API_PORT name.
        token: bearer token; the first of TQ_API_TOKEN when None.
        timeout: seconds for one answer.

    Raises:
        InvalidSettings: the URL is not one, the token cannot be sent, or the timeout is not above 0.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, timeout: float = 30.0) -> None:
        self._remote = Remote(url, token, timeout)
        # A process each: a child that used its parent's connections would read the answers to its parent.
        self._states = PerProcess(lambda: _State(httpx.AsyncClient(**self._remote.options()), Crowd(self._gathered)))

    @property
    def _here(self) -> _State:
        return self._states.get()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """See ``Client.close``; other tasks may be using it."""
        here = self._here
        here.under_way.bar()
        await here.crowd.close()
        for reader in list(here.readers):
            await reader.close()
        here.under_way.close()
        await here.http.aclose()

    async def aclose(self) -> None:
        """The same, by the name that ``contextlib.aclosing`` knows."""
        await self.close()

    async def _send(self, request: Request[T]) -> T:
        here = self._here
        with about(request.message_id):
            with self._remote.reaching():
                async with here.under_way.within(request.within), here.turns:
                    answer = await here.http.request(**self._remote.arguments(request))
            return self._remote.read(request, answer, answer.content)

    def _breaks(self) -> Breaks:
        return Breaks(WAIT_BREAKS, met=self._remote.was_met)

    async def _do(self, step: object) -> Any:
        """Take a step."""
        match step:
            case Request():
                return await self._send(step)
            case Pause(seconds):
                return await self._here.under_way.sleep(seconds)
            case Get(message_id, within):
                return await self._send(wire.get(message_id).bounded(within))
            case Look(ids, within):
                return await self._send(wire.lookup(ids).bounded(within))
            case Listen(within):
                return await self._listen(EventStream(), ROUND, within)
            case Hear(ear, within):
                changes = await ear.hear(within)
                if changes is None:
                    raise ClientClosed
                return changes
        raise NotImplementedError(step)

    async def _each(self, plan: Plan[Any]) -> AsyncGenerator[Any, None]:
        """What a plan gives, as it does."""
        ears: list[AsyncChanges] = []
        answer: Any = None
        failure: TqError | None = None
        try:
            while True:
                try:
                    step = plan.send(answer) if failure is None else plan.throw(failure)
                except StopIteration:
                    return
                answer = failure = None
                if isinstance(step, Give):
                    for item in step.items:
                        yield item
                    continue
                if isinstance(step, Fetch):
                    await step.take()
                    continue
                try:
                    answer = await self._do(step)
                except TqError as error:
                    failure = error
                if isinstance(answer, AsyncChanges):
                    ears.append(answer)
        finally:
            plan.close()
            for ear in ears:
                await ear.close()

    async def _take(self, plan: Plan[T]) -> T:
        """What a plan returns."""
        async with aclosing(self._each(giving(plan))) as results:
            [result] = [each async for each in results]
        taken: T = result
        return taken

    async def _read(self, request: Request[T]) -> T:
        """What can be asked for again."""
        return await self._take(steps.read(request, met=self._remote.was_met))

    # -- submit ------------------------------------------------------------------------------------

    async def submit(
        self, message: str | Submission, idempotency_key: str | None = None, **fields: Unpack[SubmissionFields]
    ) -> Message:
        """See ``Client.submit``."""
        submission = checked(message, fields, idempotency_key)
        with about(submission.message_id):
            return await self._submit(submission, idempotency_key, Deadline(None))

    async def _submit(self, submission: Submission, idempotency_key: str | None, deadline: Deadline) -> Message:
        return await self._take(steps.submit(submission, idempotency_key, deadline, met=self._remote.was_met))

    async def submit_many(
        self,
        submissions: Iterable[str | Submission | TqError] | AsyncIterable[str | Submission | TqError],
        **fields: Unpack[SubmissionFields],
    ) -> builtins.list[Message | TqError]:
        """See ``Client.submit_many``."""
        return [each async for each in self.submit_each(submissions, **fields)]

    async def submit_each(
        self,
        submissions: Iterable[str | Submission | TqError] | AsyncIterable[str | Submission | TqError],
        *,
        patience: float = 0.0,
        **fields: Unpack[SubmissionFields],
    ) -> AsyncGenerator[Message | TqError, None]:
        """See ``Client.submit_each``; items may be awaited, too: those of an async generator."""
        items: Iterable[Submission | TqError | Fetch]
        if isinstance(submissions, AsyncIterable):
            items = fetched(aiter(submissions), fields, wire.MOST_ITEMS)
        else:
            items = prepared(submissions, fields)
        plan = steps.submit_each(items, patience, met=self._remote.was_met)
        async with aclosing(self._each(plan)) as results:
            async for result in results:
                yield result

    async def translate(
        self, message: str | Submission, *, timeout: float | None = None, **fields: Unpack[SubmissionFields]
    ) -> str:
        """See ``Client.translate``."""
        submission, deadline = checked(message, fields), Deadline(timeout)
        with about(submission.message_id):
            accepted = await self._submit(submission, None, deadline)
            return translation_of(await self._wait(accepted.message_id, deadline))

    # -- look --------------------------------------------------------------------------------------

    async def get(self, message_id: str | Message) -> Message:
        """See ``Client.get``."""
        return await self._read(wire.get(message_id))

    async def get_many(self, message_ids: Iterable[str | Message]) -> builtins.list[Message | TqError]:
        """See ``Client.get_many``."""
        return await self._take(steps.get_many(message_ids, met=self._remote.was_met))

    async def list(
        self,
        status: Status | StatusName | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        matching: MessageFilter | None = None,
    ) -> tuple[builtins.list[Message], str | None]:
        """See ``Client.list``."""
        return await self._read(wire.page(status, limit, cursor, matching))

    async def resolve(self, prefix: str) -> str:
        """See ``Client.resolve``."""
        try:
            return (await self.get(prefix)).message_id
        except UnknownMessage as unknown:
            if not is_message_id(prefix):
                raise  # what cannot be an id begins none
            found, _ = await self.list(limit=CANDIDATES + 1, matching=MessageFilter(prefix=prefix))
            return only_one(found, prefix, unknown)

    async def timeline(self, message_id: str | Message) -> builtins.list[TimelineEntry]:
        """See ``Client.timeline``."""
        return await self._read(wire.timeline(message_id))

    async def next(self) -> Message | None:
        """See ``Client.next``."""
        return await self._read(wire.next_message())

    async def stats(self) -> Stats:
        """See ``Client.stats``."""
        return await self._read(wire.stats())

    async def history(self) -> History:
        """See ``Client.history``."""
        return await self._read(wire.history())

    async def failures(self) -> Failures:
        """See ``Client.failures``."""
        return await self._read(wire.failures())

    async def health(self) -> dict[str, Any]:
        """See ``Client.health``."""
        return await self._send(wire.health())

    # -- change ------------------------------------------------------------------------------------

    async def cancel(self, message_id: str | Message) -> Message:
        """See ``Client.cancel``."""
        return await self._send(wire.cancel(message_id))

    async def retry(self, message_id: str | Message, api_key: str | None = None) -> Message:
        """See ``Client.retry``."""
        return await self._send(wire.retry(message_id, api_key))

    async def set_status(
        self,
        message_id: str | Message,
        status: Status | StatusName,
        *,
        translation: str | None = None,
        error: str | ErrorRecord | None = None,
    ) -> Message:
        """See ``Client.set_status``."""
        return await self._send(wire.set_status(message_id, status, translation, error))

    async def retry_failures(self, kind: str | None = None) -> Retried:
        """See ``Client.retry_failures``."""
        return await self._take(steps.retry_failures(kind))

    async def pause(self, queue: str) -> None:
        """See ``Client.pause``."""
        await self._send(wire.pause(queue))

    async def resume(self, queue: str) -> None:
        """See ``Client.resume``."""
        await self._send(wire.resume(queue))

    async def send_callback(self, message_id: str | Message) -> Message:
        """See ``Client.send_callback``."""
        return await self._send(wire.send_callback(message_id))

    # -- follow ------------------------------------------------------------------------------------

    async def watch(self, message_id: str | Message, timeout: float | None = None) -> AsyncGenerator[Message, None]:
        """See ``Client.watch``."""
        plan = watch(id_of(message_id), Deadline(timeout), PAUSES, self._breaks())
        async with aclosing(self._each(plan)) as messages:
            async for message in messages:
                yield message

    async def wait(self, message_id: str | Message, timeout: float | None = None) -> Message:
        """See ``Client.wait``; thousands at once share a stream of changes."""
        return await self._wait(id_of(message_id), Deadline(timeout))

    async def _wait(self, message_id: str, deadline: Deadline) -> Message:
        here = self._here
        if here.polls >= _MOST_POLLS:
            return await here.crowd.wait(message_id, deadline)
        here.polls += 1
        try:
            return await self._take(steps.wait(message_id, deadline, met=self._remote.was_met))
        finally:
            here.polls -= 1

    async def wait_many(
        self, messages: Iterable[str | Message | TqError], timeout: float | None = None
    ) -> AsyncGenerator[Message, None]:
        """See ``Client.wait_many``."""
        waiting = Gathering(messages, timeout)
        for message in waiting.ended:
            yield message
        async with aclosing(self._gathered(waiting)) as results:
            async for _, result in results:
                if waiting.good(result):
                    yield result
        waiting.require_all()

    def _gathered(self, waiting: Gathering) -> AsyncGenerator[tuple[str, Message | TqError], None]:
        return self._each(gather(waiting, self._breaks()))

    async def changes(self, after: str | None = None, *, block: float = 1.0) -> AsyncChanges:
        """See ``Client.changes``; returns when the stream has begun."""
        return await self._listen(EventStream(after), block, None)

    async def _listen(self, stream: EventStream, block: float, within: float | None) -> AsyncChanges:
        reader = self._reader(stream, block)
        await reader.connect(within)
        return reader

    def _reader(self, stream: EventStream, block: float | None) -> AsyncChanges:
        here = self._here
        here.under_way.require_open()
        reader = AsyncChanges(here.http, self._remote, stream, block)
        here.readers.add(reader)
        return reader

    async def events(
        self,
        after: str | None = None,
        *,
        message_id: str | Message | None = None,
        status: Status | StatusName | None = None,
        to: str | None = None,
        priority: int | None = None,
    ) -> AsyncGenerator[Change, None]:
        """See ``Client.events``."""
        breaks = self._breaks()
        one = None if message_id is None else id_of(message_id)
        with about(one):
            reader = self._reader(chosen(after, one, status, to, priority), None)
            try:
                while True:
                    try:
                        changes = await reader.hear()
                    except PASSING as error:
                        await reader.rest(breaks.pause(error))
                        continue
                    if changes is None:
                        return
                    breaks.over()
                    for change in changes:
                        yield change
            finally:
                await reader.close()
