"""What the settings are, one by one, and where each comes from; also when together they are not usable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dotenv import dotenv_values
from pydantic.fields import FieldInfo

from tq.settings import Settings, environment_name, is_secret, redacted

MASK: Final = "********"
UNSET: Final = "-"
_ENV_FILE: Final = ".env"
_URLS: Final = frozenset({"redis_url", "broker_url", "openai_base_url", "url"})


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting: its variable, its value as it may be shown, ``env``, ``.env`` or ``default``, and what it means."""

    name: str
    value: str
    source: str
    meaning: str


def setting_lines() -> list[SettingLine]:
    """All settings, with the value that was given rather than the one made of it."""
    environment = _given(os.environ)
    file = _given(_read_env_file())
    lines = []
    for field, info in Settings.model_fields.items():
        name = environment_name(field)
        source = "env" if name in environment else _ENV_FILE if name in file else "default"
        given: Any = environment.get(name) or file.get(name)
        value = _default(info) if given is None else _masked(field, given)
        lines.append(SettingLine(name, value, source, info.description or ""))
    return lines


def _given(source: Mapping[str, str | None]) -> dict[str, str]:
    # As the settings read them: in either case, and an empty value counts as not set.
    return {name.upper(): value for name, value in source.items() if value}


def _read_env_file() -> Mapping[str, str | None]:
    try:
        return dotenv_values(_ENV_FILE, encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}  # reading the settings says what is wrong with it


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if value is None or value in ([], {}):
        return UNSET
    return f"{value:g}" if isinstance(value, float) else str(value)


def _masked(field: str, given: str) -> str:
    if field in _URLS:
        try:
            return redacted(given)
        except ValueError:
            return MASK
    return MASK if is_secret(field) else given
