"""What is to be submitted, as it is given: arguments, files and stdin."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from tq.errors import InvalidMessage, UsageError
from tq.glossary import read_csv


def read_text(text: str | None, file: Path | None, *, key: bool) -> str | None:
    """The text to submit: the argument, a file, or stdin; None when there is none on a terminal.

    Raises:
        UsageError: two sources, one that cannot be read, or stdin is wanted for the key as well.
        InvalidMessage: it is not UTF-8.
    """
    if text is not None and file is not None:
        raise UsageError("there are two texts", why="one is an argument, the other is --file", fix="give one of them")
    if file is not None:
        return _read_file(file)
    if text is not None and text != "-":
        return _as_utf8(text)
    if text is None and sys.stdin.isatty():
        return None
    if key:
        raise UsageError(
            "stdin cannot be both the text and the key", fix="give the text as an argument, or with --file"
        )
    try:
        return _decode(sys.stdin.buffer.read(), "stdin")
    except OSError as error:
        raise UsageError(
            "there is no text",
            why="stdin is closed" if error.errno == errno.EBADF else f"stdin: {error.strerror or type(error).__name__}",
            fix="give the text as an argument, or with --file",
        ) from None


def read_context(given: str | None) -> str | None:
    """The context to send along: as given, or the file that it names with ``@``.

    Raises:
        UsageError: the file cannot be read.
        InvalidMessage: it is not UTF-8.
    """
    if given is not None and given.startswith("@"):
        return _read_file(Path(given[1:]))
    return None if given is None else _as_utf8(given)


def read_parameters(given: Sequence[str]) -> dict[str, JsonValue]:
    """``["temperature=0.2"]`` as ``{"temperature": 0.2}``: a value is JSON if it can be, else a text.

    Raises:
        UsageError: one has no name, or no value.
    """
    parameters: dict[str, JsonValue] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not name or not equals:
            raise UsageError(f"--param {item!r} is not NAME=VALUE", fix="for example --param temperature=0.2")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    return parameters


def read_glossary(path: Path | None) -> list[dict[str, JsonValue]] | None:
    """The terms of a CSV file, as metadata has them.

    Raises:
        UsageError: it cannot be read, or is not a glossary.
        InvalidMessage: it is not UTF-8.
    """
    if path is None:
        return None
    try:
        terms = read_csv(_read_file(path))
    except ValueError as error:
        raise UsageError(f"{path} is not a glossary", why=str(error)) from None
    return [
        {"source": term.source, "target": term.target} | ({"mandatory": True} if term.mandatory else {})
        for term in terms
    ]


def _read_file(path: Path) -> str:
    try:
        return _decode(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", why=error.strerror or type(error).__name__) from None


def _as_utf8(argument: str) -> str:
    """An argument whose bytes Python took for another encoding's, as in the locale C."""
    if not any("\udc80" <= char <= "\udcff" for char in argument):
        return argument
    return _decode(os.fsencode(argument), "the argument")


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage(
            f"the text of {name} is not UTF-8", why=f"byte {error.start} is not", fix="convert it first, with iconv"
        ) from None
