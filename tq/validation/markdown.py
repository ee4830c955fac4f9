"""Whether Markdown is still the same document: its code, links, headings, tables and front matter. Pure.

Most texts are not Markdown, and a ``*``, ``_`` or ``1.`` at the start of a line does not make them so: only a source
with a fence, a heading, a link, a code span, a table or front matter is parsed. Where CommonMark's reading of such a
text is doubtful (reStructuredText, `quotes' of the GNU kind, indented prose) the doubtful part is not compared.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from tq.validation.detail import differences, listed
from tq.validation.frontmatter import split_front_matter
from tq.validation.pair import Pair, Rule, Severity, Violation

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

#: Characters, and opening brackets, beyond which a text is not parsed: a bracket may cost 20 microseconds, any other
#: character 5. A piece of a text (``tq.segments``) is far shorter.
_LARGEST: Final = 32_768
_MOST_BRACKETS: Final = 2_048
#: A first-level heading needs an empty line behind it, as "# of files" is English for their number.
_HEADING: Final = r"^[ ]{0,3}(?: \#{2,6}[ \t]+\S | \#[ \t]+\S[^\n]*\n[ \t\r]*\n )"
_FENCE: Final = r"^[ \t>]{0,20}(?:`{3,}|~{3,})"
_CODE_SPAN: Final = r"`[^`\s](?:[^`\n]*[^`\s])?`"
_LINK: Final = r"\[[^\[\]\n]{1,400}\]\([^()\s]{1,2000}[)\s]"
_MARKDOWN: Final = re.compile(
    rf"""
      {_FENCE} | {_HEADING} | {_LINK} | {_CODE_SPAN}
    | \]\[                                                  # [text][label]
    | ^[ ]{{0,3}}\[[^\]\n]{{1,200}}\]:[ \t]*\S              # [label]: target
    | ^[ \t>]{{0,9}}\|?[ \t]{{0,9}}:?-+:?[ \t]{{0,9}}\|     # the line below a table's head
    | ^[ ]{{0,3}}(?:>[ \t]*\[![A-Za-z]+\] | :::+[ \t]*\w)   # > [!NOTE], ::: tip
    | \A(?:---|\+\+\+)[ \t\r]*\n
    """,
    re.VERBOSE | re.MULTILINE,
)
#: What a plain text has not become, where it lacks the sign of it.
_ADDED: Final = (
    ("code fence", "```", re.compile(_FENCE, re.MULTILINE)),
    ("heading", "#", re.compile(_HEADING, re.MULTILINE | re.VERBOSE)),
    ("link", "](", re.compile(_LINK)),
    ("code", "`", re.compile(_CODE_SPAN)),
    ("bold text", "**", re.compile(r"(?<!\*)\*\*[^*\s](?:[^*\n]{0,1000}[^*\s])?\*\*(?!\*)")),
)
#: A title over a line of tildes, `text <target>`_ or :role:`text`: not Markdown.
_TILDE_TITLE: Final = re.compile(r"^(?P<title>\S[^\n]{4,200})\n(?P<line>~{5,203})[ \t]*$", re.MULTILINE)
_RESTRUCTURED_TEXT: Final = re.compile(r"`__?(?!\w)|:[a-z][a-z:+-]{0,40}:`|^\.\. [\w|_]", re.MULTILINE)
#: In an indented block: more likely code than prose that somebody indented.
_CODE_LIKE: Final = re.compile(r"[={}<>;$|\\]|\w\(|^[ \t]*[#/~.-]|\w[./_]\w", re.MULTILINE)
_DIRECTIVE: Final = re.compile(r"^(?:\[![A-Za-z]+\]|:{3,}[ \t]*[\w-]*|/{3,}[ \t]*[\w-]*)", re.MULTILINE)
#: Blocks that no translator puts a paragraph in front of, or behind.
_FIRM: Final = frozenset({"heading_open", "fence", "bullet_list_open", "ordered_list_open", "hr", "table_open"})


@dataclass(frozen=True, slots=True)
class _Outline:
    """What of a document is no matter of language."""

    headings: tuple[int, ...]  # their levels
    fences: tuple[tuple[str, str, str, bool], ...]  # fence, info string, code, whether it is closed
    indented: tuple[str, ...]
    spans: Counter[str]
    links: Counter[str]
    images: Counter[str]
    definitions: Counter[str]
    tables: tuple[tuple[int, ...], ...]  # cells of each row
    directives: Counter[str]
    quotes: int
    items: int
    ends: tuple[str, str]  # kinds of the first and the last block


def markdown(pair: Pair) -> Iterator[Violation]:
    """Code, inline code, link targets, heading levels, tables, quotes, lists and front matter that changed.

    Structure follows CommonMark and GitHub's tables, code is compared byte for byte (its line ends aside). Link texts,
    emphasis, and the values of front matter are the translator's. Texts beyond 32,768 characters are not compared.
    """
    if _too_large(pair.source) or _too_large(pair.output) or not pair.output.strip():
        return
    if any(0 <= len(found["line"]) - len(found["title"]) <= 2 for found in _TILDE_TITLE.finditer(pair.source)):
        return
    if not _MARKDOWN.search(pair.source):
        yield from _added(pair)
        return
    keys, source = split_front_matter(pair.source)
    output = pair.output
    if keys:
        output_keys, output = split_front_matter(output)
        if not output_keys:
            yield _error("front matter is missing")
            return
        if output_keys != keys:
            detail = differences(Counter(keys), Counter(output_keys)) or "other order"
            yield _error("front matter differs", f"keys {detail}")
    before, after = _outline(source), _outline(output)
    found = [*_code(before, after), *_targets(before, after), *_structure(before, after)]
    if not found:
        found += _around(before, after)
    if not _RESTRUCTURED_TEXT.search(pair.source) and not _gnu_quotes(before.spans):
        found += _spans(before, after, source, output)
    yield from found


def _too_large(text: str) -> bool:
    return len(text) > _LARGEST or text.count("[") > _MOST_BRACKETS


def _added(pair: Pair) -> Iterator[Violation]:
    matches = [(what, pattern.search(pair.output)) for what, sign, pattern in _ADDED if sign not in pair.source]
    added = {what: match[0] for what, match in matches if match}
    if not added:
        return
    harmless = {"bold text"} if pair.corrected else set()
    if added.get("code", "").strip("`") in pair.source:
        harmless.add("code")  # quotation marks of the source that became those of code
    severity: Severity = "warning" if harmless.issuperset(added) else "error"
    yield Violation("markdown", severity, "Markdown that the source lacks", f"added: {listed(added)}")


def _code(before: _Outline, after: _Outline) -> Iterator[Violation]:
    if len(before.fences) != len(after.fences):
        yield _error("code fences differ", f"{len(after.fences)} instead of {len(before.fences)}")
    else:
        changes = [
            f"block {number} {change}"
            for number, (one, other) in enumerate(zip(before.fences, after.fences, strict=True), 1)
            for change in _fence_changes(one, other)
        ]
        if changes:
            yield _error("code fences differ", listed(changes, longest=58))
    if before.indented != after.indented:
        if any(_CODE_LIKE.search(code) for code in set(before.indented) - set(after.indented)):
            yield _error("indented code differs", differences(Counter(before.indented), Counter(after.indented)))
        else:
            yield _warning("indented text differs")


def _fence_changes(one: tuple[str, str, str, bool], other: tuple[str, str, str, bool]) -> Iterator[str]:
    if one[0] != other[0]:
        yield f"fenced by {other[0][:10]} for {one[0][:10]}"
    if one[1] != other[1]:
        yield f"named {other[1][:16]!r} for {one[1][:16]!r}"
    if one[2] != other[2]:
        lines = zip_longest(one[2].split("\n"), other[2].split("\n"), fillvalue="")
        at = next((line or changed for line, changed in lines if line != changed), "")
        yield f"with other code at {at.strip()[:28]!r}"
    if one[3] and not other[3]:
        yield "not closed"


def _spans(before: _Outline, after: _Outline, source: str, output: str) -> Iterator[Violation]:
    """Code that is lost or invented is an error; a name marked once more, or mentioned once less, is style."""
    if before.spans == after.spans:
        return
    lost = any(span not in after.spans and span not in output for span in before.spans)
    invented = any(span not in before.spans and span not in source for span in after.spans)
    detail = differences(before.spans, after.spans)
    yield _error("inline code differs", detail) if lost or invented else _warning("inline code differs", detail)


def _targets(before: _Outline, after: _Outline) -> Iterator[Violation]:
    if before.links != after.links:
        yield _error("link targets differ", differences(before.links, after.links))
    elif before.definitions != after.definitions:
        yield _error("link definitions differ", differences(before.definitions, after.definitions))
    if before.images != after.images:
        yield _error("image targets differ", differences(before.images, after.images))


def _structure(before: _Outline, after: _Outline) -> Iterator[Violation]:
    if before.headings != after.headings:
        yield _error("heading levels differ", f"{_levels(after.headings)} instead of {_levels(before.headings)}")
    if len(before.tables) != len(after.tables):
        yield _error("tables differ", f"{len(after.tables)} instead of {len(before.tables)}")
    elif before.tables != after.tables:
        number = next(i for i, (one, other) in enumerate(zip(before.tables, after.tables, strict=True)) if one != other)
        yield _error("tables differ", f"table {number + 1} has other rows or cells")
    if before.directives != after.directives:
        yield _error("directives differ", differences(before.directives, after.directives))
    if before.quotes != after.quotes:
        yield _error("block quotes differ", f"{after.quotes} instead of {before.quotes}")
    if before.items != after.items:
        yield _warning("list items differ", f"{after.items} instead of {before.items}")


def _around(before: _Outline, after: _Outline) -> Iterator[Violation]:
    """Introductions and farewells; asked only when nothing is missing that would explain the paragraph."""
    for where, one, other in zip(("before", "after"), before.ends, after.ends, strict=True):
        if one in _FIRM and other == "paragraph_open":
            yield _error(f"text was added {where} the document")


def _levels(levels: Sequence[int]) -> str:
    return " ".join(str(level) for level in levels[:30]) or "none"


def _gnu_quotes(spans: Counter[str]) -> bool:
    """Whether backticks also open `quotes' or ``quotes'', so that what is code cannot be told."""
    return any(span.count("'") % 2 or "''" in span for span in spans)


def _outline(text: str) -> _Outline:
    parser = _parser()
    references: dict[str, dict[str, str]] = {}
    environment = {"references": references}
    tokens = parser.parse(text, environment)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    texts = [token.content for token in tokens if token.type == "inline"]
    inline = [leaf for content in texts if "`" in content or "[" in content for leaf in _leaves(content, environment)]
    top = [token.type for token in tokens if token.level == 0 and token.nesting >= 0]
    last = next((token.type for token in reversed(tokens) if token.level == 0), "").replace("_close", "_open")
    return _Outline(
        headings=tuple(int(token.tag[1]) for token in tokens if token.type == "heading_open"),
        fences=tuple(
            (token.markup, token.info.strip(), token.content.removesuffix("\n"), _closed(token, lines))
            for token in tokens
            if token.type == "fence"
        ),
        indented=tuple(token.content for token in tokens if token.type == "code_block"),
        spans=Counter(leaf.content for leaf in inline if leaf.type == "code_inline"),
        links=Counter(str(leaf.attrs["href"]) for leaf in inline if leaf.type == "link_open" and not leaf.info),
        images=Counter(str(leaf.attrs["src"]) for leaf in inline if leaf.type == "image"),
        definitions=Counter(reference["href"] for reference in references.values()),
        tables=tuple(_tables(tokens, lines)),
        directives=Counter(found for content in texts for found in _DIRECTIVE.findall(content)),
        quotes=sum(token.type == "blockquote_open" for token in tokens),
        items=_items(tokens),
        ends=(top[0] if top else "", last),
    )


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    """CommonMark's blocks with tables; what lies within them is left to ``_leaves``."""
    from markdown_it import MarkdownIt  # a twentieth of a second, for the few that need it

    parser = MarkdownIt("commonmark").enable("table").disable(["emphasis", "entity", "newline"])
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _leaves(content: str, environment: dict[str, dict[str, dict[str, str]]]) -> Iterator[Token]:
    """The tokens within one block, those in the description of an image included."""
    tokens: list[Token] = []
    _parser().inline.parse(content, _parser(), environment, tokens)
    for token in tokens:
        yield token
        yield from token.children or ()


def _closed(fence: Token, lines: list[str]) -> bool:
    first, end = fence.map or (0, 0)
    return end - first > 1 and lines[end - 1].strip(" \t>").startswith(fence.markup)


def _tables(tokens: list[Token], lines: list[str]) -> Iterator[tuple[int, ...]]:
    """The cells of each row as they are written: a parser fills rows up, and cuts them."""
    rows: list[int] = []
    for token in tokens:
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open" and token.map:
            line = re.sub(r"\\.|`[^`]*`", "", lines[token.map[0]]).strip(" \t>")
            rows.append(len(line.removeprefix("|").removesuffix("|").split("|")))
        elif token.type == "table_close":
            yield tuple(rows)


def _items(tokens: list[Token]) -> int:
    """List items, but not a numbered one alone: in many languages a paragraph may begin with "2024. "."""
    count = 0
    open_lists: list[int] = []
    for token in tokens:
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            open_lists.append(0)
        elif token.type == "list_item_open":
            open_lists[-1] += 1
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            items = open_lists.pop()
            count += items if items > 1 or token.type == "bullet_list_close" else 0
    return count


def _error(message: str, detail: str = "") -> Violation:
    return Violation("markdown", "error", message, detail)


def _warning(message: str, detail: str = "") -> Violation:
    return Violation("markdown", "warning", message, detail)


RULES: Final[tuple[Rule, ...]] = (markdown,)
