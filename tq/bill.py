"""The bill of one attempt: what its calls cost, whatever came of them."""

from __future__ import annotations

from tq.checkpoints import NOTHING, Spent
from tq.prices import Prices


class Bill:
    """Adds up the tokens of calls; ``prices`` None = none is known."""

    def __init__(self, prices: Prices | None = None) -> None:
        self._prices = prices
        self._open = NOTHING
        #: All tokens of the attempt.
        self.tokens = 0
        #: Whether the attempt has ended: what is added now, nobody books.
        self.closed = False
        #: Seconds that each call took which was answered, or waited for in vain.
        self.calls: list[float] = []

    def add(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """A call to ``model`` cost so many tokens."""
        if not prompt_tokens and not completion_tokens:
            return
        cost = self._prices.cost(model, prompt_tokens, completion_tokens) if self._prices else None
        self.put_back(Spent(prompt_tokens, completion_tokens, cost))
        self.tokens += prompt_tokens + completion_tokens

    def take(self) -> Spent:
        """What was not taken yet: it is booked by whoever takes it."""
        spent, self._open = self._open, NOTHING
        return spent

    def put_back(self, spent: Spent) -> None:
        """What was taken, and could not be booked."""
        known, cost = self._open.cost, spent.cost
        self._open = Spent(
            self._open.prompt_tokens + spent.prompt_tokens,
            self._open.completion_tokens + spent.completion_tokens,
            None if known is None or cost is None else known + cost,
        )

    def close(self) -> Spent:
        """What was not taken yet, at the attempt's end."""
        self.closed = True
        return self.take()
