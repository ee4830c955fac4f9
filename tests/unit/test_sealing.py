"""Sealed api keys: readable with the secret and the message id, otherwise not at all."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tq.errors import InvalidSettings, KeyUnreadable
from tq.sealing import Sealer, load_sealer
from tq.settings import Settings

KEY = "sk-canary-0123456789abcdef"
sealer = Sealer("a secret for tests")


def settings(data_dir: Path, secret: str | None = None) -> Settings:
    return Settings.model_validate({"data_dir": data_dir, "secret_key": secret})


ids = st.text(max_size=128)
texts = st.text(max_size=600)


@given(ids, texts)
def test_round_trip(message_id: str, key: str) -> None:
    """What was sealed for a message opens for that message, however often; no two seals are the same."""
    seals = [sealer.seal(message_id, key) for _ in range(3)]
    assert [sealer.unseal(message_id, sealed) for sealed in seals] == [key] * 3
    assert len({sealed[1:13] for sealed in seals}) == 3, "a nonce was used twice"


@given(st.text(min_size=4, max_size=64))
def test_a_seal_hides_the_key(key: str) -> None:
    """No four bytes in a row of the key stand in its seal, binary or as it is stored."""
    data = key.encode()
    # In two seals at once: in one of them chance might put them.
    seals = [[raw, base64.b64encode(raw)] for raw in (sealer.seal("id", key), sealer.seal("id", key))]
    for part in {data[start : start + 4] for start in range(len(data) - 3)}:
        assert not all(any(part in form for form in forms) for forms in seals)


@given(ids, ids, texts, st.text(min_size=16))
def test_a_seal_is_bound_to_message_and_secret(message_id: str, other: str, key: str, secret: str) -> None:
    """A seal that is moved to another message, or met by another secret, does not open; the error says so."""
    sealed = sealer.seal(message_id, key)
    if other != message_id:
        with pytest.raises(KeyUnreadable):
            sealer.unseal(other, sealed)
    with pytest.raises(KeyUnreadable) as caught:
        Sealer(secret + "!").unseal(message_id, sealed)
    assert "TQ_SECRET_KEY" in caught.value.fix
    assert not caught.value.retryable
    assert len(key) < 4 or key not in f"{caught.value!r} {caught.value.why}"


@given(ids, st.text(max_size=64), st.data())
def test_damage_is_noticed(message_id: str, key: str, data: st.DataObject) -> None:
    """Any changed byte, the version included, any cut, any addition and any junk is KeyUnreadable and nothing else."""
    sealed = sealer.seal(message_id, key)
    other = data.draw(st.integers(1, 255))
    damaged = [sealed[:at] + bytes([sealed[at] ^ other]) + sealed[at + 1 :] for at in range(len(sealed))]
    damaged += [sealed[:at] for at in range(len(sealed))]
    damaged += [sealed + data.draw(st.binary(min_size=1, max_size=20)), data.draw(st.binary(max_size=80))]
    for junk in damaged:
        with pytest.raises(KeyUnreadable):
            sealer.unseal(message_id, junk)


def test_digest() -> None:
    """A digest is stable for one secret, differs between keys and secrets, shows nothing, and is "" for no key."""
    assert sealer.digest(KEY) == Sealer("a secret for tests").digest(KEY) != sealer.digest(KEY + "x")
    assert sealer.digest(KEY) != Sealer("another secret").digest(KEY)
    assert len(sealer.digest(KEY)) == 32
    assert KEY not in sealer.digest(KEY)
    assert sealer.digest(None) == ""


def test_repr_has_no_secret() -> None:
    """Nothing printable of a sealer tells the secret."""
    assert "secret for tests" not in repr(sealer)
    assert not hasattr(sealer, "__dict__")


def test_configured_secret(tmp_path: Path) -> None:
    """TQ_SECRET_KEY is used as it is, and no file appears."""
    first = load_sealer(settings(tmp_path, "0123456789abcdef"))
    second = load_sealer(settings(tmp_path / "elsewhere", " 0123456789abcdef\n"))
    assert second.unseal("id", first.seal("id", KEY)) == KEY
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("secret", ["x", "only 15 letters"])
def test_short_secret(tmp_path: Path, secret: str) -> None:
    """A secret that could be guessed is refused, without being repeated."""
    with pytest.raises(InvalidSettings, match="too short") as caught:
        load_sealer(settings(tmp_path, secret))
    assert secret not in f"{caught.value.what}{caught.value.why}".replace("fewer than 16 characters", "")


def test_file_is_made_once(tmp_path: Path) -> None:
    """The secret's file is private, lies in a private directory, and stays the same, with no draft beside it."""
    data_dir = tmp_path / "state" / "tq"
    before = os.umask(0)
    try:
        first = load_sealer(settings(data_dir))
    finally:
        os.umask(before)
    file = data_dir / "secret.key"
    content = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert load_sealer(settings(data_dir)).unseal("id", first.seal("id", KEY)) == KEY
    assert file.read_bytes() == content
    assert [entry.name for entry in data_dir.iterdir()] == ["secret.key"]


def test_threads_agree(tmp_path: Path) -> None:
    """Sixteen that find no file at the same moment end with one secret."""
    barrier = threading.Barrier(16)
    digests: list[str] = []

    def start() -> None:
        barrier.wait()
        digests.append(load_sealer(settings(tmp_path)).digest(KEY))

    threads = [threading.Thread(target=start) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 16
    assert len(set(digests)) == 1


def test_processes_agree(tmp_path: Path) -> None:
    """Processes that start together on a new data dir open each other's seals."""
    code = (
        "import sys; from pathlib import Path; from tq.settings import Settings; from tq.sealing import load_sealer\n"
        "sys.stdin.readline(); s = Settings(_env_file=None, data_dir=Path(sys.argv[1]), secret_key=None)\n"
        "print(load_sealer(s).digest('key'))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "new")]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # go at the same word
        for _ in range(4)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    digests = [process.communicate(timeout=30)[0] for process in running]
    assert all(process.returncode == 0 for process in running)
    assert len(set(digests)) == 1


def test_damaged_file(tmp_path: Path) -> None:
    """An empty file is not silently replaced: keys may be sealed with what it held."""
    (tmp_path / "secret.key").write_bytes(b"\n")
    with pytest.raises(InvalidSettings, match="damaged"):
        load_sealer(settings(tmp_path))
    assert (tmp_path / "secret.key").read_bytes() == b"\n"


def test_impossible_directory(tmp_path: Path) -> None:
    """A data dir that cannot be made is named, with the way out."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings) as caught:
        load_sealer(settings(tmp_path / "file" / "tq"))
    assert str(tmp_path) in caught.value.why
    assert "TQ_SECRET_KEY" in caught.value.fix
