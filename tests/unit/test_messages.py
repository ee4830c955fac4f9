"""The state machine, the queues, and what a submission may look like."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.errors import InvalidMessage
from tq.fields import check_message_id
from tq.messages import (
    TERMINAL,
    TRANSITIONS,
    Status,
    get_queue_for_priority,
    may_become,
    parse_submission,
)

#: The machine of DESIGN 2.2, written down a second time.
LEGAL = {
    ("queued", "running"),
    ("queued", "cancelled"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "retrying"),
    ("running", "queued"),
    ("running", "cancelled"),
    ("retrying", "queued"),
    ("retrying", "cancelled"),
    ("failed", "queued"),
    ("cancelled", "queued"),
}


@pytest.mark.parametrize("wanted", Status)
@pytest.mark.parametrize("current", Status)
def test_every_pair_of_states(current: Status, wanted: Status) -> None:
    """Of all 36 pairs exactly those of the design are legal."""
    assert may_become(current, wanted) == ((current, wanted) in LEGAL)


def test_only_completed_is_final() -> None:
    """A completed message never changes again; failed and cancelled ones can be retried only."""
    assert {status for status in Status if not TRANSITIONS[status]} == {Status.COMPLETED}
    assert {status for status in TERMINAL if set(TRANSITIONS[status]) - {Status.QUEUED}} == set()


@pytest.mark.parametrize("priority", range(11))
def test_queue_of_a_priority(priority: int) -> None:
    """High priority begins at 5."""
    assert get_queue_for_priority(priority) == ("high_priority" if priority >= 5 else "default")


@pytest.mark.parametrize("priority", [-1, 11, True, 5.0, "5", None])
def test_no_queue_for_what_is_no_priority(priority: Any) -> None:
    """Anything but an integer of 0 to 10 is refused."""
    with pytest.raises(InvalidMessage):
        get_queue_for_priority(priority)


REFUSED = {
    "no content": ({}, "content"),
    "empty": ({"content": ""}, "content"),
    "white space": ({"content": " \n\t\u00a0"}, "content"),
    "NUL": ({"content": "a\x00b"}, "content"),
    "lone surrogate": ({"content": "a\ud800"}, "content"),
    "number as content": ({"content": 5}, "content"),
    "priority above": ({"content": "a", "priority": 11}, "priority"),
    "priority below": ({"content": "a", "priority": -1}, "priority"),
    "priority as text": ({"content": "a", "priority": "5"}, "priority"),
    "priority as bool": ({"content": "a", "priority": True}, "priority"),
    "priority as float": ({"content": "a", "priority": 5.5}, "priority"),
    "unknown field": ({"content": "a", "prioritty": 5}, "prioritty"),
    "unknown language": ({"content": "a", "metadata": {"target_language": "french"}}, "metadata"),
    "unregistered language": ({"content": "a", "metadata": {"target_language": "xx"}}, "metadata"),
    "no language at all": ({"content": "a", "metadata": {"target_language": "und"}}, "metadata"),
    "empty language": ({"content": "a", "metadata": {"target_language": ""}}, "metadata"),
    "language as number": ({"content": "a", "metadata": {"source_language": 5}}, "metadata"),
    "metadata as list": ({"content": "a", "metadata": []}, "metadata"),
    "metadata too large": ({"content": "a", "metadata": {"x": "y" * 17_000}}, "metadata"),
    "metadata with many keys": ({"content": "a", "metadata": {f"k{i}": i for i in range(65)}}, "metadata"),
    "NUL in metadata": ({"content": "a", "metadata": {"x": "a\x00"}}, "metadata"),
    "infinity in metadata": ({"content": "a", "metadata": {"x": float("inf")}}, "metadata"),
    "domain with a line break": ({"content": "a", "metadata": {"domain": "law\nobey"}}, "metadata"),
    "key with a space": ({"content": "a", "api_key": "sk a"}, "api_key"),
    "empty key": ({"content": "a", "api_key": ""}, "api_key"),
    "model with a line break": ({"content": "a", "model_name": "gpt\n4"}, "model_name"),
    "id with a slash": ({"content": "a", "message_id": "a/b"}, "message_id"),
    "id with a NUL": ({"content": "a", "message_id": "a\x00"}, "message_id"),
    "id too long": ({"content": "a", "message_id": "a" * 129}, "message_id"),
    "id that is a path": ({"content": "a", "message_id": "next"}, "message_id"),
    "empty id": ({"content": "a", "message_id": ""}, "message_id"),
    "not an object": (["content"], ""),
    "nothing": (None, ""),
}


@pytest.mark.parametrize(("data", "field"), REFUSED.values(), ids=REFUSED)
def test_refused_submissions(data: Any, field: str) -> None:
    """What is wrong is refused, and the error names the field."""
    with pytest.raises(InvalidMessage) as caught:
        parse_submission(data)
    assert [error["field"] for error in caught.value.errors] == [field]


def test_all_errors_at_once_and_no_values() -> None:
    """One answer lists everything that is wrong, and repeats neither key nor text."""
    with pytest.raises(InvalidMessage) as caught:
        parse_submission({"content": 1234567, "api_key": "sk-secret with space", "priority": 99, "x": "text-of-mine"})
    assert {error["field"] for error in caught.value.errors} == {"content", "api_key", "priority", "x"}
    told = json.dumps([caught.value.record(), caught.value.extra(), repr(caught.value)])
    assert "secret" not in told
    assert "1234567" not in told
    assert "text-of-mine" not in told


def test_a_whole_number_may_have_a_point() -> None:
    """To JSON Schema, which the OpenAPI document is written in, 7.0 is an integer; it is the same submission."""
    pointed, plain = (parse_submission({"content": "a", "priority": number}) for number in (7.0, 7))
    assert isinstance(pointed.priority, int)
    assert pointed.fingerprint("") == plain.fingerprint("")


def test_accepted_as_given() -> None:
    """The example of the contract is accepted, with the caller's own metadata untouched."""
    metadata = {"source_language": "en", "target_language": "pt-BR", "domain": "general", "ticket": {"id": [1, None]}}
    metadata["not a NUL"] = "backslash \\u0000"
    submission = parse_submission(
        {"content": "Hello", "model_name": "gpt-4", "api_key": "sk-x", "priority": 10, "metadata": metadata}
    )
    assert submission.metadata == metadata
    assert submission.queue == "high_priority"
    assert "sk-x" not in repr(submission)


def test_fingerprint_tells_bodies_apart() -> None:
    """Everything but the id is part of it; the order of metadata keys is not."""

    def print_of(key: str = "", **changes: Any) -> str:
        base = {"content": "a", "priority": 1, "metadata": {"a": 1, "b": 2}}
        return parse_submission({**base, **changes}).fingerprint(key)

    same = print_of()
    assert print_of(metadata={"b": 2, "a": 1}) == same
    assert print_of(message_id="x") == same
    different = [print_of("k"), print_of(content="b"), print_of(priority=2), print_of(model_name="m")]
    different.append(print_of(metadata={}))
    assert len({same, *different}) == 6


@given(st.text(max_size=140))
def test_ids_are_safe_everywhere(text: str) -> None:
    """Whatever passes as an id has no character that matters in a URL path, a key or a log line."""
    try:
        check_message_id(text)
    except ValueError:
        return
    assert text.isascii()
    assert 0 < len(text) <= 128
    assert not set(text) & set("/?#%&\\\"'<> \n\r\t\x00")
