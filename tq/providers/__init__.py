"""What translates: the protocol that each provider follows, and the data that goes in and out.

A provider turns one prompt into one completion. It knows nothing of messages, retries, deadlines or
checks: those are its caller's, so that each exists once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tq.glossary import Term

if TYPE_CHECKING:
    from tq.providers.abilities import Abilities

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
        complaints: what exactly was wrong with the answer that was rejected.
        context: text that helps to understand the content, and is not translated.
        formality: ``formal``, ``informal``, or None.
        instructions: the submitter's wishes about style.
        terms: the submitter's glossary.
        parameters: further members of the request (``temperature``).
        message_id: of the message, so that what shares a request can be told apart.
        account: whose limits and translations are used: a digest of the key.
        urgent: whether it goes before others when the provider's limits are reached.
        alone: whether it must not wait for others to share a request with.
        reuse: whether an earlier translation of the same text may be taken.
    """

    content: str = field(repr=False)
    target_language: str
    source_language: str | None
    domain: str | None
    model: str
    api_key: str | None = field(repr=False)
    correction: str | None = None
    complaints: tuple[str, ...] = field(default=(), repr=False)
    context: str | None = field(default=None, repr=False)
    formality: str | None = None
    instructions: str | None = field(default=None, repr=False)
    terms: tuple[Term, ...] = field(default=(), repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    message_id: str = ""
    account: str = "default"
    urgent: bool = False
    alone: bool = False
    reuse: bool = True


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a provider.

    Attributes:
        system: the instructions; made by us alone.
        user: the text to translate, byte for byte, without its outer white space.
        model: the model's name, as the endpoint knows it.
        api_key: the message's own key; None = the provider's default.
        parameters: further members of the request. What the endpoint refuses of them is left out next time.
        schema: JSON Schema that the answer must follow; None = it is plain text. Where the endpoint cannot
            promise that, it is asked for in words alone, which ``system`` has.
    """

    system: str = field(repr=False)
    user: str = field(repr=False)
    model: str
    api_key: str | None = field(repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """A provider's complete answer; ``model`` is the one that it says it used.

    ``limits`` are the answer's headers about rate limits, names in lower case.
    """

    text: str = field(repr=False)
    model: str
    prompt_tokens: int
    completion_tokens: int
    limits: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """Something that answers prompts."""

    name: ProviderName
    #: Where requests go, host and port; "" = nowhere.
    host: str

    async def complete(self, prompt: Prompt, able: Abilities) -> Completion:
        """The answer to one prompt; the caller bounds the time by cancelling.

        What the model turns out to lack is left out from then on, and noted in ``able``.

        Raises:
            AttemptError: whatever went wrong, as the class that says what follows from it.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections. It may be called twice."""
        ...
