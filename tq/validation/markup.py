"""Whether the HTML or XML of a text is still the same, and nothing active came into it. Pure.

Names in angle brackets that are neither HTML's nor closed (``<file name>``, ``<your name>``) are words of the text.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tq.spans import TRANSLATABLE_ATTRIBUTES, spans
from tq.validation import icu
from tq.validation.detail import differences, listed
from tq.validation.localised import alike_in_links
from tq.validation.pair import Pair, Rule, Severity, Violation

#: https://html.spec.whatwg.org/multipage/indices.html#elements-3, and the obsolete ones that are still about.
_ELEMENTS: Final = """
    a abbr acronym address applet area article aside audio b base bdi bdo big blockquote body br button canvas caption
    center cite code col colgroup data datalist dd del details dfn dialog dir div dl dt em embed fieldset
    figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe img input
    ins kbd label legend li link main map mark marquee math menu meta meter nav nobr noframes noscript object ol
    optgroup option output p param picture pre progress q rp rt ruby s samp script search section select slot small
    source span strike strong style sub summary sup svg table tbody td template textarea tfoot th thead time title tr
    track tt u ul var video wbr
"""
_HTML: Final = frozenset(_ELEMENTS.split())
_VOID: Final = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
#: They describe the text, and so may change, come and go with its language.
_OF_LANGUAGE: Final = frozenset({"lang", "xml:lang", "hreflang", "dir"})
_BUTTONS: Final = frozenset({"submit", "button", "reset"})

_TAG: Final = re.compile(
    r"<(?P<close>/?)(?P<name>[A-Za-z0-9][\w.-]{0,63}(?::[\w.-]{1,63})?)(?=[\s/>])(?P<rest>.*)>", re.DOTALL
)
_CLOSING: Final = re.compile(r"</([A-Za-z0-9][\w:.-]{0,127})\s{0,8}>")
#: An unquoted value keeps its slash: <a href=/x/>.
_ENDS_IN_VALUE: Final = re.compile(r"=\s{0,8}[^\s\"'>]{1,4000}/\s{0,8}\Z")
_ATTRIBUTE: Final = re.compile(
    r"""([^\s"'<>/=]{1,200})(?:\s{0,8}=\s{0,8}("[^"]{0,4000}"|'[^']{0,4000}'|[^\s"'<>]{1,4000}))?"""
)
_ENTITY: Final = r"&(?:\#(?:\d{1,7}|[xX][0-9a-fA-F]{1,6})|[A-Za-z]\w{1,31});"
_ENTITIES: Final = re.compile(_ENTITY)
_ESCAPED_LESS: Final = re.compile(r"&(?:lt|\#0{0,4}60|\#[xX]0{0,4}3[cC]);")
_ESCAPED_TWICE: Final = re.compile(r"&amp;(?:\#\d{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});")
_BARE_AMPERSAND: Final = re.compile(rf"(?!{_ENTITY})&")
_SCHEME: Final = re.compile(r"(?:javascript|vbscript):|data:(?:text/html|image/svg\+xml|application/xhtml\+xml)")
#: In prose a space follows: "JavaScript: The Good Parts".
_SCHEME_IN_PROSE: Final = re.compile(r"\b(?:(?:javascript|vbscript):(?=[!-~])|data:text/html\b)", re.IGNORECASE)
#: Attributes that run a script, and values of any, however the tag around them is broken.
_SOME_TAG: Final = re.compile(r"<[A-Za-z/]")
_HANDLER: Final = re.compile(r"""[\s"'/](on[a-z]{3,30})\s{0,8}=""", re.IGNORECASE)
_VALUE: Final = re.compile(r"""=\s{0,8}["']?([^"'<>]{1,200})""")
_TARGET: Final = re.compile(r"(?:\]\(|\]:)\s{0,8}<?([^\n)>]{1,400})")
_NOT_IN_A_SCHEME: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202e\ufeff]")


_Bounds = tuple[Counter[str], Counter[str]]


@dataclass(frozen=True, slots=True)
class _Tag:
    """One tag. ``shape`` is ``<b>``, ``</b>``, ``<b/>``, or ``<br>`` however a void element is written."""

    name: str
    shape: str
    fixed: str = field(repr=False)  # the shape with all attributes that must not change

    @property
    def opens(self) -> bool:
        return self.shape[1] != "/" and not self.shape.endswith("/>") and self.name not in _VOID


def markup(pair: Pair) -> Iterator[Violation]:
    """Tags, comments, CDATA and declarations that are missing or added; attributes that changed; wrong nesting.

    Tags may be in another order. Of attributes that hold text (``title``, ``alt``) the value may change, those of the
    language (``lang``, ``dir``) may come and go. Within ICU's choices each branch needs what each has in the source.
    """
    pair = alike_in_links(pair)
    source, output = icu.parse(pair.source), icu.parse(pair.output)
    if output is None and source is not None and any(icu.choices(source)):
        return  # icu_messages says so
    if not any(sign in text for sign in ("<", "]]>") for text in (pair.source, pair.output)):
        return
    names = _closed(pair.source)
    before = _Content(source or (pair.source,), names)
    after = _Content(output or (pair.output,), names | _closed(pair.output))
    if detail := _differences(before.shapes, after.shapes):
        yield Violation("markup", "error", "markup differs", detail)
        return
    if detail := _differences(before.fixed, after.fixed):
        yield Violation("markup", "error", "attributes differ", detail)
    if before.is_well_nested() and not after.is_well_nested():
        yield Violation("markup", "error", "tags are not well nested")


def entities(pair: Pair) -> Iterator[Violation]:
    """Escapes that came in or got lost where that changes what is shown.

    An entity may be replaced by its character (``é`` for ``&eacute;``) and the other way round, but ``<`` and
    ``&`` stay escaped where they are, and a plain text does not get escapes.
    """
    if "&" not in pair.source and "&" not in pair.output:
        return
    source, output = _outside_tags(pair.source), _outside_tags(pair.output)
    escaped = _ENTITIES.search(source) is not None
    if not escaped and len(source) == len(pair.source) and (added := _ENTITIES.findall(output)):
        yield Violation("entities", "error", "plain text was escaped", f"added: {listed(added)}")
    elif not _ESCAPED_TWICE.search(source) and (twice := _ESCAPED_TWICE.findall(output)):
        yield Violation("entities", "error", "text was escaped twice", f"added: {listed(twice)}")
    if _ESCAPED_LESS.search(source) and "<" not in source and "<" in output:
        yield Violation("entities", "error", "a less-than sign is not escaped", "write &lt; where the source does")
    if "&amp;" in source and not _BARE_AMPERSAND.search(source) and _BARE_AMPERSAND.search(output):
        severity: Severity = "warning" if pair.corrected else "error"
        yield Violation("entities", severity, "an ampersand is not escaped", "write &amp; where the source does")


def no_active_content(pair: Pair) -> Iterator[Violation]:
    """Scripts that the source does not have: ``javascript:`` and the like in links, ``on…=`` in tags."""
    if added := _active(pair.output) - _active(pair.source):
        yield Violation("no-active-content", "error", "active content was added", f"added: {listed(added.elements())}")


# -- tags ------------------------------------------------------------------------------------------


class _Content:
    """The tags of a message; its comments, scripts, declarations and markers of CDATA, as they are written.

    Attributes:
        shapes: how often each is there, at least and at most; tags without their attributes.
        fixed: the same of the tags with all attributes that must not change.
    """

    def __init__(self, message: icu.Message, names: frozenset[str]) -> None:
        self._typical = icu.typical(message)
        self._names = names
        self._tags: dict[str, _Tag | None] = {}
        self._read: dict[str, list[_Tag | str]] = {}
        self.shapes = icu.bounds(message, self._shapes)
        self.fixed = icu.bounds(message, self._fixed)

    def is_well_nested(self) -> bool:
        """Whether each tag that opens is closed in its turn, where every choice falls on ``other``."""
        opened: list[str] = []
        for tag in self._items(self._typical):
            if isinstance(tag, str):
                continue
            if tag.opens:
                opened.append(tag.name)
            elif tag.shape.startswith("</") and (not opened or opened.pop() != tag.name):
                return False
        return not opened

    def _shapes(self, text: str) -> Counter[str]:
        return Counter(item if isinstance(item, str) else item.shape for item in self._items(text))

    def _fixed(self, text: str) -> Counter[str]:
        return Counter(item.fixed for item in self._items(text) if isinstance(item, _Tag))

    def _items(self, text: str) -> list[_Tag | str]:
        if text not in self._read:
            found = [(span.kind, text[span.start : span.end]) for span in spans(text) if span.kind in ("tag", "markup")]
            items = (token if kind == "markup" else self._tag(token) for kind, token in found)
            self._read[text] = [item for item in items if item is not None]
        return self._read[text]

    def _tag(self, token: str) -> _Tag | None:
        if token not in self._tags:
            self._tags[token] = _tag(token, self._names)
        return self._tags[token]


def _differences(before: _Bounds, after: _Bounds) -> str:
    """What is missing and added, as a violation says it; empty when nothing is."""
    missing = (before[1] - after[1]) | (before[0] - after[0])
    return differences(missing, after[1] - before[1] - missing)


def _tag(token: str, names: frozenset[str]) -> _Tag | None:
    found = _TAG.fullmatch(token)
    if found is None:
        return None
    name, rest = found["name"], found["rest"]
    # React's <Link> is not HTML's <link>.
    is_html = name.lower() in _HTML and (name.islower() or name.isupper() or name[1:].isdigit())
    name = name.lower() if is_html else name
    is_empty = not found["close"] and rest.rstrip().endswith("/") and not _ENDS_IN_VALUE.search(rest)
    if not is_html and name not in names and not is_empty and "=" not in rest:
        return None
    attributes = () if found["close"] else tuple(sorted(_attributes(rest)))
    slash = "/" if is_empty and name not in _VOID else ""
    shape = f"<{found['close']}{name}{slash}>"
    fixed = " ".join([shape[: len(shape) - len(slash) - 1], *_unchangeable(name, attributes)]) + f"{slash}>"
    return _Tag(name, shape, fixed)


def _attributes(rest: str) -> Iterator[tuple[str, str]]:
    for name, value in _ATTRIBUTE.findall(rest):
        quoted = value[:1] in ("'", '"')
        yield name, html.unescape(value[1:-1] if quoted else value)


def _unchangeable(tag: str, attributes: tuple[tuple[str, str], ...]) -> Iterator[str]:
    is_button = tag == "input" and any(
        name.lower() == "type" and value.strip().lower() in _BUTTONS for name, value in attributes
    )
    for name, value in attributes:
        key = name.lower()
        if key in _OF_LANGUAGE:
            continue
        # data-confirm="Are you sure?" is text; data-id="12" is not.
        is_text = key in TRANSLATABLE_ATTRIBUTES or (key.startswith("data-") and len(value.split()) > 1)
        yield name if is_text or (is_button and key == "value") else f'{name}="{value}"'


def _closed(text: str) -> frozenset[str]:
    """The names that have a closing tag, and so are names of tags."""
    return frozenset(_CLOSING.findall(text))


# -- entities and scripts --------------------------------------------------------------------------


def _outside_tags(text: str) -> str:
    """``text`` without tags, comments, code and URLs, which have rules of their own."""
    parts: list[str] = []
    position = 0
    for span in spans(text):
        if span.kind in ("tag", "markup", "code", "url", "link", "placeholder"):
            parts.append(text[position : span.start])
            position = span.end
    parts.append(text[position:])
    return "".join(parts)


def _active(text: str) -> Counter[str]:
    found = Counter(match[0].lower() for match in _SCHEME_IN_PROSE.finditer(text))
    if _SOME_TAG.search(text):
        found.update(f"{match[1].lower()}=" for match in _HANDLER.finditer(html.unescape(text)))
    for value in [*_VALUE.findall(text), *_TARGET.findall(text)]:
        plain = _NOT_IN_A_SCHEME.sub("", html.unescape(value)).casefold()
        if (scheme := _SCHEME.match(plain)) and not _SCHEME_IN_PROSE.match(value):
            found[scheme[0]] += 1
    return found


RULES: Final[tuple[Rule, ...]] = (markup, entities, no_active_content)
