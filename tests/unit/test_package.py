"""What ``from tq import …`` gives, and what ``import tq`` does not pay for."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import get_args

import pytest

import tq
from tq.messages import status_of
from tq.statuses import StatusName


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("AsyncClient", "tq.async_client"),
        ("Change", "tq.messages"),
        ("Client", "tq.client"),
        ("Message", "tq.messages"),
        ("Status", "tq.messages"),
        ("TqError", "tq.errors"),
    ],
)
def test_names(name: str, home: str) -> None:
    """Each is the class itself, and is listed."""
    assert getattr(tq, name) is getattr(import_module(home), name)
    assert name in tq.__all__
    assert name in dir(tq)


def test_what_is_not_there() -> None:
    """A name that there is not is an error of attributes, as of any module; the version is text."""
    with pytest.raises(AttributeError, match="'tq' has no attribute 'Clint'"):
        tq.Clint  # type: ignore[attr-defined]  # noqa: B018 - looking is what the test is about
    assert tq.__version__[0].isdigit()


def test_the_package_alone_is_light() -> None:
    """`import tq`, and a list of its names, bring none of the modules in which they live."""
    code = "import sys, tq; dir(tq); print([n for n in sys.modules if n[:3] == 'tq.' or n in ('httpx', 'pydantic')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_in_a_star() -> None:
    """`from tq import *` finds all that is promised."""
    code = "from tq import *; print(Status('failed').value, issubclass(TqError, Exception), Client, AsyncClient)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("failed True ")


def test_statuses_by_name() -> None:
    """The names, spelled out because importing messages is slow, have not drifted; another one is refused."""
    assert list(get_args(StatusName)) == [str(status) for status in tq.Status]
    assert status_of("failed") is status_of(tq.Status.FAILED) is tq.Status.FAILED
    with pytest.raises(tq.TqError, match="there is no status 'gone'"):
        status_of("gone")  # type: ignore[arg-type]
