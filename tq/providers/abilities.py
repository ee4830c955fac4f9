"""What an endpoint cannot do with a model, learnt from its refusals: parameters, promised forms of answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from tq.errors import RequestRefused
from tq.fields import PARAMETERS
from tq.providers import Prompt

#: How an answer's form is promised, best first; after the last it is only asked for, in words.
_FORMS: Final = ("json_schema", "json_object")
#: What a model lacks that does not write JSON, promised or not, but keeps to a plainer form.
_JSON: Final = "json"
_FORMAT: Final = "response_format"
#: What some endpoints call what others call differently; each knows one of the two.
_OTHER_NAMES: Final = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
#: What a request may hold besides the text: nothing else of a refusal is ever kept.
_MEMBERS: Final = frozenset({_FORMAT, *_FORMS, *PARAMETERS})
#: How often a model that writes JSON may fail to.
_SLIPS: Final = 2
#: What can be lacking.
_NAMES: Final = frozenset({*_FORMS, _JSON, *PARAMETERS})
_WORD: Final = re.compile(r"[a-z_]{3,40}")
#: Characters of a refusal that are read.
_MOST_READ: Final = 4000
_TOO_LONG: Final = re.compile(
    r"context (?:length|window|size)|maximum context|too many tokens|prompt is too long|exceeds? the (?:model|context)"
)


class Abilities:
    """What is known of one model of one endpoint.

    Args:
        lacking: what was learnt before, as ``lacking`` said it.
    """

    def __init__(self, lacking: Collection[str] = ()) -> None:
        #: Parameters and forms that it does not know.
        self.lacking: frozenset[str] = _NAMES.intersection(lacking)
        self._proven: set[str] = set()
        self._misread = 0

    @property
    def writes_json(self) -> bool:
        """Whether its answers can be asked for as JSON."""
        return _JSON not in self.lacking

    def request(self, prompt: Prompt) -> dict[str, Any]:
        """The body of a request for the prompt, without what was refused before."""
        request: dict[str, Any] = {
            "model": prompt.model,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
        }
        for name, value in prompt.parameters.items():
            usable = name if name not in self.lacking else _OTHER_NAMES.get(name, name)
            if usable not in self.lacking and usable not in request:
                request[usable] = value
        form = next((form for form in _FORMS if form not in self.lacking), None)
        if prompt.schema is not None and form is not None:
            request[_FORMAT] = {"type": form}
            if form == "json_schema":
                request[_FORMAT][form] = {"name": "translations", "strict": True, "schema": prompt.schema}
        return request

    def learn(self, request: Mapping[str, Any], error: RequestRefused) -> bool:
        """Whether a refused request is worth sending again, as it will be another one."""
        if error.status not in {400, 422, 501} or error.too_long:
            return False
        optional = [name for name in request if name not in {"model", "messages"}]
        blamed = [name for name in optional if name in error.blamed]
        if not blamed and error.blamed & set(_FORMS) and _FORMAT in optional:
            blamed = [_FORMAT]
        if not blamed:
            # It does not say what it means: the form first, which fewest know; nothing that it took before.
            blamed = [name for name in reversed(optional) if self._mark(request, name) not in self._proven][:1]
        # Of the form that was sent: other requests may have been refused for it meanwhile.
        self.lacking |= {self._mark(request, name) for name in blamed}
        return bool(blamed)

    def misread(self) -> None:
        """It did not write JSON when asked to, but kept to the plainer form."""
        self._misread += 1
        if self._misread > _SLIPS:
            self.lacking |= {_JSON}

    def confirm(self, request: Mapping[str, Any]) -> None:
        """It took this request: nothing in it is to blame if it refuses another."""
        self._proven |= {self._mark(request, name) for name in request}

    @staticmethod
    def _mark(request: Mapping[str, Any], name: str) -> str:
        return str(request[name]["type"]) if name == _FORMAT else name


def blamed_members(body: object) -> frozenset[str]:
    """Names in a refusal that may be those of the request's members; nothing else of it is kept."""
    if not isinstance(body, dict):
        return frozenset()
    text = " ".join(str(body.get(name) or "") for name in ("param", "message", "detail"))
    return _MEMBERS.intersection(_WORD.findall(text[:_MOST_READ]))


def too_long(body: object) -> bool:
    """Whether a refusal says that the request is longer than the model can take."""
    message = body.get("message") if isinstance(body, dict) else None
    return isinstance(message, str) and bool(_TOO_LONG.search(message[:_MOST_READ].lower()))
