"""The block of keys and values at the head of a Markdown document (YAML between ---, TOML between +++). Pure."""

from __future__ import annotations

import re
from typing import Final

#: Lines after which it is no front matter: nobody writes that much of it, and hostile text should cost nothing.
_LONGEST: Final = 400
_KEY: Final = re.compile(
    r"""(?P<indent> [ \t]{0,40} )
        (?P<key> (?: -[ ]{1,4} ){0,4} (?: "[^"\n]{1,100}" | [^\s:="'\#\[{-][^:=\n]{0,99} ) [ ]?[:=] )
        (?= [ \t] | $ ) [ \t]* (?P<value> .* )""",
    re.VERBOSE,
)
_ITEM: Final = re.compile(r"(?P<indent>[ \t]{0,40}-)(?:[ ].*)?")
_TABLE: Final = re.compile(r"\[\[?[^\[\]\n]{1,100}\]\]?")
_BLOCK_VALUE: Final = re.compile(r"[|>][+-]?\d?(?:[ \t]+\#.*)?")


def split_front_matter(text: str) -> tuple[list[str], str]:
    """The keys of the front matter with their indentation, and the text behind it; no keys and all the text if none.

    A list item that is no key is listed as ``-``, a TOML table as it is. The text of a block value (``key: |``) is
    skipped, and so are values that go on in the next line.
    """
    first, _, rest = text.partition("\n")
    fence = first.rstrip()
    if fence not in {"---", "+++"}:
        return [], text
    block: list[str] = []
    for _ in range(_LONGEST):
        line, newline, rest = rest.partition("\n")
        line = line.rstrip()
        if line in {fence, "..."}:
            keys = _keys(block, toml=fence == "+++")
            return (keys, rest) if keys else ([], text)
        if not newline:
            break
        block.append(line)
    return [], text


def _keys(block: list[str], *, toml: bool) -> list[str]:
    """None when the block holds anything else: it was prose between two thematic breaks."""
    keys: list[str] = []
    skipping: int | None = None
    for line in block:
        indent = len(line) - len(line.lstrip())
        if skipping is not None and (indent > skipping or not line):
            continue
        skipping = None
        if match := _KEY.fullmatch(line):
            keys.append(match["indent"] + match["key"])
            if _BLOCK_VALUE.fullmatch(match["value"]):
                skipping = indent
        elif match := _ITEM.fullmatch(line):
            keys.append(match["indent"])
        elif toml:
            keys += _TABLE.findall(line[:200])[:1] if line.startswith("[") else []
        elif line and not indent and not line.startswith("#"):
            return []
    return keys
