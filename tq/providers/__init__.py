"""What translates: the protocol that each provider follows, and the data that goes in and out.

A provider turns one prompt into one completion. It knows nothing of messages, retries, deadlines or
checks: those are its caller's, so that each exists once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

ProviderName = Literal["openai", "pseudo"]


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be translated. The content is data: nothing in it is ever obeyed.

    Attributes:
        content: the text, as submitted.
        target_language: BCP 47 tag.
        source_language: BCP 47 tag; None = the model finds out.
        domain: the subject area in the submitter's words, or None.
        model: the model's name, as the endpoint knows it.
        api_key: the message's own key; None = the provider's default.
        correction: type slug of the previous attempt's error (``truncated``, ``invalid-output``), so that
            the next request differs from the one that failed; None on a first attempt.
    """

    content: str = field(repr=False)
    target_language: str
    source_language: str | None
    domain: str | None
    model: str
    api_key: str | None = field(repr=False)
    correction: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a provider.

    Attributes:
        system: the instructions; made by us alone.
        user: the text to translate, byte for byte, without its outer white space.
        model: the model's name, as the endpoint knows it.
        api_key: the message's own key; None = the provider's default.
    """

    system: str
    user: str = field(repr=False)
    model: str
    api_key: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """A provider's complete answer; ``model`` is the one that it says it used."""

    text: str = field(repr=False)
    model: str
    prompt_tokens: int
    completion_tokens: int


class Provider(Protocol):
    """Something that answers prompts."""

    name: ProviderName

    async def complete(self, prompt: Prompt) -> Completion:
        """The answer to one prompt; the caller bounds the time by cancelling.

        Raises:
            AttemptError: whatever went wrong, as the class that says what follows from it.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections. It may be called twice."""
        ...
