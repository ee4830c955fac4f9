"""Protected spans: what a translation must not touch is found, and hostile text costs linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.spans import map_unprotected, protected_spans, without_protected

PROTECTED = [
    "{x}", "{}", "{0}", "{user.name!r:>10.2f}", "{ name }", "{{x}}", "{{ user|upper }}", "${x}", "${a.b}", "#{x}",
    "%{x}",
    "%s", "%d", "%1$d", "%2$s", "%(count)d", "%(name)s", "%.2f", "%5.1f", "%-10s", "%ld", "%@", "%%", "%(value)r",
    "$t(common.save)", "{% if x %}", "{# note #}",
    "{n, plural, one {# item} other {# items}}",
    "{g, select, male {He {n, plural, one {a} other {b}}} other {They}}", "{d, date, short}",
    "<b>", "</b>", "<br/>", '<a href="https://x.example/?a=1&b=2" title="Not this">', "<!-- hidden words -->",
    "<script>var words = 'x';</script>", "<style>p { color: red }</style>", "<!DOCTYPE html>", "<%= name %>",
    "&amp;", "&#8217;", "&#x2019;",
    "https://example.com/path?q=words#frag", "ftp://example.com", "www.example.com/words", "mailto:someone@example.com",
    "some.one+tag@mail.example.com", "`code words`", r"\n",
]  # fmt: skip


@pytest.mark.parametrize("token", PROTECTED)
def test_protected(token: str) -> None:
    """Each kind of token is one span, or lies in one, alone and within a sentence."""
    for text in (token, f"Press {token} now", f"({token} )"):
        changed = map_unprotected(text, lambda part: "_" * len(part))
        assert changed == "_" * text.index(token) + token + "_" * (len(text) - text.index(token) - len(token))


@pytest.mark.parametrize(
    "text",
    ["100% sure", "a < b and c", "5 > 3", "R&D; x", "{not closed", "a @ b", "{n, plural, one x", "a{b and c}d", "50 %"],
)
def test_not_protected(text: str) -> None:
    """Prose that only looks like markup is translated."""
    assert list(protected_spans(text)) == []


def test_link_target() -> None:
    """Of a Markdown link the text is translated, the target is not."""
    assert map_unprotected("see [the docs](a/b.md)", str.upper) == "SEE [THE DOCS](a/b.md)"


def test_without_protected() -> None:
    """A removed token leaves a gap, so that its neighbours do not become one word."""
    assert without_protected("a{x}b<i>c") == "a b c"


@given(st.text(alphabet="{}<>%$#&;@`\\()[]!-.:/ anplurselct,tsd1|'\"\n") | st.text())
def test_spans_are_ordered_and_lossless(text: str) -> None:
    """Spans are not empty, do not overlap, stay inside, and mapping with the identity changes nothing."""
    position = 0
    for start, end in protected_spans(text):
        assert position <= start < end <= len(text)
        position = end
    assert map_unprotected(text, lambda part: part) == text


@pytest.mark.parametrize(
    "piece",
    ["{", "{n,plural,", "{{", "<", "<a ", "<!--", "<script ", "&a", "%(", "$t(", "${", "`", "`x", "a@", "a.a@a-", "](",
     "\\", "mailto:", "www.", "{ a", "a", " ", ".", "%1$", "</script"],
)  # fmt: skip
def test_hostile_text_is_linear(piece: str) -> None:
    """A quarter of a megabyte of unfinished tokens takes well under a second (quadratic would be minutes)."""
    text = piece * (2**18 // len(piece))
    began = time.perf_counter()
    assert map_unprotected(text, lambda part: part) == text
    assert time.perf_counter() - began < 10
