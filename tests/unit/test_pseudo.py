"""Pseudo-localisation: visibly not the source, longer, in brackets, with everything technical intact."""

from __future__ import annotations

import asyncio
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.providers import Prompt
from tq.providers.abilities import Abilities
from tq.providers.pseudo import PseudoProvider, pseudo_localise
from tq.spans import protected_spans

SENTENCES = [
    "Hello world",
    "Please enter a valid email address.",
    "The file could not be saved because the disk is full; free some space and try again.",
    "MAXIMUM LENGTH EXCEEDED",
]


def fold(text: str) -> str:
    """The letters without their accents."""
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))


@pytest.mark.parametrize("text", SENTENCES)
def test_readable_and_longer(text: str) -> None:
    """About 30 % longer, in brackets, no plain ASCII letter left, and the vowels can still be read."""
    result = pseudo_localise(text)
    assert result[0] == "["
    assert result[-1] == "]"
    assert 1.2 <= len(result) / len(text) <= 1.7
    assert not any(char.isascii() and char.isalpha() for char in result)
    plain = fold(result)
    for vowel in "aeiouAEIOU":
        assert plain.count(vowel) == 2 * text.count(vowel)


def test_exact() -> None:
    """One example in full: this is what a first user sees."""
    assert pseudo_localise("Hello, {name}!") == "[Ĥééļļöö, {name}!]"


@pytest.mark.parametrize(
    "text",
    ["こんにちは世界、元気ですか", "Привет, мир", "مرحبا بالعالم", "नमस्ते दुनिया", "你好，世界你好，世界", "123 456"],
)
def test_other_scripts(text: str) -> None:
    """Text without Latin letters keeps its letters and becomes longer."""
    result = pseudo_localise(text)
    assert result.startswith(f"[{text}")
    assert len(result) >= 1.25 * len(text)


@pytest.mark.parametrize(
    "token",
    ["{x}", "{{x}}", "%(x)s", "%s", "%1$d", "${x}", "$t(key.sub)", "<b>", '<a href="x" title="y">', "&nbsp;",
     "https://example.com/a?b=c", "me@example.com", "{n, plural, one {# file} other {# files}}", "\n", "\r\n", "\t"],
)  # fmt: skip
def test_tokens_survive(token: str) -> None:
    """Placeholders, tags, entities, URLs, addresses and line breaks come out as they went in."""
    result = pseudo_localise(f"Save {token} again")
    assert result.count(token) == 1
    assert result.startswith("[Šàáṽéé ")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_structure_is_kept(text: str) -> None:
    """For any text: same lines, same protected spans, same result every time."""
    result = pseudo_localise(text)
    assert result == pseudo_localise(text)
    assert result.count("\n") == text.count("\n")
    for start, end in protected_spans(text):
        assert text[start:end] in result


def test_provider() -> None:
    """The provider answers with the pseudo-localised prompt and counts no tokens."""
    completion = asyncio.run(PseudoProvider().complete(Prompt("ignored", "Hello", "gpt", None), Abilities()))
    assert completion.text == pseudo_localise("Hello")
    assert (completion.model, completion.prompt_tokens, completion.completion_tokens) == ("pseudo", 0, 0)
