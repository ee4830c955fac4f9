"""Webhooks: which callbacks are accepted, what signs them, and what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tq.errors import InvalidMessage
from tq.messages import Message
from tq.records import OUTLINE, as_message
from tq.sealing import Sealer
from tq.settings import Settings
from tq.signing import parse_secrets
from tq.store import Store
from tq.targets import why_refused

#: What the submitter has already, and what is no news: how it stands with the webhook itself.
_NOT_TOLD: Final = {"content", "callback"}
#: What is read of a record: all that is told, hence not its content, which may be long.
_FIELDS: Final = (*OUTLINE, "translation", "hook_before")
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def check_callback(url: str | None, settings: Settings) -> None:
    """Whether a webhook can be signed and may go there, as far as that is known before it is sent.

    Raises:
        InvalidMessage: it cannot, or may not.
    """
    if url is None:
        return
    if not can_sign(settings):
        raise InvalidMessage(
            "callback_url cannot be honoured: there is no secret to sign webhooks with",
            why="neither TQ_WEBHOOK_SECRET nor TQ_SECRET_KEY is set, and processes of several machines share the Redis",
            fix="give every tq process the same TQ_WEBHOOK_SECRET: `tq webhook-secret --new` makes one",
            errors=[{"field": "callback_url", "message": "no secret is set to sign webhooks with"}],
        )
    if why := why_refused(url, private=settings.callback_private):
        raise InvalidMessage(
            "the callback_url is not taken",
            why=f"it {why}",
            fix="use a public https address; TQ_CALLBACK_PRIVATE=true allows private ones, and http",
            errors=[{"field": "callback_url", "message": why}],
        )


def can_sign(settings: Settings) -> bool:
    """Whether all processes of this installation sign alike.

    With the embedded store they share a data directory, and the secret that is made there.
    """
    return settings.embedded or settings.webhook_secret is not None or settings.secret_key is not None


def signing_keys(settings: Settings, sealer: Sealer) -> list[bytes]:
    """The secrets that sign: those of TQ_WEBHOOK_SECRET, or one derived from the secret that seals api keys."""
    if settings.webhook_secret is not None:
        return parse_secrets(settings.webhook_secret.get_secret_value())
    return [sealer.webhook_key]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook that this process is to deliver now.

    Attributes:
        receiver: host and port.
        message_id: whose end it tells of.
        event: its id: the same each time that it is sent.
        attempt: 1 for the first.
        turn: the same since it was asked for, which is by hand the last time: so many attempts of all that it has.
        url: where it goes, secrets included.
        body: what is sent.
    """

    receiver: str
    message_id: str
    event: str
    attempt: int
    turn: int
    url: str = field(repr=False)
    body: bytes = field(repr=False)


def payload(message: Message) -> bytes:
    """What a receiver reads: the message document without its content."""
    document = message.model_dump(mode="json", exclude=_NOT_TOLD)
    return _encode(
        {"type": f"message.{message.status}", "timestamp": document["finished_at"], "data": document}
    ).encode()


class Outbox:
    """The webhooks of a store that are due; several processes share them by leases.

    Args:
        store: where they are.
        result_ttl: seconds that an ended message is kept.
    """

    def __init__(self, store: Store, result_ttl: float) -> None:
        self._store = store
        self._ttl = int(result_ttl * 1000)

    async def take(
        self, most: int, *, each: int, lease: float, overdue: float, rooms: dict[str, int]
    ) -> list[Delivery]:
        """Up to ``most`` webhooks, ``each`` of a receiver unless ``rooms`` says otherwise, for ``lease`` seconds."""
        flat = [part for pair in rooms.items() for part in pair]
        taken = await self._store.script(
            "hooks_take", most, each, int(lease * 1000), int(overdue * 1000), " ".join(_FIELDS), *flat
        )
        return [_delivery(*item) for item in taken]

    async def settle(
        self, delivery: Delivery, status: str, *, delay: float = 0.0, http_status: int | None = None, error: str = ""
    ) -> bool:
        """Record what came of it; False when it is not this process's any more.

        Args:
            delivery: which.
            status: ``pending`` (again after ``delay`` seconds), ``delivered``, ``failed`` or ``disabled``.
            delay: see there.
            http_status: of the answer, if there was one.
            error: what was wrong, in a word.
        """
        return await self._settle(delivery, status, delay, "" if http_status is None else http_status, error, counts=1)

    async def postpone(self, delivery: Delivery, delay: float) -> None:
        """Put a webhook back for so many seconds as if it had not been taken: nothing was tried."""
        await self._settle(delivery, "pending", delay, "", "", counts=0)

    async def _settle(
        self, delivery: Delivery, status: str, delay: float, http_status: int | str, error: str, *, counts: int
    ) -> bool:
        answer = await self._store.script(
            "hooks_settle",
            delivery.receiver,
            delivery.message_id,
            delivery.event,
            delivery.attempt,
            status,
            int(delay * 1000),
            http_status,
            error,
            self._ttl,
            counts,
        )
        return bool(answer == "ok")


def _delivery(
    receiver: str, message_id: str, event: str, attempt: int, brief: str, values: Sequence[str | None]
) -> Delivery:
    record = {name: value for name, value in zip(_FIELDS, values, strict=True) if value is not None} | {"brief": brief}
    url = json.loads(brief)["callback_url"]
    turn = attempt - int(record.get("hook_before", 0))
    return Delivery(receiver, message_id, event, attempt, turn, url, payload(as_message(message_id, record)))
