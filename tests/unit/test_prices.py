"""Prices: read from JSON or TOML, found by name or pattern, exact; unknown is never 0."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.errors import InvalidSettings
from tq.prices import INSTRUCTIONS, MOST, Price, Prices, amount, estimate
from tq.sizes import tokens

INLINE = """{"gpt-4o": {"prompt": 2.5, "completion": 10}, "gpt-4o*": {"prompt": 0.15, "completion": 0.6},
  "gpt*": {"prompt": 1, "completion": 1}, "local/*": {"prompt": 0, "completion": 0}}"""
TOML = """
currency = "EUR"
[gpt-4o]
prompt = 2.5
completion = 10
["gpt-4o*"]
prompt = 0.15
completion = 0.6
["gpt*"]
prompt = 1
completion = 1
["local/*"]
prompt = 0
completion = 0
"""


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("gpt-4o", 1000 * 2500 + 100 * 10_000),
        ("gpt-4o-mini", 1000 * 150 + 100 * 600),
        ("gpt-4", 1000 * 1000 + 100 * 1000),
        ("local/llama", 0),
        ("GPT-4o", None),
        ("llama", None),
        ("", None),
    ],
)
def test_cost(model: str, cost: int | None) -> None:
    """The name itself goes first, then the longest pattern; a model nobody named has no price, which is not 0."""
    assert Prices.load(INLINE).cost(model, 1000, 100) == cost


def test_the_order_of_entries_does_not_matter() -> None:
    """The longest pattern wins wherever it stands."""
    first, second = Price(Decimal(1), Decimal(1)), Price(Decimal(2), Decimal(2))
    for entries in ({"a*": first, "ab*": second}, {"ab*": second, "a*": first}):
        assert Prices(entries).find("abc") == second


@pytest.mark.parametrize("setting", [None, "", "  ", "{}"])
def test_no_prices(setting: str | None) -> None:
    """Without prices every cost is unknown."""
    assert Prices.load(setting).cost("gpt-4o", 1, 1) is None


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JSON file, a TOML file and the setting itself say the same; the currency is optional; ~ is the home."""
    (tmp_path / "prices.json").write_text("\ufeff" + INLINE, encoding="utf-8")
    (tmp_path / "prices.TOML").write_text(TOML)
    monkeypatch.setenv("HOME", str(tmp_path))
    inline = Prices.load(INLINE)
    assert inline.currency == "USD"
    assert Prices.load(str(tmp_path / "prices.json")) == inline
    assert Prices.load("~/prices.TOML") == Prices(inline.by_name, "EUR")


def test_a_model_called_currency() -> None:
    """An object named currency is a model's price."""
    prices = Prices.load('{"currency": {"prompt": 1, "completion": 2}}')
    assert (prices.currency, prices.cost("currency", 1, 0)) == ("USD", 1000)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("{", "not JSON"),
        ('{"a": {"prompt": 1, "completion": 1}} x', "not JSON"),
        ("{" * 100_000, "not JSON"),
        ('{"a":' + "[" * 100_000, "nested"),
        ('{"a": {"prompt": 1, "completion": 1}, "a": {"prompt": 2, "completion": 1}}', '"a" is there twice'),
        ('{"a": {"prompt": 1, "prompt": 1, "completion": 1}}', '"prompt" is there twice'),
        ('{"a": 3}', '"a" is not an object'),
        ('{"a": {"prompt": 1}}', '"a" is not an object of exactly'),
        ('{"a": {"prompt": 1, "completion": 1, "cached": 1}}', '"a" is not an object of exactly'),
        ('{"a": {"prompt": 1, "output": 1}}', '"a" is not an object of exactly'),
        ('{"": {"prompt": 1, "completion": 1}}', '"" is not an object'),
        ('{"a": {"prompt": "1", "completion": 1}}', '"prompt" of "a" is not a number'),
        ('{"a": {"prompt": true, "completion": 1}}', '"prompt" of "a" is not a number'),
        ('{"a": {"prompt": 1, "completion": null}}', '"completion" of "a" is not a number'),
        ('{"a": {"prompt": -0.1, "completion": 1}}', '"prompt" of "a" is not from 0'),
        ('{"a": {"prompt": NaN, "completion": 1}}', '"prompt" of "a" is not from 0'),
        ('{"a": {"prompt": 1, "completion": Infinity}}', '"completion" of "a" is not from 0'),
        ('{"a": {"prompt": 1e999999999, "completion": 1}}', '"prompt" of "a" is not from 0'),
        ('{"a": {"prompt": 1000001, "completion": 1}}', '"prompt" of "a" is not from 0'),
        ('{"currency": 3}', '"currency"'),
        ('{"currency": ""}', '"currency"'),
        ('{"currency": "US dollars, please"}', '"currency"'),
    ],
)
def test_refused(setting: str, says: str) -> None:
    """What is wrong is said with the setting's and the entry's name, and with what mends it."""
    with pytest.raises(InvalidSettings) as caught:
        Prices.load(setting)
    assert "TQ_PRICES" in caught.value.why
    assert says in caught.value.why
    assert caught.value.fix
    assert len(caught.value.why) < 200


def test_refused_files(tmp_path: Path) -> None:
    """A file that is missing, no text, no TOML or not JSON is named, and why it does not do."""
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "bad.toml").write_text("a = {")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "entry.toml").write_text("[m]\nprompt = inf\ncompletion = 1\n")
    for name, says in {
        "missing.json": "No such file",
        "binary.json": "UTF-8",
        "bad.toml": "not TOML",
        "list.json": "not an object",
        "entry.toml": '"prompt" of "m"',
        "": "directory",
        "x" * 300: "too long",
        "nul\0": "read",
    }.items():
        with pytest.raises(InvalidSettings) as caught:
            Prices.load(str(tmp_path / name))
        assert says in caught.value.why
        assert str(tmp_path / name) in caught.value.why


PRICES = st.decimals(0, MOST, allow_nan=False, allow_infinity=False, places=6)


@given(PRICES, PRICES, st.integers(0, 10**12), st.integers(0, 10**12))
def test_cost_is_exact(prompt: Decimal, completion: Decimal, asked: int, answered: int) -> None:
    """A cost is that of the tokens to the nano-unit, rounded up, and 0 only where nothing is to pay."""
    exact = (Fraction(prompt) * asked + Fraction(completion) * answered) * 1000
    assert Prices({"m": Price(prompt, completion)}).cost("m", asked, answered) == ceil(exact)


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (1_230_000, "0.00123"),
        (12_500_000_000, "12.50"),
        (10**12, "1000.00"),
        (-5, "-0.000000005"),
    ],
)
def test_amount(nano: int, shown: str) -> None:
    """All decimals that count, and at least two."""
    assert amount(nano) == shown


@given(st.integers(-(10**20), 10**20))
def test_amount_is_exact(nano: int) -> None:
    """What is shown is the amount."""
    assert Decimal(amount(nano)).scaleb(9) == nano


SOURCE = "All human beings are born free and equal in dignity and rights. " * 10


def test_estimate() -> None:
    """The prompt is the instructions and the text, each request's; the answer grows with the script."""
    prompt, french = estimate(SOURCE, "fr", "en")
    assert prompt == INSTRUCTIONS + tokens(SOURCE.strip())
    by_language = [estimate(SOURCE, to, "en")[1] for to in ("en", "zh", "fr", "ru", "el", "lo")]
    assert by_language == sorted(by_language)
    assert french > by_language[0] == tokens(SOURCE.strip())
    assert estimate(SOURCE, "fr") == (prompt, french)
    assert estimate(SOURCE, "en", "ru")[1] < by_language[0] < estimate(SOURCE, "ru", "en")[1]
    assert estimate(SOURCE, "sr-Latn")[1] < estimate(SOURCE, "sr")[1]
    assert estimate(SOURCE, "fr", extra=40)[0] == prompt + 40


def test_estimate_of_a_long_text() -> None:
    """Each piece of a long text brings its own instructions."""
    size = tokens(SOURCE.strip())
    assert estimate(SOURCE, "fr", budget=size)[0] == size + INSTRUCTIONS
    assert estimate(SOURCE, "fr", budget=size - 1, extra=7)[0] == size + 2 * (INSTRUCTIONS + 7)


@pytest.mark.parametrize("content", ["", " \n\t"])
def test_estimate_of_nothing(content: str) -> None:
    """Blank texts are not sent."""
    assert estimate(content, "fr") == (0, 0)


@given(st.text(min_size=1), st.sampled_from(["fr", "zh-Hant", "ja", "sr-Latn", "x-klingon", "mul", "tlh"]))
def test_estimate_is_never_nothing(content: str, target: str) -> None:
    """Whatever is sent takes tokens both ways, into any language."""
    prompt, completion = estimate(content, target)
    assert (prompt > INSTRUCTIONS and completion >= 1) or not content.strip()
