"""Keeps a message's own api_key unreadable in Redis: sealed here, opened only for the attempt that uses it.

AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D). The message id is associated data, so that a
sealed key which is moved to another message does not open. The keys for sealing and for digests are
derived from one secret by HKDF-SHA-256 (RFC 5869); the secret never goes to Redis.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tq.datadir import SECRET_FILE, make_private
from tq.errors import InvalidSettings, KeyUnreadable
from tq.settings import Settings

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_MIN_SECRET_CHARACTERS: Final = 16
#: Bytes that are read of its file.
_MAX_SECRET: Final = 64 * 1024


class Sealer:
    """Seals and opens api keys with keys derived from ``secret``; safe to share between threads.

    One secret serves 2**32 sealings at most (the bound of NIST SP 800-38D for random nonces).
    """

    __slots__ = ("_aead", "_digest_key", "webhook_key")

    def __init__(self, secret: str | bytes) -> None:
        raw = secret.encode() if isinstance(secret, str) else secret
        if not raw:
            raise ValueError("the secret is empty")
        self._aead = AESGCM(_derive(raw, b"tq: seal an api_key, version 1"))
        self._digest_key = _derive(raw, b"tq: digest of an api_key, version 1")
        #: Signs webhooks where there is no TQ_WEBHOOK_SECRET.
        self.webhook_key = _derive(raw, b"tq: signature of webhooks, version 1")

    def seal(self, message_id: str, api_key: str) -> bytes:
        """The key, readable only with this secret and this message id; never the same bytes twice."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, api_key.encode(), _VERSION + message_id.encode())

    def unseal(self, message_id: str, sealed: bytes) -> str:
        """The key again.

        Raises:
            KeyUnreadable: sealed with another secret, for another message, or damaged.
        """
        # A seal of another version fails like a damaged one: its first byte is authenticated.
        nonce, box = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, box, sealed[:1] + message_id.encode()).decode()
        except (InvalidTag, ValueError):
            raise KeyUnreadable(
                "the message's api_key cannot be opened",
                why="it was sealed with another TQ_SECRET_KEY, or is damaged",
                fix="give every tq process the same TQ_SECRET_KEY, then submit the message again",
            ) from None

    def digest(self, api_key: str | None) -> str:
        """32 hex digits that stand for the key in fingerprints and say nothing about it; "" for None."""
        if api_key is None:
            return ""
        return hashlib.blake2b(api_key.encode(), key=self._digest_key, digest_size=16).hexdigest()


def load_sealer(settings: Settings) -> Sealer:
    """The sealer of this installation: TQ_SECRET_KEY, or the data dir's key file, made on first use.

    Processes that start at the same time agree on one file: it appears under its name only when
    complete, and only once.

    Raises:
        InvalidSettings: the secret is too short, or its file can be neither read nor made, or is not this user's alone.
    """
    if settings.secret_key is not None:
        secret = settings.secret_key.get_secret_value().strip()
        if len(secret) < _MIN_SECRET_CHARACTERS:
            raise InvalidSettings(
                "TQ_SECRET_KEY is too short",
                why=f"it has fewer than {_MIN_SECRET_CHARACTERS} characters, so it could be guessed",
                fix="use a long random one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        return Sealer(secret)
    path = settings.data_dir / SECRET_FILE
    try:
        return Sealer(_secret_of(path))
    except OSError as error:
        raise InvalidSettings(
            "the file that holds tq's secret can be neither read nor made",
            why=f"{error.filename or path}: {error.strerror or type(error).__name__}",
            fix="make TQ_DATA_DIR a directory that this user alone can enter (chmod 700), or set TQ_SECRET_KEY",
        ) from error


def _secret_of(path: Path) -> bytes:
    make_private(path.parent)
    if not path.exists():
        _write_once(path, secrets.token_urlsafe(32).encode() + b"\n")
    secret = _read_private(path).strip()
    if len(secret) < _MIN_SECRET_CHARACTERS:
        raise InvalidSettings(
            "the file that holds tq's secret is damaged",
            why=f"{path} has fewer than {_MIN_SECRET_CHARACTERS} characters",
            fix="restore it, or delete it: keys that were sealed with it are lost then",
        )
    return secret


def _read_private(path: Path) -> bytes:
    """The content of a file of this user's; its mode is tightened to 0600.

    Raises:
        OSError: it is a link, or no file, or somebody else's, who would know what it seals.
    """
    if path.is_symlink():
        raise PermissionError(0, "it is a symbolic link", str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(0, "it is not a file of this user", str(path))
        if status.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
        return os.read(descriptor, _MAX_SECRET)
    finally:
        os.close(descriptor)


def _write_once(path: Path, data: bytes) -> None:
    """Write a 0600 file that is never seen half written; whoever comes second changes nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            # Unlike a rename, a link never replaces the file of a process that was faster.
            os.link(draft, path)
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Make the new name durable: a secret that a power cut took away would lose every sealed key."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret)
