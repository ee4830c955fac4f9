"""One attempt to translate one message: pieces → memory → protection → provider → checks. Knows no queue.

A text within TQ_SEGMENT_TOKENS is one piece, asked for by itself or together with others (``tq.sharing``). A
longer one is asked for piece by piece, each kept as soon as it is there; a piece whose answer is cut off is
asked for in halves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Thread

from tq.bill import Bill
from tq.checkpoints import Checkpoints, Part
from tq.connection import to_the_end
from tq.endpoint import Endpoint
from tq.errors import InvalidOutput, Refused, RequestRefused, Truncated, complaints_of
from tq.glossary import Term, matching
from tq.memory import Memory, Remembered
from tq.protection import hide, legend, protect, restore, translatable
from tq.providers import Job, ProviderName
from tq.providers.prompts import VERSION, make_prompt
from tq.providers.pseudo import WARNING as PSEUDO_WARNING
from tq.segments import halve, split
from tq.settings import Settings
from tq.sharing import Sharing, Text
from tq.sizes import tokens
from tq.store import Store
from tq.validation import ALL_RULES, USABLE_RULES, Pair, Rule, violations
from tq.validation.identify import detect_language

#: Characters of the source before a piece that are sent along, for understanding.
_PRECEDING = 400
#: Tokens of a piece up to which an answer is not cut off because it is long.
_SMALL = 50
#: How often a piece is halved at most.
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Translation:
    """What an attempt found: the text, who made it, what to know about it, and the tokens it cost."""

    text: str = field(repr=False)
    provider: ProviderName
    model: str
    warnings: tuple[str, ...]
    tokens: int = 0
    cached: bool = False
    detected_language: str | None = None


@dataclass(frozen=True)
class _Piece:
    """What one call is to translate: the whole text, or a part of it; ``halvings`` made it.

    ``host`` is where the call goes.
    """

    text: str = field(repr=False)
    job: Job
    bill: Bill
    host: str
    preceding: str = field(default="", repr=False)
    part: bool = False
    halvings: int = 0

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """Of the job's glossary, those that are in the text."""
        return matching(self.job.terms, self.text)

    @cached_property
    def digest(self) -> str:
        """Of everything that decides how the piece is translated, and of the account that pays."""
        job = self.job
        asked = [
            VERSION,
            self.host,
            job.account,
            job.model,
            job.source_language,
            job.target_language,
            job.domain,
            job.context,
            job.formality,
            job.instructions,
            [(term.source, term.target, term.mandatory) for term in self.terms],
            dict(job.parameters),
            self.preceding,
            unicodedata.normalize("NFC", self.text),
        ]
        text = json.dumps(asked, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Translator:
    """Translates with the provider that a message's key and the settings ask for.

    Making one costs nothing: a provider is made, and ``openai`` imported (half a second), when the first
    job needs it. From then on it belongs to that event loop; close it there.

    Args:
        settings: of this process.
        store: for the translation memory, and for limits that all workers share; None = without.
        more: whether more messages may come soon, so that waiting for company pays.
        arrived: told the id of a message when it asks for company, or is seen to need none.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store | None = None,
        more: Callable[[], Awaitable[bool]] | None = None,
        arrived: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._endpoints: dict[ProviderName, Endpoint] = {}
        self._store = store
        self._memory = Memory(store, settings) if store is not None and settings.memory_ttl else None
        self._more = more
        self._arrived = arrived
        self._sharing: Sharing | None = None

    def provider_for(self, api_key: str | None) -> ProviderName:
        """Which provider serves a message with this key of its own (None = it has none)."""
        if self._settings.provider == "auto" and api_key:
            return "openai"
        return self._settings.provider_name

    async def translate(
        self, job: Job, bill: Bill | None = None, checkpoints: Checkpoints | None = None
    ) -> Translation:
        """The checked translation of the job's content; each call ends within TQ_REQUEST_TIMEOUT.

        White space around the content stays around the translation; the model never sees it.

        Args:
            job: what to translate.
            bill: takes up what the calls cost, also when this raises.
            checkpoints: what earlier attempts at the same message have found, and where to keep more.

        Raises:
            ProviderTimeout: no complete answer in time, however busily it was dripping in.
            InvalidOutput: the answer broke a rule of ``tq.validation``.
            AttemptDeferred: the provider's limits leave no room now; nothing was sent.
            AttemptError: whatever else went wrong at the provider.
        """
        bill = bill or Bill()
        name = self.provider_for(job.api_key)
        text = job.content.strip()
        if not translatable(text):
            # A model that is sent nothing asks for a text.
            return Translation(job.content, name, job.model, ())
        head, _, tail = job.content.partition(text)
        if name == "pseudo":
            found = await self._pseudo(job, text)
            return Translation(f"{head}{found.text}{tail}", name, found.model, found.warnings)
        detected = None if job.source_language else detect_language(text)
        pieces = split(text, self._settings.segment_tokens, job.source_language or detected)
        if len(pieces) == 1:
            found, cached = await self._whole(_Piece(text, job, bill, self._endpoint(name).host), checkpoints)
        else:
            found, cached = await self._long(pieces, job, bill, await _Kept.load(checkpoints)), False
        return Translation(
            text=f"{head}{found.text}{tail}",
            provider=name,
            model=found.model,
            warnings=found.warnings,
            tokens=bill.tokens,
            cached=cached,
            detected_language=detected,
        )

    @property
    def waiting(self) -> int:
        """Messages that wait for company, or for an answer that somebody else has asked for."""
        company = self._sharing.waiting if self._sharing is not None else 0
        return company + (self._memory.waiting if self._memory is not None else 0)

    async def aclose(self) -> None:
        """Close what is open; a later job opens it again."""
        endpoints, self._endpoints = self._endpoints, {}
        if self._sharing is not None:
            await self._sharing.aclose()
            self._sharing = None
        if self._memory is not None:
            await self._memory.aclose()
        for endpoint in endpoints.values():
            await endpoint.aclose()

    # -- one piece ---------------------------------------------------------------------------------

    async def _whole(self, piece: _Piece, checkpoints: Checkpoints | None) -> tuple[Remembered, bool]:
        """A text that should fit into one call, from the memory if it is there."""

        async def find() -> Remembered:
            kept = await _Kept.load(checkpoints) if piece.job.correction else _Kept(checkpoints, {})
            return await self._parts(piece, kept)

        if self._memory is None or not piece.job.reuse or piece.job.correction:
            return await find(), False

        def usable(found: Remembered) -> bool:
            pair = _pair(piece, found.text)
            return not any(violation.severity == "error" for violation in violations(pair, ALL_RULES))

        return await self._memory.once(piece.digest, usable, find, lambda: self._arrived(piece.job.message_id))

    async def _parts(self, piece: _Piece, kept: _Kept) -> Remembered:
        """A piece in one call, or, if its answer is cut off, in halves.

        Raises:
            Truncated: not even a small part came whole.
        """
        known = kept.parts.get(piece.digest)
        if known is not None and known.text is not None:
            return Remembered(known.text, known.model, known.warnings)
        halves: tuple[str, str] | None = None
        cut: Truncated | RequestRefused | None = None
        if known is None:
            try:
                found = await self._checked(piece)
            except (Truncated, RequestRefused) as error:
                if isinstance(error, RequestRefused) and not error.too_long:
                    raise
                cut = error
            else:
                if piece.part:
                    await kept.keep(piece.digest, Part(found.text, found.model, found.warnings), piece.bill)
                return found
        again = piece.part and piece.job.correction == Truncated.type
        if piece.halvings < _DEEPEST and (known is not None or again or tokens(piece.text) > _SMALL):
            halves = halve(piece.text, piece.job.source_language)
        if halves is None:
            # Too short to be cut: once more, with a request that says what went wrong.
            if piece.part and not piece.job.correction:
                return await self._parts(replace(piece, job=_corrected(piece.job, Truncated.type)), kept)
            raise cut or Truncated("the translation was cut off", fix="raise the server's output or context limit")
        await kept.keep(piece.digest, Part(None), piece.bill)
        parts = [
            replace(piece, text=half, preceding=before, part=True, halvings=piece.halvings + 1)
            for half, before in ((halves[0], piece.preceding), (halves[1], halves[0][-_PRECEDING:]))
        ]
        return _joined([await self._framed(part, kept) for part in parts])

    async def _framed(self, piece: _Piece, kept: _Kept) -> Remembered:
        """A part with the white space around it as it was; one without words as it is."""
        text = piece.text.strip()
        if not translatable(text):
            return Remembered(piece.text, "", ())
        head, _, tail = piece.text.partition(text)
        piece = replace(piece, text=text)
        try:
            found = await self._parts(piece, kept)
        except InvalidOutput as error:
            if piece.job.correction == InvalidOutput.type:
                raise
            # A long text has many parts: each gets its second chance by itself, and at once.
            found = await self._parts(replace(piece, job=_corrected(piece.job, error.type, error)), kept)
        return replace(found, text=f"{head}{found.text}{tail}")

    async def _checked(self, piece: _Piece) -> Remembered:
        """The answer to one piece, which has passed the checks.

        Raises:
            InvalidOutput: it breaks a rule; all broken ones are named.
            Refused: the model says that it will not translate.
        """
        job = piece.job
        protected = protect(piece.text)
        marks = legend(protected)
        sharing = self._shared()
        answer: Remembered | None = None
        # In the same turn of the loop as it asks: who looks in between would take it for gone.
        self._arrived(job.message_id)
        if not piece.part and sharing.welcomes(job, protected.text):
            answer = await sharing.ask(Text(job, protected.text, marks, piece.terms, piece.bill))
        if answer is None:
            job = replace(job, complaints=tuple(hide(complaint, protected) for complaint in job.complaints))
            prompt = make_prompt(job, protected.text, piece.terms, piece.preceding, marks)
            completion = await self._endpoint("openai").ask(job, prompt, piece.bill)
            answer = Remembered(completion.text, completion.model, ())
        pair = _pair(piece, restore(answer.text, protected))
        return Remembered(pair.output, answer.model, _warnings(pair))

    async def _pseudo(self, job: Job, text: str) -> Remembered:
        completion = await self._endpoint("pseudo").ask(job, make_prompt(job, text), Bill())
        _warnings(pair := Pair(text, completion.text, job.source_language, job.target_language), USABLE_RULES)
        return Remembered(pair.output, completion.model, (PSEUDO_WARNING,))

    # -- long texts --------------------------------------------------------------------------------

    async def _long(self, pieces: Sequence[str], job: Job, bill: Bill, kept: _Kept) -> Remembered:
        """Several pieces at a time; when one fails, those under way end first, as they are paid for."""
        turns = asyncio.Semaphore(self._settings.segment_parallel)
        failed: list[Exception] = []
        host = self._endpoint("openai").host

        async def one(index: int) -> Remembered | None:
            async with turns:
                if failed:
                    return None
                before = "".join(pieces[max(0, index - 2) : index])[-_PRECEDING:]
                try:
                    return await self._framed(_Piece(pieces[index], job, bill, host, before, part=True), kept)
                except Exception as error:  # noqa: BLE001 - raised below, when the others have ended
                    failed.append(error)
                    return None

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(index)) for index in range(len(pieces))]
        if failed:
            raise failed[0]
        return _joined([found for task in tasks if (found := task.result()) is not None])

    # -- what it needs -----------------------------------------------------------------------------

    def _endpoint(self, name: ProviderName) -> Endpoint:
        if name not in self._endpoints:
            self._endpoints[name] = Endpoint.make(name, self._settings, self._store)
            if name == "openai":
                # Half a second of work and 90 MB, for those who translate only: it goes on beside the first call.
                Thread(target=detect_language, args=("x" * 50,), name="tq-languages", daemon=True).start()
        return self._endpoints[name]

    def _shared(self) -> Sharing:
        if self._sharing is None:
            self._sharing = Sharing(self._settings, self._endpoint("openai"), self._more)
        return self._sharing


class _Kept:
    """The parts that are there already, and where more of them go."""

    def __init__(self, checkpoints: Checkpoints | None, parts: dict[str, Part]) -> None:
        self._checkpoints = checkpoints
        self.parts = parts

    @classmethod
    async def load(cls, checkpoints: Checkpoints | None) -> _Kept:
        return cls(checkpoints, {} if checkpoints is None else await checkpoints.load())

    async def keep(self, digest: str, part: Part, bill: Bill) -> None:
        self.parts[digest] = part
        if self._checkpoints is None:
            return
        spent = bill.take()
        # Given up in the middle, nobody knew whether it was booked.
        kept, stopping = await to_the_end(self._checkpoints.keep(digest, part, spent))
        if kept is False:
            bill.put_back(spent)
        if stopping:
            raise asyncio.CancelledError


def _pair(piece: _Piece, output: str) -> Pair:
    job = piece.job
    return Pair(
        source=piece.text,
        output=output,
        source_language=job.source_language,
        target_language=job.target_language,
        corrected=job.correction == InvalidOutput.type,
        terms=piece.terms,
    )


def _corrected(job: Job, kind: str, error: InvalidOutput | None = None) -> Job:
    return replace(job, correction=kind, complaints=complaints_of(error.violations) if error else ())


def _joined(parts: Sequence[Remembered]) -> Remembered:
    return Remembered(
        text="".join(part.text for part in parts),
        model=next((part.model for part in parts if part.model), ""),
        warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
    )


def _warnings(pair: Pair, rules: Sequence[Rule] = ALL_RULES) -> tuple[str, ...]:
    """What is to be said about the answer.

    Raises:
        Refused: it says that the model will not translate.
        InvalidOutput: it breaks a rule; all broken ones are named.
    """
    found = violations(pair, rules)
    errors = [violation for violation in found if violation.severity == "error"]
    if any(violation.rule == "refusal" for violation in errors):
        raise Refused("the model refused to translate the text", fix="change the content, or use another model")
    if errors:
        raise InvalidOutput(
            "the model's answer is not a usable translation",
            why="; ".join(violation.message for violation in errors),
            fix="use another model",
            violations=[
                {"rule": violation.rule, "message": violation.message, "detail": violation.detail}
                for violation in errors
            ],
        )
    return tuple(violation.message for violation in found)
