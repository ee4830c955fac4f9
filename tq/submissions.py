"""What may be submitted in Python: texts with keywords, or submissions that say all themselves; and many. No I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar, Unpack

from pydantic import JsonValue
from ulid import ULID

from tq.errors import QueueFull, TqError, about
from tq.messages import Message, Submission, parse_submission
from tq.patience import Progress, require_several
from tq.plans import Give, Pause, Plan

B = TypeVar("B")


class SubmissionFields(TypedDict, total=False):
    """What may be said of a text by keyword; absent and None are the same.

    ``to`` and ``source`` are BCP 47 tags; ``priority`` is 0 to 10, 10 the most urgent; ``context`` is sent
    and not translated; ``formality`` is ``formal`` or ``informal``; ``glossary`` maps terms to their
    translations, or is a list of ``{"source", "target", "mandatory"}``; ``callback_url`` gets a signed webhook when the
    message has ended; ``cache`` = False never takes an earlier translation; ``parameters`` are sent with the
    request (``temperature``); ``metadata`` are further keys of the caller's own.
    """

    to: str | None
    source: str | None
    domain: str | None
    model: str | None
    priority: int | None
    metadata: Mapping[str, JsonValue] | None
    context: str | None
    formality: Literal["formal", "informal"] | None
    instructions: str | None
    glossary: Mapping[str, str] | Sequence[Mapping[str, JsonValue]] | None
    cache: bool | None
    fallback_models: Sequence[str] | None
    parameters: Mapping[str, JsonValue] | None
    callback_url: str | None
    message_id: str | None
    api_key: str | None


_KNOWN: Final = SubmissionFields.__annotations__.keys()
#: What else people call them: as the message document does, or by a word that is close to none.
_MEANT: Final = {
    "target_language": "to",
    "target_lang": "to",
    "target": "to",
    "language": "to",
    "lang": "to",
    "source_language": "source",
    "source_lang": "source",
    "from_": "source",
    "model_name": "model",
    "id": "message_id",
    "callback": "callback_url",
    "webhook": "callback_url",
    "key": "api_key",
    "fallback": "fallback_models",
}


def _require_known(fields: Mapping[str, Any]) -> None:
    for name in fields:
        if name not in _KNOWN:
            meant = _MEANT.get(name) or next(iter(get_close_matches(name, _KNOWN, n=1)), None)
            hint = f"; did you mean {meant!r}?" if meant else f"; there are {', '.join(_KNOWN)}"
            raise TypeError(f"got an unexpected keyword argument {name!r}{hint}")


def make_submission(content: str, **fields: Unpack[SubmissionFields]) -> Submission:
    """A submission from friendly keywords.

    Raises:
        InvalidMessage: with an entry in ``errors`` for each thing that is wrong.
        TypeError: there is no such keyword.
    """
    _require_known(fields)
    glossary = fields.get("glossary")
    known = {
        "source_language": fields.get("source"),
        "target_language": fields.get("to"),
        "domain": fields.get("domain"),
        "context": fields.get("context"),
        "formality": fields.get("formality"),
        "instructions": fields.get("instructions"),
        "glossary": dict(glossary) if isinstance(glossary, Mapping) else glossary and [*map(dict, glossary)],
    }
    models, parameters = fields.get("fallback_models"), fields.get("parameters")
    body = {
        "content": content,
        "model_name": fields.get("model"),
        "api_key": fields.get("api_key"),
        "priority": fields.get("priority"),
        "metadata": {
            **(fields.get("metadata") or {}),
            **{name: value for name, value in known.items() if value is not None},
        },
        "cache": fields.get("cache"),
        "fallback_models": None if models is None else [*models],
        "parameters": None if parameters is None else {**parameters},
        "callback_url": fields.get("callback_url"),
        "message_id": fields.get("message_id"),
    }
    return parse_submission({name: value for name, value in body.items() if value is not None})


def checked(submission: str | Submission, fields: SubmissionFields, idempotency_key: str | None = None) -> Submission:
    """What ``submit`` takes, as a submission that may be sent twice: by its id, or by the key.

    Raises:
        InvalidMessage: the text, which may be anything, or a keyword breaks the contract; it has the id, too.
        TypeError: there is no such keyword, or a submission comes with some.
    """
    _require_known(fields)
    own = submission.message_id if isinstance(submission, Submission) else fields.get("message_id")
    message_id = str(ULID()) if own is None and idempotency_key is None else own
    if not isinstance(submission, Submission):
        given: SubmissionFields = {**fields, "message_id": message_id}
        with about(message_id):
            return make_submission(submission, **given)
    if fields:
        raise TypeError("a Submission says everything itself: pass keywords with a text only")
    return submission if own == message_id else submission.model_copy(update={"message_id": message_id})


def prepared(
    submissions: Iterable[str | Submission | TqError], fields: SubmissionFields
) -> Iterator[Submission | TqError]:
    """What ``submit_many`` takes, each as a submission with an id, or as the error that it is, or has.

    Raises:
        TypeError: there is no such keyword, a submission comes with some, several texts with one id, or one text is
            given as if it were many.
    """
    _require_known(fields)
    require_several(submissions)
    if fields.get("message_id") is not None:
        raise TypeError("one message_id cannot be that of several messages")
    return (item if isinstance(item, TqError) else _tried(item, fields) for item in submissions)


def _tried(submission: str | Submission, fields: SubmissionFields) -> Submission | TqError:
    try:
        return checked(submission, fields)
    except TqError as error:
        return error


# -- many ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetch:
    """A plan's step: put up to ``most`` items of what has to be awaited into ``items``; none: there are no more."""

    source: AsyncIterator[str | Submission | TqError]
    most: int
    items: list[str | Submission | TqError]

    async def take(self) -> None:
        """Take the step."""
        async for item in self.source:
            self.items.append(item)
            if len(self.items) == self.most:
                return


def fetched(
    source: AsyncIterator[str | Submission | TqError], fields: SubmissionFields, most: int
) -> Iterator[Submission | TqError | Fetch]:
    """As ``prepared``, of what has to be awaited: with a step before each ``most`` of them."""
    prepared((), fields)
    fetch = Fetch(source, most, [])
    yield fetch
    while fetch.items:
        yield from prepared(fetch.items, fields)
        fetch = Fetch(source, most, [])
        yield fetch


@dataclass(frozen=True, slots=True)
class Store:
    """A plan's step: submit some; answers a list: each message, or why it was refused."""

    submissions: Sequence[Submission]


class Batch(Generic[B]):
    """Items that are submitted together, and what became of each.

    Args:
        items: each with the id that it will have, or an error that stays in its place.
    """

    def __init__(self, items: Iterable[tuple[str | None, B] | TqError]) -> None:
        self._items = [*items]
        self._results: list[Message | TqError | None] = [
            each if isinstance(each, TqError) else None for each in self._items
        ]
        self._told = 0

    def left(self) -> list[tuple[str | None, B]]:
        """Those that nothing has become of yet, in order."""
        pairs = zip(self._items, self._results, strict=True)
        return [item for item, result in pairs if result is None and not isinstance(item, TqError)]

    def settle(self, answers: Iterable[Message | TqError], *, again: bool) -> None:
        """What has become of those that were left; ``again``: not of those that found no room."""
        places = [n for n, result in enumerate(self._results) if result is None]
        for n, (message_id, _), answer in zip(places, self.left(), answers, strict=True):
            if isinstance(answer, TqError):
                answer.message_id = message_id
            if not (again and isinstance(answer, QueueFull)):
                self._results[n] = answer

    def ready(self) -> list[Message | TqError]:
        """What was not told yet, up to the first that nothing has become of."""
        found: list[Message | TqError] = []
        for result in self._results[self._told :]:
            if result is None:
                break
            found.append(result)
        self._told += len(found)
        return found


def submit_each(
    batches: Iterable[Batch[B] | Fetch],
    send: Callable[[Sequence[tuple[str | None, B]]], Plan[Sequence[Message | TqError]]],
    patience: float,
) -> Plan[None]:
    """Give one result for each item, in order: the message, or why it was refused.

    Args:
        batches: what is submitted, and steps that are to be taken before there is more.
        send: a plan that submits some.
        patience: seconds without progress for which it is waited for room in the queue.

    Raises:
        TqError: the first batch failed, so that nothing is known to be stored. What fails later is told of each item.
    """
    progress = Progress(patience)
    failure: TqError | None = None
    answered = False
    for batch in batches:
        if isinstance(batch, Fetch):
            yield batch
            continue
        while left := batch.left():
            try:
                answers = (yield from send(left)) if failure is None else [copy(failure) for _ in left]
            except TqError as error:
                if not answered:
                    raise
                failure = error
                continue
            answered = True
            full = [each for each in answers if isinstance(each, QueueFull)]
            if len(full) < len(answers):
                progress.made()
            # What the API asks for is meant for who finds no room at all: where some went in, more will soon.
            pause = progress.pause(full[0].retry_after if len(full) == len(answers) else None) if full else None
            batch.settle(answers, again=pause is not None)
            if pause is not None:
                yield Give(batch.ready())
                yield Pause(pause)
        yield Give(batch.ready())
