"""Languages, as tq takes them: BCP 47 tags whose parts are registered."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

#: Registered tags that name no language one could translate into.
_NOT_A_LANGUAGE: Final = frozenset({"und", "mul", "mis", "zxx"})

#: Offered where somebody chooses one; every other BCP 47 tag is taken as well.
_OFFERED: Final = (
    "ar bg bn ca cs da de el en en-GB es es-MX et fa fi fr fr-CA he hi hr hu id it ja ko lt lv ms nb nl pl pt pt-BR "
    "ro ru sk sl sr sv sw ta th tr uk ur vi zh-Hans zh-Hant"
)
OFFERED: Final = _OFFERED.split()

#: The registered languages of two letters, which most tags are: to know them alone, langcodes need not be imported.
_SHORT: Final = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el "
    "en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik in io is it "
    "iu iw ja ji jv jw ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mo "
    "mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh "
    "si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh "
    "yi yo za zh zu"
)
_KNOWN: Final = frozenset(_SHORT.split())


@lru_cache(maxsize=4096)
def _is_language(tag: str) -> bool:
    if tag in _KNOWN:
        return True
    import langcodes

    return langcodes.tag_is_valid(tag) and tag.lower() not in _NOT_A_LANGUAGE


def check_language(value: str) -> str:
    """A BCP 47 tag whose parts are registered (``fr``, ``pt-BR``, ``zh-Hans``), returned as given.

    Raises:
        ValueError: it is not.
    """
    if len(value) > 64 or not _is_language(value):
        raise ValueError("not a known language tag; use BCP 47, for example fr, pt-BR or zh-Hans")
    return value
