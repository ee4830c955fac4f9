"""What an endpoint refuses is left out from then on; what it takes is not to blame."""

from __future__ import annotations

from typing import Any

import pytest

from tq.errors import RequestRefused
from tq.providers import Prompt
from tq.providers.abilities import Abilities, blamed_members, too_long
from tq.providers.prompts import SCHEMA


def prompt(*, schema: bool = False, **parameters: Any) -> Prompt:
    return Prompt("system", "user", "m", None, parameters=parameters, schema=SCHEMA if schema else None)


def refusal(message: str = "", *, status: int = 400, param: str | None = None) -> RequestRefused:
    error = RequestRefused("refused", status=status)
    body = {"message": message, "param": param}
    error.blamed, error.too_long = blamed_members(body), too_long(body)
    return error


@pytest.mark.parametrize(
    ("message", "param", "left"),
    [
        ("Unsupported value: 'temperature' does not support 0.2 with this model.", "temperature", {"seed": 1}),
        ("unknown field seed", None, {"temperature": 0.2}),
        ("Unrecognized request arguments: seed, temperature", None, {}),
    ],
)
def test_refused_parameters_are_left_out(message: str, param: str | None, left: dict[str, Any]) -> None:
    """The parameter that a refusal names is not sent again; the others are."""
    able, asked = Abilities(), prompt(temperature=0.2, seed=1)
    assert able.learn(able.request(asked), refusal(message, param=param))
    request = able.request(asked)
    assert {name: request[name] for name in request if name not in {"model", "messages"}} == left


def test_other_name_of_a_parameter() -> None:
    """What one endpoint calls max_tokens is max_completion_tokens for another."""
    able, asked = Abilities(), prompt(max_tokens=9)
    message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    assert able.learn(able.request(asked), refusal(message, param="max_tokens"))
    assert able.request(asked)["max_completion_tokens"] == 9
    assert "max_tokens" not in able.request(asked)


def test_forms_become_plainer() -> None:
    """A schema, then any JSON, then only words: each step is taken once, and kept."""
    able, asked = Abilities(), prompt(schema=True)
    forms = []
    for _ in range(3):
        request = able.request(asked)
        forms.append(request.get("response_format", {}).get("type"))
        able.learn(request, refusal("'response_format.type' must be 'json_object' or 'text'"))
    assert forms == ["json_schema", "json_object", None]
    assert not able.learn(able.request(asked), refusal("no"))


def test_refusals_at_the_same_time_count_once() -> None:
    """Many requests that are refused for one form do not cost the next form too."""
    able, asked = Abilities(), prompt(schema=True)
    requests = [able.request(asked) for _ in range(3)]
    for request in requests:
        assert able.learn(request, refusal("'response_format.type' json_schema is not supported"))
    assert able.request(asked)["response_format"] == {"type": "json_object"}


def test_what_is_lacking_can_be_handed_on() -> None:
    """Who starts with what another has learnt sends what that one sends; names that mean nothing are dropped."""
    able, asked = Abilities(), prompt(schema=True, max_tokens=9, seed=1)
    able.learn(able.request(asked), refusal("seed and max_tokens are unknown"))
    able.learn(able.request(asked), refusal("no json_schema here"))
    heir = Abilities([*able.lacking, "model", "nonsense"])
    assert heir.request(asked) == able.request(asked)
    assert heir.request(asked)["max_completion_tokens"] == 9
    assert heir.lacking == able.lacking


def test_json_is_given_up_after_three_slips() -> None:
    """A model that writes JSON may fail to twice."""
    able, written = Abilities(), []
    for _ in range(4):
        written.append(able.writes_json)
        able.misread()
    assert written == [True, True, True, False]


def test_silent_refusal_blames_what_is_new() -> None:
    """A refusal without a reason is put down to what was never taken before, the form first."""
    able, asked = Abilities(), prompt(schema=True, temperature=0.2)
    able.confirm(able.request(prompt(temperature=0.2)))
    assert able.learn(able.request(asked), refusal())
    assert able.learn(able.request(asked), refusal())
    assert not able.learn(able.request(asked), refusal())
    assert able.request(asked)["temperature"] == 0.2


@pytest.mark.parametrize("status", [401, 404, 413, 429])
def test_other_refusals_teach_nothing(status: int) -> None:
    """Only an answer that speaks of the request's form is a reason to send another."""
    able, asked = Abilities(), prompt(temperature=0.2)
    assert not able.learn(able.request(asked), refusal(status=status))


def test_too_long_is_no_matter_of_parameters() -> None:
    """A text that is too long would be so without them."""
    able, asked = Abilities(), prompt(temperature=0.2)
    error = refusal("This model's maximum context length is 4096 tokens.")
    assert error.too_long
    assert not able.learn(able.request(asked), error)


def test_plain_requests_are_sent_once() -> None:
    """Where nothing can be left out, nothing is tried again."""
    able, asked = Abilities(), prompt()
    assert not able.learn(able.request(asked), refusal("messages: model is wrong"))
