"""Bodies of the API besides the submission: what they take, and how large they may be."""

from __future__ import annotations

from typing import Any

import pytest

from tq.bodies import Batch, Revival, Selection, StatusChange, most_bytes, parse
from tq.errors import InvalidMessage
from tq.settings import Settings


def test_a_body_has_room_for_the_longest_content_however_escaped() -> None:
    """Six bytes of JSON for one of content, and a margin; a batch has 32 MiB at least."""
    small = Settings(max_content="1KiB")  # type: ignore[arg-type]  # as the environment gives it
    large = Settings(max_content="64MiB")  # type: ignore[arg-type]  # as the environment gives it
    assert most_bytes(small) == 6 * 2**10 + 768 * 2**10
    assert most_bytes(small, batch=True) == 32 * 2**20
    assert most_bytes(large, batch=True) == most_bytes(large) == 6 * 2**26 + 768 * 2**10


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("no luck", ("reported", "no luck", False)),
        ({"message": "no luck"}, ("reported", "no luck", False)),
        ({"type": "t", "message": "no luck", "retryable": True}, ("t", "no luck", True)),
    ],
)
def test_a_failure_is_a_sentence_or_a_record(error: Any, expected: tuple[str, str, bool]) -> None:
    """Both forms of ``error`` mean the same."""
    failure = parse(StatusChange, {"status": "failed", "error": error}).error
    assert failure is not None
    assert (failure.type, failure.message, failure.retryable) == expected


@pytest.mark.parametrize(
    ("model", "data", "field"),
    [
        (StatusChange, {"status": "no-status-of-ours"}, "status"),
        (StatusChange, {"status": "failed", "error": {"message": "the words", "type": "The Words"}}, "error.type"),
        (StatusChange, {"status": "failed", "error": ["the words"]}, "error"),
        (Revival, {"api_key": "the words"}, "api_key"),
        (Selection, {"message_id": ["the words"]}, "message_id"),
        (Selection, {"the words": 1}, "the words"),
        (Batch, {"messages": "the words"}, "messages"),
        (Batch, "the words", ""),
    ],
)
def test_a_refusal_names_the_field_and_not_the_value(model: Any, data: Any, field: str) -> None:
    """One entry for what is wrong; the value is in no part of the error."""
    with pytest.raises(InvalidMessage) as caught:
        parse(model, data)
    assert [item["field"] for item in caught.value.errors] == [field]
    said = caught.value.record()["message"] + str(caught.value.errors)
    assert "the words" not in said.replace(field or "-", "")


def test_a_key_is_not_shown_by_its_model() -> None:
    """Neither ``repr`` nor a dump of the model has it."""
    revival = parse(Revival, {"api_key": "sk-shown-nowhere"})
    assert "sk-shown-nowhere" not in repr(revival) + revival.model_dump_json()
