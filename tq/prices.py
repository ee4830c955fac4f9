"""What a translation costs: prices that the operator states, and what a text will come to. Pure but for reading a file.

tq has no list of prices: they change, and differ by contract; a wrong sum is worse than none. Without TQ_PRICES, or
for a model it does not name, a cost is None (unknown), never 0.

Money is whole nano-units, 1e-9 of the currency, rounded up: sums stay exact in Redis and JSON. A price stated for a
million tokens is that of a thousandth of it in nano-units for one: 2.5 a million is 2,500 nano a token.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NoReturn

from tq.errors import InvalidSettings
from tq.sizes import tokens

#: A higher price for a million tokens is a mistake (of the unit, most likely).
MOST: Final = 1_000_000
#: Tokens of the instructions that each request brings along.
INSTRUCTIONS: Final = 250

_NANO_PER_TOKEN: Final = 1000
_SETTING: Final = "TQ_PRICES"
_EXAMPLE: Final = '{"currency": "USD", "gpt-4o": {"prompt": 2.5, "completion": 10}, "gpt-4o*": {…}}'


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens, in the currency."""

    prompt: Decimal
    completion: Decimal


@dataclass(frozen=True)
class Prices:
    """Prices by the name of a model, or by a pattern of names (``gpt-4o*``); none at all unless stated."""

    by_name: Mapping[str, Price] = field(default_factory=dict)
    currency: str = "USD"

    @classmethod
    def load(cls, setting: str | None) -> Prices:
        """The prices that TQ_PRICES states: inline JSON, or the path of a JSON or TOML (``….toml``) file.

        An object of model name or pattern -> {"prompt": number, "completion": number}, both for a million tokens,
        and "currency" -> its name ("USD" if left out).

        Raises:
            InvalidSettings: it cannot be read, or an entry is not a price; both are named.
        """
        text = (setting or "").strip()
        if not text:
            return cls()
        if text.startswith("{"):
            return _checked(_parsed(text, _SETTING, is_toml=False), _SETTING)
        path = Path(text).expanduser()
        place = f"the file {path} ({_SETTING})"
        try:
            content = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
            _refuse(
                f"{place} cannot be read: {why}", "name a file that this process may read, or write the JSON inline"
            )
        return _checked(_parsed(content, place, is_toml=path.suffix.lower() == ".toml"), place)

    def find(self, model: str) -> Price | None:
        """The model's price: its own, else that of the longest pattern that fits; None when none does."""
        name = self.entry(model)
        return None if name is None else self.by_name[name]

    def entry(self, model: str) -> str | None:
        """The name or pattern that the model's price is under; None when it has none."""
        if model in self.by_name:
            return model
        return max((name for name in self.by_name if fnmatchcase(model, name)), key=len, default=None)

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> int | None:
        """Nano-units for so many tokens, rounded up; None when the model's price is unknown."""
        price = self.find(model)
        if price is None:
            return None
        nano = (price.prompt * prompt_tokens + price.completion * completion_tokens) * _NANO_PER_TOKEN
        return int(nano.to_integral_value(ROUND_CEILING))


def amount(nano: int) -> str:
    """Nano-units as they are shown, exact, at least two decimals: ``0.00123``, ``12.50``."""
    whole, rest = divmod(abs(nano), 10**9)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{decimals}"


def estimate(
    content: str,
    target_language: str,
    source_language: str | None = None,
    *,
    budget: int | None = None,
    extra: int = 0,
) -> tuple[int, int]:
    """About how many prompt and completion tokens a translation takes, without corrections or retries.

    Args:
        content: what is to be translated; white space alone is not sent, and takes none.
        target_language: BCP 47 tag.
        source_language: BCP 47 tag; None counts as English, which errs high.
        budget: the most tokens of one request's text (``tq.segments.split``); None = one request.
        extra: tokens that each request brings along besides the instructions: context, glossary.

    A model that reasons takes more completion tokens: how many, nobody knows before.
    """
    source = tokens(content.strip())
    if not source:
        return 0, 0
    calls = -(-source // budget) if budget else 1
    completion = source * _density(target_language) / _density(source_language or "en")
    return source + calls * (INSTRUCTIONS + extra), max(1, round(completion))


#: Tokens of a text in a script, for one of the same text in English: rounded up from the Universal Declaration of
#: Human Rights in o200k_base, the median of the script's languages; and of some languages by themselves.
_SCRIPTS: Final = {
    "Latn": 1.5, "Cyrl": 1.7, "Grek": 2.2, "Arab": 1.5, "Hebr": 1.45, "Hans": 1.15, "Hant": 1.2, "Jpan": 1.75,
    "Kore": 1.4, "Deva": 1.8, "Beng": 1.8, "Gujr": 1.8, "Mlym": 1.9, "Armn": 1.6, "Geor": 1.7, "Thai": 2.0, "Knda": 2.1,
    "Taml": 2.3, "Khmr": 3.3, "Mymr": 4.0, "Ethi": 5.4, "Laoo": 9.3,
}  # fmt: skip
_LANGUAGES: Final = {"en": 1.0, "pt": 1.2, "es": 1.25, "de": 1.3, "fr": 1.35, "nl": 1.4, "it": 1.45, "vi": 1.9}
_OTHERS: Final = 3.0


def _density(tag: str) -> float:
    import langcodes

    language = langcodes.Language.get(tag)
    script = language.maximize().script or ""
    if script == "Latn" and language.language in _LANGUAGES:
        return _LANGUAGES[language.language]
    return _SCRIPTS.get(script, _OTHERS)


def _parsed(text: str, place: str, *, is_toml: bool) -> dict[str, Any]:
    try:
        if is_toml:
            return tomllib.loads(text, parse_float=Decimal)
        value = json.loads(text, parse_float=Decimal, object_pairs_hook=_unique)
    except RecursionError:
        _refuse(f"{place} is nested too deeply", f"write it as {_EXAMPLE}")
    except ValueError as error:
        _refuse(f"{place} is not {'TOML' if is_toml else 'JSON'}: {error}", f"write it as {_EXAMPLE}")
    if not isinstance(value, dict):
        _refuse(f"{place} is not an object", f"write it as {_EXAMPLE}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ValueError(f'"{twice}" is there twice')
    return entries


def _checked(entries: dict[str, Any], place: str) -> Prices:
    currency = entries.pop("currency", "USD") if not isinstance(entries.get("currency"), dict) else "USD"
    if not isinstance(currency, str) or not 1 <= len(currency) <= 10 or not currency.isprintable() or " " in currency:
        _refuse(f'{place}: "currency" is not a short name', 'write it as "USD"')
    return Prices({name: _price(name, entry, place) for name, entry in entries.items()}, currency)


def _price(name: str, entry: object, place: str) -> Price:
    fix = f'write "{name}" as {{"prompt": 2.5, "completion": 10}}: what a million tokens cost'
    if not name or not isinstance(entry, dict) or set(entry) != {"prompt", "completion"}:
        _refuse(f'{place}: "{name}" is not an object of exactly "prompt" and "completion"', fix)
    for part, value in entry.items():
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            _refuse(f'{place}: "{part}" of "{name}" is not a number', fix)
        # Neither nan nor infinity is within the bounds.
        if not (Decimal(value).is_finite() and 0 <= value <= MOST):
            _refuse(f'{place}: "{part}" of "{name}" is not from 0 to {MOST:,}', fix)
    return Price(Decimal(entry["prompt"]), Decimal(entry["completion"]))


def _refuse(why: str, fix: str) -> NoReturn:
    raise InvalidSettings("the prices are not usable", why=why, fix=fix)
