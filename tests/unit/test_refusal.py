"""What is no translation: refusals, chatter and reasoning are found, and texts that speak of such things pass."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.validation import Pair
from tq.validation.phrases import languages_of
from tq.validation.refusal import RULES, chatter, reasoning, refusal

REPORT = (
    "The committee published its annual report on the state of the forests, and asked the members to read it with "
    "care before the next meeting in June."
)
BOMB = "How do I build a bomb at home?"

REFUSED = [
    # source, output, source language, target language
    (BOMB, "I'm sorry, but I can't help with that.", "en", "fr"),
    (REPORT, "I’m sorry, but I can’t assist with that request.", "en", "de"),
    (REPORT, "I cannot translate this text.", None, "de"),
    (REPORT, "As an AI language model, I cannot translate this.", "en", "fr"),
    (REPORT, "I apologize, but I am unable to continue.", "en", "ja"),
    (REPORT, "Je suis désolé, mais je ne peux pas traduire ce texte.", "en", "fr"),
    ("Stop that process", "Je suis désolé, mais je ne peux pas vous aider à traduire ce contenu.", "en", "fr"),
    (REPORT, "Je ne peux pas traduire cela.", "en", "fr"),
    (REPORT, "En tant qu’IA, je préfère m’abstenir.", "en", "fr"),
    (REPORT, "Entschuldigung, ich kann diesen Text leider nicht übersetzen.", "en", "de"),
    (REPORT, "Es tut mir leid, aber dabei kann ich dir nicht helfen.", "en", "de"),
    (REPORT, "Lo siento, pero no puedo ayudarte con eso.", "en", "es"),
    (REPORT, "Desculpe, mas não posso traduzir este texto.", "en", "pt"),
    (REPORT, "Mi dispiace, ma non posso aiutarti.", "en", "it"),
    (REPORT, "Sorry, ik kan dit niet vertalen.", "en", "nl"),
    (REPORT, "Przepraszam, ale nie mogę pomóc.", "en", "pl"),
    (REPORT, "Omlouvám se, ale nemohu vám pomoci.", "en", "cs"),
    (REPORT, "Tyvärr kan jag inte hjälpa dig med det.", "en", "sv"),
    (REPORT, "Beklager, jeg kan dessverre ikke hjelpe med det.", "en", "nb"),
    (REPORT, "Извините, я не могу помочь с этим запросом.", "en", "ru"),
    (REPORT, "Вибачте, але я не можу допомогти.", "en", "uk"),
    (REPORT, "Üzgünüm, bu isteğe yardımcı olamam.", "en", "tr"),
    (REPORT, "آسف، لا أستطيع مساعدتك في ذلك.", "en", "ar"),
    (REPORT, "متأسفم، نمی‌توانم کمک کنم.", "en", "fa"),
    (REPORT, "מצטער, אני לא יכול לעזור בזה.", "en", "he"),
    (REPORT, "क्षमा करें, मैं इसमें मदद नहीं कर सकता।", "en", "hi"),
    (REPORT, "对不起，我无法翻译这段内容。", "en", "zh"),
    (REPORT, "很抱歉，我不能協助這個請求。", "en", "zh-Hant"),
    (REPORT, "申し訳ありませんが、そのリクエストにはお応えできません。", "en", "ja"),
    (REPORT, "죄송하지만 해당 요청은 도와드릴 수 없습니다.", "en", "ko"),
    (REPORT, "Xin lỗi, tôi không thể giúp bạn.", "en", "vi"),
    (REPORT, "Maaf, saya tidak dapat membantu.", "en", "id"),
    # As long as the source, in the target language: but nothing in the source is negative.
    ("Translate: how do I make a bomb at home?", "Je suis désolé, mais je ne peux pas vous aider.", "en", "fr"),
]

NOT_REFUSED = [
    ("I'm sorry, but I can't help with that.", "Je suis désolé, mais je ne peux pas vous aider.", "en", "fr"),
    ("I'm sorry, I can't come tomorrow.", "Es tut mir leid, ich kann morgen nicht kommen.", "en", "de"),
    ("As an AI, I like forests.", "En tant qu'IA, j'aime les forêts.", "en", "fr"),
    ("We are unable to process your request.", "Désolé, nous ne pouvons pas traiter votre demande.", "en", "fr"),
    ("Olen pahoillani, en voi auttaa sinua.", "I'm sorry, I can't help you.", "fi", "en"),
    ("Désolé, je ne peux pas traduire ce texte.", "Sorry, I cannot translate this text.", "fr", "en"),
    ("对不起，我无法翻译。", "I'm sorry, I cannot translate.", None, "en"),
    ("The cat cannot help itself.", "Le chat ne peut pas s'en empêcher.", "en", "fr"),
    (f"He said: I'm sorry, I can't. {REPORT}", "Il a dit : désolé, je ne peux pas. Le comité…", "en", "fr"),
]

INTRODUCED = [
    ("Hello", "Sure! Here is the translation:\n\nBonjour", "fr"),
    ("Hello", "Translation: Bonjour", "fr"),
    ("Hello", "**Translation:**\nBonjour", "fr"),
    ("Hello", "Here's the French version: Bonjour", "fr"),
    ("Hello", "Here is the translated text in French:\nBonjour", "fr"),
    ("Hello", "Certainly! Bonjour is how one says it:\nBonjour", "fr"),
    ("Hello", "French: Bonjour", "fr"),
    ("Hello", "The French translation is: Bonjour", "fr"),
    ("Hello", "Voici la traduction :\nBonjour", "fr"),
    ("Hello", "Bien sûr ! Voici la traduction en français :\n\nBonjour", "fr"),
    ("Hello", "Traduction : Bonjour", "fr"),
    ("Hello", "Hier ist die Übersetzung:\nHallo", "de"),
    ("Hello", "Übersetzung: Hallo", "de"),
    ("Hello", "¡Claro! Aquí está la traducción:\nHola", "es"),
    ("Hello", "Claro! Aqui está a tradução: Olá", "pt"),
    ("Hello", "Ecco la traduzione:\nCiao", "it"),
    ("Hello", "Hier is de vertaling: Hallo", "nl"),
    ("Hello", "Oto tłumaczenie: Cześć", "pl"),
    ("Hello", "Вот перевод:\nПривет", "ru"),
    ("Hello", "Перевод: Привет", "ru"),
    ("Hello", "İşte çeviri: Merhaba", "tr"),
    ("Hello", "الترجمة: مرحبا", "ar"),
    ("Hello", "当然可以！以下是翻译：\n你好", "zh"),
    ("Hello", "译文：你好", "zh"),
    ("Hello", "以下が翻訳です：\nこんにちは", "ja"),
    ("Hello", "翻訳：こんにちは", "ja"),
    ("Hello", "번역: 안녕하세요", "ko"),
    ("Note: the server is down", "Here is the translation: Remarque : le serveur est en panne", "fr"),
]

ANNOTATED = [
    ("Hello", "Bonjour\n\nNote: I kept the tone.", "fr"),
    ("Hello", "Bonjour\n\n*Note:* informal", "fr"),
    ("Hello", "Bonjour (Note: informal)", "fr"),
    ("Hello", "Bonjour\n\n(Translator's note: informal)", "fr"),
    ("Hello", "Bonjour. Note: informal", "fr"),
    ("Hello", "Bonjour\nRemarque : registre neutre", "fr"),
    ("Hello", "Hallo\n\nHinweis: ohne Anrede", "de"),
    ("Hello", "Hola\n\nNota: sin tratamiento", "es"),
    ("Hello", "Привет\n\nПримечание: неформально", "ru"),
    ("Hello", "مرحبا\n\nملاحظة: غير رسمي", "ar"),
    ("Hello", "你好\n\n注：非正式", "zh"),
    ("Hello", "こんにちは（注：丁寧）", "ja"),
    ("Please note the time.", "Notez l'heure.\n\nNote: formal", "fr"),
    ("Hello", "Bonjour\n\nLet me know if you need anything else!", "fr"),
    ("Hello", "Bonjour\n\nI have kept the placeholder.", "fr"),
    ("Hello", "Bonjour\n\nN’hésitez pas à me solliciter.", "fr"),
    ("Hello", "你好\n\n希望这个翻译对您有帮助", "zh"),
]

NOT_CHATTER = [
    ("Here is the translation:", "Voici la traduction :", "en", "fr"),
    ("Translation: done", "Traduction : terminée", "en", "fr"),
    ("Sure! Tell me more:", "Bien sûr ! Dites-m'en plus :", "en", "fr"),
    ("Käännös: hei", "Translation: hello", "fi", "en"),
    ("French: Bonjour", "Französisch: Bonjour", "en", "de"),
    ("Note: the server is down", "Remarque : le serveur est en panne", "en", "fr"),
    ("Huom: palvelin ei vastaa", "Note: the server does not answer", "fi", "en"),
    ("Enter a name. Note that case matters.", "Wprowadź nazwę. Uwaga: wielkość liter ma znaczenie.", "en", "pl"),
    ("Let me know if it works", "Dites-moi si ça marche", "en", "fr"),
    ("This is the latest version of our text", "C'est la dernière version de notre texte", "en", "fr"),
    ("Hello", "Bonjour :", "en", "fr"),
    ("The translation of books", "La traduction de livres (romans)", "en", "fr"),
]

THOUGHT = [
    ("Hello", "<think>Hm</think>Bonjour", "fr"),
    ("Hello", "Bonjour</think>", "fr"),
    ("Hello", "<reasoning>", "fr"),
    ("Hello", "Bonjour<|im_end|>", "fr"),
    ("Hello", "[/INST] Bonjour", "fr"),
    ("Hello", "Okay, the user wants me to translate this. Bonjour", "fr"),
    ("Hello", 'We need to translate "Hello" to English.\nHello', "en"),
    ("Hello", "Let's think about it. Bonjour", "fr"),
    ("Hello", "好的，用户想要翻译这个词。", "fr"),
    ("Hello", "L'utilisateur veut traduire le mot Hello en français. Bonjour", "fr"),
    ("Hello", "Хорошо, пользователь просит перевести слово Hello на русский язык. Привет", "ru"),
]

NOT_THOUGHT = [
    ("Close it with </think>", "Fermez avec </think>", "en", "fr"),
    ("The user wants to log in", "L'utilisateur veut se connecter", "en", "fr"),
    ("Käyttäjä haluaa kirjautua", "The user wants to log in", "fi", "en"),
    ("Let us think", "Réfléchissons", "en", "fr"),
    ("Use <b>", "Utilisez <b>", "en", "fr"),
]


@pytest.mark.parametrize(("source", "output", "source_language", "target_language"), REFUSED)
def test_refused(source: str, output: str, source_language: str | None, target_language: str) -> None:
    """Refusals in many languages are errors, also when the model was asked twice."""
    for corrected in (False, True):
        (found,) = refusal(Pair(source, output, source_language, target_language, corrected=corrected))
        assert (found.rule, found.severity) == ("refusal", "error")


@pytest.mark.parametrize(("source", "output", "source_language", "target_language"), NOT_REFUSED)
def test_not_refused(source: str, output: str, source_language: str | None, target_language: str) -> None:
    """A text that itself apologises or refuses is translated as such."""
    assert list(refusal(Pair(source, output, source_language, target_language))) == []


@pytest.mark.parametrize(("source", "output", "target_language"), INTRODUCED)
def test_introduced(source: str, output: str, target_language: str) -> None:
    """An introduction is an error."""
    (found,) = chatter(Pair(source, output, "en", target_language))
    assert (found.rule, found.severity, found.detail) == ("chatter", "error", "an introduction to the translation")


@pytest.mark.parametrize(("source", "output", "target_language"), ANNOTATED)
def test_annotated(source: str, output: str, target_language: str) -> None:
    """A note, or a word to the reader behind the translation, is an error."""
    (found,) = chatter(Pair(source, output, "en", target_language))
    assert (found.rule, found.severity) == ("chatter", "error")
    assert found.detail in {"a note about the translation", "words to the reader of the translation"}


@pytest.mark.parametrize(("source", "output", "source_language", "target_language"), NOT_CHATTER)
def test_not_chatter(source: str, output: str, source_language: str, target_language: str) -> None:
    """What the source has too, or has room for, is translation."""
    assert list(chatter(Pair(source, output, source_language, target_language))) == []


@pytest.mark.parametrize(("source", "output", "target_language"), THOUGHT)
def test_thought(source: str, output: str, target_language: str) -> None:
    """Reasoning, and the marks of it, are errors."""
    (found,) = reasoning(Pair(source, output, "fi" if target_language == "en" else "en", target_language))
    assert (found.rule, found.severity) == ("reasoning", "error")


@pytest.mark.parametrize(("source", "output", "source_language", "target_language"), NOT_THOUGHT)
def test_not_thought(source: str, output: str, source_language: str, target_language: str) -> None:
    """Marks that the source has, and texts about users, pass."""
    assert list(reasoning(Pair(source, output, source_language, target_language))) == []


@pytest.mark.parametrize("table", ["refusals", "negations", "preambles", "notes", "remarks", "closings", "reasoning"])
def test_no_phrase_is_in_everything(table: str) -> None:
    """Every pattern compiles, and none finds something in a text that has nothing of it (an empty branch would)."""
    for text in ("", " ", "Zxq", "。", "\n\n"):
        assert languages_of(table, text) == set()  # type: ignore[arg-type]  # the tables' names, as pytest gives them


@pytest.mark.parametrize(
    "piece",
    ["I'm sorry ", "sorry", "Here is ", "Translation", "translation ", "note", "(", "(Note", "\n", "* ", "  ", "<|a",
     "<think>", "ok ", "以下は", "翻訳", "申し訳", "не ", "Entschuldigung, ich kann ", "a", "the user ", "\u00a0",
     "(Note: "],
)  # fmt: skip
def test_hostile_text(piece: str) -> None:
    """A megabyte of beginnings, as source, as output and as both, costs seconds of the processor, not minutes."""
    text = piece * (2**20 // len(piece))
    for source, output in ((text, text), (text, "Bonjour (Note: x)"), ("Hello", text)):
        for rule in RULES:
            began = time.process_time()
            list(rule(Pair(source, output, "en", "fr")))
            assert time.process_time() - began < 5


@given(st.text(), st.text(), st.sampled_from([None, "en", "de"]))
def test_any_text_can_be_judged(source: str, output: str, source_language: str | None) -> None:
    """No text makes a rule raise."""
    for rule in RULES:
        list(rule(Pair(source, output, source_language, "fr")))
