"""One attempt to translate one message: prompt → provider → checks. Knows nothing of messages or queues."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tq.errors import InvalidOutput, ProviderTimeout
from tq.providers import Completion, Job, Prompt, Provider, ProviderName
from tq.providers.prompts import make_prompt
from tq.providers.pseudo import WARNING as PSEUDO_WARNING
from tq.providers.pseudo import PseudoProvider
from tq.settings import Settings
from tq.validation import FORM_RULES, LANGUAGE_RULES, Pair, Rule, violations


@dataclass(frozen=True, slots=True)
class Translation:
    """What an attempt found: the text, who made it, what to know about it, and the tokens it cost."""

    text: str = field(repr=False)
    provider: ProviderName
    model: str
    warnings: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int


class Translator:
    """Translates with the provider that a message's key and the settings ask for.

    Making one costs nothing: a provider is made, and ``openai`` imported (half a second), when the first
    job needs it. From then on it belongs to that event loop; close it there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._providers: dict[ProviderName, Provider] = {}

    def provider_for(self, api_key: str | None) -> ProviderName:
        """Which provider serves a message with this key of its own (None = it has none)."""
        if self._settings.provider == "auto" and api_key:
            return "openai"
        return self._settings.provider_name

    async def translate(self, job: Job) -> Translation:
        """The checked translation of the job's content, within TQ_REQUEST_TIMEOUT.

        White space around the content stays around the translation; the model never sees it.

        Raises:
            ProviderTimeout: no complete answer in time, however busily it was dripping in.
            InvalidOutput: the answer broke a rule of ``tq.validation``; ``usage`` has its tokens.
            AttemptError: whatever else went wrong at the provider.
        """
        name = self.provider_for(job.api_key)
        text = job.content.strip()
        if not text:
            # A model that is sent nothing asks for a text.
            return Translation(job.content, name, job.model, (), prompt_tokens=0, completion_tokens=0)
        completion = await self._complete(self._provider(name), make_prompt(job, text))
        pair = Pair(
            source=text,
            output=completion.text,
            source_language=job.source_language,
            target_language=job.target_language,
            corrected=job.correction == InvalidOutput.type,
        )
        rules = FORM_RULES if name == "pseudo" else FORM_RULES + LANGUAGE_RULES
        notes = (PSEUDO_WARNING,) if name == "pseudo" else ()
        warnings = notes + _warnings(pair, completion, rules)
        head, _, tail = job.content.partition(text)
        return Translation(
            text=f"{head}{completion.text}{tail}",
            provider=name,
            model=completion.model,
            warnings=warnings,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
        )

    async def aclose(self) -> None:
        """Close what is open; a later job opens it again."""
        providers, self._providers = self._providers, {}
        for provider in providers.values():
            await provider.aclose()

    async def _complete(self, provider: Provider, prompt: Prompt) -> Completion:
        deadline = self._settings.request_timeout
        try:
            async with asyncio.timeout(deadline):
                return await provider.complete(prompt)
        except TimeoutError:
            raise ProviderTimeout(
                "the provider did not answer in time",
                why=f"no complete answer within {deadline:g} s",
                fix="raise TQ_REQUEST_TIMEOUT if the model needs longer",
            ) from None

    def _provider(self, name: ProviderName) -> Provider:
        if name not in self._providers:
            self._providers[name] = _make_provider(name, self._settings)
        return self._providers[name]


def _make_provider(name: ProviderName, settings: Settings) -> Provider:
    if name == "pseudo":
        return PseudoProvider()
    # Imports openai, which costs half a second that only this use may pay.
    from tq.providers.openai import OpenAIProvider

    return OpenAIProvider(settings)


def _warnings(pair: Pair, completion: Completion, rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """What is to be said about the answer.

    Raises:
        InvalidOutput: it breaks a rule; all broken ones are named.
    """
    found = violations(pair, rules)
    if any(violation.severity == "error" for violation in found):
        raise InvalidOutput(
            "the model's answer is not a usable translation",
            why="; ".join(violation.message for violation in found),
            fix="use another model",
            usage=(completion.prompt_tokens, completion.completion_tokens),
        )
    return tuple(violation.message for violation in found)
