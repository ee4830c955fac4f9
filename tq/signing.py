"""Signatures of webhooks as https://www.standardwebhooks.com wants them, with HMAC-SHA-256. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"
#: Bytes of a secret.
_LEAST: Final = 24
_MOST: Final = 64


def parse_secrets(text: str) -> list[bytes]:
    """The secrets of a comma-separated list, each ``whsec_`` and the Base64 of 24 to 64 bytes.

    Raises:
        ValueError: one is not; it is not repeated.
    """
    return [_parsed(item) for item in filter(None, map(str.strip, text.split(",")))]


def _parsed(item: str) -> bytes:
    try:
        secret = base64.b64decode(item.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not item.startswith(_PREFIX) or not _LEAST <= len(secret) <= _MOST:
        raise ValueError(
            f"must be whsec_ and the Base64 of {_LEAST} to {_MOST} random bytes, several separated by commas: "
            "`tq webhook-secret --new` makes one"
        )
    return secret


def as_text(secret: bytes) -> str:
    """A secret as receivers are given it."""
    return _PREFIX + base64.b64encode(secret).decode()


def new_secret() -> str:
    """A fresh one, as text."""
    return as_text(secrets.token_bytes(32))


def signature(keys: Sequence[bytes], event: str, timestamp: int, body: bytes) -> str:
    """What ``webhook-signature`` says: one signature for each secret, separated by spaces."""
    signed = f"{event}.{timestamp}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"{_VERSION},{base64.b64encode(digest).decode()}" for digest in digests)
