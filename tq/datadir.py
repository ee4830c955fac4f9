"""The data dir: where the embedded data, the logs, the key and the stack file lie, for its owner alone.

Directories are 0700 and files 0600, whatever the umask. What tq has left there with laxer modes is tightened; a
directory that is not tq's alone is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tq.errors import StackError, StoreRefused
from tq.settings import Settings

SECRET_FILE: Final = "secret.key"  # noqa: S105 - the name of the file, not what is in it
#: The permissions of everybody but the owner.
_OTHERS: Final = 0o077
#: Everything that tq makes in it; a name that begins with one of these and a dot is a draft of it.
_OWN: Final = frozenset({"flower", "logs", SECRET_FILE, "stack.json", "stack.lock", "valkey", "valkey.sock"})


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
    if path == home:
        return "~"
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def log_path(settings: Settings, name: str) -> Path:
    """The log of a service, or of the stack itself."""
    return settings.data_dir / "logs" / f"{name}.log"


def prepare(settings: Settings) -> None:
    """Make all of its directories, and see that nobody else can look into them.

    Raises:
        StackError: one cannot be made, or is not tq's alone.
    """
    directories = [settings.data_dir / "logs", flower_directory(settings)]
    if settings.embedded:
        directories += [valkey_directory(settings), settings.socket_path.parent]
    with usable(settings):
        make_private(settings.data_dir)
        for directory in directories:
            _make_own(directory)
            _close(directory)
        for path in _files(settings):
            with suppress(FileNotFoundError):  # never made, or replaced just now by the stack that runs
                if not path.is_symlink():
                    _close(path)


def examine(settings: Settings) -> Path:
    """See whether the data dir is, or can be, this user's, as ``prepare`` does, but change nothing.

    Returns:
        The data dir, or the nearest directory above it that is there.

    Raises:
        StackError: it cannot.
    """
    with usable(settings):
        # Not Path.exists: what may not be looked at is an answer, too.
        nearest = next(each for each in (settings.data_dir, *settings.data_dir.parents) if _is_there(each))
        if not nearest.is_dir():
            raise NotADirectoryError(0, "it is not a directory", str(nearest))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(0, "this user may not write there", str(nearest))
        if nearest == settings.data_dir:
            _require_own(nearest)
            directories = {settings.data_dir / name for name in ("logs", "flower", "valkey")}
            for path in [*filter(_is_there, directories), *filter(_is_there, _files(settings))]:
                _require_own(path)
        return nearest


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def make_private(directory: Path) -> None:
    """Make the data dir, and the directories above it that are missing, 0700; or tighten the one that is there.

    Raises:
        OSError: it cannot be made; it belongs to another user; or others may enter it, and it holds what is not
            tq's: it was made for something else then, such as ``/tmp`` or a home.
    """
    _make_own(directory)
    _require_private(directory)
    _close(directory)


def is_open(directory: Path) -> bool:
    """Whether others may enter it."""
    return bool(directory.stat().st_mode & _OTHERS)


def holds_others(directory: Path) -> bool:
    """Whether something is in it that is not tq's."""
    return not all(_is_own(path.name) for path in directory.iterdir())


def _require_private(directory: Path) -> None:
    if is_open(directory) and holds_others(directory):
        raise PermissionError(0, "others may enter it, and it holds files that are not tq's", str(directory))


def _make_own(directory: Path) -> None:
    for missing in [each for each in reversed(directory.parents) if not each.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    _require_own(directory)


def _require_own(path: Path) -> None:
    # In a shared temporary directory somebody else may have been first, with a directory or a link to one.
    if {path.stat().st_uid, path.lstat().st_uid} != {os.geteuid()}:
        raise PermissionError(0, "it belongs to another user", str(path))


def _close(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & _OTHERS:
        path.chmod(0o700 if stat.S_ISDIR(mode) else 0o600)


def _files(settings: Settings) -> Iterator[Path]:
    """What may be there from before, with Valkey's directory of AOF files."""
    for name in (SECRET_FILE, "stack.json", "stack.lock"):
        yield settings.data_dir / name
    for directory in (settings.data_dir / "logs", valkey_directory(settings)):
        yield from directory.rglob("*")


def _is_own(name: str) -> bool:
    return name in _OWN or any(name.lstrip(".").startswith(f"{own}.") for own in _OWN)


def require_own_socket(settings: Settings) -> None:
    """See that it is this user's Valkey that answers where the embedded one does.

    Raises:
        StoreRefused: the socket has its place in the system's temporary directory (see ``Settings.socket_path``),
            and somebody else has made that.
    """
    place = settings.socket_path.parent
    if settings.embedded and place != settings.data_dir:
        with suppress(FileNotFoundError):
            if place.lstat().st_uid != os.geteuid():
                raise StoreRefused(
                    "the embedded Valkey's socket is not to be trusted",
                    why=f"{place} belongs to another user",
                    fix="set TQ_DATA_DIR to a shorter path, so that the socket lies in it",
                )


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
            fix="set TQ_DATA_DIR to a directory of yours, for tq alone (chmod 700)",
        ) from None
