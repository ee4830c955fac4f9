"""Gold pairs for tests: the translations of Django's own catalogues (BSD), fetched once, never committed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import platformdirs
import polib
from filelock import FileLock

#: A long-term release that every supported Python can have, so that what the tests say of its texts stays true.
_DJANGO = "django>=5.2,<5.3"
_WHEEL = "django-5.2.whl"


def django_po(language: str = "fr") -> Path:
    """The PO file of Django's core in ``language``; downloaded by pip on first use.

    It lies in $TQ_TEST_CACHE, or in the user's cache directory.
    """
    path = _cache() / f"django-{language}.po"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            with zipfile.ZipFile(_wheel()) as archive:
                text = archive.read(f"django/conf/locale/{language}/LC_MESSAGES/django.po")
            draft = path.with_suffix(".draft")
            draft.write_bytes(text)
            draft.replace(path)
    return path


def django_catalogue(language: str = "fr") -> dict[str, str]:
    """English -> ``language``: all singular messages of Django's core that have exactly one translation."""
    return read_po(django_po(language))


def django_pairs(language: str) -> list[tuple[str, str]]:
    """English and ``language``: each different singular message of Django's core and of all its applications."""
    member = re.compile(rf"django/(?:conf|contrib/\w+)/locale/{re.escape(language)}/LC_MESSAGES/django(?:js)?\.po")
    with zipfile.ZipFile(_wheel()) as archive:
        files = [archive.read(name).decode() for name in archive.namelist() if member.fullmatch(name)]
    return list(dict.fromkeys(pair for text in files for pair in _singular(text)))


def read_po(path: Path) -> dict[str, str]:
    """The pairs of a PO file that have one certain translation: singular, not fuzzy, not contradictory."""
    translations: dict[str, set[str]] = {}
    for source, target in _singular(str(path)):
        translations.setdefault(source, set()).add(target)
    return {source: targets.pop() for source, targets in translations.items() if len(targets) == 1}


def _singular(path_or_text: str) -> list[tuple[str, str]]:
    return [
        (entry.msgid, entry.msgstr)
        for entry in polib.pofile(path_or_text)
        if entry.msgid and entry.msgstr and not entry.msgid_plural and not entry.fuzzy and not entry.obsolete
    ]


def _cache() -> Path:
    default = platformdirs.user_cache_dir("tq-tests", appauthor=False)
    cache = Path(os.environ.get("TQ_TEST_CACHE") or default)
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _wheel() -> Path:
    path = _cache() / _WHEEL
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            _download(path)
    return path


def _download(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", _DJANGO]
        done = subprocess.run([*command, "--dest", directory], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the tests need Django's catalogues, but pip cannot download them:\n{done.stderr}")
        next(Path(directory).glob("*.whl")).replace(path)
