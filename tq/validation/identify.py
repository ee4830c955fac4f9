"""Which language a text is in, as far as it can be told. Pure, but for a model that is loaded once a process."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Final

import langcodes

from tq.spans import without_protected
from tq.validation.scripts import DENSE, LANGUAGE_OF_SCRIPT, letters_by_script

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

#: Shorter texts are guesses: names and loan words outweigh the rest.
MIN_LETTERS: Final = 40
#: So probable that the text is in a language or a close relative that it is certain.
CERTAIN: Final = 0.98
#: So many times as probable as any other, relatives included.
MARGIN: Final = 3
#: How much of a long text is looked at: this many characters at its start, in its middle, and at its end.
_WINDOW: Final = 3000
#: What is compared word by word: no more than this many characters from the start.
_OPENING: Final = 20_000

#: Languages that cannot be told apart with certainty in a sentence or two, or that are variants of one.
_RELATIVES: Final = tuple(
    frozenset(group.split())
    for group in (
        "no nb nn da sv fo", "hr bs sr sl sh cnr", "sr mk bg", "cs sk", "id ms jv su min ace bjn",
        "gl pt es an ast ext mwl", "ca oc an es", "fr wa oc gcf ht", "it vec co lmo scn fur pms la", "ro mo rup",
        "zh yue wuu lzh gan hak nan hsn cmn", "ar arb arz ary apc fa prs ur ps sd ug ku ckb sdh bal lah",
        "hi mr ne sa bho mai awa kok gom new", "bn as", "af nl fy li nds", "de lb gsw bar nds fy", "en pcm sco",
        "tr az crh gag tk", "uz uzs kaa", "kk ky tt ba kaa", "tl fil ceb bcl ilo war", "lt ltg lv", "xh zu nr ss",
        "nso st tn", "he hbo yi", "el grc", "am ti", "rw rn", "eo io ia", "ga gd gv", "gn gug", "bo dz",
    )
)  # fmt: skip
#: BCP 47 -> the identifier's name of the language, where they differ.
_LABELS: Final = {
    "nb": "no", "fil": "tl", "cmn": "zh", "arb": "ar", "prs": "fa", "sh": "sr", "cnr": "sr", "gn": "gug", "uzn": "uz",
    "kmr": "ku", "ekk": "et", "lvs": "lv", "zsm": "ms", "swh": "sw", "khk": "mn", "plt": "mg", "mo": "ro",
}  # fmt: skip

#: The identifier's name of a language -> that of the written language a translator would be told.
_TAGS: Final = {"yue": "zh", "wuu": "zh", "ary": "ar", "arz": "ar", "gug": "gn", "hbo": "he", "grc": "el", "uzs": "uz"}

_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
#: Runs of what is no white space, punctuation or control, with inner apostrophes; in scripts without spaces, a phrase.
_WORD: Final = re.compile(
    r"[^\s\x00-\x1f!-/:-@\[-^`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\u2000-\u206f\u2190-\u2bff\u3000-\u3004\u3008-\u3030"
    r"\ud800-\udfff\uff01-\uff0f\uff1a-\uff20]+(?:['\u2019][^\W\d_]+)*"
)
_TECHNICAL: Final = re.compile(r"[\d_]")


def prose(text: str) -> str:
    """The text without code, markup, placeholders and addresses."""
    return without_protected(_FENCE.sub("\n", text) if "```" in text or "~~~" in text else text)


def words(text: str) -> list[str]:
    """The words of the text's prose, as they are written."""
    return _WORD.findall(prose(text))


def plain_words(text: str) -> list[str]:
    """The words of the text's prose that do not look like an acronym or a product's or program's name.

    Such are ``IPv4``, ``JSON`` and ``max_length``. In a text in capitals only, all long words are plain ones.
    """
    those = words(text)
    capitals = all(word == word.upper() for word in those)
    return [word for word in those if not _is_technical(word) or (capitals and len(word) > 5 and word.isalpha())]


def _is_technical(word: str) -> bool:
    return word[1:] != word[1:].lower() or _TECHNICAL.search(word) is not None


def sample(text: str) -> str:
    """The start, the middle and the end of a long text, enough to tell its language; a short one whole."""
    if len(text) <= 3 * _WINDOW:
        return text
    middle = (len(text) - _WINDOW) // 2
    return "\n".join((text[:_WINDOW], text[middle : middle + _WINDOW], text[-_WINDOW:]))


def opening(text: str) -> str:
    """The first words of a long text, cut at white space; a short one whole."""
    return text if len(text) <= _OPENING else (text[:_OPENING].rsplit(maxsplit=1) or [""])[0]


def detect_language(text: str) -> str | None:
    """The BCP 47 tag of the language the text is in; None when that is not certain.

    Certain are scripts of one language, and what the identifier is confident of in 40 letters or more.
    """
    used = plain_words(sample(text))
    return language_of_script(used) or _certain(likelihoods(used))


def _certain(ranking: list[tuple[str, float]] | None) -> str | None:
    if ranking is None:
        return None
    (best, probability), (_, second) = ranking[:2]
    certain = likelihood(ranking, best) >= CERTAIN and probability > MARGIN * second
    return _TAGS.get(best, best) if certain else None


def language_of_script(used: Iterable[str]) -> str | None:
    """The language that most letters of the words tell by their script alone."""
    letters = letters_by_script("".join(used))
    total = letters.total()
    if letters["Hira"] + letters["Kana"] > 0.2 * total and letters["Hira"] + letters["Kana"] + letters["Hani"] > (
        0.7 * total
    ):
        return "ja"
    script, count = max(letters.items(), key=lambda item: item[1], default=("", 0))
    return LANGUAGE_OF_SCRIPT.get(script) if count > max(1, 0.7 * total) else None


def likelihoods(used: Iterable[str]) -> list[tuple[str, float]] | None:
    """Languages with the probabilities that the words are in them, best first; None for too few letters."""
    text = " ".join(used)
    letters = letters_by_script(text)
    if letters.total() + 2 * sum(letters[script] for script in DENSE) < MIN_LETTERS:
        return None
    ranking: list[tuple[str, float]] = _identifier().rank(text)
    return None if ranking[0][0] == "zxx" else ranking


def likelihood(ranking: list[tuple[str, float]], language: str) -> float:
    """The probability that it is the language or a close relative."""
    close = _close_to(_label(language))
    return sum(probability for label, probability in ranking if _label(label) in close)


@lru_cache(maxsize=1024)
def base_language(tag: str) -> str:
    """``fr`` of ``fr-CA``, and ``he`` of its former tag ``iw``."""
    return langcodes.Language.get(tag).language or "und"


def is_known(language: str) -> bool:
    """Whether the identifier has learnt the language."""
    return _label(language) in _identifier().nb_classes


def are_close(one: str, other: str) -> bool:
    """Whether two languages are the same, or so close that a sentence may be right in both."""
    return _label(other) in _close_to(_label(one))


@cache
def _close_to(label: str) -> frozenset[str]:
    return frozenset({label}).union(*(group for group in _RELATIVES if label in group))


def _label(language: str) -> str:
    return _LABELS.get(language, language)


_loading: Final = Lock()


def _identifier() -> LanguageIdentifier:
    with _loading:
        return _load()


@lru_cache(maxsize=1)
def _load() -> LanguageIdentifier:
    """The model of py3langid (140 languages): numpy, half a second and 90 MB, for those who ask only.

    An instance of our own: the module's one can be restricted to some languages by whoever else uses it.
    """
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
