"""Tokens: the Celery messages that wake a worker, and the Redis lists they wait in.

A token carries the id of a message in the store and nothing more. It may be lost, repeated or late without
harm; see docs/architecture.md. Pure: nothing of Celery is imported here, which costs more than a submit.
"""

from __future__ import annotations

import json
from itertools import count
from secrets import token_hex
from typing import Final

from tq.messages import DEFAULT, HIGH_PRIORITY, MAX_PRIORITY

#: Never to be renamed: tokens under another name would be discarded by workers.
TASK_NAME: Final = "tq.tasks.process_message"

#: kombu's separator between a queue's name and its priority step in the names of Redis lists.
SEPARATOR: Final = "\x06\x16"
#: Lists a queue is split into. kombu caps a message's priority at 9, hence ten and not eleven.
PRIORITY_STEPS: Final = list(range(10))

_SERIES: Final = token_hex(6)
_NUMBERS: Final = count()


def priority_step(queue: str, priority: int) -> int:
    """The step of kombu's Redis lists for a token; step 0 is popped first, across both queues.

    A pop asks for (step 0, high_priority), (step 0, default), (step 1, high_priority), … so
    10…5 become steps 0…5 of ``high_priority``, and 4…0 become steps 5…9 of ``default``: strict over
    both queues, within kombu's ten steps.
    """
    if queue == HIGH_PRIORITY:
        return MAX_PRIORITY - priority
    return MAX_PRIORITY - 1 - priority if queue == DEFAULT else 0


def list_name(queue: str, step: int) -> str:
    """The Redis list that kombu keeps for one step of a queue."""
    return f"{queue}{SEPARATOR}{step}" if step else queue


def token_text(message_id: str, queue: str, step: int) -> str:
    """A token as kombu's Redis transport keeps it: Celery's protocol 2, without what is empty or the default.

    A third as long as Celery's own, which a queue of many messages has in memory, and made a hundred times as fast.
    (docs.celeryq.dev, "Message Protocol", version 2.)
    """
    return json.dumps(
        {
            "body": json.dumps([[message_id], {}, {}]),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": TASK_NAME,
                "id": message_id,
                "root_id": message_id,
                "argsrepr": f"({message_id!r},)",
                "kwargsrepr": "{}",
            },
            "properties": {
                "correlation_id": message_id,
                "reply_to": "",
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": step,
                "delivery_tag": f"{_SERIES}{next(_NUMBERS):x}",
            },
        },
        separators=(",", ":"),
    )
