"""The data dir: where the embedded data, the logs and the stack file lie, for its owner alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tq.errors import StackError
from tq.settings import Settings


def valkey_directory(settings: Settings) -> Path:
    """Where the embedded Valkey keeps its append-only file."""
    return settings.data_dir / "valkey"


def flower_directory(settings: Settings) -> Path:
    """Where Flower runs: away from a ``.env`` with keys, and from a ``flowerconfig.py`` that would weaken it."""
    return settings.data_dir / "flower"


def stack_path(settings: Settings) -> Path:
    """The stack file."""
    return settings.data_dir / "stack.json"


def lock_path(settings: Settings) -> Path:
    """The lock that the running stack holds."""
    return settings.data_dir / "stack.lock"


def tilde(path: Path) -> str:
    """The path as people write it: ``~/.local/state/tq``."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def log_path(settings: Settings, name: str) -> Path:
    """The log of a service, or of the stack itself."""
    return settings.data_dir / "logs" / f"{name}.log"


def prepare(settings: Settings) -> None:
    """Make all of its directories, 0700.

    Raises:
        StackError: one cannot be made, or belongs to another user.
    """
    directories = [settings.data_dir, settings.data_dir / "logs", flower_directory(settings)]
    if settings.embedded:
        directories += [valkey_directory(settings), settings.socket_path.parent]
    with usable(settings):
        for directory in directories:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = directory.lstat()
            # In a shared temporary directory somebody else may have been first.
            if status.st_uid != os.getuid() or not stat.S_ISDIR(directory.stat().st_mode):
                raise PermissionError(0, "it belongs to another user", str(directory))
            if status.st_mode & 0o077:
                directory.chmod(0o700)


@contextmanager
def usable(settings: Settings) -> Iterator[None]:
    """Tell what to do when a file of the data dir cannot be used.

    Raises:
        StackError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        raise StackError(
            f"the data dir {tilde(settings.data_dir)} is not usable",
            why=f"{error.filename}: {error.strerror}" if error.filename else str(error),
            fix="set TQ_DATA_DIR to a directory of yours",
        ) from None
