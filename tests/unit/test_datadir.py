"""The data dir is one user's alone, whatever the umask was and whatever lay there before."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tq import datadir
from tq.datadir import make_private
from tq.errors import InvalidSettings, StackError, StoreRefused
from tq.sealing import load_sealer
from tq.settings import Settings

#: Nobody's user id. Only root may give files away.
STRANGER = 54_321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user's")


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    """A umask that takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def settings(directory: Path) -> Settings:
    return Settings.model_validate({"data_dir": directory, "secret_key": None})


def made(path: Path, permissions: int, *, content: str | None = None) -> Path:
    """A directory, or with content a file, with these permissions."""
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    path.chmod(permissions)
    return path


def test_parents_are_private(tmp_path: Path) -> None:
    """Directories above it that are missing are made for this user alone as well; others stay as they are."""
    tmp_path.chmod(0o755)
    make_private(tmp_path / "a" / "b" / "tq")
    assert [mode(tmp_path / name) for name in ("", "a", "a/b", "a/b/tq")] == [0o755, 0o700, 0o700, 0o700]


def test_lax_data_dir_is_tightened(tmp_path: Path) -> None:
    """What tq made with laxer modes, or an unpacked backup has: directories become 0700 and files 0600."""
    data = made(tmp_path / "data", 0o755)
    for name in ("logs", "valkey", "valkey/appendonlydir", "flower"):
        made(data / name, 0o777)
    files = ["secret.key", "stack.lock", "stack.json", "logs/api.log", "logs/api.log.1", "valkey/appendonlydir/1.aof"]
    for name in files:
        made(data / name, 0o644, content="some secret of 16 characters or more")
    outside = made(tmp_path / "outside", 0o644, content="not tq's")
    (data / "logs" / "link.log").symlink_to(outside)
    datadir.prepare(settings(data))
    found = {path: mode(path) for path in [data, *data.rglob("*")] if not path.is_symlink()}
    assert found == {path: 0o700 if path.is_dir() else 0o600 for path in found}
    assert mode(outside) == 0o644
    assert len(found) == 5 + len(files)


def test_directory_for_something_else_is_refused(tmp_path: Path) -> None:
    """A lax directory that holds other files was not made for tq: it is left as it is, and the way out is said."""
    home = made(tmp_path / "home", 0o755)
    made(home / "thesis.txt", 0o644, content="…")
    with pytest.raises(StackError) as caught:
        datadir.prepare(settings(home))
    assert caught.value.why == f"{home}: others may enter it, and it holds files that are not tq's"
    assert "chmod 700" in caught.value.fix
    with pytest.raises(InvalidSettings, match="secret"):
        load_sealer(settings(home))
    assert (mode(home), [path.name for path in home.iterdir()]) == (0o755, ["thesis.txt"])
    home.chmod(0o700)
    datadir.prepare(settings(home))


@as_root
def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    """Neither somebody else's directory is used, nor a link of theirs to ours, nor a link of ours to theirs."""
    theirs, ours = made(tmp_path / "theirs", 0o700), made(tmp_path / "ours", 0o700)
    os.chown(theirs, STRANGER, STRANGER)
    to_theirs, to_ours = tmp_path / "to-theirs", tmp_path / "to-ours"
    to_theirs.symlink_to(theirs)
    to_ours.symlink_to(ours)
    os.chown(to_ours, STRANGER, STRANGER, follow_symlinks=False)
    for directory in (theirs, to_theirs, to_ours):
        with pytest.raises(StackError) as caught:
            datadir.prepare(settings(directory))
        assert caught.value.why == f"{directory}: it belongs to another user"
        with pytest.raises(InvalidSettings) as refused:
            load_sealer(settings(directory))
        assert "it belongs to another user" in refused.value.why
    assert not list(theirs.iterdir())
    assert not list(ours.iterdir())


def test_own_link_to_own_directory(tmp_path: Path) -> None:
    """A link to a larger disk is fine, and what it points to is tightened."""
    disk = made(tmp_path / "disk", 0o755)
    (tmp_path / "data").symlink_to(disk)
    datadir.prepare(settings(tmp_path / "data"))
    assert (mode(disk), mode(disk / "logs")) == (0o700, 0o700)


def test_lax_key_file_is_tightened(tmp_path: Path) -> None:
    """The secret is read on, and no longer by others."""
    sealed = load_sealer(settings(tmp_path)).seal("id", "sk-canary")
    key = tmp_path / "secret.key"
    key.chmod(0o644)
    assert load_sealer(settings(tmp_path)).unseal("id", sealed) == "sk-canary"
    assert mode(key) == 0o600


def refused_key(directory: Path, why: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_sealer(settings(directory))
    assert caught.value.why == f"{directory / 'secret.key'}: {why}"
    assert "TQ_SECRET_KEY" in caught.value.fix


def test_key_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """A secret that is a link, whole or broken, a pipe or a directory is not read, nor what it points to changed."""
    key, target = tmp_path / "secret.key", made(tmp_path / "target", 0o644, content="somebody's secret of theirs")
    key.symlink_to(target)
    refused_key(tmp_path, "it is a symbolic link")
    assert mode(target) == 0o644
    target.unlink()
    refused_key(tmp_path, "it is a symbolic link")
    assert not target.exists()
    key.unlink()
    os.mkfifo(key)
    refused_key(tmp_path, "it is not a file of this user")
    key.unlink()
    key.mkdir()
    refused_key(tmp_path, "it is not a file of this user")


@as_root
def test_key_of_another_user_is_refused(tmp_path: Path) -> None:
    """Whoever made the file knows what it seals."""
    key = made(tmp_path / "secret.key", 0o600, content="a secret that somebody else knows")
    os.chown(key, STRANGER, STRANGER)
    refused_key(tmp_path, "it is not a file of this user")


@as_root
def test_socket_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the socket has its place in /tmp, nobody else's Valkey is spoken to."""
    from tq.store import open_store

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    long = settings(tmp_path / ("long" * 30))
    place = long.socket_path.parent
    assert place.parent == tmp_path
    open_store(long)
    place.mkdir(mode=0o700)
    open_store(long)
    os.chown(place, STRANGER, STRANGER)
    with pytest.raises(StoreRefused, match="not to be trusted"):
        open_store(long)
