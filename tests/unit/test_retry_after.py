"""Reading of Retry-After: the two forms of RFC 9110, OpenAI's milliseconds, and nonsense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.retryafter import retry_after

#: 21 Oct 2015 07:28:00 GMT, the date of RFC 9110's examples.
NOW = 1445412480.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 -0000"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 09:28:30 GMT", "date": "Wed, 21 Oct 2015 09:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "today"}, 30.0),
        ({"retry-after": "9", "date": "Wed, 21 Oct 2015 09:28:00 GMT"}, 9.0),
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "1, 2"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_table(headers: dict[str, str], seconds: float | None) -> None:
    """Each form is read; whatever is not one of them counts as absent."""
    assert retry_after(headers, NOW) == seconds


@given(st.text(), st.text())
def test_any_header(seconds: str, milliseconds: str) -> None:
    """No header value raises, or gives something that is not a finite wait."""
    found = retry_after({"retry-after": seconds, "retry-after-ms": milliseconds}, NOW)
    assert found is None or (found >= 0 and math.isfinite(found))
