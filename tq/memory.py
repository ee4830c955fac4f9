"""The translation memory: what was translated and passed all checks is not paid for again.

A text that is being translated anywhere in the fleet is not sent a second time meanwhile: whoever asks for it
waits for the first. An answer is kept under a digest of all that was asked for, and only for the account
that paid for it. The memory is an economy, nothing depends on it: what it loses is asked for again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from secrets import token_hex
from typing import Final

from tq.errors import TqError
from tq.settings import Settings
from tq.store import Store

logger = logging.getLogger(__name__)

#: Seconds between two looks for an answer that another process is waiting for, at first and at most.
_LOOK: Final = 0.1
_LONGEST_LOOK: Final = 1.0
#: Bytes of UTF-8 beyond which a translation is not kept.
_LARGEST: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Remembered:
    """A translation as it is kept: the text, the model that made it, and what the checks remarked."""

    text: str = field(repr=False)
    model: str
    warnings: tuple[str, ...]


class Memory:
    """The memory of one store, and what this process is finding out for it; belongs to one asyncio loop."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._ttl = int(settings.memory_ttl * 1000)
        self._most = settings.memory_max
        self._lease = int(settings.lease * 1000)
        self._owner = token_hex(6)
        self._numbers = count()
        self._asked: dict[str, asyncio.Future[Remembered | None]] = {}
        self._held: dict[str, str] = {}
        self._keeper: asyncio.Task[None] | None = None
        #: How many wait for what somebody else is finding out.
        self.waiting = 0

    async def aclose(self) -> None:
        """Let go of what this process was finding out."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await asyncio.gather(*(self._let_go(digest) for digest in list(self._held)), return_exceptions=True)

    async def once(
        self,
        digest: str,
        usable: Callable[[Remembered], bool],
        find: Callable[[], Awaitable[Remembered]],
        waits: Callable[[], None],
    ) -> tuple[Remembered, bool]:
        """What is remembered under the digest, else what ``find`` finds, and whether it was remembered.

        Whoever asks for the same meanwhile, here or in another process, waits for it; if ``find`` fails, the
        next of them tries.

        Args:
            digest: of everything that was asked for.
            usable: whether a remembered translation still passes the checks.
            find: translates; what it raises is raised here, and kept nowhere.
            waits: called when somebody else is finding it out already.
        """
        while (asked := self._asked.get(digest)) is not None:
            with self._counted(waits):
                found = await asyncio.shield(asked)
            if found is not None and usable(found):
                return found, True
        future: asyncio.Future[Remembered | None] = asyncio.get_running_loop().create_future()
        self._asked[digest] = future
        found = None
        try:
            found = await self._take(digest, waits)
            if found is not None and usable(found):
                return found, True
            found = None
            found = await find()
            await self._keep(digest, found)
        finally:
            del self._asked[digest]
            future.set_result(found)
            if found is None:
                await asyncio.shield(self._let_go(digest))
        return found, False

    @contextmanager
    def _counted(self, waits: Callable[[], None]) -> Iterator[None]:
        waits()
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    async def _take(self, digest: str, waits: Callable[[], None]) -> Remembered | None:
        """What is remembered; None: nothing, and it is ours to find out."""
        owner = f"{self._owner}#{next(self._numbers)}"
        pause = _LOOK
        while True:
            try:
                answer = await self._store.script("memory_take", digest, owner, self._lease)
            except TqError as error:
                logger.debug("translating without the memory: %s", error)
                return None
            if answer[0] == "yours":
                self._held[digest] = owner
                if self._keeper is None or self._keeper.done():
                    self._keeper = asyncio.create_task(self._keep_held())
                return None
            if answer[0] == "found":
                return _decoded(answer[1])
            with self._counted(waits):
                await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK)

    async def _keep(self, digest: str, found: Remembered) -> None:
        owner = self._held.pop(digest, "")
        text = json.dumps([found.text, found.model, found.warnings], ensure_ascii=False, separators=(",", ":"))
        if len(text.encode()) > _LARGEST:
            text = ""
        try:
            await self._store.script("memory_keep", digest, owner, text, self._ttl, self._most)
        except TqError as error:
            logger.debug("not remembered: %s", error)

    async def _let_go(self, digest: str) -> None:
        if owner := self._held.pop(digest, None):
            try:
                await self._store.script("memory_keep", digest, owner, "", self._ttl, self._most)
            except TqError as error:
                logger.debug("others wait until it expires: %s", error)

    async def _keep_held(self) -> None:
        """While something is being found out, whoever waits for it elsewhere is to know that we live."""
        while self._held:
            await asyncio.sleep(self._lease / 3000)
            flat = [part for pair in self._held.items() for part in pair]
            try:
                if flat:
                    await self._store.script("memory_hold", self._lease, *flat)
            except TqError as error:
                logger.debug("not prolonged: %s", error)


def _decoded(text: str) -> Remembered | None:
    try:
        translation, model, warnings = json.loads(text)
        return Remembered(str(translation), str(model), tuple(map(str, _listed(warnings))))
    except (ValueError, TypeError):
        return None


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()
