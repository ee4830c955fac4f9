"""The rules for placeholders, ICU messages and tokens: what breaks a program is found, what translators do passes."""

from __future__ import annotations

import time

import pytest
from catalogue import django_pairs

from tq.validation import Pair
from tq.validation.placeholders import RULES


def found(source: str, output: str, target: str = "fr", *, corrected: bool = False) -> list[tuple[str, str, str]]:
    """Severity, message and detail of each violation."""
    pair = Pair(source, output, "en", target, corrected=corrected)
    return [(one.severity, one.message, one.detail) for rule in RULES for one in rule(pair)]


DIFFERENT = [
    ("Hello {name}", "Bonjour {nom}", "missing: {name}; added: {nom}"),
    ("Hello {name}", "Bonjour", "missing: {name}"),
    ("Hello {name}", "Bonjour {name} {name}", "added: {name}"),
    ("Hello {name}", "Bonjour { name }", "missing: {name}; added: { name }"),
    ("Hello {name}", "Bonjour {{name}}", "missing: {name}; added: {{name}}"),
    ("Hello {{name}}", "Bonjour {name}", "missing: {{name}}; added: {name}"),
    ("Hello {name}", "Bonjour ｛name｝", "missing: {name}"),
    ("Hello {0}", "مرحبا {٠}", "missing: {0}; added: {٠}"),
    ("Hello ${name}", "Bonjour $ {name}", "missing: ${name}; added: {name}"),
    ("Hello %{name}", "Bonjour {name}", "missing: %{name}; added: {name}"),
    ("Hello %s", "Bonjour % s", "missing: %s"),
    ("Hello %s", "Bonjour ％s", "missing: %s"),
    ("Hello %s", "Bonjour %S", "missing: %s; added: %S"),
    ("Hello %s", "مرحبا ٪s", "missing: %s"),
    ("%d files", "%s fichiers", "missing: %d; added: %s"),
    ("%(count)d files", "%(count) fichiers", "missing: %(count)d"),
    ("%(count)d files", "%(nombre)d fichiers", "missing: %(count)d; added: %(nombre)d"),
    ("%1$s of %2$s", "%1$s de %1$s", "missing: %2$s; added: %1$s"),
    ("v2%s is here", "la v2 est là", "missing: %s"),
    ("No files", "Aucun fichier dans %s", "added: %s"),
    ("No files", "Aucun {fichier}", "added: {fichier}"),
    ("{%if x%}Yes{% end %}", "{% si x %}Oui{% fin %}", "missing: {% if x %}, {% end %}; added: {% si x %}, {% fin %}"),
    ('<a href="%(url)s">Go</a>', '<a href="">Aller</a>', "missing: %(url)s"),
    ("See https://x.example/{id}?a=%20b", "Voir https://x.example/{ida}?a=%20b", "missing: {id}; added: {ida}"),
    ("Press `{key}`", "Appuyez sur `{clé}`", "missing: {key}; added: {clé}"),
    ("{d, date, short}", "{d, date, long}", "missing: {d,date,short}; added: {d,date,long}"),
    ("Hi %name%!", "Salut %nom% !", "missing: %name%; added: %nom%"),
    ("Hi ⟦7⟧", "Salut", "missing: ⟦7⟧"),
    ("{a}{b}{c}{d}{e}", "x", "missing: {a}, {b}, {c} … and 2 more"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "output", "detail"), DIFFERENT)
def test_different(source: str, output: str, detail: str) -> None:
    """Placeholders lost, added, translated or respelt are an error, also when the model was asked twice."""
    for corrected in (False, True):
        assert found(source, output, corrected=corrected)[0] == ("error", "placeholders differ", detail)


SAME = [
    ("%1$s of %2$s", "%2$s 中的 %1$s"),
    ("%(a)s of %(b)s", "%(b)s, %(a)s"),
    ("{a} of {b} in {0}", "{0} : {b}, {a}"),
    ("Hello {{ name }}", "Bonjour {{name}}"),
    ("{%if x%}Yes{%endif%}", "{% if x %}Oui{% endif %}"),
    ("{d, date, short}", "{d,date,short}"),
    ("100% sure", "sûr à 100 %"),
    ("100%", "100 % de plus"),
    ("50% of %s", "50 % de %s"),
    ("50% discount", "50%ige Ermäßigung"),
    ("50% of it", "az 50%-a, 10%-e és 20%-os"),
    ("50% discount", "50%den fazla"),
    ("50% discount", "%50 indirim, %50si"),
    ("I agree 100%", "Je suis 100%d'accord"),
    ("50%% of %d", "50 %% de %d"),
    ("%d%% of %s done", "%d %% de %s fait"),
    ("%d/%m/%Y at %I:%M %p", "%d.%m.%Y, %H:%M"),
    ("%B %d, %Y", "%d %B %Y"),
    ("See https://x.example/a%20d%C3%A9", "Voir https://x.example/fr%20d%C3%A9"),
    ("a {b c} d", "a {d e} f"),
    ("{n, plural, broken", "{n, pluriel, cassé"),
    ("{n, plural, one {x} two}", "{n, plural, one {y} deux}"),
    ("{n, plural, one {{x} a}", "{n, plural, one {{y} b}"),
    ("{n, plural, one {# file} few {# files}}", "{n, plural, un {# fichier}}"),
    ("Hi ⟦7⟧", "Salut ⟦7⟧"),
]


@pytest.mark.parametrize(("source", "output"), SAME)
def test_same(source: str, output: str) -> None:
    """Reordered named placeholders, percent signs, dates, and braces that are none of ours are no violation."""
    assert found(source, output) == []


@pytest.mark.parametrize(("source", "output"), [("%s: %d", "%d : %s"), ("{} {!r}", "{!r} {}")])
def test_out_of_order(source: str, output: str) -> None:
    """What takes the arguments as they come cannot change places."""
    assert [message for _, message, _ in found(source, output)] == ["placeholders without numbers are out of order"]


def test_percent_sign_not_doubled() -> None:
    """In a format string a lone percent sign breaks the formatting."""
    assert [message for _, message, _ in found("%d%% done", "%d % fait")] == ["a percent sign is not doubled"]
    assert [message for _, message, _ in found("%(n)s%% done", "%(n)s% fait")] == ["a percent sign is not doubled"]


@pytest.mark.parametrize("output", ["Salut ⟦2⟧ {name}", "Salut ⟦1 {name}", "Salut 1⟧ {name}", "⟦2⟧ ⟦1⟧ {name}"])
def test_leftover_tokens(output: str) -> None:
    """Tokens that nothing could be put back for are an error."""
    assert [severity for severity, message, _ in found("Hi {name}", output) if message.startswith("marks")] == ["error"]


FILES = "{n, plural, one {{name} has # file} other {{name} has # files}}"
THEY = "{g, select, male {He} female {She} other {They}} sent it"
GOOD_ICU = [
    # source, target language, output
    (FILES, "ru", "{n, plural, one {{name}: # ф} few {{name}: # фа} many {{name}: # фов} other {{name}: # фа}}"),
    (FILES, "ja", "{n, plural, other {{name} のファイル # 件}}"),
    (FILES, "ja", "{n,plural,other{{name} のファイル {n} 件}}"),
    (FILES, "fr", "{n, plural, one {{name} a # fichier} other {{name} a # fichiers}}"),
    (FILES, "fr", "{n, plural, =1 {{name} a un fichier} one {{name} a # x} other {{name} a {n, number} x}}"),
    (FILES, "fr", "{name} a {n, plural, one {# fichier} other {# fichiers}}"),
    (FILES, "ar", "{n, plural, zero {{name}} one {{name}} two {{name}} few {{name}#} many {{name}#} other {{name}#}}"),
    (FILES, "ar", "{n, plural, =0 {{name}} =1 {{name}} =2 {{name}} few {{name} #} many {{name} #} other {{name} #}}"),
    ("{n, plural, one {{n} file} other {{n} files}}", "fr", "{n, plural, one {# fichier} other {# fichiers}}"),
    ("{n, plural, one {a file} other {# files}}", "fr", "{n, plural, one {# fichier} other {# fichiers}}"),
    ("{n, plural, =0 {none} one {# file} other {# files}}", "lv", "{n, plural, zero {neviena} one {#} other {#}}"),
    ("{n, plural, other {Files: #}}", "ru", "{n, plural, other {Файлов: #}}"),
    ("{n, selectordinal, one {#st} two {#nd} few {#rd} other {#th}}", "fr", "{n, selectordinal, one {#er} other {#e}}"),
    (THEY, "de", "{g, select, male {Er} female {Sie} other {Sie}} hat es gesendet"),
    ("{g, select, a {{n, plural, one {# x} other {# y}}} other {z}}", "de",
     "{n, plural, one {{g, select, a {# x} other {z}}} other {{g, select, a {# y} other {z}}}}"),
    (FILES, "tlh", "{n, plural, other {{name} #}}"),
    ("It''s {n, plural, one {one day} other {# days}}", "fr", "C''est {n, plural, one {un jour} other {# jours}}"),
    ("{n, plural, offset:1 one {a #} other {b #}}", "fr", "{n, plural, offset:1 one {c #} other {d #}}"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "output"), GOOD_ICU)
def test_good_icu(source: str, target: str, output: str) -> None:
    """A message with the categories of its language passes, however many they are."""
    assert found(source, output, target) == []


BAD_ICU = [
    # source, target language, output -> messages
    (FILES, "fr", "{n, plural, one {{name} a # fichier} other {{nom} a # fichiers}}", ["placeholders differ"]),
    (FILES, "fr", "{n, plural, one {# fichier} other {{name} a # fichiers}}", ["placeholders differ"]),
    (FILES, "fr", "{n, pluriel, one {{name} a # x} other {{name} a # y}}", ["ICU arguments differ"]),
    (FILES, "fr", "{x, plural, one {{name} a # x} other {{name} a # y}}", ["ICU arguments differ"]),
    (FILES, "fr", "{n, plural, un {{name} a # x} autre {{name} a # y}}", ["the ICU message does not parse"]),
    (FILES, "fr", "{n, plural, one {{name} a # x} other {{name} a # y}", ["the ICU message does not parse"]),
    (FILES, "fr", "{n, plural, one {l'{name} #} other {{name} #}}", ["the ICU message does not parse"]),
    (FILES, "fr", "{n, plural, one {l'{name} # d'x} other {{name} #}}", ["placeholders differ"]),
    (FILES, "fr", "{n, plural, one {{name} #}}",
     ["an ICU argument has no branch other", "plural categories of the language are missing"]),
    (FILES, "fr", "{n, plural, one {{name} a # fichier} other {{name} a des fichiers}}",
     ["branches of an ICU plural do not show the number"]),
    (FILES, "fr", "{n, plural, one {{name} #} few {{name} #} other {{name} #}}",
     ["plural categories that the language does not have"]),
    (FILES, "ru", "{n, plural, one {{name} #} other {{name} #}}", ["plural categories of the language are missing"]),
    (THEY, "de", "{g, select, männlich {Er} weiblich {Sie} other {Sie}} …", ["the keys of an ICU select differ"]),
    (THEY, "de", "{g, select, male {Er} other {Sie}} …", ["the keys of an ICU select differ"]),
    ("{n, plural, =0 {none} other {#}}", "fr", "{n, plural, other {#}}", ["branches of an ICU plural are missing"]),
    ("{n, plural, offset:1 one {#} other {#}}", "fr", "{n, plural, one {#} other {#}}",
     ["the offset of an ICU plural differs"]),
    ("Files: {n}", "fr", "Fichiers : {n} {m, select, a {b} other {c}}", ["ICU arguments differ"]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "output", "messages"), BAD_ICU)
def test_bad_icu(source: str, target: str, output: str, messages: list[str]) -> None:
    """A message that would not parse, or would show the wrong text or none, is an error."""
    violations = found(source, output, target)
    assert [
        message for _, message, _ in violations if "placeholders" not in message or messages == [message]
    ] == messages
    assert {severity for severity, _, _ in violations} == {"error"}


def test_doubtful_categories() -> None:
    """A category copied from the source does no harm; one still missing the second time only warns."""
    copied = found(FILES, "{n, plural, one {{name} #} other {{name} #}}", "ja")
    assert copied == [("warning", "plural categories that the language does not have", "{n, plural}: not one")]
    missing = found(FILES, "{n, plural, one {{name} #} other {{name} #}}", "ru", corrected=True)
    assert missing == [("warning", "plural categories of the language are missing", "{n, plural}: missing: few, many")]


#: (language, start of the source): translations that really have other placeholders than their source.
EXCEPTIONS = {
    # "You may add another {name} below": the second {name} is paraphrased by "ein Weiteres".
    ("de", "The {name} “{obj}” was added successfully. You may add another"),
    ("de", "The {name} “{obj}” was changed successfully. You may add another"),
    # %(field_name)s is said twice.
    ("ja", "Please correct the duplicate data for %(field_name)s which"),
}


@pytest.mark.parametrize("language", ["fr", "de", "ru", "ar", "ja"])
def test_human_translations(language: str) -> None:
    """Django's published translations pass, but for the listed ones."""
    pairs = django_pairs(language)
    wrong = [source for source, output in pairs if found(source, output, language)]
    assert len(pairs) > 700
    expected = [start for tongue, start in EXCEPTIONS if tongue == language]
    assert all(any(source.startswith(start) for start in expected) for source in wrong)
    assert len(wrong) == len(expected)


@pytest.mark.parametrize(
    "piece",
    ["{", "{}", "{x", "%", "%s", "%a", "%(", "{{", "{n,plural,", "{n,plural,one{", "{n,plural,other{x}}",
     "{n,plural,other{'", "{n,select," + "".join(f"a{i}{{%{i}$s}}" for i in range(9)) + "other{}}", "{n,select,other{}",
     "⟦1⟧", "⟦", "`", "<a ='"],
)  # fmt: skip
def test_hostile_text_is_linear(piece: str) -> None:
    """An eighth of a megabyte of unfinished tokens takes well under a second (quadratic would be minutes)."""
    text = piece * (2**17 // len(piece))
    began = time.process_time()
    found(text, text, "ru")
    found("{n, plural, other {#}} %s", text, "ru")
    assert time.process_time() - began < 4
