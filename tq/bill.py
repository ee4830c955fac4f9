"""The bill of one attempt: what its calls cost, whatever came of them."""

from __future__ import annotations

from tq.checkpoints import Spent
from tq.prices import Prices


class Bill:
    """Adds up the tokens of calls; ``prices`` None = none is known."""

    def __init__(self, prices: Prices | None = None) -> None:
        self._prices = prices
        self._open = Spent()
        #: All tokens of the attempt.
        self.tokens = 0

    def add(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """A call to ``model`` cost so many tokens."""
        if not prompt_tokens and not completion_tokens:
            return
        cost = self._prices.cost(model, prompt_tokens, completion_tokens) if self._prices else None
        known = self._open.cost
        self._open = Spent(
            self._open.prompt_tokens + prompt_tokens,
            self._open.completion_tokens + completion_tokens,
            None if known is None or cost is None else known + cost,
        )
        self.tokens += prompt_tokens + completion_tokens

    def take(self) -> Spent:
        """What was not taken yet: it is booked by whoever takes it."""
        spent, self._open = self._open, Spent()
        return spent
