"""Spending: what a key may spend a day, and what is said when that is spent."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property

from tq.errors import BudgetExceeded, InvalidMessage
from tq.figures import Spend
from tq.messages import Submission, utc
from tq.prices import Prices, amount
from tq.records import NANO
from tq.settings import Settings


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
        """What a submit hears that comes too late.

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
            fix=f"submit again after {reset:%Y-%m-%d %H:%M} UTC (in {minutes // 60} h {minutes % 60} min), "
            "or raise TQ_BUDGET_PER_DAY; nothing was stored",
        )

    def complete(self, spend: Spend) -> Spend:
        """What was spent, with the currency and the budget."""
        currency = self.prices.currency if self._settings.prices else None
        return spend.model_copy(update={"currency": currency, "budget": self.nano / NANO or None})
