"""What the fields of a submission may hold: the rule of each, and the same rule as JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, SecretStr

from tq.glossary import MAX_TERM, MAX_TERMS, parse_glossary
from tq.languages import check_language
from tq.targets import LOCAL_PATTERN, MAX_URL, NAMED_PATTERN, check_url

ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._~:@+=-]{0,127}"
_ID: Final = re.compile(ID_PATTERN, re.ASCII)
#: Words that stand where an id would in the API's paths.
_RESERVED_IDS: Final = ("batch", "next", "process")
#: White space in Python, in ECMA 262 or in Unicode, so that everyone who reads the pattern means the same.
_SPACE: Final = r"\s\x1c-\x1f\x85\ufeff"
_NOT_SPACE: Final = re.compile(f"[^{_SPACE}]")
TEXT_PATTERN: Final = r"^[^\x00]*$"
#: Some text: neither empty nor only white space.
_SOME_TEXT_PATTERN: Final = rf"^[{_SPACE}]*[^{_SPACE}\x00][^\x00]*$"
_LINE_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"
#: Control and format characters, and white space but the plain space: what nobody sees in a name.
_UNSEEN: Final = (
    r"\x00-\x1f\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff9-\ufffb"
)
_MODEL_PATTERN: Final = f"^[^{_UNSEEN}]*$"
#: A URL, or a way up: a model name is data in the body of a request and no part of where it goes, nor looks like it.
_ADDRESS_PATTERN: Final = r"://|(^|/)\.\.(/|$)"
_LINE: Final = re.compile(_LINE_PATTERN.removesuffix("$") + r"\Z")
#: A NUL as JSON writes it, and not a backslash that stands before the letters u0000.
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_MAX_METADATA_KEYS: Final = 64
_MAX_METADATA_BYTES: Final = 16 * 1024
_MAX_LINE: Final = 200
MAX_MODEL_NAME: Final = _MAX_LINE
#: Texts in metadata that are sent along, and the most characters of each.
_MAX_TEXTS: Final[Mapping[str, int]] = {"context": 8192, "instructions": 2048}
_FORMALITIES: Final = ("formal", "informal")
#: What cannot stand in a term, besides lone surrogates.
_NOT_IN_TERM: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_TERM_PATTERN: Final = rf"^[^{_NOT_IN_TERM}]*[^{_NOT_IN_TERM}{_SPACE}][^{_NOT_IN_TERM}]*$"
#: They have bounds of their own, and are no part of the size of the rest.
_BOUNDED: Final = frozenset({*_MAX_TEXTS, "glossary"})
MAX_FALLBACK_MODELS: Final = 5
#: What may be sent with a request, and the rule of each as JSON Schema, by which it is checked too. The bounds are
#: those of OpenAI's API; beyond 2**53 - 1 some readers of JSON change a number.
PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "seed": {"type": "integer", "minimum": -(2**53 - 1), "maximum": 2**53 - 1},
    "max_tokens": {"type": "integer", "minimum": 1, "maximum": 10_000_000},
    "max_completion_tokens": {"type": "integer", "minimum": 1, "maximum": 10_000_000},
    "reasoning_effort": {"type": "string", "pattern": "^[a-z]{1,32}$"},
}
#: Any JSON whose strings are text: what OpenAPI documents show for pydantic's ``JsonValue``.
JSON_SCHEMA: Final[dict[str, Any]] = {
    "description": "Any JSON without NUL characters.",
    "anyOf": [
        {"type": ["null", "boolean", "number"]},
        {"type": "string", "pattern": TEXT_PATTERN},
        {"type": "array", "items": {"$ref": "#/components/schemas/JsonValue"}},
        {
            "type": "object",
            "propertyNames": {"pattern": TEXT_PATTERN},
            "additionalProperties": {"$ref": "#/components/schemas/JsonValue"},
        },
    ],
}


def check_message_id(value: str) -> str:
    """An id of 1 to 128 characters that is safe in a URL, a Redis key and a log line.

    Raises:
        ValueError: it is not.
    """
    if not _ID.fullmatch(value):
        raise ValueError("an id has 1 to 128 characters: letters, digits, and . _ ~ : @ + = - after the first")
    if value in _RESERVED_IDS:
        raise ValueError(f"{value!r} is a word of the API's paths")
    return value


def is_message_id(value: str) -> bool:
    """Whether ``check_message_id`` would accept it."""
    try:
        check_message_id(value)
    except ValueError:
        return False
    return True


def check_text(value: str) -> str:
    """Text that every part of tq can carry: Unicode without NUL.

    Raises:
        ValueError: it is not.
    """
    if "\x00" in value:
        raise ValueError("must not contain NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates; it is not valid Unicode text") from None
    return value


def check_some_text(value: str) -> str:
    """Text that says something: more than white space.

    Raises:
        ValueError: it does not.
    """
    if not _NOT_SPACE.search(value):
        raise ValueError("must not be empty or only white space")
    return check_text(value)


def _check_line(value: str) -> str:
    if not _LINE.match(value):
        raise ValueError("must not contain control characters")
    return check_text(value)


def _check_model(value: str) -> str:
    if re.search(f"[{_UNSEEN}]", value):
        raise ValueError("must not contain control characters, or others that nobody sees")
    if re.search(_ADDRESS_PATTERN, value):
        raise ValueError("must be a name, not an address: without :// and /../")
    return check_text(value)


def _check_key(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not 1 <= len(key) <= 512 or not all("!" <= char <= "~" for char in key):
        raise ValueError("must be 1 to 512 printable ASCII characters without spaces")
    return value


def _whole(value: Any) -> Any:
    # JSON has no integers of its own: to JSON Schema 5.0 is one, and some languages write them so.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_parameters(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if not set(value) <= set(PARAMETERS):
        raise ValueError(f"may only have {', '.join(PARAMETERS)}")
    return {name: _check_parameter(name, item, **PARAMETERS[name]) for name, item in value.items()}


def _check_parameter(name: str, value: JsonValue, **rule: Any) -> JsonValue:
    if rule["type"] == "string":
        if not isinstance(value, str) or not re.fullmatch(rule["pattern"].strip("^$"), value):
            raise ValueError(f"{name} must be a word of 1 to 32 lower-case letters")
        return value
    whole = rule["type"] == "integer"
    number = _whole(value) if whole else value
    # True is an int to Python, and nothing compares with NaN.
    right = isinstance(number, int if whole else int | float) and not isinstance(number, bool)
    if not right or not rule["minimum"] <= number <= rule["maximum"]:
        kind = "an integer" if whole else "a number"
        raise ValueError(f"{name} must be {kind} from {rule['minimum']} to {rule['maximum']}")
    return number


def _check_metadata(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if len(value) > _MAX_METADATA_KEYS:
        raise ValueError(f"must not have more than {_MAX_METADATA_KEYS} keys")
    for name in ("source_language", "target_language"):
        _check_tag(name, value.get(name))
    domain = value.get("domain")
    if domain is not None:
        if not isinstance(domain, str) or len(domain) > _MAX_LINE:
            raise ValueError(f"domain: must be a string of at most {_MAX_LINE} characters")
        try:
            _check_line(domain)
        except ValueError as error:
            raise ValueError(f"domain: {error}") from None
    _check_wishes(value)
    text = _as_json(value)
    size = len(text.encode())
    if size > _MAX_METADATA_BYTES:
        size = len(_as_json({name: item for name, item in value.items() if name not in _BOUNDED}).encode())
    if size > _MAX_METADATA_BYTES or _ESCAPED_NUL.search(text):
        raise ValueError(f"must not be larger than {_MAX_METADATA_BYTES} bytes of JSON, or contain NUL characters")
    return value


def _check_tag(name: str, tag: JsonValue) -> None:
    if tag is None:
        return
    if isinstance(tag, list):
        raise ValueError(  # noqa: TRY004 - pydantic makes an error of the field of it
            f"{name}: a message has one; a batch takes several as target_languages"
        )
    try:
        check_language(tag if isinstance(tag, str) else "")
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _check_wishes(value: Mapping[str, JsonValue]) -> None:
    """What a translator is told besides the text."""
    for name, most in _MAX_TEXTS.items():
        text = value.get(name)
        if text is not None and (not isinstance(text, str) or len(text) > most):
            raise ValueError(f"{name}: must be a string of at most {most} characters")
    if value.get("formality") not in (None, *_FORMALITIES):
        raise ValueError(f"formality: must be {' or '.join(_FORMALITIES)}")
    if value.get("glossary") is not None:
        _check_glossary(value["glossary"])


def _check_glossary(value: Any) -> None:
    try:
        parse_glossary(value)
    except ValueError as error:
        raise ValueError(f"glossary: {error}") from None
    # The parser overlooks what stands around a term; a schema overlooks nothing.
    entries = value.items() if isinstance(value, dict) else [(entry["source"], entry["target"]) for entry in value]
    if any(len(text) > MAX_TERM or not re.fullmatch(_TERM_PATTERN, text) for entry in entries for text in entry):
        raise ValueError(f"glossary: a term has 1 to {MAX_TERM} characters, no line breaks or control characters")


_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _as_json(value: Mapping[str, JsonValue]) -> str:
    try:
        text = _encode(value)
    except (ValueError, RecursionError):
        raise ValueError("must be plain JSON, without NaN or infinities") from None
    return check_text(text)


def _optional(**schema: Any) -> dict[str, Any]:
    return {"anyOf": [{"type": "string", **schema}, {"type": "null"}]}


def _text_of(name: str, description: str) -> dict[str, Any]:
    return _optional(pattern=TEXT_PATTERN, maxLength=_MAX_TEXTS[name], description=description)


def _glossary() -> dict[str, Any]:
    term = {"maxLength": MAX_TERM, "pattern": _TERM_PATTERN}
    text = {"type": "string", **term}
    entry = {
        "type": "object",
        "properties": {"source": text, "target": text, "mandatory": {"type": ["boolean", "null"]}},
        "required": ["source", "target"],
        "additionalProperties": False,
    }
    return {
        "description": "Terms and their translations, 64 KiB in all; none twice, case and outer spaces aside. A "
        "translation without one that is mandatory is rejected.",
        "anyOf": [
            {"type": "object", "propertyNames": term, "additionalProperties": text, "maxProperties": MAX_TERMS},
            {"type": "array", "items": entry, "maxItems": MAX_TERMS},
            {"type": "null"},
        ],
    }


MessageId = Annotated[
    str,
    AfterValidator(check_message_id),
    Field(json_schema_extra={"pattern": f"^{ID_PATTERN}$", "not": {"enum": [*_RESERVED_IDS]}}),
]
Text = Annotated[str, AfterValidator(check_text), Field(json_schema_extra={"pattern": TEXT_PATTERN})]
SomeText = Annotated[str, AfterValidator(check_some_text), Field(json_schema_extra={"pattern": _SOME_TEXT_PATTERN})]
LanguageTag = Annotated[str, AfterValidator(check_language), Field(json_schema_extra={"format": "language-tag"})]
ModelName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=_MAX_LINE,
        json_schema_extra={"pattern": _MODEL_PATTERN, "not": {"pattern": _ADDRESS_PATTERN}},
    ),
    AfterValidator(_check_model),
]
FallbackModels = Annotated[list[ModelName], Field(max_length=MAX_FALLBACK_MODELS)]
Parameters = Annotated[
    dict[str, JsonValue],
    AfterValidator(_check_parameters),
    Field(json_schema_extra={"properties": {**PARAMETERS}, "additionalProperties": False}),
]
Whole = Annotated[int, BeforeValidator(_whole)]
ApiKey = Annotated[
    SecretStr, AfterValidator(_check_key), Field(json_schema_extra={"maxLength": 512, "pattern": "^[!-~]+$"})
]
# Without what depends on settings: addresses, and http.
CallbackUrl = Annotated[
    str,
    AfterValidator(check_url),
    Field(json_schema_extra={"maxLength": MAX_URL, "pattern": NAMED_PATTERN, "not": {"pattern": LOCAL_PATTERN}}),
]
Metadata = Annotated[
    dict[str, JsonValue],
    AfterValidator(_check_metadata),
    Field(
        json_schema_extra={
            "properties": {
                "source_language": _optional(format="language-tag", description="BCP 47."),
                "target_language": _optional(format="language-tag", description="BCP 47."),
                "domain": _optional(pattern=_LINE_PATTERN, maxLength=_MAX_LINE),
                "context": _text_of("context", "What the text is part of or about: sent, not translated."),
                "instructions": _text_of("instructions", "How to translate, in your own words."),
                "formality": {"enum": [*_FORMALITIES, None]},
                "glossary": _glossary(),
            },
            "propertyNames": {"pattern": TEXT_PATTERN},
            "maxProperties": _MAX_METADATA_KEYS,
        }
    ),
]
