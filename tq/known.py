"""Models that the operator has named. Callers name any: a figure that is kept for each would never end. Pure."""

from __future__ import annotations

from functools import cached_property

from tq.prices import Prices
from tq.settings import Settings
from tq.tallies import OTHER


class KnownModels:
    """TQ_MODEL, TQ_FALLBACK_MODELS, and those of TQ_PRICES.

    Args:
        settings: which name them.
        prices: those of the settings, which are read at first use when None.
    """

    def __init__(self, settings: Settings, prices: Prices | None = None) -> None:
        self._settings = settings
        self._given = prices

    @cached_property
    def _prices(self) -> Prices:
        return Prices.load(self._settings.prices) if self._given is None else self._given

    @cached_property
    def names(self) -> list[str]:
        """The names themselves, those that are asked most first; patterns of TQ_PRICES are among them.

        Raises:
            InvalidSettings: the prices cannot be read.
        """
        return list(dict.fromkeys([*self._settings.models_of(None, ()), *self._prices.by_name]))

    def label(self, model: str) -> str:
        """A model in figures: its name, the pattern that its price is under, or ``other``.

        Raises:
            InvalidSettings: the prices cannot be read.
        """
        return model if model in self.names else self._prices.entry(model) or OTHER
