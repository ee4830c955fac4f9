"""Which writing systems a text is in, and which ones a language is written in. Pure.

Scripts are named by their ISO 15924 codes (``Latn``, ``Cyrl``, ``Hani``).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Final

import langcodes

#: The first word of a letter's Unicode name -> its script; letters with other names belong to no script.
_SCRIPT_OF_NAME: Final = {
    "ADLAM": "Adlm", "ARABIC": "Arab", "ARMENIAN": "Armn", "BALINESE": "Bali", "BENGALI": "Beng", "BOPOMOFO": "Bopo",
    "CANADIAN": "Cans", "CHEROKEE": "Cher", "CJK": "Hani", "COPTIC": "Copt", "CYRILLIC": "Cyrl", "DEVANAGARI": "Deva",
    "ETHIOPIC": "Ethi", "FULLWIDTH": "Latn", "GEORGIAN": "Geor", "GREEK": "Grek", "GUJARATI": "Gujr",
    "GURMUKHI": "Guru", "HALFWIDTH": "Kana", "HANGUL": "Hang", "HEBREW": "Hebr", "HIRAGANA": "Hira",
    "IDEOGRAPHIC": "Hani", "JAVANESE": "Java", "KANNADA": "Knda", "KATAKANA": "Kana", "KATAKANA-HIRAGANA": "Kana",
    "KHMER": "Khmr", "LAO": "Laoo", "LATIN": "Latn", "MALAYALAM": "Mlym", "MEETEI": "Mtei", "MONGOLIAN": "Mong",
    "MYANMAR": "Mymr", "NKO": "Nkoo", "OL": "Olck", "ORIYA": "Orya", "SINHALA": "Sinh", "SYRIAC": "Syrc",
    "TAMIL": "Taml", "TELUGU": "Telu", "THAANA": "Thaa", "THAI": "Thai", "TIBETAN": "Tibt", "TIFINAGH": "Tfng",
    "YI": "Yiii",
}  # fmt: skip
_KNOWN: Final = frozenset(_SCRIPT_OF_NAME.values())

#: What a script code of a language tag stands for, where it is more or other than one script.
_COMPOSED: Final = {
    "Jpan": frozenset({"Hani", "Hira", "Kana"}),
    "Hrkt": frozenset({"Hira", "Kana"}),
    # Hanja stand beside Hangul today, if at all.
    "Kore": frozenset({"Hang"}),
    "Hans": frozenset({"Hani", "Bopo"}),
    "Hant": frozenset({"Hani", "Bopo"}),
    "Hanb": frozenset({"Hani", "Bopo"}),
    "Aran": frozenset({"Arab"}),
}

#: Languages that are written in several scripts, whatever is likely for their region. None = in any.
_SEVERAL: Final = {
    **dict.fromkeys(("sr", "bs", "sh", "cnr", "ro", "mo", "crh", "uz", "tt"), frozenset({"Cyrl", "Latn"})),
    **dict.fromkeys(("az", "kk", "ky", "tg", "tk", "ug", "ku"), frozenset({"Cyrl", "Latn", "Arab"})),
    **dict.fromkeys(("ha", "ms", "so", "sw", "wo", "bal", "brh", "ckb"), frozenset({"Latn", "Arab"})),
    **dict.fromkeys(("ber", "kab", "rif", "shi", "tzm", "zgh"), frozenset({"Tfng", "Latn", "Arab"})),
    **dict.fromkeys(("cr", "iu", "oj"), frozenset({"Cans", "Latn"})),
    **dict.fromkeys(("sa", "pi", "cu", "rom", "lad", "jrb"), None),
    **dict.fromkeys(("ks", "sd"), frozenset({"Arab", "Deva"})),
    **dict.fromkeys(("pa", "lah"), frozenset({"Guru", "Arab"})),
    "ban": frozenset({"Latn", "Bali"}),
    "chr": frozenset({"Cher", "Latn"}),
    "ff": frozenset({"Latn", "Adlm"}),
    "jv": frozenset({"Latn", "Java"}),
    "kok": frozenset({"Deva", "Latn", "Knda"}),
    "mn": frozenset({"Cyrl", "Mong"}),
    "mni": frozenset({"Beng", "Mtei"}),
    "sat": frozenset({"Olck", "Deva", "Beng", "Latn"}),
    "su": frozenset({"Latn"}),
}

#: Scripts of one language of today, so that one word tells it.
LANGUAGE_OF_SCRIPT: Final = {
    "Armn": "hy", "Geor": "ka", "Grek": "el", "Gujr": "gu", "Guru": "pa", "Hang": "ko", "Hira": "ja", "Kana": "ja",
    "Khmr": "km", "Knda": "kn", "Laoo": "lo", "Mlym": "ml", "Mymr": "my", "Orya": "or", "Sinh": "si", "Taml": "ta",
    "Telu": "te", "Thaa": "dv", "Thai": "th",
}  # fmt: skip
#: One letter of theirs says about as much as three of an alphabet.
DENSE: Final = frozenset({"Hani", "Hira", "Kana", "Hang", "Bopo", "Yiii"})


def letters_by_script(text: str) -> Counter[str]:
    """Script -> how many letters of the text are in it."""
    found: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if character.isalpha() and (script := script_of(character)):
            found[script] += count
    return found


@lru_cache(maxsize=4096)
def script_of(letter: str) -> str | None:
    """The script of a letter; None for letters of all scripts (``µ``) and of scripts no one translates into."""
    return _SCRIPT_OF_NAME.get(unicodedata.name(letter, "").partition(" ")[0])


@lru_cache(maxsize=1024)
def scripts_of_language(tag: str) -> frozenset[str] | None:
    """The scripts that text in the language may be in; None when that is not known."""
    language = langcodes.Language.get(tag)
    if language.script is None and language.language in _SEVERAL:
        return _SEVERAL[language.language]
    script = language.script or language.maximize().script or ""
    scripts = _COMPOSED.get(script, frozenset({script}))
    return scripts if scripts <= _KNOWN else None


def chinese_variant(text: str) -> str | None:
    """``Hans`` or ``Hant``, when at least three different characters say so and hardly any the contrary.

    Told by the national character sets: GB 2312 has the simplified characters only, Big5 the traditional ones.
    """
    characters = {character for character in set(text) if script_of(character) == "Hani"}
    in_simplified = {character for character in characters if _is_in(character, "gb2312")}
    in_traditional = {character for character in characters if _is_in(character, "big5")}
    simplified, traditional = len(in_simplified - in_traditional), len(in_traditional - in_simplified)
    if max(simplified, traditional) < 3:
        return None
    if simplified > 4 * traditional:
        return "Hans"
    return "Hant" if traditional > 4 * simplified else None


def _is_in(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
