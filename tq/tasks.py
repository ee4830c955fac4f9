"""The Celery task, and the older Python interface to it.

from tq.tasks import process_message, get_queue_for_priority
message = {"id": "unique-id", "content": "Hello", "priority": 8, "metadata": {"target_language": "fr"}}
task = process_message.apply_async(args=[message], queue=get_queue_for_priority(8))
task.get(timeout=30)  # the translation; raises what happened otherwise
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Retry
from celery.result import AsyncResult

from tq import tracing
from tq.attempts import Attempts, Settled
from tq.celery import app
from tq.errors import InvalidMessage, TqError
from tq.identity import identity
from tq.messages import QUARANTINE, Message, Status, Submission, get_queue_for_priority, parse_submission
from tq.pool import wait_for
from tq.portal import PerProcess, get_portal
from tq.quarantine import Quarantine
from tq.queue import TranslationQueue
from tq.tokens import TASK_NAME

__all__ = ["get_queue_for_priority", "process_message"]


queue = PerProcess(TranslationQueue)
attempts = PerProcess(lambda: Attempts(queue.get(), identity.get()))
quarantine = PerProcess(lambda: Quarantine(queue.get()))


class MessageTask(Task):
    """A task that is submitted like a message: ``apply_async`` stores it and wakes a worker."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult:
        """Submit one message, given as a plain dict, and return its ``AsyncResult``.

        Args:
            args: ``[message]``: ``content`` and, optionally, ``id``, ``model_name``, ``api_key``,
                ``priority``, ``metadata``.
            kwargs: ``{"message": message}`` instead.
            options: ``queue`` must be the one of the priority, if given; ``task_id`` is the id of a
                message that has none. Whatever would make a token late or expire is refused.

        Raises:
            InvalidMessage: the message, or an option, is not valid.
        """
        given = [*(args or ()), *(kwargs or {}).values()]
        refused = sorted(name for name in ("countdown", "eta", "expires") if options.get(name) is not None)
        if len(given) != 1 or refused:
            raise InvalidMessage(
                f"process_message takes no {', '.join(refused)}" if refused else "process_message takes one message",
                why="the store decides when a message runs" if refused else "",
                fix="call process_message.apply_async(args=[message], queue=get_queue_for_priority(priority))",
            )
        submission = as_submission(given[0], options.get("task_id"))
        wanted = getattr(options.get("queue"), "name", options.get("queue")) or submission.queue
        if wanted != submission.queue:
            raise InvalidMessage(
                f"priority {submission.priority} belongs to the queue {submission.queue!r}, not {wanted!r}",
                fix="pass queue=get_queue_for_priority(message['priority']), or leave it out",
            )
        return self.AsyncResult(get_portal().call(_submit(submission)).message_id)


async def _submit(submission: Submission) -> Message:
    message = await queue.get().submit(submission)
    await queue.get().publisher.flush()
    return message


def as_submission(message: Any, task_id: str | None) -> Submission:
    """The older dict, whose id is called ``id``, as a submission."""
    if not isinstance(message, Mapping):
        return parse_submission(message)
    fields = dict(message)
    if "id" in fields:
        fields["message_id"] = fields.pop("id")
    if fields.get("message_id") is None and task_id is not None:
        fields["message_id"] = task_id
    return parse_submission(fields)


@app.task(bind=True, base=MessageTask, name=TASK_NAME, ignore_result=False, typing=False)
def process_message(self: Any, message: str | Mapping[str, Any]) -> None:
    """Translate one message: claim, perform, settle. A worker gets its id, and returns nothing.

    Called directly with a dict it submits the message and translates it here.
    """
    message_id = message if isinstance(message, str) else _stored(message, self.request.id)
    apart = (self.request.delivery_info or {}).get("routing_key") == QUARANTINE
    runner = quarantine.get() if apart else attempts.get()
    settled = wait_for(tracing.carried(runner.perform(message_id)))
    if settled.status is None and self.request.called_directly:
        # A worker was faster; whoever calls this directly wants to know how it ended.
        self.AsyncResult(message_id).get()
        return
    report(settled)


def _stored(message: Mapping[str, Any], task_id: str | None) -> str:
    # A producer without tq's apply_async sent the whole message: keep it from here on.
    return wait_for(_submit(as_submission(message, task_id))).message_id


def report(settled: Settled) -> None:
    """Tell Celery, and with it Flower, what the store says: SUCCESS, RETRY or FAILURE.

    Raises:
        Retry: another attempt is due; the store brings it about, not Celery.
        TqError: the message failed. A copy of the error, so that no cause with a provider's answer
            in it reaches Celery's tracebacks.
        Ignore: this attempt left no mark.
    """
    if settled.status is Status.COMPLETED:
        return
    if settled.status is None:
        raise Ignore
    error = _bare(settled.error)
    if settled.status is Status.RETRYING:
        raise Retry(f"in {settled.delay:.1f}s", exc=error, when=settled.delay)
    raise error


def _bare(error: TqError | None) -> TqError:
    return TqError("no reason recorded") if error is None else type(error)(error.what, why=error.why)
