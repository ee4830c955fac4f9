"""The checks: those of the form and the echo, each alone, and that all violations are reported at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.validation import USABLE_RULES, Pair, Violation, violations
from tq.validation.form import not_empty, storable
from tq.validation.language import not_same_as_source

RULES = (not_empty, storable, not_same_as_source)


def found(
    source: str, output: str, languages: tuple[str | None, str] = ("en", "fr"), *, corrected: bool = False
) -> list[tuple[str, str]]:
    pair = Pair(source, output, *languages, corrected=corrected)
    return [(violation.severity, violation.message) for violation in violations(pair, RULES)]


@pytest.mark.parametrize("output", ["", " ", "\n\t", "\u3000"])
def test_empty(output: str) -> None:
    """An answer without text is an error, whatever white space it is made of, also the second time."""
    assert found("Hello", output) == [("error", "empty")]
    assert found("Hello", output, corrected=True) == [("error", "empty")]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("Bon\x00jour", "contains NUL"),
        ("Bon\ud800jour", "contains lone surrogates"),
        ("\udfff", "contains lone surrogates"),
    ],
)
def test_not_storable(output: str, message: str) -> None:
    """NUL and lone surrogates are errors."""
    assert found("Hello", output) == [("error", message)]


def test_astral_characters_are_fine() -> None:
    """A character outside the BMP is not a surrogate."""
    assert found("Hello", "Bonjour 😀") == []


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("Hello", "Hello"),
        ("Hello world", "Hello  world"),
        ("Hello {name}", "Hello {nom}"),
        ("Open https://a.example", "Open https://b.example"),
        ("<b>Hello</b>", "<i>Hello</i>"),
        ("Go to Paris", "Go to Paris"),
        ("Добрый день", "Добрый день"),
        ("今日は良い天気です", "今日は良い天気です"),
    ],
)
def test_same_as_source(source: str, output: str) -> None:
    """Words that did not change are an error at first, and a warning when the model was asked twice."""
    assert found(source, output) == [("error", "same as source")]
    assert found(source, output, corrected=True) == [("warning", "same as source")]


@pytest.mark.parametrize(
    "text", ["42", "OK", "{name}", "https://example.com/hello", "<br>", "a@b.example", "…", "%(count)d %s", "IPv4"]
)
def test_nothing_to_translate(text: str) -> None:
    """Where no ordinary word of three letters remains, the same text is right."""
    assert found(text, text) == []


@pytest.mark.parametrize(
    ("languages", "reported"),
    [
        (("en", "fr"), True),
        ((None, "fr"), True),
        (("en-GB", "en-US"), False),
        (("pt", "pt-BR"), False),
        (("zh-Hans", "zh-Hant"), False),
        (("iw", "he"), False),
        (("EN", "en"), False),
    ],
)
def test_variants_of_one_language(languages: tuple[str | None, str], *, reported: bool) -> None:
    """Between variants of one language an unchanged text is right; an unknown source is not a variant."""
    assert bool(found("Hello world", "Hello world", languages)) is reported


@pytest.mark.parametrize(("source", "output"), [("Hello", "Bonjour"), ("Table of contents", "Table des matières")])
def test_good_translations(source: str, output: str) -> None:
    """A translation is not complained about by any rule, even when it shares words."""
    assert violations(Pair(source, output, "en", "fr")) == []


def test_all_are_reported() -> None:
    """One answer that breaks several rules gets all their violations, in the order of the rules."""
    text = "Please read this whole report"
    pair = Pair(text, f"\x00{text}\ud800", "en", "fr")
    assert violations(pair, RULES) == [
        Violation("storable", "error", "contains NUL"),
        Violation("storable", "error", "contains lone surrogates"),
        Violation("not-same-as-source", "error", "same as source"),
    ]


def test_choice_of_rules() -> None:
    """Only the rules that were asked for are applied."""
    assert violations(Pair("Hello", "Hello", "en", "fr"), USABLE_RULES) == []


@given(st.text(), st.text(), st.sampled_from([None, "en", "fr", "zh-Hant"]), st.sampled_from(["fr", "ja", "zh"]))
def test_any_text_can_be_judged(source: str, output: str, source_language: str | None, target_language: str) -> None:
    """No text makes a rule raise, and no message, which may be logged, quotes it."""
    mark = "qzxqzx"
    pair = Pair(f"{mark} {source} {mark}", f"{mark} {output} {mark}", source_language, target_language)
    for violation in violations(pair):
        assert mark not in violation.message
        assert len(violation.detail) <= 200
