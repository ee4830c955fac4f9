"""The spans of a text that a translation must leave as they are: placeholders, markup, code, URLs, addresses.

Both the pseudo provider (which must not touch them) and the checks (which must not count them as
words) read them from here. Every pattern is bounded or anchored, so that hostile text costs linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      (?P<icu> \{ \s{0,4} \w{1,64} \s{0,4} , \s{0,4}
          (?:plural|selectordinal|select|number|date|time|spellout|ordinal|duration|list) \b )  # up to its own brace
    | <!-- (?: (?!<!--) . )*? -->
    | <(?P<raw>script|style)\b (?: (?! <(?:script|style)\b ) . )*? </(?P=raw)\s{0,8}>
    | </? [A-Za-z] [^<>]{0,4000} >                          # HTML and XML tags
    | <[!?%] [^<>]{0,4000} >                                # doctype, processing instruction, ERB
    | & (?: \# (?: \d{1,7} | [xX][0-9a-fA-F]{1,6} ) | [A-Za-z]\w{1,31} ) ;
    | \{\{ [^{}]{0,400} \}\}                                # Jinja, Handlebars, i18next
    | \{% [^{}]{0,400} %\} | \{\# [^{}]{0,400} \#\}         # Django and Jinja blocks and comments
    | [$\#%] \{ [^{}\n]{0,200} \}                           # ${shell}, #{ruby}, %{ruby}
    | \{ [ ]? [^\s{}]{0,100} [ ]? \}                        # {}, {0}, {name}, {price!r:>10.2f}
    | \$t\( [^()\n]{0,200} \)                               # i18next nesting
    | % (?: \d{1,2}\$ | \( [^()\n]{1,64} \) )? [-+0\#]{0,4} (?:\d{1,4}|\*)? (?: \.(?:\d{1,4}|\*)? )?
        (?:hh|h|ll|l|L|q|j|z|t)? [@%diouxXeEfFgGaAcCsSprn]  # printf, without the space flag: "100% sure"
    | (?:https?|ftp|wss?|file):// [^\s<>"']+
    | (?<!\w) (?: mailto:|www\. ) [^\s<>"']+
    | (?<![\w.+-]) [\w.+-]{1,64} @ [\w-]{1,63} (?: \.[\w-]{1,63} )+
    | ` [^`\n]{1,400} `                                     # Markdown code
    | \]\( [^()\s]{1,2000} \)                               # target of a Markdown link
    | \\ [nrt"\\]                                           # escapes of string files
    """,
    re.VERBOSE | re.DOTALL,
)


def protected_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each protected span, in order, never overlapping.

    An ICU argument (``{count, plural, one {# file} other {# files}}``) is one span with all it contains.
    """
    position = 0
    closing: dict[int, int] | None = None
    while match := _TOKEN.search(text, position):
        start, position = match.span()
        if match["icu"] is not None:
            if closing is None:
                closing = _closing_braces(text)
            if start not in closing:
                position = start + 1
                continue
            position = closing[start]
        yield start, position


def map_unprotected(text: str, change: Callable[[str], str]) -> str:
    """``text`` with ``change`` applied to what lies between the protected spans."""
    parts: list[str] = []
    position = 0
    for start, end in protected_spans(text):
        parts += (change(text[position:start]), text[start:end])
        position = end
    parts.append(change(text[position:]))
    return "".join(parts)


def without_protected(text: str) -> str:
    """``text`` with a space in place of each protected span."""
    parts: list[str] = []
    position = 0
    for start, end in protected_spans(text):
        parts.append(text[position:start])
        position = end
    parts.append(text[position:])
    return " ".join(parts)


def _closing_braces(text: str) -> dict[int, int]:
    """Where each ``{`` that is closed opens -> just behind its ``}``; one pass, however deeply they nest."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in re.finditer(r"[{}]", text):
        if match[0] == "{":
            opened.append(match.start())
        elif opened:
            closing[opened.pop()] = match.end()
    return closing
