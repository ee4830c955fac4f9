"""Sharing: short texts that are wanted at the same time, and alike, are asked for in one call.

Each stays its own message: with its own checks, retries and outcome. A text whose answer is missing or bad
is asked for again alone. A model that does not write JSON is asked in a plainer form; where it does not keep
to that either, sharing rests for a while.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tq import tracing
from tq.batching import Batcher
from tq.bill import Bill
from tq.endpoint import Endpoint
from tq.errors import InvalidOutput, Refused, RequestRefused, Truncated
from tq.glossary import Term
from tq.memory import Remembered
from tq.providers import Completion, Job
from tq.providers.answer import delimited_answers, looks_delimited, shared_answers, unwrap
from tq.providers.prompts import make_shared_prompt
from tq.settings import Settings
from tq.sizes import tokens

#: Tokens above which a text is not short: what sharing saves is the instructions.
_SHORT: Final = 300
#: Seconds without sharing after a model did not keep to the form.
_REST: Final = 600.0


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a shared call, as the model is to see it."""

    job: Job
    text: str = field(repr=False)
    marks: Mapping[str, str] = field(repr=False)
    terms: tuple[Term, ...]
    bill: Bill
    trace: str = field(default_factory=tracing.carrier)


class Sharing:
    """The shared calls of this process to one endpoint; belongs to one asyncio loop.

    Args:
        settings: of this process.
        endpoint: where the calls go.
        more: whether more messages may come soon; None = nothing is shared.
    """

    def __init__(self, settings: Settings, endpoint: Endpoint, more: Callable[[], Awaitable[bool]] | None) -> None:
        self._endpoint = endpoint
        self._more = more
        self._resting: dict[str, float] = {}
        self._most = settings.batch_max_items
        self._batcher: Batcher[Text, Remembered | None] = Batcher(
            self._perform,
            self._worth_waiting,
            most=self._most,
            largest=settings.segment_tokens,
            wait=settings.batch_wait,
        )

    def welcomes(self, job: Job, text: str) -> bool:
        """Whether this text may share a call: it is short, not urgent, and was not asked for before."""
        if self._more is None or self._most == 1 or job.alone or job.correction:
            return False
        if self._resting.get(job.model, 0.0) > time.monotonic():
            return False
        return tokens(text) <= _SHORT and not looks_delimited(text)

    async def ask(self, text: Text) -> Remembered | None:
        """The answer for one text, unchecked; None = it is to be asked for alone.

        Raises:
            InvalidOutput: the shared answer has none for it.
            AttemptError: the call failed.
        """
        return await self._batcher.ask(_group(text.job), text, tokens(text.text))

    @property
    def waiting(self) -> int:
        """Texts that wait for company."""
        return self._batcher.waiting

    async def aclose(self) -> None:
        """Give up what is under way."""
        await self._batcher.aclose()

    async def _worth_waiting(self) -> bool:
        return self._more is not None and await self._more()

    async def _perform(self, texts: Sequence[Text]) -> Sequence[Remembered | BaseException | None]:
        """One call for all, or a second one in the plainer form; None = ask for this one alone."""
        if len(texts) == 1:
            return [None]
        model = texts[0].job.model
        names = _names(texts)
        for as_json in (True, False) if await self._endpoint.writes_json(model) else (False,):
            try:
                completion = await self._call(texts, names, as_json=as_json)
            except (Truncated, Refused, RequestRefused):
                return await self._in_halves(texts)
            except InvalidOutput:
                continue
            answers = shared_answers(completion.text) if as_json else delimited_answers(completion.text, names)
            if answers is None or len(answers.keys() & set(names)) * 2 < len(names):
                continue
            if not as_json:
                await self._endpoint.misread(model)
            return [
                InvalidOutput("the model left this text out of a shared answer", fix="use another model")
                if (answer := answers.get(name)) is None
                else Remembered(unwrap(answer, text.text) or "", completion.model, ())
                for name, text in zip(names, texts, strict=True)
            ]
        self._resting[model] = time.monotonic() + _REST
        return [None] * len(texts)

    async def _call(self, texts: Sequence[Text], names: Sequence[str], *, as_json: bool) -> Completion:
        job = texts[0].job
        terms = tuple(dict.fromkeys(term for text in texts for term in text.terms))
        named = {name: (text.text, text.marks) for name, text in zip(names, texts, strict=True)}
        bill = Bill()
        try:
            with tracing.for_all([text.trace for text in texts]):
                return await self._endpoint.ask(job, make_shared_prompt(job, named, terms, as_json=as_json), bill)
        finally:
            _divide(bill, texts)

    async def _in_halves(self, texts: Sequence[Text]) -> Sequence[Remembered | BaseException | None]:
        """What was too much for one answer, or holds a text that is refused, is tried in two."""
        middle = len(texts) // 2
        halves = await asyncio.gather(
            *(self._perform(half) for half in (texts[:middle], texts[middle:])), return_exceptions=True
        )
        found: list[Remembered | BaseException | None] = []
        for half, answers in zip((texts[:middle], texts[middle:]), halves, strict=True):
            found += [answers] * len(half) if isinstance(answers, BaseException) else answers
        return found


def _group(job: Job) -> tuple[object, ...]:
    """Texts with the same of all this may share a call."""
    return (
        job.account,
        job.model,
        job.source_language,
        job.target_language,
        job.domain,
        job.context,
        job.formality,
        job.instructions,
        job.terms,
        json.dumps(dict(job.parameters), sort_keys=True),
    )


def _names(texts: Sequence[Text]) -> list[str]:
    """A short name for each text, made from its message's id: an answer goes by name, never by position."""
    names: dict[str, None] = {}
    for index, text in enumerate(texts):
        for name in _candidates(f"{text.job.message_id} {index}"):
            if name not in names and not any(name in each.text for each in texts):
                names[name] = None
                break
    return list(names)


def _candidates(seed: str) -> Iterator[str]:
    digest = hashlib.blake2b(seed.encode(), digest_size=32).hexdigest()
    return (digest[:length] for length in range(4, 65))


def _divide(bill: Bill, texts: Sequence[Text]) -> None:
    """Split what a shared call cost by the length of the texts; not a token is lost."""
    spent = bill.take()
    # The share of one that was cancelled meanwhile is booked by the others: they have the same payer.
    texts = [text for text in texts if not text.bill.closed] or texts
    texts[0].bill.calls += bill.calls
    sizes = [max(1, len(text.text)) for text in texts]
    left, rest = sum(sizes), [spent.prompt_tokens, spent.completion_tokens]
    for text, size in zip(texts, sizes, strict=True):
        shares = [round(amount * size / left) for amount in rest]
        text.bill.add(text.job.model, *shares)
        left -= size
        rest = [amount - share for amount, share in zip(rest, shares, strict=True)]
