"""Spending: what a key may spend a day, and what is said when that is spent."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from functools import cached_property
from typing import Final

from tq.errors import BudgetExceeded, InvalidMessage, TqError
from tq.figures import Spend
from tq.messages import Submission, utc
from tq.prices import Prices, amount
from tq.records import NANO
from tq.settings import Settings
from tq.store import Store

logger = logging.getLogger(__name__)

#: Seconds for which a process believes what it was told of an account.
_BELIEVED: Final = 1.0
#: Accounts that a process remembers at most.
_MOST_ACCOUNTS: Final = 1000


class Budget:
    """TQ_BUDGET_PER_DAY with TQ_PRICES; the prices are read at first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def prices(self) -> Prices:
        """What tokens cost; nothing is known without TQ_PRICES.

        Raises:
            InvalidSettings: they cannot be read.
        """
        return Prices.load(self._settings.prices)

    @property
    def nano(self) -> int:
        """In billionths of the currency; 0 = there is none."""
        return self._settings.budget_nano

    def check(self, submission: Submission) -> None:
        """Where there is a budget, every model that may be asked has a price: else nobody knew what is left of it.

        Raises:
            InvalidMessage: one has none.
        """
        if not self.nano:
            return
        for model in self._settings.models_of(submission.model_name, submission.fallback_models):
            if self.prices.cost(model, 1, 1) is None:
                raise InvalidMessage(
                    f"the model {model!r} has no price",
                    why="TQ_BUDGET_PER_DAY is set, and what a message costs could not be counted",
                    fix="add the model to TQ_PRICES, or name another one",
                    errors=[{"field": "model_name", "message": "has no price in TQ_PRICES"}],
                )

    def exceeded(self, spent: int, now: int) -> BudgetExceeded:
        """What whoever comes too late hears: a submit, a retry, or a message whose turn it is.

        Args:
            spent: in billionths.
            now: on the server's clock, Unix milliseconds.
        """
        moment = utc(now)
        reset = moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        minutes = int((reset - moment).total_seconds() / 60) + 1
        currency = self.prices.currency
        return BudgetExceeded(
            "the budget of today is spent",
            why=f"TQ_BUDGET_PER_DAY allows {amount(self.nano)} {currency} per key and day, "
            f"and {amount(spent)} {currency} are spent",
            fix=f"try again after {reset:%Y-%m-%d %H:%M} UTC (in {minutes // 60} h {minutes % 60} min), "
            "or raise TQ_BUDGET_PER_DAY; nothing was sent to the provider",
        )

    def complete(self, spend: Spend) -> Spend:
        """What was spent, with the currency and the budget."""
        currency = self.prices.currency if self._settings.prices else None
        return spend.model_copy(update={"currency": currency, "budget": self.nano / NANO or None})


class Purse:
    """What the accounts have left today, as far as one process knows; belongs to one asyncio loop.

    It is looked at before each call to a provider, and asks the store once a second at most for an account that
    goes on calling; never without a budget.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._budget = Budget(settings)
        self._known: dict[str, tuple[float, tuple[int, int] | None]] = {}

    async def require(self, account: str) -> None:
        """Return when the account may spend more; also when the store cannot be asked.

        Raises:
            BudgetExceeded: it has spent all of today's.
        """
        if not self._budget.nano:
            return
        until, spent = self._known.get(account, (0.0, None))
        if until <= time.monotonic():
            try:
                spent = await self._store.overspent(account, self._budget.nano)
            except TqError as error:
                logger.debug("no word on the budget: %s", error)
                return
            if len(self._known) >= _MOST_ACCOUNTS:
                self._known.clear()
            self._known[account] = (time.monotonic() + _BELIEVED, spent)
        if spent is not None:
            raise self._budget.exceeded(*spent)
