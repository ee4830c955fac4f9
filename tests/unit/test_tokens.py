"""Tokens are the Celery messages that Celery itself would write, only shorter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kombu.transport.redis import Channel
from kombu.transport.virtual import Message

from tq.celery import app
from tq.tokens import TASK_NAME, token_text


def read(text: str) -> Message:
    """A token as kombu hands it to a worker."""
    return Message(json.loads(text), channel=Channel.__new__(Channel))


@pytest.mark.parametrize("message_id", ["01M85TCAPSY89V5ATPXRK0BRZB", "a b", 'it\'s "ü" ⟦1⟧', "-"])
def test_what_a_worker_reads(message_id: str) -> None:
    """The id as the only argument, and nothing else that is not empty."""
    token = read(token_text(message_id, "default", 7))
    ours: Any = token.payload
    theirs = app.amqp.as_task_v2(message_id, TASK_NAME, args=(message_id,))
    assert ours[:2] == [[*theirs.body[0]], theirs.body[1]]
    assert not ours[2]
    assert not any(theirs.body[2].values())
    assert token.delivery_info == {"exchange": "", "routing_key": "default"}
    assert token.properties["priority"] == 7
    assert token.properties["correlation_id"] == theirs.properties["correlation_id"]


def test_headers() -> None:
    """Each is Celery's own; those that are left out say nothing, but for where the token is from."""
    ours = read(token_text("m1", "default", 5)).headers
    theirs = app.amqp.as_task_v2("m1", TASK_NAME, args=("m1",)).headers
    assert ours == {name: theirs[name] for name in ours}
    left_out = {name: value for name, value in theirs.items() if name not in ours and name != "origin"}
    assert not any(value for value in left_out.values() if value != [None, None]), left_out


def test_no_two_are_the_same() -> None:
    """A worker that has two tokens of one message tells them apart by their tags."""
    tags = {read(token_text("m1", "default", 5)).delivery_tag for _ in range(1000)}
    assert len(tags) == 1000
