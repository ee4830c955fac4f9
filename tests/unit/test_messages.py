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
    "unknown language": ({"content": "a", "metadata": {"target_language": "french"}}, "metadata.target_language"),
    "unregistered language": ({"content": "a", "metadata": {"target_language": "xx"}}, "metadata.target_language"),
    "no language at all": ({"content": "a", "metadata": {"target_language": "und"}}, "metadata.target_language"),
    "empty language": ({"content": "a", "metadata": {"target_language": ""}}, "metadata.target_language"),
    "language as number": ({"content": "a", "metadata": {"source_language": 5}}, "metadata.source_language"),
    "metadata as list": ({"content": "a", "metadata": []}, "metadata"),
    "metadata too large": ({"content": "a", "metadata": {"x": "y" * 17_000}}, "metadata"),
    "metadata with many keys": ({"content": "a", "metadata": {f"k{i}": i for i in range(65)}}, "metadata"),
    "NUL in metadata": ({"content": "a", "metadata": {"x": "a\x00"}}, "metadata"),
    "infinity in metadata": ({"content": "a", "metadata": {"x": float("inf")}}, "metadata"),
    "domain with a line break": ({"content": "a", "metadata": {"domain": "law\nobey"}}, "metadata.domain"),
    "context as list": ({"content": "a", "metadata": {"context": ["x"]}}, "metadata.context"),
    "context too long": ({"content": "a", "metadata": {"context": "x" * 8193}}, "metadata.context"),
    "NUL in a context": ({"content": "a", "metadata": {"context": "a\x00"}}, "metadata"),
    "instructions too long": ({"content": "a", "metadata": {"instructions": "x" * 2049}}, "metadata.instructions"),
    "unknown formality": ({"content": "a", "metadata": {"formality": "polite"}}, "metadata.formality"),
    "formality as bool": ({"content": "a", "metadata": {"formality": True}}, "metadata.formality"),
    "glossary as text": ({"content": "a", "metadata": {"glossary": "a,b"}}, "metadata.glossary"),
    "glossary with a number": ({"content": "a", "metadata": {"glossary": {"a": 1}}}, "metadata.glossary"),
    "empty term": ({"content": "a", "metadata": {"glossary": {" ": "b"}}}, "metadata.glossary"),
    "term with a line break at its end": (
        {"content": "a", "metadata": {"glossary": {"a": "b\n"}}},
        "metadata.glossary",
    ),
    "term too long with its spaces": (
        {"content": "a", "metadata": {"glossary": {"a": "b" + " " * 500}}},
        "metadata.glossary",
    ),
    "term twice": ({"content": "a", "metadata": {"glossary": {"a": "b", "A": "c"}}}, "metadata.glossary"),
    "too many terms": (
        {"content": "a", "metadata": {"glossary": {f"t{i}": "x" for i in range(501)}}},
        "metadata.glossary",
    ),
    "term without a target": ({"content": "a", "metadata": {"glossary": [{"source": "a"}]}}, "metadata.glossary"),
    "term with more": (
        {"content": "a", "metadata": {"glossary": [{"source": "a", "target": "b", "note": ""}]}},
        "metadata.glossary",
    ),
    "cache as number": ({"content": "a", "cache": 0}, "cache"),
    "one fallback model alone": ({"content": "a", "fallback_models": "m"}, "fallback_models"),
    "six fallback models": ({"content": "a", "fallback_models": ["m"] * 6}, "fallback_models"),
    "fallback model that is an address": ({"content": "a", "fallback_models": ["http://m"]}, "fallback_models.0"),
    "parameters as list": ({"content": "a", "parameters": []}, "parameters"),
    "parameter that is not known": ({"content": "a", "parameters": {"messages": []}}, "parameters"),
    "parameter too high": ({"content": "a", "parameters": {"temperature": 2.1}}, "parameters"),
    "parameter as text": ({"content": "a", "parameters": {"temperature": "1"}}, "parameters"),
    "parameter as bool": ({"content": "a", "parameters": {"top_p": True}}, "parameters"),
    "parameter that is none": ({"content": "a", "parameters": {"temperature": None}}, "parameters"),
    "parameter that is no number": ({"content": "a", "parameters": {"top_p": float("nan")}}, "parameters"),
    "half a token": ({"content": "a", "parameters": {"max_tokens": 1.5}}, "parameters"),
    "no token": ({"content": "a", "parameters": {"max_completion_tokens": 0}}, "parameters"),
    "seed that JSON readers change": ({"content": "a", "parameters": {"seed": 2**53}}, "parameters"),
    "effort with a line break": ({"content": "a", "parameters": {"reasoning_effort": "low\n"}}, "parameters"),
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


def test_options_as_large_as_they_may_be() -> None:
    """Context and instructions have bounds of their own, in characters: they leave the room of other keys alone."""
    metadata = {"context": "界" * 8192, "instructions": "界" * 2048, "formality": "formal", "mine": "x" * 16_000}
    parameters = {
        "temperature": 2, "top_p": 0.0, "presence_penalty": -2, "frequency_penalty": 2, "seed": -(2**53 - 1),
        "max_tokens": 1, "max_completion_tokens": 10_000_000, "reasoning_effort": "x" * 32,
    }  # fmt: skip
    submission = parse_submission(
        {"content": "a", "metadata": metadata, "parameters": parameters, "fallback_models": ["m"] * 5, "cache": False}
    )
    assert submission.metadata == metadata
    assert submission.parameters == parameters
    terms = [{"source": f"term {number}", "target": "x" * 100, "mandatory": number % 2 == 0} for number in range(500)]
    for glossary in (terms, {term["source"]: term["target"] for term in terms}, {" iPhone ": "iPhone"}, {}, [], None):
        given = parse_submission({"content": "a", "metadata": {"glossary": glossary, "mine": "x" * 16_000}})
        assert given.metadata["glossary"] == glossary
    assert parse_submission({"content": "a", "metadata": dict.fromkeys(metadata)}).metadata == dict.fromkeys(metadata)


def test_only_what_differs_is_an_option() -> None:
    """What says nothing is kept nowhere: neither in a record nor in a fingerprint, which older ones have without it."""
    silent = parse_submission({"content": "a", "cache": True, "fallback_models": [], "parameters": {}})
    assert silent.options() == {}
    assert silent.fingerprint("") == parse_submission({"content": "a"}).fingerprint("")
    assert silent.fingerprint("") == "44e002a440910e6477d846da4c820dde"
    given = {"cache": False, "fallback_models": ["m"], "parameters": {"seed": 5}}
    spoken = parse_submission({"content": "a", **given})
    assert spoken.options() == given
    pointed = parse_submission({"content": "a", **given, "parameters": {"seed": 5.0}})
    assert pointed.fingerprint("") == spoken.fingerprint("")


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
    different += [print_of(cache=False), print_of(fallback_models=["m"]), print_of(parameters={"seed": 1})]
    assert len({same, *different}) == 9


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
