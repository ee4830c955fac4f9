"""Gold pairs for tests: the French of Django's own catalogue (BSD), fetched once, never committed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import platformdirs
import polib
from filelock import FileLock

_MEMBER = "django/conf/locale/fr/LC_MESSAGES/django.po"


def django_po() -> Path:
    """The French PO file of Django's core; downloaded by pip on first use.

    It lies in $TQ_TEST_CACHE, or in the user's cache directory.
    """
    default = platformdirs.user_cache_dir("tq-tests", appauthor=False)
    cache = Path(os.environ.get("TQ_TEST_CACHE") or default)
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / "django-fr.po"
    with FileLock(cache / "django-fr.lock"):
        if not path.exists():
            _download(path)
    return path


def django_catalogue() -> dict[str, str]:
    """English -> French: all singular messages of Django's core that have exactly one translation."""
    return read_po(django_po())


def read_po(path: Path) -> dict[str, str]:
    """The pairs of a PO file that have one certain translation: singular, not fuzzy, not contradictory."""
    translations: dict[str, set[str]] = {}
    for entry in polib.pofile(str(path)):
        if entry.msgid and entry.msgstr and not entry.msgid_plural and not entry.fuzzy and not entry.obsolete:
            translations.setdefault(entry.msgid, set()).add(entry.msgstr)
    return {source: targets.pop() for source, targets in translations.items() if len(targets) == 1}


def _download(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "django"]
        done = subprocess.run([*command, "--dest", directory], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the tests need Django's catalogue, but pip cannot download it:\n{done.stderr}")
        wheel = next(Path(directory).glob("*.whl"))
        draft = Path(directory) / "draft.po"
        with zipfile.ZipFile(wheel) as archive:
            draft.write_bytes(archive.read(_MEMBER))
        draft.replace(path)
