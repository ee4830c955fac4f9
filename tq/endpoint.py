"""An endpoint: a provider behind its limits, with a deadline for each call and a bill for what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

from tq import tracing
from tq.bill import Bill
from tq.errors import AttemptError, ProviderTimeout, QuotaExhausted, RateLimited
from tq.learnt import Learnt
from tq.providers import Completion, Job, Prompt, Provider, ProviderName
from tq.providers.abilities import Abilities
from tq.providers.pseudo import PseudoProvider
from tq.ratelimit import Account, Limiter, Permit
from tq.settings import Settings
from tq.sizes import tokens
from tq.spending import Purse
from tq.store import Store


class Endpoint:
    """One provider, as the workers of a store use it together; belongs to one asyncio loop."""

    def __init__(
        self, provider: Provider, limiter: Limiter | None, purse: Purse | None, deadline: float, learnt: Learnt
    ) -> None:
        self._provider = provider
        self._limiter = limiter
        self._purse = purse
        self._learnt = learnt
        self._deadline = deadline

    @classmethod
    def make(cls, name: ProviderName, settings: Settings, store: Store | None) -> Endpoint:
        """The endpoint of the settings; without a store it knows no limits and no budget."""
        if name == "pseudo":
            pseudo = PseudoProvider()
            return cls(pseudo, None, None, settings.request_timeout, Learnt(None, pseudo.host))
        # Imports openai, which costs half a second that only this use may pay.
        from tq.providers.openai import OpenAIProvider

        provider = OpenAIProvider(settings)
        limiter = None if store is None else Limiter(store, settings)
        purse = None if store is None else Purse(store, settings)
        return cls(provider, limiter, purse, settings.request_timeout, Learnt(store, provider.host))

    @property
    def host(self) -> str:
        """Where requests go."""
        return self._provider.host

    async def writes_json(self, model: str) -> bool:
        """Whether a model's answers can be asked for as JSON, as far as is known."""
        return (await self._learnt.of(model)).writes_json

    async def misread(self, model: str) -> None:
        """A model did not write JSON when asked to, but kept to the plainer form."""
        (await self._learnt.of(model)).misread()
        await self._learnt.keep(model)

    async def ask(self, job: Job, prompt: Prompt, bill: Bill) -> Completion:
        """One call for the job, when the limits of its account allow it, and its budget.

        Raises:
            BudgetExceeded: the account has spent all that it may today; nothing was sent.
            AttemptDeferred: they do not for a while; nothing was sent.
            AttemptError: whatever went wrong at the provider; what it cost is on the bill.
        """
        if self._purse is not None:
            await self._purse.require(job.account)
        permit = None
        if self._limiter is not None:
            account = Account(self._provider.host, job.account, job.model)
            permit = await self._limiter.permit(
                account, tokens(prompt.system) + 2 * tokens(prompt.user), urgent=job.urgent
            )
        able = await self._learnt.of(prompt.model)
        began = time.monotonic()
        try:
            with self._traced(job) as span:
                completion = await self._complete(prompt, able)
                if span is not None:
                    span.note(
                        gen_ai__response__model=completion.model,
                        gen_ai__usage__input_tokens=completion.prompt_tokens,
                        gen_ai__usage__output_tokens=completion.completion_tokens,
                    )
        except AttemptError as error:
            # A refusal is quick and says nothing of how long an answer takes.
            if error.usage or isinstance(error, ProviderTimeout):
                bill.calls.append(time.monotonic() - began)
            bill.add(job.model, *(error.usage or (0, 0)))
            await self._tell(permit, error.limits, error)
            raise
        finally:
            await self._learnt.keep(prompt.model)
        bill.calls.append(time.monotonic() - began)
        bill.add(job.model, completion.prompt_tokens, completion.completion_tokens)
        await self._tell(permit, completion.limits)
        return completion

    async def aclose(self) -> None:
        """Close its connections."""
        await self._provider.aclose()

    def _traced(self, job: Job) -> AbstractContextManager[tracing.Span | None]:
        address, _, port = self._provider.host.rpartition(":")
        return tracing.span(
            f"chat {job.model}",
            "CLIENT",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": self._provider.name,
                "gen_ai.request.model": job.model,
                "server.address": address if port.isdigit() else self._provider.host or None,
                "server.port": int(port) if port.isdigit() else None,
            },
            links=tracing.others(),
        )

    async def _complete(self, prompt: Prompt, able: Abilities) -> Completion:
        try:
            async with asyncio.timeout(self._deadline):
                return await self._provider.complete(prompt, able)
        except TimeoutError:
            raise ProviderTimeout(
                "the provider did not answer in time",
                why=f"no complete answer within {self._deadline:g} s",
                fix="raise TQ_REQUEST_TIMEOUT if the model needs longer",
            ) from None

    async def _tell(self, permit: Permit | None, limits: Mapping[str, str], error: AttemptError | None = None) -> None:
        """What an answer says about the limits is everybody's."""
        if self._limiter is None or permit is None or not (error is None or error.status):
            return
        if isinstance(error, QuotaExhausted):
            await self._limiter.exhaust(permit)
            return
        await self._limiter.learn(permit, limits)
        if isinstance(error, RateLimited):
            await self._limiter.cool(permit, error.retry_after)
