"""How priorities become the steps of kombu's lists."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.transport.redis import Channel

from tq.messages import QUEUES, get_queue_for_priority
from tq.queueorder import reserved_slots
from tq.tokens import PRIORITY_STEPS, list_name, priority_step


def kombu_list(queue: str, priority: int) -> str:
    """The list that kombu itself puts a message of a priority into."""
    channel: Any = Channel.__new__(Channel)
    channel.priority_steps = PRIORITY_STEPS
    capped = channel._get_message_priority({"properties": {"priority": priority}})
    return str(channel._q_for_pri(queue, capped))


def test_strict_across_both_queues() -> None:
    """Popped in the order in which a pop names the lists, 10 comes before 9 … before 0."""
    order = [list_name(queue, step) for step in PRIORITY_STEPS for queue in QUEUES]
    lists = [
        list_name(get_queue_for_priority(p), priority_step(get_queue_for_priority(p), p)) for p in range(10, -1, -1)
    ]
    assert [order.index(name) for name in lists] == sorted(order.index(name) for name in lists)
    assert len(set(lists)) == 11


@pytest.mark.parametrize("priority", range(11))
def test_kombu_agrees_on_the_lists(priority: int) -> None:
    """The names we look into are the names kombu writes to (it caps priorities at 9)."""
    queue = get_queue_for_priority(priority)
    step = priority_step(queue, priority)
    assert kombu_list(queue, step) == list_name(queue, step)


@pytest.mark.parametrize(("slots", "reserved"), [(1, 0), (3, 0), (4, 1), (20, 1), (200, 4), (500, 5), (5000, 5)])
def test_a_few_slots_are_kept(slots: int, reserved: int) -> None:
    """A small worker keeps one slot for high_priority, a large one at most five, a tiny one none."""
    assert reserved_slots(slots) == reserved
