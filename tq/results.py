"""A read-only Celery result backend over the store: ``AsyncResult`` says what the store says.

Celery never writes a result: tasks return nothing, and the store has recorded the outcome before
the task ends.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import TaskRevokedError

from tq.errors import unknown_message
from tq.messages import Status, failure
from tq.portal import PerProcess, get_portal
from tq.settings import get_settings
from tq.store import open_store

#: message status -> Celery state
STATES: Final = {
    Status.QUEUED: states.PENDING,
    Status.RUNNING: states.STARTED,
    Status.RETRYING: states.RETRY,
    Status.COMPLETED: states.SUCCESS,
    Status.FAILED: states.FAILURE,
    Status.CANCELLED: states.REVOKED,
}


_store = PerProcess(lambda: open_store(get_settings()))


class StoreBackend(BaseBackend):
    """``AsyncResult.state``, ``.get()`` and ``.result`` read the message of that id.

    ``get`` returns the translation, or raises what happened: the message's own error class, or
    ``TaskRevokedError`` when it was cancelled. An id that does not exist raises ``UnknownMessage``
    rather than pretending to be pending.
    """

    supports_autoexpire = True
    persistent = True

    def _store_result(self, *_: Any, **__: Any) -> None:
        """Nothing: the store has recorded the outcome already."""

    def store_result(self, task_id: str, result: Any, state: str, **_: Any) -> Any:  # noqa: ARG002 - Celery's signature
        """Nothing: the store has recorded the outcome already."""
        return result

    def on_task_call(self, *_: Any, **__: Any) -> None:
        """Nothing is prepared for a call."""

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        message = get_portal().call(_store.get().get(task_id))
        if message is None:
            raise unknown_message(task_id)
        result: Any = None
        if message.status is Status.COMPLETED:
            result = message.translation
        elif message.status is Status.CANCELLED:
            result = TaskRevokedError("cancelled")
        elif message.status in {Status.FAILED, Status.RETRYING}:
            result = failure(message)
        done: datetime | None = message.finished_at
        return {
            "task_id": task_id,
            "status": STATES[message.status],
            "result": result,
            "traceback": None,
            "children": [],
            "date_done": done.isoformat() if done else None,
        }

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:  # noqa: ARG002, FBT001, FBT002 - Celery's signature
        """What ``AsyncResult`` is made of; never cached, for a failed message may be retried."""
        return self._get_task_meta_for(task_id)

    def wait_for(self, task_id: str, timeout: float | None = None, interval: float = 0.1, **options: Any) -> Any:
        """Poll until the message has ended; five times as often as Celery does by default."""
        return super().wait_for(task_id, timeout=timeout, interval=min(interval, 0.1), **options)

    def forget(self, task_id: str) -> None:
        """Refused: a message is kept until TQ_RESULT_TTL after its end."""
        raise NotImplementedError("tq keeps its messages: they expire by TQ_RESULT_TTL")

    def reload_task_result(self, task_id: str) -> None:
        """Nothing is cached."""
