"""Unwrapping of a model's answer: what the model put around it goes, what belongs to the text stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.providers.answer import unwrap

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


@given(st.text(), st.text())
def test_never_adds(answer: str, source: str) -> None:
    """The result is a part of the answer, up to the kind of its line ends."""
    text = unwrap(answer, source)
    assert text is None or text.replace("\r\n", "\n") in answer.replace("\r\n", "\n")


@given(st.text(alphabet="ab `~\"'«»“”\n<>/think", max_size=40))
def test_same_text_stays(text: str) -> None:
    """An answer that equals its source has no wrapper of its own: only outer white space goes."""
    assert unwrap(text, text) == text.strip(" \t\r\n")
