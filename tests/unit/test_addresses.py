"""Web and e-mail addresses: what is lost, changed or invented is found, and punctuation is not an address."""

from __future__ import annotations

import time

import pytest
from catalogue import django_pairs
from hypothesis import given
from hypothesis import strategies as st

from tq.validation.addresses import addresses
from tq.validation.pair import Pair


def found(source: str, output: str, target: str = "fr") -> list[tuple[str, str, str]]:
    pair = Pair(source, output, "en", target)
    return [(violation.severity, violation.message, violation.detail) for violation in addresses(pair)]


@pytest.mark.parametrize(
    ("source", "output", "detail"),
    [
        ("See https://a.example/x.", "Voyez.", "missing: https://a.example/x"),
        ("See the site.", "Voyez https://a.example/x.", "added: https://a.example/x"),
        ("At https://a.example/one", "Sur https://a.example/un", "missing: https://a.example/one; added: https://a.example/un"),
        ("At https://en.a.example", "Sur https://fr.a.example", "missing: https://en.a.example; added: https://fr.a.example"),
        ("At https://a.example/Path", "Sur https://a.example/path", "missing: https://a.example/Path; added: https://a.example/path"),
        ("At http://a.example", "Sur https://a.example", "missing: http://a.example; added: https://a.example"),
        ("At https://a.example/?q=1&p=2", "Sur https://a.example/?q=1", "missing: https://a.example/?q=1&p=2; added: https://a.example/?q=1"),
        ("https://a.example https://a.example", "https://a.example", "missing: https://a.example"),
        ("https://a.example", "https://a.example (https://a.example)", "added: https://a.example"),
        ("www.a.example", "www.a.exemple", "missing: www.a.example; added: www.a.exemple"),
        ("Write to info@a.example", "Écrivez à contact@a.example", "missing: info@a.example; added: contact@a.example"),
        ("Write to info@a.example", "Écrivez à info @ a.example", "missing: info@a.example"),
        ("Write to info@a.example", "Écrivez à infо@a.example", "missing: info@a.example"),
        ("Write to us", "Écrivez à info@a.example", "added: info@a.example"),
        ("Go to https://a.example/a_(b)", "https://a.example/a_", "missing: https://a.example/a_(b); added: https://a.example/a"),
        ("https://a.example", "https://a.example-ra", "missing: https://a.example; added: https://a.example-ra"),
    ],
)  # fmt: skip
def test_mistakes(source: str, output: str, detail: str) -> None:
    """An address that is lost, translated, changed or invented is an error that names it."""
    assert found(source, output) == [("error", "addresses differ", detail)]


@pytest.mark.parametrize(
    ("source", "output", "target"),
    [
        ("See https://a.example.", "Voyez https://a.example !", "fr"),
        ("“https://a.example”", "« https://a.example »", "fr"),
        ("(see https://a.example/x)", "（参见https://a.example/x）。", "zh"),
        ("Visit https://a.example/x, then log in.", "访问https://a.example/x，然后登录。", "zh"),
        ("Visit https://a.example/x now", "https://a.example/xにアクセス", "ja"),
        ("Visit https://a.example/x now", "https://a.example/x에서", "ko"),
        ("Visit https://a.example/x now", "เยี่ยมชมhttps://a.example/xตอนนี้", "th"),
        ("Visit https://a.example/x; now", "زر https://a.example/x؛ الآن", "ar"),
        ("Visit https://a.example/x?", "هل زرت https://a.example/x؟", "ar"),
        ("On https://a.example", "https://a.example-ra", "hu"),
        ("On https://a.example", "https://a.example'da", "tr"),
        ("Mail info@a.example", "info@a.example'a yazın", "tr"),
        ("Mail info@a.example", "info@a.example-ra", "hu"),
        ("Mail info@a.example!", "请发邮件至info@a.example。", "zh"),
        ("Mail Info@A.Example", "info@a.example", "fr"),
        ("At HTTPS://A.Example/X", "Sur https://a.example/X", "fr"),
        ("At https://a.example/", "Sur https://a.example", "fr"),
        ("https://a.example/a_(b)", "(https://a.example/a_(b))", "fr"),
        ("https://a.example/?a=1&amp;b=2", "https://a.example/?a=1&b=2", "fr"),
        ("**https://a.example**", "*https://a.example*", "fr"),
        ("{x, select, a {https://a.example} other {}}", "{x, select, a {https://a.example } other {}}", "fr"),
        ("http://%(domain)s/ and https://{host}/x", "https://{host}/x, http://%(domain)s/", "fr"),
        ("https://ru.wikipedia.org/wiki/Привет", "https://ru.wikipedia.org/wiki/Привет.", "ru"),
        ("example.com and Node.js", "exemple.fr et Node.js", "fr"),
        ("5 apples @ 2.00 each", "5 pommes à 2,00", "fr"),
        ("@user and user@host", "@utilisateur et utilisateur@hôte", "fr"),
        ("https:// and www.", "adresse", "fr"),
        ("[docs](https://a.example)", "[documentation](https://b.example)", "fr"),
        ("[docs](mailto:a@a.example)", "documentation", "fr"),
        ('<a href="https://a.example">docs</a>', "<a href='https://b.example'>docs</a>", "fr"),
        ("[ref]: https://a.example", "[ref]: <https://b.example>", "fr"),
        ("[docs](https://a.example)", "documentation (https://a.example)", "fr"),
        ("https://a.example", " ", "fr"),
    ],
)  # fmt: skip
def test_no_false_alarm(source: str, output: str, target: str) -> None:
    """Punctuation, text written on, case of hosts, bare domains, and what rules of markup report."""
    assert found(source, output, target) == []


def test_detail_is_short() -> None:
    """Of many addresses three are named, each cut."""
    source = " ".join(f"https://{number}.example/{'x' * 100}" for number in range(100))
    [(_, _, detail)] = found(source, "rien")
    assert detail.endswith("… and 97 more")
    assert len(detail) <= 200


@pytest.mark.parametrize("language", ["fr", "de", "ru", "ar", "ja"])
def test_no_false_alarm_on_django(language: str) -> None:
    """The published translations of Django keep every address."""
    pairs = [Pair(source, output, "en", language) for source, output in django_pairs(language)]
    assert any("http" in pair.source for pair in pairs)
    assert [(pair.source, one.detail) for pair in pairs for one in addresses(pair)] == []


@given(st.text(alphabet="htps:/w.@a-()[]{}&;,!?é字 \n") | st.text(), st.sampled_from(["fr", "hu", "zh"]))
def test_a_text_has_its_own_addresses(text: str, language: str) -> None:
    """No text differs from itself, nor from itself within a sentence."""
    assert found(text, text, language) == []
    assert found(text, f"« {text} »", language) == []


@pytest.mark.parametrize(
    "piece",
    ["http://", "http://a.b/ ", "https://a.b/(", "a@", "a@a.", "a@a-", "a.", "www.", "www.a ", "@", "mailto:", "://",
     "](http://a ", '="http://a ', "]: ", "a@b.cc ", "http://a)))"],
)  # fmt: skip
def test_hostile_text(piece: str) -> None:
    """A megabyte of almost addresses, or of addresses, takes seconds of the processor, not minutes."""
    text = piece * (2**20 // len(piece))
    began = time.process_time()
    list(addresses(Pair(text, f"{text[:-9]} https://c.example", "en", "hu")))
    assert time.process_time() - began < 5
