"""The translator without a network: which provider, what becomes of white space, what is imported when."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from pydantic import SecretStr

from tq.errors import InvalidKey
from tq.providers import Job
from tq.providers.pseudo import pseudo_localise
from tq.settings import Settings
from tq.translation import Translation, Translator

KEY = SecretStr("sk-default")
URL = "http://127.0.0.1:9/v1"


def settings(provider: str = "auto", key: SecretStr | None = None, base_url: str | None = None) -> Settings:
    return Settings.model_validate({"provider": provider, "openai_api_key": key, "openai_base_url": base_url})


def translate(content: str, *, using: Settings | None = None) -> Translation:
    job = Job(content, "fr", "en", None, "gpt", None)
    return asyncio.run(Translator(using or settings("pseudo")).translate(job))


@pytest.mark.parametrize(
    ("provider", "default_key", "base_url", "own_key", "expected"),
    [
        ("auto", None, None, None, "pseudo"),
        ("auto", None, None, "", "pseudo"),
        ("auto", None, None, "sk-own", "openai"),
        ("auto", KEY, None, None, "openai"),
        ("auto", None, URL, None, "openai"),
        ("auto", KEY, URL, "sk-own", "openai"),
        ("openai", None, None, None, "openai"),
        ("pseudo", None, None, None, "pseudo"),
        ("pseudo", KEY, URL, "sk-own", "pseudo"),
    ],
)
def test_choice_of_provider(
    provider: str, default_key: SecretStr | None, base_url: str | None, own_key: str | None, expected: str
) -> None:
    """A key or a base URL from anywhere means openai, unless TQ_PROVIDER says otherwise."""
    assert Translator(settings(provider, default_key, base_url)).provider_for(own_key) == expected


def test_pseudo_says_what_it_is() -> None:
    """A pseudo translation names its provider, carries the warning and costs no tokens."""
    assert translate("Hello world") == Translation(
        text=pseudo_localise("Hello world"),
        provider="pseudo",
        model="pseudo",
        warnings=("pseudo-localised: accents and padding, not a translation",),
    )


def test_pseudo_skips_language_checks() -> None:
    """A text that pseudo-localisation cannot change is not taken for an untranslated one."""
    assert translate("Привет, мир").text.startswith("[Привет, мир")


@pytest.mark.parametrize(
    ("content", "head", "tail"),
    [
        (" a\n", " ", "\n"),
        ("\r\n\ta", "\r\n\t", ""),
        ("a\u3000\u00a0", "", "\u3000\u00a0"),
        ("\n a \n b \n", "\n ", " \n"),
    ],
)
def test_outer_white_space(content: str, head: str, tail: str) -> None:
    """White space around the content comes back exactly, outside of what the provider made."""
    assert translate(content).text == head + pseudo_localise(content.strip()) + tail


def test_blank_content_is_not_sent() -> None:
    """White space alone is its own translation: no provider is asked (this one would find no server)."""
    assert translate(" \n ", using=settings(base_url=URL)).text == " \n "


def test_no_key_anywhere() -> None:
    """TQ_PROVIDER=openai without any key fails before a request, for good, and says what to set."""
    with pytest.raises(InvalidKey) as caught:
        translate("Hello", using=settings("openai"))
    assert not caught.value.retryable
    assert caught.value.status is None
    assert "OPENAI_API_KEY" in caught.value.why


def test_translation_hides_its_text() -> None:
    """A translation that is printed or logged as an object shows no text."""
    assert pseudo_localise("Hello") not in repr(translate("Hello"))


def test_openai_is_imported_late() -> None:
    """Neither the module nor a pseudo translation imports the SDK: light commands do not pay for it."""
    code = (
        "import asyncio, sys; from tq.providers import Job; from tq.settings import Settings\n"
        "from tq.translation import Translator\n"
        "t = Translator(Settings(_env_file=None, provider='pseudo'))\n"
        "asyncio.run(t.translate(Job('a', 'fr', None, None, 'm', None)))\n"
        "print(sorted({'openai', 'httpx2', 'aiohttp', 'pydantic_ai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
