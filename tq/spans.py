"""The spans of a text that a translation must leave as they are: placeholders, markup, code, URLs, addresses.

The pseudo provider (which must not touch them), the protection of what a model could spoil, and the checks
read them from here. Every pattern is bounded or anchored, so that hostile text costs linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple, cast

Kind = Literal[
    "placeholder",  # stands for a value, or is an instruction of a template: {name}, %s, {% if x %}
    "choice",  # ICU argument with text inside: {n, plural, one {# file} other {# files}}
    "tag", "markup",  # HTML or XML: tags; comments, scripts, declarations, markers of CDATA
    "entity", "code", "link", "url", "email", "escape",  # &amp; `x` ](target) https://… a@b.c \n
    "percent", "date",  # %%; directives of strftime, which a translation may put in another order
]  # fmt: skip

#: Attributes whose value is text for people.
TRANSLATABLE_ATTRIBUTES: Final = frozenset(
    {"abbr", "alt", "content", "label", "placeholder", "summary", "title"}
    | {f"aria-{name}" for name in ("description", "label", "placeholder", "roledescription", "valuetext")}
)

# Python's, C's and Ruby's; the flag "space" aside, as "100% sure" is far more frequent.
_FLAGS: Final = r"[-+0\#]{0,4}"
_WIDTH: Final = r"(?:\d{1,4}|\*)? (?: \.(?:\d{1,4}|\*)? )? (?:hh|h|ll|l|L|q|j|z|t)?"
_PLACEHOLDER_PATTERN: Final = rf"""
      (?P<percent> %% )
    | \{{\{{\{{ [^{{}}]{{0,400}} \}}\}}\}} | \{{\{{ [^{{}}]{{0,400}} \}}\}}           # Jinja, Handlebars, i18next
    | \{{% [^{{}}]{{0,400}} %\}} | \{{\# [^{{}}]{{0,400}} \#\}}         # Django and Jinja blocks and comments
    | <% [^<>]{{0,4000}} %>                                 # ERB, EJS
    | [$\#%] \{{ [^{{}}\n]{{0,200}} \}}                         # ${{shell}}, #{{ruby}}, %{{ruby}}
    | \{{ [ ]? [^\s{{}}]{{0,100}} [ ]? \}}                      # {{}}, {{0}}, {{name}}, {{price!r:>10.2f}}
    | \$t\( [^()\n]{{0,200}} \)                             # i18next nesting
    | ⟦ \s{{0,4}} \d{{1,6}} \s{{0,4}} ⟧                         # looks like the tokens of tq.protection
    | % [A-Za-z_] \w{{1,40}} % (?! [\w$@(%<] | \.\d )        # Symfony's %name%
    | % (?: \d{{1,2}}\$ | \( [^()\n]{{1,64}} \) | <\w{{1,64}}> ) {_FLAGS} {_WIDTH} [@diouxXeEfFgGaAcCsSprn]
    | (?P<bare>
          # Rare conversions only at a word's end; behind a digit none that could be "50%-os" or "100%d'accord".
          (?<!\d) % {_FLAGS} {_WIDTH} (?: [@dsuxXfF] | [ioeEgGaAcCSprn] (?![^\W\d_]) )
        | (?<=\d) % [@ds] (?! [^\W_] | ['’] )
      )
"""
_PLACEHOLDER: Final = re.compile(_PLACEHOLDER_PATTERN, re.VERBOSE)
# What a token can start with is looked at first: most characters of most texts start none.
_TOKEN: Final = re.compile(
    rf"""
    (?=[{{<&$\#%⟦`\\\]]) (?:
      (?P<icu> \{{ \s{{0,4}} \w{{1,64}} \s{{0,4}} , \s{{0,4}} (?:
          (?P<branches> plural|selectordinal|select )
        | number|date|time|spellout|ordinal|duration|list ) \b )  # up to its own brace
    | (?P<markup>
          <!-- (?: (?!<!--) . )*? -->
        | <(?P<raw>script|style)\b (?: (?! <(?:script|style)\b ) . )*? </(?P=raw)\s{{0,8}}>
        | <!\[CDATA\[ | \]\]>
        | <[!?] [^<>]{{0,4000}} >                             # doctype, processing instruction
      )
    | (?P<tag>
          </? [A-Za-z] (?> =\s{{0,4}}"[^"<]{{0,4000}}" | =\s{{0,4}}'[^'<]{{0,4000}}' | [^<>] ){{0,4000}}+ >
        | </? \d{{1,3}} [ ]? /? >                             # <0>, </0>, <1/>: elements of React components
      )
    | (?P<entity> & (?: \# (?: \d{{1,7}} | [xX][0-9a-fA-F]{{1,6}} ) | [A-Za-z]\w{{1,31}} ) ; )
    | (?P<placeholder> {_PLACEHOLDER_PATTERN} )
    | (?P<date> % [-_^]? [YmBHMbyjIZ] (?![A-Za-z]) )
    # Not reStructuredText's :role:`text` and `link text <target>`_, nor the `quotes' of GNU.
    | (?P<code>
          (?<![:`]) `` (?!`) [^`\n]{{1,200}}+ (?: `[^`\n]{{1,200}}+ ){{0,4}}+ `` (?![`_])
        | (?<!:) ` (?=\S) (?! __?(?:[^\w`]|\Z) ) [^`\n]{{1,400}}+ (?<!\s) ` (?!_)
      )
    | (?P<link> \]\( [^()\s]{{1,2000}} \) )                   # target of a Markdown link
    | (?P<escape> \\ [nrt"\\] )                             # of string files
    )
    | (?=[hfwm]) (?P<url>
          (?:https?|ftp|wss?|file):// (?> \{{\{{[^{{}}]{{0,400}}\}}\}} | \{{%[^{{}}]{{0,400}}%\}} | [^\s<>"'] )++
        | (?<!\w) (?: mailto:|www\. ) [^\s<>"']+
      )
    | (?P<email> (?<![\w.+-]) [\w.+-]{{1,64}} @ [\w-]{{1,63}} (?: \.[\w-]{{1,63}} )+ )
    """,
    re.VERBOSE | re.DOTALL,
)
#: Without one of these there is no token.
_ANY: Final = re.compile(r"[{<&$#%⟦`\\\]@]|://|mailto:|www\.")
#: A directive that only strftime has: with it, "%d" and "%p" are no placeholders for values either.
_STRFTIME: Final = re.compile(r"(?<![\d%])%[-_^]?[YmBHMbyjIZ](?![A-Za-z])")
_UNNUMBERED: Final = re.compile(r"%(?![%{(<])[^$]*\Z|\{[:!][^{}]*\}\Z|\{\}\Z")
_PERCENT_ENCODED: Final = re.compile(r"%[0-9a-fA-F]{2}")


class Span(NamedTuple):
    """``text[start:end]``, and what it is."""

    start: int
    end: int
    kind: Kind


def spans(text: str, start: int = 0, stop: int | None = None) -> Iterator[Span]:
    """Each span of ``text[start:stop]`` to leave as it is, in order, never overlapping.

    An ICU argument (``{count, plural, one {# file} other {# files}}``) is one span with all it contains,
    and so is a tag.
    """
    stop = len(text) if stop is None else stop
    if _ANY.search(text, start, stop) is None:
        return
    dates = _STRFTIME.search(text, start, stop) is not None
    closing: dict[int, int] | None = None
    position = start
    while match := _TOKEN.search(text, position, stop):
        start, position = match.span()
        if match["icu"] is None:
            yield Span(start, position, _kind(match, dates=dates))
            continue
        if closing is None:
            closing = _closing_braces(text, start, stop)
        if start in closing:
            position = closing[start]
            yield Span(start, position, "placeholder" if match["branches"] is None else "choice")
        else:
            position = start + 1


def placeholders(text: str) -> Iterator[str]:
    """Each placeholder, in order, wherever it stands: in a tag, a URL, in code; those within ICU choices aside."""
    for span in spans(text):
        if span.kind == "placeholder":
            yield text[span.start : span.end]
        elif span.kind == "tag":
            yield from (text[start:end] for start, end, kind in spans(text, span.start + 1, span.end)
                        if kind == "placeholder")  # fmt: skip
        elif span.kind in ("url", "code", "link", "markup"):
            for match in _PLACEHOLDER.finditer(text, span.start, span.end):
                encoded = span.kind in ("url", "link") and _PERCENT_ENCODED.match(match[0])
                if match["percent"] is None and not encoded:
                    yield match[0]


def is_unnumbered(placeholder: str) -> bool:
    """Whether it takes the next argument, whichever that is: ``%s`` and ``{}``, but not ``%1$s``, ``{0}``, ``{x}``."""
    return _UNNUMBERED.match(placeholder) is not None


def protected_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each span to leave as it is, in order, never overlapping."""
    return ((span.start, span.end) for span in spans(text))


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
    if _ANY.search(text) is None:
        return text
    parts: list[str] = []
    position = 0
    for start, end in protected_spans(text):
        parts.append(text[position:start])
        position = end
    parts.append(text[position:])
    return " ".join(parts)


def _kind(match: re.Match[str], *, dates: bool) -> Kind:
    if match["percent"] is not None:
        return "percent"
    if match["bare"] is not None and dates:
        return "date"
    # Of nested groups the outer one is the last to close.
    return cast("Kind", match.lastgroup)


def _closing_braces(text: str, start: int, stop: int) -> dict[int, int]:
    """Where each ``{`` that is closed opens -> just behind its ``}``; one pass, however deeply they nest."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in re.compile(r"[{}]").finditer(text, start, stop):
        if match[0] == "{":
            opened.append(match.start())
        elif opened:
            closing[opened.pop()] = match.end()
    return closing
