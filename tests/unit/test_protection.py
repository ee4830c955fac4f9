"""Tokens for what a model could spoil: all of it is hidden, and comes back whatever the model does with the tokens."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.protection import leftover_tokens, protect, restore, translatable

HIDDEN = [
    "%s", "%d", "%1$s", "%.2f", "%-10s", "%@", "%(name)s", "%(count)d", "%<cost>.2f", "%name%",
    "{}", "{0}", "{name}", "{price!r:>10.2f}", "{d, date, short}", "{{x}}", "{{ user|upper }}", "{{{raw}}}",
    "${x}", "#{x}", "%{x}", "$t(common.save)", "{% if x %}", "{# note #}", "<%= count %>",
    "`code words`", "``a `b` c``", "⟦7⟧", "⟦ 12 ⟧",
]  # fmt: skip
VISIBLE = [
    "<b>", '<a href="/x">', "https://example.com/{id}", "a@example.com", "[text](a/b.md)", "&amp;", r"\n", "100%", "%%",
    "100% sure", "az 50%-a", "50%ige", "100%d'accord", "%d. %B %Y", "{n, plural, one {{x} file} other {# files}}",
    "{g, select, male {He} other {They}}", "`link text <https://x.example>`_", ":ref:`Title`", "open `a' or `b'",
    "{a b}", "[[1]]", "【1】",
]  # fmt: skip


@pytest.mark.parametrize("placeholder", HIDDEN)
def test_hidden(placeholder: str) -> None:
    """Each kind of placeholder, and inline code, is a token as a whole."""
    protected = protect(f"Press {placeholder} now")
    assert protected.text == "Press ⟦1⟧ now"
    assert protected.originals == (placeholder,)


@pytest.mark.parametrize("text", VISIBLE)
def test_visible(text: str) -> None:
    """What a model has to see, to translate or to copy, is left alone."""
    assert protect(text).text == text


def test_order() -> None:
    """The tokens are numbered as they stand, also within tags and where the text has such a token itself."""
    protected = protect("⟦2⟧ {a} <a href='{{ u }}' title='%s'>{n, plural, other {⟦1⟧}}</a> https://x.example/⟦3⟧")
    assert protected.text == ("⟦1⟧ ⟦2⟧ <a href='⟦3⟧' title='⟦4⟧'>{n, plural, other {⟦5⟧}}</a> https://x.example/⟦6⟧")
    assert protected.originals == ("⟦2⟧", "{a}", "{{ u }}", "%s", "⟦1⟧", "⟦3⟧")


RESTORED = [
    # source, output -> restored
    ("Hi {name}, {n} new", "⟦2⟧ neu, ⟦1⟧", "{n} neu, {name}"),
    ("Hi {name}", "Salut ⟦ 1 ⟧", "Salut {name}"),
    ("Hi {name}", "Salut ⟦1⟧ et ⟦1⟧", "Salut {name} et {name}"),
    ("Hi {name}", "Salut", "Salut"),
    ("Hi {name}", "Salut ⟦2⟧", "Salut ⟦2⟧"),
    ("Hi {name}", "Salut ⟦0⟧", "Salut ⟦0⟧"),
    ("Hi {name}", "你好【1】", "你好{name}"),
    ("Hi {name}", "Salut [[1]]", "Salut {name}"),
    ("Hi {name}", "Salut ［［１］］", "Salut {name}"),
    ("Hi {name}", "مرحبا ⟦١⟧", "مرحبا {name}"),
    ("Hi {name}", "Salut [1]", "Salut {name}"),
    ("Hi {name}", "Salut ⟦1⟧ [1]", "Salut {name} [1]"),
    ("Hi {name} [1]", "Salut [[1]] 【1】", "Salut [[1]] 【1】"),
    ("Hi {name} 【1】", "Salut ⟦1⟧ 【1】", "Salut {name} 【1】"),
    ("Hi, ⟦1⟧ and {x}", "⟦2⟧, ⟦1⟧", "{x}, ⟦1⟧"),
    ("Hi", "Salut ⟦1⟧", "Salut ⟦1⟧"),
    ("%s of %s", "⟦1⟧ de ⟦2⟧", "%s de %s"),
    ("%s of %s", "⟦2⟧ 中的 ⟦1⟧", "⟦2⟧ 中的 ⟦1⟧"),
    ("%s of %s", "【2】中的【1】", "【2】中的【1】"),
    ("{} of {} for {x}", "⟦1⟧ ⟦1⟧ ⟦3⟧", "⟦1⟧ ⟦1⟧ {x}"),
    ("%s of %s", "de ⟦2⟧", "de %s"),
    ("%1$s of %2$s", "⟦2⟧ 中的 ⟦1⟧", "%2$s 中的 %1$s"),
]


@pytest.mark.parametrize(("source", "output", "expected"), RESTORED)
def test_restored(source: str, output: str, expected: str) -> None:
    """Known tokens are replaced in any order and spelling; what would be a guess is left for the rules to find."""
    assert restore(output, protect(source)) == expected


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        ("Hi {name}", "Salut ⟦2⟧", ["⟦2⟧"]),
        ("Hi {name}", "Salut ⟦1", ["⟦"]),
        ("Hi", "Salut ⟦ 1 ⟧⟧", ["⟦1⟧", "⟧"]),
        ("⟦7⟧", "⟦ 7 ⟧", []),
        ("⟦7⟧", "⟦7⟧ ⟦7⟧", ["⟦7⟧"]),
        ("Hi {name}", "Salut {name}", []),
    ],
)
def test_leftover(source: str, output: str, expected: list[str]) -> None:
    """Tokens and halves of them that the source does not have are found."""
    assert leftover_tokens(source, output) == expected


@pytest.mark.parametrize(
    "text",
    ["Hello", "42", "Hi {x}", "é", "日本", "&eacute;", "&#26085;", '<img alt="A cat">', "{n, plural, other {# files}}",
     "<![CDATA[Hello]]>", "[text](a.md)", "x<br>", "`a` b", ":", "?!", '<input PLACEHOLDER = "Name">'],
)  # fmt: skip
def test_translatable(text: str) -> None:
    """A letter or a digit for people means a call, wherever it stands."""
    assert translatable(text)


@pytest.mark.parametrize(
    "text",
    ["", " \n", "…", "—", "🙂", "{x}", "%s: %s", "<b>{x}</b>", "https://example.com", "a@example.com", "`code`",
     "<br/>", "&nbsp;&copy;", '<img src="cat.png" alt="">', '<img alt="{{ cat }}">', "<script>var x = 'y';</script>",
     "{% if x %}{{ y }}{% endif %}", "<!-- words -->", "%d.%m.%Y", "⟦1⟧", r"\n", "%%"],
)  # fmt: skip
def test_not_translatable(text: str) -> None:
    """Nothing but protected spans, markup, white space and punctuation is not worth a call."""
    assert not translatable(text)


_PIECES = st.sampled_from(
    ["⟦", "⟧", "⟦1⟧", "⟦ 2 ⟧", "1", "2", " ", "[1]", "[[2]]", "【1】", "{x}", "{}", "%s", "%", "%%", "`", "`x`",
     "<a b='", "'>", "{n, plural, other {", "}", "{", "https://x.y/", "](", ")", "a@b.c", "<!--", "-->", "١", "\\n"]
)  # fmt: skip


@given(st.lists(_PIECES).map("".join) | st.text())
def test_lossless(text: str) -> None:
    """A text that comes back as it was sent is the source again, whatever is in it."""
    protected = protect(text)
    assert restore(protected.text, protected) == text
    assert leftover_tokens(text, text) == []


@given(st.lists(_PIECES).map("".join), st.lists(_PIECES).map("".join))
def test_never_raises(source: str, output: str) -> None:
    """Whatever a model answers, a text comes out."""
    assert isinstance(restore(output, protect(source)), str)
    translatable(output)


@pytest.mark.parametrize("piece", ["{}", "⟦1⟧", "⟦1", "[[1", "`x", "<a ='", "{n,plural,", '<a alt="', "&a", "%"])
def test_hostile_text_is_linear(piece: str) -> None:
    """An eighth of a megabyte of unfinished tokens takes well under a second (quadratic would be minutes)."""
    text = piece * (2**17 // len(piece))
    began = time.process_time()
    protected = protect(text)
    assert restore(protected.text, protected) == text
    restore(text, protect("{x}"))
    leftover_tokens("", text)
    translatable(text)
    assert time.process_time() - began < 4
