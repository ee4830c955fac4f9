"""Whether the web and e-mail addresses of a text are still those of the source. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import langcodes

from tq.validation.detail import differences
from tq.validation.localised import alike_in_links
from tq.validation.pair import Pair, Rule, Violation

#: What follows an address without a space where words are not separated: it ends the address in both texts alike.
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u11ff\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef"
_ADDRESS: Final = re.compile(
    rf"""
      (?P<scheme> (?<![A-Za-z0-9+.-]) (?i:https?|ftps?|wss?|file):// | (?<![\w@./-]) (?i:www\.) )
        (?P<rest> [^\s<>"'`|\\^\[\]\u2018-\u201f\u00ab\u00bb\u2039\u203a\u2026\u060c\u061b\u061f{_UNSPACED}]{{1,2000}} )
    | (?P<mail> (?<![A-Za-z0-9.!\#$%&*+/=?^_{{|}}~-]) [A-Za-z0-9_][A-Za-z0-9.+_-]{{0,63}}
        @ (?:[A-Za-z0-9-]{{1,63}}\.){{1,8}} (?: xn--[A-Za-z0-9-]{{1,59}} | [A-Za-z]{{2,24}} ) (?![A-Za-z0-9_]) )
    """,
    re.VERBOSE,
)
#: Before the target of a link in Markdown, and the value of an attribute.
_MARKUP: Final = ("](", "](<", '="', "='", "]: ", "]: <")
_PAIRS: Final = {")": "(", "}": "{"}
#: Languages that inflect a name by what is written behind it: "example.com-ra", "example.com'a".
_SUFFIXING: Final = frozenset(
    ("az", "et", "eu", "fi", "hu", "hy", "ka", "kk", "ky", "mn", "tk", "tr", "tt", "ug", "uz")
)
_SUFFIX: Final = re.compile(r"[-:'\u2019][^\W\d_]{1,8}")


def addresses(pair: Pair) -> Iterator[Violation]:
    """Web and e-mail addresses that the output lacks, or that the source has not.

    Compared with their numbers, the case of the host and punctuation behind them aside. Bare domains
    (``example.com``) are words: they are not counted. Those in links of Markdown and in attributes are: but when one
    of them is lost or new, this rule leaves it to those of markup.
    """
    pair = alike_in_links(pair)
    before, embedded_before = _addresses(pair.source)
    after, embedded_after = _addresses(pair.output)
    if before == after or not pair.output.strip():
        return
    missing = before - after - embedded_before
    added = after - before - embedded_after
    if langcodes.Language.get(pair.target_language).language in _SUFFIXING:
        missing, added = _without_suffixed(missing, added)
    if detail := differences(missing, added):
        yield Violation("addresses", "error", "addresses differ", detail)


def _addresses(text: str) -> tuple[Counter[str], Counter[str]]:
    """All addresses, and those of them that stand in markup."""
    found: Counter[str] = Counter()
    embedded: Counter[str] = Counter()
    if "://" not in text and "@" not in text and "www." not in text.lower():
        return found, embedded
    for match in _ADDRESS.finditer(text):
        address = match["mail"].lower() if match["mail"] else _normalised(match["scheme"], match["rest"])
        if address:
            found[address] += 1
            before = text[max(match.start() - 16, 0) : match.start()].removesuffix("mailto:")
            embedded[address] += before.endswith(_MARKUP)
    return found, +embedded


def _normalised(scheme: str, rest: str) -> str:
    """Without what is likely punctuation of the sentence; empty when no address remains."""
    rest = _without_punctuation(rest.replace("&amp;", "&"))
    host = re.match(r"[^/?#]*", rest)
    length = host.end() if host else 0
    return scheme.lower() + rest[:length].lower() + rest[length:].rstrip("/") if any(map(str.isalnum, rest)) else ""


def _without_punctuation(rest: str) -> str:
    """Closing brackets stay where they close one within: ``/wiki/Foo_(bar)``."""
    depth = {opening: rest.count(opening) - rest.count(closing) for closing, opening in _PAIRS.items()}
    end = len(rest)
    while end:
        last = rest[end - 1]
        if last in _PAIRS:
            if depth[_PAIRS[last]] >= 0:
                break
            depth[_PAIRS[last]] += 1
        elif last.isalnum() or last in "/=#&%$+-":
            break
        end -= 1
    return rest[:end]


def _without_suffixed(missing: Counter[str], added: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    """What remains when "example.com-ra" counts as "example.com"."""
    missing, added = missing.copy(), added.copy()
    for address in list(missing):
        for other in list(added):
            if other.startswith(address) and _SUFFIX.fullmatch(other, len(address)):
                both = min(missing[address], added[other])
                missing[address] -= both
                added[other] -= both
    return +missing, +added


RULES: Final[tuple[Rule, ...]] = (addresses,)
