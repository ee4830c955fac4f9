"""Splitting: nothing lost, within the budget, at the best boundary, never in what must stay whole, in linear time."""

from __future__ import annotations

import subprocess
import sys
import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.segments import _sentencex, halve, split
from tq.sizes import tokens
from tq.spans import protected_spans

#: What texts are made of, the awkward included; no fence and no front matter (they have tests of their own).
PARTS = [
    "word ", "Sentence one. ", "Is it? ", "antidisestablishmentarianism", "e.g. ", "Dr. ", "# Heading\n\n",
    "## Next\n", "Title\n===\n", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r", " ", "\t", "\u00a0", "\u2028", ", ", "; ",
    " – ", "| a | b |\n", "{name}", "%(count)d", "{n, plural, one {# file} other {# files}}", "<b>", "</b>",
    "https://example.com/a/b?c=d", '<a href="x" title="Two words">', "<!-- a comment -->", "`code here`",
    "[text](target)", "&amp;", "{", "<", "“", "«", "Это предложение. ", "これは文です。", "ありがとう", "你好，",
    "ไทย", "नमस्ते", "éa\u0301\u0327", "👩\u200d👩\u200d👧", "🇫🇷", "👍🏽",
    "한\u1112\u1161\u11ab", "\ud83d", "\ude00", "I\x85", "\u200b", "…", "1. ", "- item\n",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=60).map("".join)
BUDGETS = st.integers(1, 60)
LANGUAGES = st.sampled_from([None, "en", "de", "fr", "ru", "ja", "zh-Hans", "ar", "hi", "pt-BR", "xx"])


def is_joined(text: str, place: int) -> bool:
    """Whether a cut there divides what a reader sees as one character (counted from the text's begin)."""
    before, behind = text[place - 1], text[place]
    flags = len(text[:place]) - len(text[:place].rstrip("".join(map(chr, range(0x1F1E6, 0x1F200)))))
    return (
        (before, behind) == ("\r", "\n")
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= behind <= "\udfff")
        or unicodedata.category(behind).startswith("M")
        or behind in "\u200d🏻🏼🏽🏾🏿"
        or unicodedata.combining(before) == 9
        or (before == "\u200d" and behind > "\u02ff")
        or ("🇦" <= behind <= "🇿" and flags % 2 == 1)
    )


def cuts_of(pieces: list[str]) -> list[int]:
    """Where the text was cut, its end apart."""
    places = [0]
    for piece in pieces[:-1]:
        places.append(places[-1] + len(piece))
    return places[1:]


@given(TEXTS, BUDGETS, LANGUAGES)
def test_nothing_is_lost(text: str, budget: int, language: str | None) -> None:
    """The pieces joined are the text; none is empty, and only white space too long for the rest begins one."""
    pieces = split(text, budget, language)
    assert "".join(pieces) == text
    assert all(pieces) or pieces == [""]


@given(TEXTS, BUDGETS, LANGUAGES)
def test_what_must_stay_whole(text: str, budget: int, language: str | None) -> None:
    """No cut is in a protected span (a tag larger than the budget apart), or within what a reader sees as one."""
    cuts = cuts_of(split(text, budget, language))
    for start, end in protected_spans(text):
        if text[start] != "<" or tokens(text[start:end]) <= budget:
            assert not [cut for cut in cuts if start < cut < end]
    assert not [cut for cut in cuts if is_joined(text, cut)]


@given(TEXTS, BUDGETS, LANGUAGES)
def test_within_the_budget(text: str, budget: int, language: str | None) -> None:
    """A piece is above the budget only if it can be cut nowhere."""
    pieces = split(text, budget, language)
    spans = list(protected_spans(text))
    for start, piece in zip([0, *cuts_of(pieces)], pieces, strict=True):
        if tokens(piece) > budget:
            for place in range(start + 1, start + len(piece)):
                whole = [(s, e) for s, e in spans if s < place < e]
                assert whole or is_joined(text, place) or text[place] in "\u200c\u1161\u11ab\u0e33", (piece, place)
                assert not whole or text[whole[0][0]] != "<" or tokens(text[slice(*whole[0])]) <= budget


@given(st.lists(st.sampled_from(["word ", "So it is. ", "one, two; ", "\n", "\n\n", "文です。", "antidise"])), BUDGETS)
def test_filled(parts: list[str], budget: int) -> None:
    """Two neighbours together are above the budget: a piece is filled before the next one begins."""
    for first, second in pairwise(split("".join(parts), budget, "en")):
        assert tokens(first + second) > budget


@given(TEXTS, st.integers(1, 40))
def test_a_text_that_fits(text: str, spare: int) -> None:
    """A text within the budget is one piece."""
    assert split(text, tokens(text) + spare, None) == [text]


def test_a_text_that_fits_needs_no_library() -> None:
    """The library is imported only to cut sentences."""
    code = (
        "import sys; from tq.segments import split\n"
        "split('One. Two.', 100, 'en'); assert 'sentencex' not in sys.modules\n"
        "split('One is one. Two is two.', 4, 'en'); assert 'sentencex' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("text", "budget", "language", "pieces"),
    [
        ("", 1, None, [""]),
        # Paragraphs, filled; a paragraph that fits is kept whole.
        (
            "Aaaa bbbb cccc.\n\nDddd eeee.\n\nFfff gggg hhhh iiii.",
            9,
            "en",
            ["Aaaa bbbb cccc.\n\n", "Dddd eeee.\n\n", "Ffff gggg hhhh iiii."],
        ),
        ("Aaaa.\n\nBbbb bbbb.\nCccc cccc.", 8, "en", ["Aaaa.\n\n", "Bbbb bbbb.\nCccc cccc."]),
        # White space between pieces ends a piece, indentation too; what does not fit there begins the next.
        ("aaaa bbbb\n\n\ncccc", 3, "en", ["aaaa ", "bbbb\n\n\n", "cccc"]),
        ("aaaaaaaa bbbbbbbb cc", 2, "en", ["aaaaaaaa", " bbbbbbb", "b cc"]),
        ("Aaaa bbbb cccc.\r\n \r\n  Dddd eeee ffff.", 7, "en", ["Aaaa bbbb cccc.\r\n \r\n  ", "Dddd eeee ffff."]),
        # Lines, before sentences.
        ("Aaaa. Bbbb cccc.\nDddd. Eeee ffff.\n", 7, "en", ["Aaaa. Bbbb cccc.\n", "Dddd. Eeee ffff.\n"]),
        ("Aaaa bbbb. Cccc dddd eeee.\nFfff.", 6, "en", ["Aaaa bbbb. ", "Cccc dddd eeee.\n", "Ffff."]),
        # Sentences, and what only looks like their end.
        ("Ja, so ist es. Am 3. Mai kam er an.", 7, "de-AT", ["Ja, so ist es. ", "Am 3. Mai kam er an."]),
        (
            "Dr. Smith left, e.g. for Paris. He is back. So are we.",
            11,
            "en",
            ["Dr. Smith left, e.g. for Paris. ", "He is back. So are we."],
        ),
        (
            "Das ist z. B. Dr. Müller. Am 3. Mai kam er an.",
            9,
            "de-AT",
            ["Das ist z. B. Dr. Müller. ", "Am 3. Mai kam er an."],
        ),
        ("これは文です。これも文です。終わり。", 9, "ja", ["これは文です。", "これも文です。", "終わり。"]),
        ("今天天气很好。我们去公园吧！你好吗？", 10, "zh-Hant", ["今天天气很好。", "我们去公园吧！", "你好吗？"]),
        ("यह एक वाक्य है। यह दूसरा है।", 11, "hi", ["यह एक वाक्य है। ", "यह दूसरा है।"]),
        ("Это предложение. И это тоже.", 9, None, ["Это предложение. ", "И это тоже."]),
        # Clauses, then words, then characters.
        ("Aaaa bbbb, cccc dddd eeee ffff gggg", 8, "en", ["Aaaa bbbb, ", "cccc dddd eeee ffff gggg"]),
        ("aaaa bbbb cccc dddd", 3, "en", ["aaaa bbbb ", "cccc dddd"]),
        ("«\u00a0aaaa\u00a0» bbbbbbbb", 6, "fr", ["«\u00a0aaaa\u00a0» ", "bbbbbbbb"]),
        ("a" * 30, 4, "en", ["a" * 16, "a" * 14]),
        ("👩\u200d👧👩\u200d👧", 7, None, ["👩\u200d👧", "👩\u200d👧"]),
        ("🇫🇷🇩🇪🇮🇹", 8, None, ["🇫🇷", "🇩🇪", "🇮🇹"]),
        # Nothing but white space.
        ("\n" * 5, 1, None, ["\n"] * 5),
        # A placeholder goes with neither half.
        ("aaaaaaaaaa%(a name)saaaaaaaa", 5, "en", ["aaaaaaaaaa", "%(a name)saaaaaa", "aa"]),
        # A heading goes with what follows it.
        (
            "Aaaa bbbb cccc.\n\n# Head\n\n## Two\n\nDddd eeee ffff gggg.",
            13,
            "en",
            ["Aaaa bbbb cccc.\n\n", "# Head\n\n## Two\n\nDddd eeee ffff gggg."],
        ),
        (
            "Aaaa bbbb cccc.\n\nHead\n====\n\nDddd eeee ffff gggg.",
            13,
            "en",
            ["Aaaa bbbb cccc.\n\n", "Head\n====\n\nDddd eeee ffff gggg."],
        ),
        (
            "Aaaa bbbb cccc.\n<h2>Head</h2>\n<p>Dddd eeee ffff gggg.</p>",
            18,
            "en",
            ["Aaaa bbbb cccc.\n", "<h2>Head</h2>\n<p>Dddd eeee ffff gggg.</p>"],
        ),
        # A rule below a blank line is no heading.
        ("Aaaa bbbb.\n\n---\n\nCccc dddd eeee.", 8, "en", ["Aaaa bbbb.\n\n---\n\n", "Cccc dddd eeee."]),
    ],
)  # fmt: skip
def test_boundaries(text: str, budget: int, language: str | None, pieces: list[str]) -> None:
    """Paragraphs, lines, sentences, clauses, words, characters: the coarsest that does."""
    assert split(text, budget, language) == pieces


FENCED = "```py\nfirst = 1\n\nsecond = 2\n\n# third\n```"


@pytest.mark.parametrize(
    "block",
    [
        FENCED,
        FENCED.replace("```", "~~~~"),
        "````\n```\n\nstill. In it\n````",
        "> ```\n> a = 1\n>\n> b = 2\n> ```",
        "- ```\n  a\n\n  b. C\n  ```",
        "```\nopen to\n\nthe end",
        '<a href="one"\n\n title="two. Three">',
        "<!-- one\n\ntwo. Three -->",
        "| one. Two | three; four |",
        "{n, plural,\n\n one {a file. Yes}\n\n other {# files}}",
    ],
)  # fmt: skip
def test_blocks_stay_whole(block: str) -> None:
    """Code, tags, comments, table rows and ICU messages are in one piece, whatever blank lines are in them."""
    budget = tokens(block)
    for before in ("", "Aaaa.\n\n", "Aaaa bbbb cccc dddd. Eeee ffff gggg hhhh.\n\n"):
        text = before + block + ("" if "open to" in block else "\n\nZzzz yyyy xxxx wwww.\n" * 5)
        pieces = split(text, budget + 1, "en")
        assert "".join(pieces) == text
        assert len(pieces) > (1 if before or "open to" not in block else 0)
        assert [piece for piece in pieces if block in piece]


def test_front_matter_stays_whole() -> None:
    """Front matter is one piece; a rule at the begin is not taken for it."""
    front = "---\ntitle: One. Two\n\ndate: 2026\n---"
    assert split(front + "\n\n" + "Text is here. " * 9, tokens(front) + 2, "en")[0] == front + "\n\n"
    assert split("---\n\nAaaa bbbb.\n\nCccc.\n\n---\n", 8, "en")[0] == "---\n\nAaaa bbbb.\n\n"


def test_a_block_above_the_budget() -> None:
    """Code that is too large is cut between its lines, preferably at blank ones; a tag anywhere, if it must be."""
    pieces = split(FENCED, tokens(FENCED) - 1, "en")
    assert "".join(pieces) == FENCED
    assert len(pieces) == 2
    assert all(piece.endswith("\n") for piece in pieces[:-1])
    tag = '<img alt="' + "word " * 50 + '">'
    assert max(map(tokens, split(tag, 20, "en"))) <= 20


def test_what_cannot_be_cut() -> None:
    """A placeholder or an address above the budget is a piece of its own, above the budget."""
    url = "https://example.com/" + "a" * 200
    assert split(f"See {url} now", 10, "en") == ["See ", url, " now"]
    mark = "a" + "\u0301" * 100
    assert split(mark * 2, 10, "en") == [mark, mark]


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_of_nothing(budget: int) -> None:
    """A budget below one token is a mistake of the caller."""
    with pytest.raises(ValueError, match="budget"):
        split("text", budget, None)


def test_long_sentences_are_found_behind_the_window() -> None:
    """Ends of sentences are found however far they are from the begin of the line."""
    sentence = "This is the sentence, which has words and clauses, and goes on. "
    pieces = split(sentence * 200, 700, "en")
    assert all(piece.endswith("goes on. ") for piece in pieces)


@given(TEXTS, LANGUAGES)
def test_halves(text: str, language: str | None) -> None:
    """Two halves are the text, neither is blank, and they are cut where a piece may be."""
    halves = halve(text, language)
    if halves is not None:
        first, second = halves
        assert first + second == text
        assert first.strip()
        assert second.strip()
        assert not is_joined(text, len(first))


@pytest.mark.parametrize(
    ("text", "halves"),
    [
        ("", None),
        ("short one", None),
        ("antidisestablishmentarianism", None),
        ("Hi %(a_very_long_name_of_it)s", None),
        ("https://example.com/" + "a" * 300, None),
        ("\n" * 100, None),
        ("Hello wonderful world of words", ("Hello wonderful ", "world of words")),
        ("One is one. Two is two. Three is three.", ("One is one. Two is two. ", "Three is three.")),
        ("One. Two is a longer sentence here. Three.", ("One. Two is a longer sentence here. ", "Three.")),
        (
            "# A\n\nThe one is here.\n\n# B\n\nThe two is there.",
            ("# A\n\nThe one is here.\n\n", "# B\n\nThe two is there."),
        ),
        (
            "日本語の文章がここにありますけれどもとても長いです",
            ("日本語の文章がここにあり", "ますけれどもとても長いです"),
        ),
        (FENCED, ("```py\nfirst = 1\n\n", "second = 2\n\n# third\n```")),
        (FENCED + "\n\n" + "Text it is. " * 2, (FENCED + "\n\n", "Text it is. " * 2)),
        ("a" * 600, ("a" * 300, "a" * 300)),
    ],
)  # fmt: skip
def test_halve(text: str, halves: tuple[str, str] | None) -> None:
    """Near the middle, at the best boundary; None when there is none."""
    assert halve(text, "en") == halves


@given(TEXTS)
def test_halving_ends(text: str) -> None:
    """Halving the halves comes to an end, with nothing lost."""
    todo, done = [text], []
    while todo:
        halves = halve(todo[-1], "en")
        part = todo.pop()
        if halves is None:
            done.append(part)
        else:
            todo += reversed(halves)
    assert "".join(done) == text


def test_sentencex_that_panics(capfd: pytest.CaptureFixture[str]) -> None:
    """Text that makes sentencex panic does not get through to it; and if it did, nobody would be hurt."""
    text = "I\x85.’ and words. " * 4
    sentences = _sentencex("I\x85.’ and words. ", "en")
    assert "".join(sentences) in ("", "I\x85.’ and words. ")
    capfd.readouterr()
    assert "".join(split(text, 6, "en")) == text
    assert "panic" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "piece",
    ["a", "a ", "a. ", "Ab cd. ", "\n", "\r\n", "a\n", "a\n\n", "[", "(", "{", "<", "<a ", "{x}", "“", "«", "。", "日",
     ", ", " ", "\u00a0", "\u0301", "👩\u200d", "🇫", "\ud83d", "```\n\n", "---\n", "# a\n",
     "| a |\n", "https://a", "1. ", "* a ", "a\n==\n"],
)  # fmt: skip
def test_hostile_text_is_linear(piece: str) -> None:
    """A quarter of a mebibyte of anything takes about a second at most (quadratic would be minutes)."""
    text = piece * (2**18 // len(piece))
    began = time.perf_counter()
    assert "".join(split(text, 500, "en")) == text
    halve(text, "en")
    assert time.perf_counter() - began < 6
