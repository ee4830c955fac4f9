"""Glossaries: what metadata and CSV files may hold, and which terms are in a text."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.glossary import MAX_TERM, MAX_TERMS, Term, matching, parse_glossary, read_csv


@pytest.mark.parametrize(
    ("value", "terms"),
    [
        ({}, ()),
        ([], ()),
        ({"button": "bouton"}, (Term("button", "bouton"),)),
        ({" button ": " bouton\t"}, (Term("button", "bouton"),)),
        ({"IT": "informatique", "it": "il"}, (Term("IT", "informatique"), Term("it", "il"))),
        ([{"source": "a", "target": "b"}], (Term("a", "b"),)),
        ([{"source": "a", "target": "b", "mandatory": True}], (Term("a", "b", mandatory=True),)),
        ([{"source": "a", "target": "b", "mandatory": None}], (Term("a", "b"),)),
        ({f"t{number}": "x" * 100 for number in range(MAX_TERMS)}, MAX_TERMS),
    ],
)
def test_parse(value: object, terms: tuple[Term, ...] | int) -> None:
    """An object of terms, or a list of objects, in their order and without outer white space."""
    parsed = parse_glossary(value)
    assert (len(parsed) if isinstance(terms, int) else parsed) == terms


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a,b", "must be an object"),
        (7, "must be an object"),
        (None, "must be an object"),
        ({"a": 1}, "term 1: the target must be a string"),
        ({"a": "b", "": "c"}, "term 2: the source is empty"),
        ({"a": "\u3000"}, "term 1: the target is empty"),
        ({"a": "b", "A": "c"}, "term 2: the same source as term 1"),
        ({"data base": "b", "data  base": "c"}, "term 2: the same source as term 1"),
        ({"a\nb": "c"}, "term 1: the source has line breaks or control characters"),
        ({"a": "b\x00"}, "term 1: the target has line breaks or control characters"),
        ({"a": "b\ud800"}, "term 1: the target has line breaks or control characters"),
        ({"a": "b" * (MAX_TERM + 1)}, "term 1: the target has 501 characters; 500 are the most"),
        (["a"], 'term 1: must have "source" and "target"'),
        ([{"source": "a"}], 'term 1: must have "source" and "target"'),
        ([{"source": "a", "target": "b", "note": "c"}], "and nothing else"),
        ([{"source": "a", "target": "b", "mandatory": 1}], "term 1: mandatory must be true or false"),
        ({f"t{number}": "x" for number in range(MAX_TERMS + 1)}, "it has 501 terms; 500 are the most"),
        ({f"t{number}": "é" * 100 for number in range(MAX_TERMS)}, "its terms are larger than 64 KiB"),
    ],
)
def test_not_a_glossary(value: object, why: str) -> None:
    """What is wrong is said, with the number of the term."""
    with pytest.raises(ValueError, match=why):
        parse_glossary(value)


@pytest.mark.parametrize(
    "text",
    [
        "data base,base de données,true\nbutton,bouton",
        "source,target,mandatory\ndata base,base de données,yes\nbutton,bouton,no\n",
        "Source;Target;Mandatory\r\ndata base;base de données;1\r\n\r\nbutton;bouton;\r\n",
        "\ufeffterm\ttranslation\trequired\ndata base\tbase de données\tx\nbutton\tbouton",
        "target,mandatory,source\nbase de données,true,data base\nbouton,false,button\n",
        '"data base"; "base de données"; TRUE\n"button";"bouton"',
        '"data base","base de données",y\n\n  \n"button", "bouton"\n',
        "data base,base de données,true\rbutton,bouton\r",
    ],
)
def test_csv(text: str) -> None:
    """Commas, semicolons or tabs; with a header or without; with quotes, a mark and empty lines."""
    assert read_csv(text) == (Term("data base", "base de données", mandatory=True), Term("button", "bouton"))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("source,target\n", ()),
        ('"a, b";"c, d"\n"e, f";"g"', (Term("a, b", "c, d"), Term("e, f", "g"))),
        ('"say ""hi""",dis « salut »', (Term('say "hi"', "dis « salut »"),)),
        ("source,text\n", (Term("source", "text"),)),
        ("a;b,c\nd;e", (Term("a", "b,c"), Term("d", "e"))),
    ],
)
def test_csv_details(text: str, terms: tuple[Term, ...]) -> None:
    """Separators within quotes are text, and only known names make a header."""
    assert read_csv(text) == terms


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\n", "line 1: it has 1 columns"),
        ("a,b\nc,d,true,e\n", "line 2: it has 4 columns"),
        ("source,target\na,b,true\n", "line 2: it has 3 columns"),
        ("a,b\n\nc,\n", "line 3: the target is empty"),
        ("a,b\n,d\n", "line 2: the source is empty"),
        ("a,b,perhaps\n", "line 1: mandatory must be true or false"),
        ("a,b\nA,c\n", "line 2: the same source as line 1"),
        ('a,b\n"c,d\n', "line 2: unexpected end of data"),
        ('a,b\n"c\nd",e\n', "line 2: the source has line breaks or control characters"),
        ("a,b\x00\n", "line 1"),
        ("a,b\n" * 50_000, "larger than"),
        ("".join(f"t{number},x\n" for number in range(MAX_TERMS + 1)), "it has 501 terms"),
    ],
)
def test_csv_is_wrong(text: str, why: str) -> None:
    """What is wrong is said, with the number of the line where the entry begins."""
    with pytest.raises(ValueError, match=why):
        read_csv(text)


TERMS = parse_glossary(
    {
        "data": "x", "data base": "x", "iPhone": "x", "IT": "x", "server": "x", "C++": "x", "Django": "x", "é": "x",
        "服务器": "x", "नम": "x", "서버": "x", ".NET": "x", "straße": "x",
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("", []),
        ("nothing of it", []),
        ("the data base", ["data base"]),
        ("Data in the DATA\n BASE", ["data", "data base"]),
        ("an iPhone of IT", ["iPhone", "IT"]),
        ("an iphone, Iphone, it", []),
        ("IT, though it", ["IT"]),
        ("servers, x_server, serverless, server2", []),
        ("(Server's) data-server", ["data", "server"]),
        ("c++ and C++x", ["C++"]),
        ("abc++", []),
        ("Djangoを使う", ["Django"]),
        ("云服务器端", ["服务器"]),
        ("서버를", ["서버"]),
        ("नमस्ते", []),
        ("नम है", ["नम"]),
        ("use .NET", [".NET"]),
        ("STRASSE", ["straße"]),
        ("e\u0301t\u00e9 \u00e9", ["é"]),
    ],
)
def test_matching(text: str, sources: list[str]) -> None:
    """Whole words; by case where a term has inner capitals; the longer term first; all in the glossary's order."""
    assert [term.source for term in matching(TERMS, text)] == sources


def test_no_terms() -> None:
    """Without a glossary nothing is looked for."""
    assert matching((), "text") == ()


def test_matching_is_fast() -> None:
    """500 terms in a megabyte of text: some tenths of a second of the processor; every term planted is found."""
    seed = 7
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    pick = random.Random(seed)
    vocabulary = ["".join(pick.choices("abcdefghijklmnopqrstuvwxyz", k=pick.randint(3, 10))) for _ in range(5000)]
    sources = dict.fromkeys(
        [*pick.sample(vocabulary, 250), *(" ".join(pick.sample(vocabulary, 2)) for _ in range(250))]
    )
    terms = tuple(Term(source, "x") for source in sources)
    words = pick.choices(vocabulary, k=2**20 // 7)
    text = " ".join([*words, *(f"| {source} |" for source in sources)])
    began = time.process_time()
    found = matching(terms, text)
    assert time.process_time() - began < 5
    assert len(found) == len(terms)


@pytest.mark.parametrize(
    ("sources", "piece"),
    [
        ([f"{'a' * 60}b{number}" for number in range(500)], "a"),
        ([f"{'a ' * 60}b{number}" for number in range(500)], "a "),
        (["a " * number + "a" for number in range(200)], "a "),
        (["中" * number + "国" for number in range(1, 300)], "中"),
        ([f"a{number}" for number in range(500)], "a1 a2 a3 a4 a5 a6 a7 a8 a9 "),
        (["x " * number + "y" for number in range(200)], "x " * 199 + "y "),
        ([chr(0x61 + number % 26) + "." * (number // 26 + 1) for number in range(500)], "a.b..."),
    ],
)
def test_hostile_glossary(sources: list[str], piece: str) -> None:
    """Terms made to match nearly everywhere cost seconds at most for a megabyte, never minutes."""
    text = piece * (2**20 // len(piece))
    terms = tuple(Term(source, "x") for source in sources)
    began = time.process_time()
    matching(terms, text)
    assert time.process_time() - began < 4


@given(
    st.dictionaries(st.text("ab I中.", min_size=1, max_size=5), st.just("x"), max_size=6),
    st.text("ab I中.", max_size=30),
)
def test_a_term_matches_itself(terms: dict[str, str], text: str) -> None:
    """A text that is nothing but a term matches it, and nothing is found that is not in the text."""
    try:
        parsed = parse_glossary(terms)
    except ValueError:
        return
    for term in parsed:
        assert term in matching(parsed, term.source)
    spoken = " ".join(text.split()).casefold()
    for term in matching(parsed, text):
        assert " ".join(term.source.split()).casefold() in spoken


@given(st.text(), st.sampled_from(",;\t"))
def test_any_text_is_csv_or_refused(text: str, delimiter: str) -> None:
    """No text makes the reader raise anything but ValueError."""
    for each in (text, f"a{delimiter}{text}\n{text}{delimiter}b"):
        with suppress(ValueError):
            assert all(term.source and term.target for term in read_csv(each))
