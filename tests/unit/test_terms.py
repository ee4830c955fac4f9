"""The glossary in the output: the terms that are there in some form, and those that are missing."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.glossary import Term
from tq.validation import Pair
from tq.validation.terms import glossary


def found(output: str, *terms: Term) -> list[tuple[str, str, str]]:
    pair = Pair("source", output, "en", "fr", terms=terms)
    return [(violation.severity, violation.message, violation.detail) for violation in glossary(pair)]


@pytest.mark.parametrize(
    ("target", "output"),
    [
        ("bouton", "Le bouton"),
        ("bouton", "LES BOUTONS"),
        ("base de données", "des bases de données"),
        ("Datenbank", "In den Datenbanken"),
        ("Server", "der Datenbankserver"),
        ("Vorgang", "zwei Vorgänge"),
        ("Haus", "zwei Häuser"),
        ("site", "les sites"),
        ("API", "L'API est là"),
        ("nœud", "les nœuds"),
        ("база данных", "в базе данных"),
        ("сервер", "на серверах"),
        ("خادم", "الخادم"),
        ("قاعدة", "قَاعِدَة"),
        ("データベース", "このデータベースを使う"),
        ("데이터베이스", "데이터베이스를"),
        ("ฐานข้อมูล", "ในฐานข้อมูลนี้"),
        ("C++", "en C++"),
        ("tableau de bord", "Tableaux\nde bord"),
        ("mot de passe", "le mot-de-passe"),
        ("…", "et puis…"),
        ("R&D", "en r&d"),
        ("लड़का", "लड़के"),
    ],
)
def test_present(target: str, output: str) -> None:
    """A term is there in another case, with other accents and endings, and in a compound."""
    assert found(output, Term("x", target, mandatory=True)) == []


@pytest.mark.parametrize(
    ("target", "output"),
    [
        ("bouton", "Le button"),
        ("bouton", ""),
        ("API", "apicole"),
        ("API", "rapide"),
        ("mot de passe", "le passe"),
        ("base de données", "la base, de bonnes données"),
        ("データベース", "データ"),
        ("Datenbank", "Datei"),
        ("C++", "en C"),
    ],
)
def test_missing(target: str, output: str) -> None:
    """A missing term is an error when it is mandatory, and a warning when not, also the second time."""
    assert found(output, Term("x", target, mandatory=True)) == [
        ("error", "mandatory terms of the glossary missing", f"missing: {target}")
    ]
    assert found(output, Term("x", target)) == [("warning", "terms of the glossary missing", f"missing: {target}")]


def test_both_kinds() -> None:
    """Mandatory and other terms are reported apart, each with all that are missing."""
    terms = [
        Term("a", "alpha", mandatory=True),
        Term("b", "beta"),
        Term("c", "gamma", mandatory=True),
        Term("d", "delta"),
    ]
    assert found("delta", *terms) == [
        ("error", "mandatory terms of the glossary missing", "missing: alpha; gamma"),
        ("warning", "terms of the glossary missing", "missing: beta"),
    ]


def test_no_terms() -> None:
    """Without terms in the source there is nothing to say."""
    assert found("Bonjour") == []


def test_detail_is_short() -> None:
    """Many and long terms are cut, and counted."""
    ((_, _, detail),) = found("x", *(Term(str(number), f"{number}" * 100) for number in range(10, 30)))
    assert len(detail) <= 200
    assert detail.endswith("; … and 15 more")


@pytest.mark.parametrize(
    ("target", "piece"),
    [("aaaaaaaa b", "a"), ("a b c d", "a b c "), ("aaaaa bbbbb", "aaaaa "), ("中国", "中"), ("...", "."), ("aa", "a"),
     ("é", "e\u0301"), ("data base server", "data base "), ("a-b", "a- - - - - - - ")],
)  # fmt: skip
def test_hostile_text(target: str, piece: str) -> None:
    """A megabyte of near hits costs seconds of the processor, not minutes."""
    output = piece * (2**20 // len(piece))
    began = time.process_time()
    found(output, Term("x", target))
    assert time.process_time() - began < 5


@given(st.text(min_size=1).filter(str.strip), st.text(), st.text())
def test_a_term_is_in_a_text_with_it(target: str, before: str, after: str) -> None:
    """However a term looks, it is found where it stands as it is."""
    assert found(f"{before} {target.strip()} {after}", Term("x", target.strip())) == []
