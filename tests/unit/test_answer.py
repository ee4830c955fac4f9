"""Unwrapping of a model's answer: what the model put around it goes, what belongs to the text stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.providers.answer import delimited_answers, looks_delimited, unwrap

TABLE = [
    # answer, source -> text (None = nothing but reasoning)
    ("Bonjour", "Hello", "Bonjour"),
    ("  Bonjour\n\n", "Hello", "Bonjour"),
    ("\u00a0:", ":", "\u00a0:"),
    ("<think>Hm.</think>Bonjour", "Hello", "Bonjour"),
    ("\n<think>\nHm.\n</think>\n\nBonjour", "Hello", "Bonjour"),
    ("<THINKING>Hm.</THINKING>Bonjour", "Hello", "Bonjour"),
    ("<think></think>Bonjour", "Hello", "Bonjour"),
    ("<think>a</think><think>b</think>Bonjour", "Hello", "Bonjour"),
    ("Hm, let me see.</think>\nBonjour", "Hello", "Bonjour"),
    ("<think>Hm, let me see", "Hello", None),
    ("<think>a</think> <think>b", "Hello", None),
    ("<think>Bonjour</think>", "<think>Hello</think>", "<think>Bonjour</think>"),
    ("Fermez avec </think>", "Close with </think>", "Fermez avec </think>"),
    ("Le mot <think> est une balise", "The word think is a tag", "Le mot <think> est une balise"),
    ("```\nBonjour\n```", "Hello", "Bonjour"),
    ("```text\nBonjour\nle monde\n```", "Hello\nworld", "Bonjour\nle monde"),
    ("~~~\nBonjour\n~~~", "Hello", "Bonjour"),
    ("```\nx = 1\n```", "```\nx = 1\n```", "```\nx = 1\n```"),
    ("```\na\n```\ntexte\n```\nb\n```", "a text b", "```\na\n```\ntexte\n```\nb\n```"),
    ("```Bonjour```", "Hello", "```Bonjour```"),
    ('"Bonjour"', "Hello", "Bonjour"),
    ("“Bonjour”", "Hello", "Bonjour"),
    ("« Bonjour »", "Hello", "Bonjour"),
    ("«\u00a0Bonjour\u00a0»", "Hello", "Bonjour"),
    ("'Bonjour'", "Hello", "Bonjour"),
    ("「こんにちは」", "Hello", "こんにちは"),
    ('"Bonjour"', '"Hello"', '"Bonjour"'),
    ("« Bonjour »", '"Hello"', "« Bonjour »"),
    ('"Oui" ou "non"', "Yes or no", '"Oui" ou "non"'),
    ("'L'eau'", "Water", "'L'eau'"),
    ('"Bonjour', "Hello", '"Bonjour'),
    ('""', "Hello", '""'),
    ('```\n"Bonjour"\n```', "Hello", "Bonjour"),
    ("un\ndeux", "one\r\ntwo", "un\r\ndeux"),
    ("un\r\ndeux", "one\r\ntwo", "un\r\ndeux"),
    ("un\ndeux\ntrois", "one\r\ntwo\nthree", "un\ndeux\ntrois"),
    ("un\ndeux", "one two", "un\ndeux"),
]


@pytest.mark.parametrize(("answer", "source", "text"), TABLE)
def test_table(answer: str, source: str, text: str | None) -> None:
    """Each wrapper, alone and where the source has it too."""
    assert unwrap(answer, source) == text


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("=== a1b2 ===\nun\n\n=== c3d4 ===\ndeux", {"a1b2": "un", "c3d4": "deux"}),
        ("Sure!\n\n== a1b2 ==\r\nun\n=== c3d4 ===\n\ndeux\n\ntrois\n", {"a1b2": "un", "c3d4": "deux\n\ntrois"}),
        ("=== a1b2 ===\nun\n=== ffff ===\ndeux", {"a1b2": "un\n=== ffff ===\ndeux"}),
        ("=== a1b2 ===\nun\n=== a1b2 ===\ndeux\n=== c3d4 ===\ntrois", {"c3d4": "trois"}),
        ("=== a1b2 === un\n=== c3d4 ===", {"c3d4": ""}),
        ("un\ndeux", None),
        ("", None),
    ],
)
def test_plainer_form(answer: str, found: dict[str, str] | None) -> None:
    """Each text is below a line with its name; other lines are text; what is there twice counts as left out."""
    assert delimited_answers(answer, {"a1b2", "c3d4"}) == found


@given(st.lists(st.text(alphabet="ab1= \n\r", max_size=20).map(str.strip), min_size=1, max_size=5))
def test_plainer_form_returns_what_it_carries(texts: list[str]) -> None:
    """Whatever the texts are, unless they look like the form, they come out as they went in."""
    names = {f"a1b{n}": text for n, text in enumerate(texts) if not looks_delimited(text)}
    answer = "\n\n".join(f"=== {name} ===\n{text}" for name, text in names.items())
    assert delimited_answers(answer, names) == (names or None)


@given(st.text(), st.text())
def test_never_adds(answer: str, source: str) -> None:
    """The result is a part of the answer, up to the kind of its line ends."""
    text = unwrap(answer, source)
    assert text is None or text.replace("\r\n", "\n") in answer.replace("\r\n", "\n")


@given(st.text(alphabet="ab `~\"'«»“”\n<>/think", max_size=40))
def test_same_text_stays(text: str) -> None:
    """An answer that equals its source has no wrapper of its own: only outer white space goes."""
    assert unwrap(text, text) == text.strip(" \t\r\n")
