"""Which plural categories a language has, for counting ("3 files") and for ordering ("3rd"). Pure.

From CLDR 47's plurals.xml and ordinals.xml. A language that is not in them has no known rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, Literal

import langcodes

#: The six that CLDR knows.
CATEGORIES: Final = frozenset({"zero", "one", "two", "few", "many", "other"})


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories of one language.

    Attributes:
        common: those that some whole number up to 1,000 needs, and ``other``.
        rare: those of fractions or of whole millions only, which few translators write.
    """

    common: frozenset[str]
    rare: frozenset[str]


# common categories beside "other", rare ones, languages
_Table = tuple[tuple[str, str, str], ...]

_CARDINAL: Final[_Table] = (
    ("", "", """bm bo dz hnj id ig ii ja jbo jv kde kea km ko lkt lo ms my nqo osa sah ses sg su th to tpi vi wo yo
        yue zh"""),
    ("one", "", """af ak am an as asa ast az bal bem bez bg bho bn brx ce ceb cgg chr ckb csw da de doi dv ee el en eo
        et eu fa ff fi fil fo fur fy gl gsw gu guw ha haw hi hu hy ia io is jgo jmc ka kab kaj kcg kk kkj kl kn ks ksb
        ku ky lb lg lij ln mas mg mgo mk ml mn mr nah nb nd ne nl nn nnh no nr nso ny nyn om or os pa pap pcm ps rm rof
        rwk saq sc sd sdh seh si sn so sq ss ssy st sv sw syr ta te teo ti tig tk tl tn tr ts tzm ug ur uz ve vo vun wa
        wae xh xog yi zu"""),
    ("one", "many", "ca es fr ht it lld pt scn vec"),
    ("one two", "", "he iu naq sat se sma smi smj smn sms"),
    ("zero one", "", "blo ksh lag lv prg"),
    ("one few", "", "bs hr mo ro sh shi sr"),
    ("one few", "many", "cs lt sk"),
    ("one few many", "", "be pl ru uk"),
    ("one two few", "", "dsb gd hsb sl"),
    ("one two few", "many", "br gv"),
    ("one two few many", "", "ga mt"),
    ("zero one two few many", "", "ar cy kw"),
)  # fmt: skip
_ORDINAL: Final[_Table] = (
    ("", "", """af am an ar bg bs ce cs da de dsb el es et eu fa fi fy gl gsw he hr hsb ia id is ja km kn ko ky lt lv
        ml mn my nb nl no pa pl prg ps pt ru sd sh si sk sl sr sw ta te th tpi tr ur uz yue zh zu"""),
    ("one", "", "bal fil fr ga ht hu hy lo mo ms ne ro sv tl vi"),
    ("few", "", "be tk uk"),
    ("many", "", "it kk lij lld sc scn vec"),
    ("one many", "", "ka kw sq"),
    ("one two many", "", "mk"),
    ("one two few", "", "ca en gd mr"),
    ("one few many", "", "az"),
    ("zero one few", "", "blo"),
    ("one two few many", "", "as bn gu hi or"),
    ("zero one two few many", "", "cy"),
)  # fmt: skip


@lru_cache(maxsize=1024)
def categories(tag: str, kind: Literal["plural", "selectordinal"]) -> Categories | None:
    """The categories of a BCP 47 tag's language; None when CLDR has no rules for it."""
    return _languages(kind).get(langcodes.Language.get(tag).language or "")


@cache
def _languages(kind: Literal["plural", "selectordinal"]) -> dict[str, Categories]:
    return {
        language: Categories(frozenset((*common.split(), "other")), frozenset(rare.split()))
        for common, rare, languages in (_CARDINAL if kind == "plural" else _ORDINAL)
        for language in languages.split()
    }
