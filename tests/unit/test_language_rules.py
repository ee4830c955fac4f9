"""The language of an answer: its script, what the identifier says, Chinese characters of the other kind; echoes."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.validation import Pair
from tq.validation.identify import are_close
from tq.validation.language import detect_language, not_same_as_source, right_language
from tq.validation.scripts import chinese_variant, scripts_of_language

ENGLISH = "The committee published its annual report on the state of the forests, and asked everyone to read it."
FRENCH = "Le comité a publié son rapport annuel sur l’état des forêts et demande à chacun de le lire avec soin."
GERMAN = (
    "Der Ausschuss hat seinen Jahresbericht über den Zustand der Wälder veröffentlicht und bittet alle, ihn zu lesen."
)
SPANISH = (
    "El comité publicó su informe anual sobre el estado de los bosques y pidió a todos que lo leyeran con atención."
)
RUSSIAN = "Комитет опубликовал свой ежегодный доклад о состоянии лесов и попросил всех внимательно его прочитать."
UKRAINIAN = "Комітет опублікував свій щорічний звіт про стан лісів і попросив усіх уважно його прочитати."
JAPANESE = "委員会は森林の状態に関する年次報告書を発表し、全員に注意深く読むよう求めました。"
SIMPLIFIED = "委员会发布了关于森林状况的年度报告，并要求每个人仔细阅读这份报告，以便在下次会议上讨论。"
TRADITIONAL = "委員會發布了關於森林狀況的年度報告，並要求每個人仔細閱讀這份報告，以便在下次會議上討論。"
KOREAN = "위원회는 숲의 상태에 관한 연례 보고서를 발표하고 모두에게 주의 깊게 읽어 달라고 요청했습니다."
ARABIC = "نشرت اللجنة تقريرها السنوي عن حالة الغابات وطلبت من الجميع قراءته بعناية."
NORWEGIAN = "Komiteen har offentliggjort sin årlige rapport om skogenes tilstand og bedt alle om å lese den nøye."


@pytest.mark.parametrize(
    ("source", "output", "languages"),
    [
        (ENGLISH, ENGLISH, ("en", "fr")),
        (ENGLISH, ENGLISH, ("en", "ja")),
        (ENGLISH, FRENCH, ("en", "de")),
        (ENGLISH, SPANISH, ("en", "fr")),
        (ENGLISH, GERMAN, ("en", "en-GB")),
        (ENGLISH, RUSSIAN, ("en", "uk")),
        (ENGLISH, ENGLISH.upper(), ("en", "fr")),
        (JAPANESE, ENGLISH, ("ja", "de")),
        (ENGLISH, SIMPLIFIED, ("en", "ja")),
        (ENGLISH, JAPANESE, ("en", "zh")),
        (ENGLISH, f"{ENGLISH[:60]}\n```\nprint('bonjour à tous les amis')\n```", (None, "fr")),
        ("Hello", "Bonjour", ("en", "ja")),
        ("Good morning", "Dobroye utro", ("en", "ru")),
        ("Good morning", "Доброе утро", ("en", "sr-Latn")),
        ("Good morning", "Доброе утро", ("en", "fr")),
        ("Good morning", "早上好", ("en", "ko")),
        ("Good morning", "おはようございます", ("en", "zh-Hans")),
        ("Good morning", "καλημέρα", ("en", "hy")),
    ],
)
def test_wrong_language(source: str, output: str, languages: tuple[str | None, str]) -> None:
    """Another language is an error at first; asked twice, a warning, unless a sentence is new and surely another's."""
    (found,) = right_language(Pair(source, output, *languages))
    assert (found.rule, found.severity, found.message) == ("right-language", "error", "not in the target language")
    (found,) = right_language(Pair(source, output, *languages, corrected=True))
    is_sentence = output in {FRENCH, GERMAN, SPANISH, RUSSIAN, JAPANESE, SIMPLIFIED, ENGLISH} and output != source
    assert found.severity == ("error" if is_sentence else "warning")


@pytest.mark.parametrize(
    ("source", "output"),
    [
        (f"Il a dit : « {ENGLISH} »", f"{ENGLISH} Sagte er."),
        ("Иван Петров, Мария Сидорова, Пётр Кузнецов, Анна Соколова", "Ivan Petrov, Mariya Sidorova, Pyotr Kuznetsov"),
        ("The motto of the house", "Per aspera ad astra, dulce est"),
    ],
)
def test_quotations_and_names_stay_warnings(source: str, output: str) -> None:
    """What the source has, names, and what is short are no proof that the model writes in another language."""
    assert all(each.severity == "warning" for each in right_language(Pair(source, output, None, "de", corrected=True)))


def test_detail_names_the_source_language() -> None:
    """The corrective request can say that the text was left as it was."""
    (found,) = right_language(Pair(ENGLISH, f"{ENGLISH} {ENGLISH}", "en-US", "fr"))
    assert found.detail == "it looks like en, the language of the source"
    (found,) = right_language(Pair(ENGLISH, ENGLISH, "en", "th"))
    assert found.detail == "mostly in the script Latn"


@pytest.mark.parametrize(
    ("source", "output", "languages"),
    [
        (ENGLISH, FRENCH, ("en", "fr-CA")),
        (ENGLISH, GERMAN, (None, "de")),
        (ENGLISH, SPANISH, ("en", "es-MX")),
        (ENGLISH, RUSSIAN, ("en", "ru")),
        (ENGLISH, UKRAINIAN, ("en", "uk")),
        (ENGLISH, JAPANESE, ("en", "ja")),
        (ENGLISH, SIMPLIFIED, ("en", "zh-Hans")),
        (ENGLISH, TRADITIONAL, ("en", "zh-TW")),
        (ENGLISH, KOREAN, ("en", "ko")),
        (ENGLISH, ARABIC, ("en", "ar")),
        # Close relatives, and variants of one language.
        (ENGLISH, NORWEGIAN, ("en", "nb")),
        (ENGLISH, NORWEGIAN, ("en", "da")),
        (ENGLISH, SPANISH, ("en", "gl")),
        (ENGLISH, ENGLISH, ("en-US", "en-GB")),
        # A language the identifier has not learnt.
        (ENGLISH, ENGLISH, ("en", "gsw")),
        # Names, terms and code in another script, and too few letters to say.
        ("Install Microsoft Visual Studio Code", "Установите Microsoft Visual Studio Code", ("en", "ru")),
        ("Microsoft Office 365", "Microsoft Office 365", ("en", "ja")),
        ("IPv4 or IPv6", "IPv4またはIPv6", ("en", "ja")),
        ("Use `pip install` here", "`pip install` を使う", ("en", "ja")),
        ("see https://example.com/hello/world", "見る https://example.com/hello/world", ("en", "ja")),
        ("{greeting}, <b>{name}</b>", "{greeting}, <b>{name}</b>", ("en", "ja")),
        ("OK", "OK", ("en", "ar")),
        ("Hello", "Hallo", ("en", "fr")),
        ("The word спасибо means thanks", "Le mot спасибо veut dire merci", ("en", "fr")),
        ("", "", ("en", "fr")),
        ("42", "٤٢", ("en", "ar")),
        # Languages of several scripts.
        ("Good morning", "Добро јутро", ("en", "sr")),
        ("Good morning", "Dobro jutro", ("en", "sr")),
        ("Good morning", "Сайн байна уу", ("en", "mn")),
        ("Good morning", "おはよう", ("en", "sa")),
    ],
)
def test_right_language(source: str, output: str, languages: tuple[str | None, str]) -> None:
    """The right language, and all that is not certain, passes."""
    assert list(right_language(Pair(source, output, *languages))) == []


@pytest.mark.parametrize(
    ("output", "target", "detail"),
    [
        (SIMPLIFIED, "zh-Hant", "simplified, not traditional"),
        (SIMPLIFIED, "zh-TW", "simplified, not traditional"),
        (TRADITIONAL, "zh-Hans", "traditional, not simplified"),
        (TRADITIONAL, "zh", "traditional, not simplified"),
    ],
)
def test_other_chinese(output: str, target: str, detail: str) -> None:
    """The other kind of Chinese characters can be read: it is a warning, also the first time."""
    (found,) = right_language(Pair(ENGLISH, output, "en", target))
    assert (found.severity, found.detail) == ("warning", detail)


@pytest.mark.parametrize(
    ("text", "variant"),
    [(SIMPLIFIED, "Hans"), (TRADITIONAL, "Hant"), ("你好", None), (SIMPLIFIED + TRADITIONAL, None), (FRENCH, None)],
)
def test_chinese_variant(text: str, variant: str | None) -> None:
    """Only where several characters say it, and none of the other kind."""
    assert chinese_variant(text) == variant


@pytest.mark.parametrize(
    ("source", "output", "languages"),
    [
        ("Hello", "Hello", ("en", "fr")),
        ("Hello world", "Hello world", (None, "fr")),
        ("Please read this whole report", "please  read this Whole report", ("en", "fr")),
        ("Please read the whole report of {name}", "Please read the whole report of {nom}", ("en", "fr")),
        ("Please read this whole report to me", "Please read this whole report à me", ("en", "fr")),
        ("PLEASE READ", "PLEASE READ", ("en", "fr")),
        (ENGLISH, ENGLISH, ("en", "ast")),
        (NORWEGIAN, NORWEGIAN, ("nb", "da")),
    ],
)
def test_echo(source: str, output: str, languages: tuple[str | None, str]) -> None:
    """An echo is an error at first, and a warning when the model was asked twice."""
    assert [each.severity for each in not_same_as_source(Pair(source, output, *languages))] == ["error"]
    assert [each.severity for each in not_same_as_source(Pair(source, output, *languages, corrected=True))] == [
        "warning"
    ]


@pytest.mark.parametrize(
    ("source", "output", "languages"),
    [
        ("IPv4", "IPv4", ("en", "fr")),
        ("IPv4 or IPv6", "IPv4 ou IPv6", ("en", "fr")),
        ("JSON / max_length / GitHub", "JSON / max_length / GitHub", ("en", "fr")),
        ("Action:", "Action\u00a0:", ("en", "fr")),
        ("salt", "Salt", ("en", "de")),
        ("%(app)s administration", "Administration de %(app)s", ("en", "fr")),
        ("Site administration", "Site d’administration", ("en", "fr")),
        ("OK", "OK", ("en", "fr")),
        (FRENCH, FRENCH, ("en", "fr")),
        (FRENCH, FRENCH, (None, "fr-CH")),
        ("a", "b", ("en", "fr")),
        (ENGLISH, f"{ENGLISH} {ENGLISH}", ("en", "fr")),
    ],
)
def test_no_echo(source: str, output: str, languages: tuple[str | None, str]) -> None:
    """Terms without a translation, any change of a short text, and a source in the target language already."""
    assert list(not_same_as_source(Pair(source, output, *languages))) == []


def test_short_echo_between_relatives() -> None:
    """A few words can be right in two close languages: that is worth a warning only."""
    (found,) = not_same_as_source(Pair("Takk for hjelpen", "Takk for hjelpen", "nb", "nn"))
    assert found.severity == "warning"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"), (FRENCH, "fr"), (GERMAN, "de"), (SPANISH, "es"), (RUSSIAN, "ru"), (UKRAINIAN, "uk"),
        (JAPANESE, "ja"), (SIMPLIFIED, "zh"), (TRADITIONAL, "zh"), (KOREAN, "ko"), (ARABIC, "ar"),
        ("안녕", "ko"), ("こんにちは", "ja"), ("สวัสดี", "th"), ("γεια", "el"), ("გამარჯობა", "ka"),
        ("Hello", None), ("Привет", None), ("مرحبا", None), ("東京", None), ("", None), ("42 + 7", None),
        ("`the committee published its annual report on the state`", None), ("{a}" * 100, None),
        (f"{ENGLISH}\n{JAPANESE}\n{RUSSIAN}\n{ARABIC}", None),
    ],
)  # fmt: skip
def test_detect(text: str, language: str | None) -> None:
    """The language of a text, when it is certain: by a script of one language, or from 40 letters on."""
    assert detect_language(text) == language


@pytest.mark.parametrize(
    ("tag", "scripts"),
    [
        ("fr", {"Latn"}), ("ru", {"Cyrl"}), ("ja", {"Hani", "Hira", "Kana"}), ("ko", {"Hang"}),
        ("zh-TW", {"Hani", "Bopo"}), ("sr", {"Cyrl", "Latn"}), ("sr-Latn", {"Latn"}), ("pa-PK", {"Guru", "Arab"}),
        ("en-Shaw", None), ("sa", None), ("iw", {"Hebr"}), ("ur-Aran", {"Arab"}),
    ],
)  # fmt: skip
def test_scripts_of_language(tag: str, scripts: set[str] | None) -> None:
    """The script that a tag says, or the likely ones of its language."""
    assert scripts_of_language(tag) == scripts


def test_close_languages() -> None:
    """Each language is close to itself, by its other name too, and closeness goes both ways."""
    assert are_close("fr", "fr")
    assert are_close("nb", "no")
    assert are_close("hr", "sr")
    assert are_close("sr", "hr")
    assert not are_close("fr", "en")


def test_identifier_is_loaded_late() -> None:
    """Short texts and the import of the checks do not pay for numpy and the model."""
    code = (
        "import sys; from tq.validation import Pair, violations; violations(Pair('Hello', 'Bonjour', 'en', 'fr'));"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_the_model_of_others_is_left_alone() -> None:
    """Whoever restricts py3langid's own model to some languages does not change what tq finds."""
    from py3langid import langid

    langid.set_languages(["de"])
    try:
        assert detect_language(f"{FRENCH} {FRENCH}") == "fr"
    finally:
        langid.set_languages(None)


@pytest.mark.parametrize(
    "piece",
    [ENGLISH, "a ", "a", "A", "é", "中", "か", "{", "<", "```\n", "~~~\na", "` ", "'", "a'", "\u0301", "\n", "1a_", "𝒜",
     "ا", "!", "😀", "\u200d", "{n, plural, one {"],
)  # fmt: skip
def test_hostile_text(piece: str) -> None:
    """A megabyte of anything, as source, as output and as both, costs seconds of the processor, not minutes."""
    text = piece * (2**20 // len(piece))
    detect_language(ENGLISH)  # loads the model
    for source, output in ((text, text), (text, FRENCH), (ENGLISH, text)):
        began = time.process_time()
        for rule in (not_same_as_source, right_language):
            list(rule(Pair(source, output, "en", "fr")))
        detect_language(output)
        assert time.process_time() - began < 5


@given(st.text(), st.text(), st.sampled_from([None, "en", "iw", "zh-Hant", "gsw"]), st.sampled_from(["fr", "ja", "zh"]))
def test_any_text_can_be_judged(source: str, output: str, source_language: str | None, target: str) -> None:
    """No text makes a rule or the detection raise."""
    pair = Pair(source, output, source_language, target)
    for violation in (*not_same_as_source(pair), *right_language(pair)):
        assert len(violation.detail) <= 200
    detect_language(output)
