"""What the models of an endpoint cannot do, as all processes of a store learn it together.

A refusal costs a request each time: what one worker was refused, the others need not try, and neither does
the same one after it is started again. It is forgotten after a day, as endpoints learn too.
"""

from __future__ import annotations

import hashlib
import logging
import time
from typing import Final

from tq.errors import TqError
from tq.providers.abilities import Abilities
from tq.store import Store

logger = logging.getLogger(__name__)

#: Seconds after which a process asks the store again.
_FRESH: Final = 3600.0


class Learnt:
    """What is known of the models of one endpoint; belongs to one asyncio loop.

    Args:
        store: where it is shared; None = each process learns for itself.
        host: of the endpoint.
    """

    def __init__(self, store: Store | None, host: str) -> None:
        self._store = store
        self._host = host
        self._known: dict[str, tuple[float, Abilities]] = {}
        self._kept: dict[str, frozenset[str]] = {}

    async def of(self, model: str) -> Abilities:
        """What is known of a model."""
        until, able = self._known.get(model, (0.0, None))
        if able is None or until < time.monotonic():
            lacking = await self._load(model)
            self._kept[model] = lacking
            # Whoever asked at the same time has it already: there is one for all, so that none learns alone.
            until, able = self._known.get(model, (0.0, None))
            if able is None or until < time.monotonic():
                able = Abilities(lacking)
                self._known[model] = (time.monotonic() + _FRESH, able)
        return able

    async def keep(self, model: str) -> None:
        """Tell the others what was learnt about a model since."""
        known = self._known.get(model)
        if known is None or self._store is None:
            return
        news = known[1].lacking - self._kept[model]
        if not news:
            return
        self._kept[model] = known[1].lacking
        try:
            await self._store.add_lacking(self._digest(model), news)
        except TqError as error:
            logger.debug("others learn it for themselves: %s", error)

    async def _load(self, model: str) -> frozenset[str]:
        if self._store is None:
            return frozenset()
        try:
            return await self._store.lacking(self._digest(model))
        except TqError as error:
            logger.debug("learning anew: %s", error)
            return frozenset()

    def _digest(self, model: str) -> str:
        return hashlib.blake2b(f"{self._host}\n{model}".encode(), digest_size=16).hexdigest()
