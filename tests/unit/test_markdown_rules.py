"""Markdown: mistakes that models make are found, and neither good translations nor plain texts are complained about."""

from __future__ import annotations

import time

import pytest
from catalogue import django_pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from tq.validation.frontmatter import split_front_matter
from tq.validation.markdown import markdown
from tq.validation.pair import Pair, Violation

SOURCE = """\
---
title: Getting started
description: >
  Note: read this first
tags:
  - install
---
# Getting started

Run `pip install tq`, then see [the docs](https://docs.example/start "Docs") and ![the logo](img/logo.png).

## Install

1. First step
2. Second step
   - Nested step

```python title=x.py
# Say hello
print("hello")
```

> [!NOTE]
> Keep the `key` secret.

| Option | Meaning |
|:-------|--------:|
| `-v` | be loud |
| `-q` | be quiet |

Indented code:

    $ make up  # start it

Read [more][ref] or <https://auto.example>.

[ref]: https://ref.example/more "More"
"""

OUTPUT = """\
---
title: Premiers pas
description: >
  Remarque : à lire d'abord
tags:
  - installation
---
Premiers pas
============

Lancez `pip install tq`, puis voyez [la documentation](https://docs.example/start "Doc") et ![le logo](img/logo.png).

## Installation

1) Première étape
2) Deuxième étape
   * Étape imbriquée

```python title=x.py
# Say hello
print("hello")
```

> [!NOTE]
> Gardez `key` secrète.

| Option | Signification |
|:--|--:|
| `-v` | bavard |
| `-q` | muet |

Du code en retrait :

    $ make up  # start it

Lisez [la suite][ref] ou <https://auto.example>.

[ref]: https://ref.example/more "Suite"
"""


def found(source: str, output: str, *, corrected: bool = False) -> list[Violation]:
    return list(markdown(Pair(source, output, "en", "fr", corrected=corrected)))


def said(source: str, output: str, *, corrected: bool = False) -> list[tuple[str, str]]:
    return [(violation.severity, violation.message) for violation in found(source, output, corrected=corrected)]


def test_good_translation() -> None:
    """Texts, titles, values, markers of lists and the kind of heading are the translator's."""
    assert found(SOURCE, OUTPUT) == []
    assert found(SOURCE.replace("\n", "\r\n"), OUTPUT) == []
    assert found(SOURCE, SOURCE) == []


@pytest.mark.parametrize(
    ("old", "new", "message", "detail"),
    [
        # front matter
        ("---\ntitle", "title", "front matter is missing", ""),
        ("tags:", "étiquettes:", "front matter differs", "keys missing: tags:; added: étiquettes:"),
        ("  - installation\n", "", "front matter differs", "keys missing: -"),
        ("description: >\n", "", "front matter differs", "missing: description:"),
        # headings
        ("============", "------------", "heading levels differ", "2 2 instead of 1 2"),
        ("## Installation", "### Installation", "heading levels differ", "1 3 instead of 1 2"),
        ("## Installation", "**Installation**", "heading levels differ", "1 instead of 1 2"),
        ("## Installation", "##Installation", "heading levels differ", "1 instead of 1 2"),
        ("## Installation", "＃＃ Installation", "heading levels differ", "1 instead of 1 2"),
        ("Lisez [la", "## Suite\n\nLisez [la", "heading levels differ", "1 2 2 instead of 1 2"),
        # fences
        ("```python", "~~~python", "code fences differ", "block 1 fenced by"),
        (
            "```python title=x.py",
            "```Python title=x.py",
            "code fences differ",
            "named 'Python title=x.p' for 'python title=x.p'",
        ),
        ("```python title=x.py", "```", "code fences differ", "named ''"),
        ("# Say hello", "# Dire bonjour", "code fences differ", "block 1 with other code at '# Say hello'"),
        ('print("hello")', 'print("bonjour")', "code fences differ", "with other code at 'print(\"hello\")'"),
        ('print("hello")', '  print("hello")', "code fences differ", "with other code"),
        ('```python title=x.py\n# Say hello\nprint("hello")\n```\n', "", "code fences differ", "0 instead of 1"),
        ("> [!NOTE]", "```\nnouveau\n```\n\n> [!NOTE]", "code fences differ", "2 instead of 1"),
        ("$ make up  # start it", "$ make up  # démarrer", "indented code differs", "missing: $ make up # start it"),
        ("    $ make up", "$ make up", "indented code differs", "missing: $ make up"),
        # inline code
        ("`pip install tq`", "`pip installer tq`", "inline code differs", "missing: pip install tq; added: pip inst"),
        ("`key`", "`clé`", "inline code differs", "missing: key; added: clé"),
        ("`-v`", "«\u00a0-V\u00a0»", "inline code differs", "missing: -v"),
        # links and images
        ('(https://docs.example/start "Doc")', "", "link targets differ", "missing: https://docs.example/start"),
        ("https://docs.example/start", "https://docs.example/fr/depart", "link targets differ", "added: https://docs"),
        ("[la documentation](", "[la documentation] (", "link targets differ", "missing: https://docs.example/start"),
        ("img/logo.png", "img/logo-fr.png", "image targets differ", "missing: img/logo.png; added: img/logo-fr.png"),
        ("![le logo](", "[le logo](", "link targets differ", "added: img/logo.png"),
        ("https://ref.example/more", "https://ref.example/suite", "link targets differ", "added: https://ref.example"),
        ("[la suite][ref]", "[la suite][réf]", "link targets differ", "missing: https://ref.example/more"),
        # tables
        ("| `-q` | muet |\n", "", "tables differ", "table 1 has other rows or cells"),
        ("| `-q` | muet |", "| `-q` | muet | silencieux |", "tables differ", "table 1 has other rows or cells"),
        ("| `-q` | muet |", "| `-q` muet |", "tables differ", "table 1 has other rows or cells"),
        ("|:--|--:|", "|：——|——：|", "tables differ", "0 instead of 1"),
        # the rest
        ("> [!NOTE]", "> [!REMARQUE]", "directives differ", "missing: [!NOTE]; added: [!REMARQUE]"),
        ("> [!NOTE]\n> Gardez", "[!NOTE]\nGardez", "block quotes differ", "0 instead of 1"),
    ],
)
def test_mistakes(old: str, new: str, message: str, detail: str) -> None:
    """Each single change of what is no matter of language is an error that says what it is about."""
    assert old in OUTPUT
    errors = [violation for violation in found(SOURCE, OUTPUT.replace(old, new, 1)) if violation.severity == "error"]
    assert message in [violation.message for violation in errors]
    assert any(detail in violation.detail for violation in errors)
    assert all(len(violation.detail) <= 200 for violation in errors)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2) Deuxième étape\n", "", "list items differ"),
        ("   * Étape imbriquée", "   Étape imbriquée", "list items differ"),
        ("`key`", "key", "inline code differs"),
        ("du code", "du `code`", "inline code differs"),
    ],
)
def test_doubts(old: str, new: str, message: str) -> None:
    """Lists and the marking of words that are there may be the translator's choice: these are warnings."""
    output = OUTPUT.replace("Du code", "du code")
    assert old in output
    assert said(SOURCE, output.replace(old, new, 1)) == [("warning", message)]


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("```sh\nls\n```", "```sh\nls", "code fences differ"),
        ("~~~\nls\n~~~", "```\nls\n```", "code fences differ"),
        ("````\n```\n````", "```\n```\n```", "code fences differ"),
        ("- a\n\n  ```\n  x = 1\n  ```", "- a\n\n  ```\n  x = 2\n  ```", "code fences differ"),
        ("> ```\n> x\n> ```", "> ```\n> y\n> ```", "code fences differ"),
        ("## Title\n\nText", "Here is the translation:\n\n## Titre\n\nTexte", "text was added before the document"),
        ("## T\n\n- one\n- two", "## T\n\n- un\n- deux\n\nI hope this helps!", "text was added after the document"),
        ("```\nls\n```", "Voici :\n```\nls\n```", "text was added before the document"),
        ("[a]: https://a.example\n[b]: https://b.example", "[a]: https://a.example", "link definitions differ"),
        ("+++\ntitle = 'x'\n[menu]\n+++\nText", "+++\ntitre = 'x'\n[menu]\n+++\nTexte", "front matter differs"),
        ("+++\ntitle = 'x'\n[menu]\n+++\nText", "+++\ntitle = 'x'\n[carte]\n+++\nTexte", "front matter differs"),
        ("---\r\ntitle: x\r\n---\r\nText", "---\r\ntitre: x\r\n---\r\nTexte", "front matter differs"),
        ("# Title\r\n\r\nText", "Titre\r\n\r\nTexte", "heading levels differ"),
        ("::: tip\nSave `x`\n:::", "::: astuce\nGardez `x`\n:::", "directives differ"),
        ("# العنوان\n\nنص `x`", "# Titre\n\nTexte `y`", "inline code differs"),
        ("`code` 説明", "`コード` 説明", "inline code differs"),
    ],
)  # fmt: skip
def test_mistakes_in_fragments(source: str, output: str, message: str) -> None:
    """What is found in a document is found in a fragment of one, too."""
    assert ("error", message) in said(source, output)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("# of files", "Nombre de fichiers"),
        ("# of files: *", "Nombre de fichiers : *"),
        ("#hashtag and C# code", "#motdièse et du C#"),
        ("* required", "\u200f* مطلوب"),
        ("* required", "champs obligatoires"),
        ("2 * 3 * 4 = 24", "2 × 3 × 4 = 24"),
        ("snake_case_name and __init__", "snake_case_name et __init__"),
        ("1. January", "1er janvier"),
        ("2024 was a good year", "2024. jó év volt"),
        ("- Hello\n- Hi", "— Bonjour\n— Salut"),
        ("> 5 people", "plus de 5 personnes"),
        ("Usage:\n    tq up   start the stack\n", "Utilisation :\n    tq up   démarrer la pile\n"),
        ("    An indented paragraph of a novel.", "    Un paragraphe en retrait d'un roman."),
        ("Title\n=====\n\nText", "Titre\n=====\n\nTexte"),
        ("Best regards\n-- \nJane", "Cordialement\n-- \nJane"),
        ("cannot open `foo' for `bar'", "impossible d'ouvrir « foo » pour « bar »"),
        ("see ``foo'' and ``bar''", "voir « foo » et « bar »"),
        ("a[0](x) and [note]", "a[0](x) et [remarque]"),
        ("[1] A footnote", "[1] Une note"),
        ("Section\n~~~~~~~\n\nText\n\nOther\n~~~~~~~\n\nMore", "Partie\n~~~~~~\n\nTexte\n\nAutre\n~~~~~\n\nSuite"),
        ("See `the guide <g.html>`_ or :ref:`an index <i>`.", "Voir `le guide <g.html>`_, :ref:`un index <i>`."),
        ("| is a pipe", "| est une barre"),
        ("---\nA thought between lines\n---\nText", "---\nUne pensée\n---\nTexte"),
        ("日本語の*強調*と_下線_", "emphase"),
        ("**重要**なお知らせ", "Avis **important**"),
        ("**Bold** text", "texte gras"),
    ],
)  # fmt: skip
def test_plain_texts(source: str, output: str) -> None:
    """Texts that only look a little like Markdown are not measured by its rules."""
    assert found(source, output) == []


@pytest.mark.parametrize(
    ("source", "output", "added"),
    [
        ("Press the button", "```\nAppuyez\n```", "code fence"),
        ("Press the button", "## Traduction\nAppuyez", "heading"),
        ("Press the button", "# Traduction\n\nAppuyez", "heading"),
        ("Press the button", "Appuyez sur le [bouton](https://x.example)", "link"),
        ("Press the button", "Appuyez sur le `bouton`", "code"),
        ("Press the button", "**Appuyez** sur le bouton", "bold text"),
    ],
)
def test_added(source: str, output: str, added: str) -> None:
    """A plain text does not become Markdown."""
    violations = found(source, output)
    assert [(one.severity, one.detail) for one in violations] == [("error", f"added: {added}")]


def test_added_marks_that_harm_little() -> None:
    """Quotation marks that became those of code, and bold text that the model insists on, are warnings."""
    assert said("Remove the “Referer” header", "Enlevez ``Referer``") == [("warning", "Markdown that the source lacks")]
    assert said("Press", "**Appuyez**", corrected=True) == [("warning", "Markdown that the source lacks")]
    assert said("Press", "## Appuyez", corrected=True) == [("error", "Markdown that the source lacks")]


def test_indented_prose() -> None:
    """What is indented in a document and reads like prose is no certain code."""
    source, output = "## Title\n\n    He said so himself", "## Titre\n\n    Il l'a dit lui-même"
    assert said(source, output) == [("warning", "indented text differs")]


@pytest.mark.parametrize(
    ("text", "keys", "rest"),
    [
        ("---\ntitle: x\n---\nText", ["title:"], "Text"),
        ("---\r\ntitle: x\r\n---\r\nText", ["title:"], "Text"),
        ("---\na: |\n  b: c\n\n  d\ne:\n  - f\n  - g: h\n...\n", ["a:", "e:", "  -", "  - g:"], ""),
        ("---\n# comment\n\"quoted key\": x\n---\n", ['"quoted key":'], ""),
        ("+++\na = 1\n[[b]]\n+++\nText", ["a =", "[[b]]"], "Text"),
        ("---\nprose here\n---\n", [], "---\nprose here\n---\n"),
        ("---\ntitle: x\n", [], "---\ntitle: x\n"),
        ("---\n---\n", [], "---\n---\n"),
        ("Text\n---\na: b\n---\n", [], "Text\n---\na: b\n---\n"),
    ],
)  # fmt: skip
def test_front_matter(text: str, keys: list[str], rest: str) -> None:
    """Keys are listed with their place in the structure; what is no front matter stays in the text."""
    assert split_front_matter(text) == (keys, rest)


@pytest.mark.parametrize("language", ["fr", "de", "ru", "ar", "ja"])
def test_no_false_alarm_on_django(language: str) -> None:
    """The published translations of Django break no rule of Markdown."""
    pairs = [Pair(source, output, "en", language) for source, output in django_pairs(language)]
    assert len(pairs) > 600
    assert [(pair.source, one) for pair in pairs for one in markdown(pair) if one.severity == "error"] == []


FRAGMENTS = st.sampled_from(
    ["```", "~~~", "\n", "\n\n", "    ", "`", "x", "# ", "- ", "1. ", "> ", "|", "|-|-|\n", "[a](b)", "[a]: b", "---\n"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS, max_size=20).map("".join), st.lists(FRAGMENTS, max_size=20).map("".join))
def test_any_text_can_be_judged(source: str, output: str) -> None:
    """No text makes the rule raise, none differs from itself, and what is said of it is short."""
    assert found(source, source) == []
    assert all(len(violation.detail) <= 200 for violation in found(source, output))


HOSTILE = [
    "[", "![", "](", "[a](", "[a][", "`", "``a", "```\n", "~~~\n", "> ", "- ", "- a\n", "1. ", "|", "|-", "|-|\n",
    "# ", "    x\n", "<", "<!--", "[a]: ", "[a\n", "---\n", "a: ", "- - a:\n", "\\", "**", "aaaaa\n~~~~~\n",
]  # fmt: skip


@pytest.mark.parametrize("size", [2**20, 2**15])
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text(piece: str, size: int) -> None:
    """A megabyte is not parsed, and the longest text that is takes seconds of the processor, not minutes."""
    text = f"---\na: b\n---\n`x` {piece * (size // len(piece))}"[:size]
    began = time.process_time()
    list(markdown(Pair(text, text[:-1], "en", "fr")))
    assert time.process_time() - began < 5
