"""Webhooks over TLS: the connection goes to the address that was checked, the certificate is that of the name."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import self_signed
from receiver import Receiver
from standardwebhooks import Webhook

from tq.delivery import Answer, Sender
from tq.signing import as_text

#: A name that no resolver knows (RFC 6761, section 6.4): only the address that was given can be connected to.
NAME = "receiver.invalid"
KEYS = [b"a" * 32, b"b" * 32]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The only authority that is trusted here, and the certificate for ``NAME`` and 127.0.0.1 that it signed itself."""
    files = self_signed(tmp_path, NAME)
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    return files


class Secure(Receiver):
    """A receiver that speaks TLS, and keeps which names it was asked for."""

    def __init__(self, files: tuple[Path, Path]) -> None:
        super().__init__()
        self.names: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        context.sni_callback = self._named
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def _named(self, socket: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        del socket, context
        self.names.append(name)


@pytest.fixture
def receiver(authority: tuple[Path, Path]) -> Iterator[Secure]:
    """Somebody who wants to be called."""
    with Secure(authority) as found:
        yield found


async def send(url: str, *, private: bool = True) -> Answer:
    """What comes of one request; every name is 127.0.0.1."""

    async def resolve(_: str, __: int) -> list[str]:
        return ["127.0.0.1"]

    sender = Sender(KEYS, private=private, timeout=20, resolve=resolve)
    try:
        return await sender.send(url, "evt_1", b'{"type": "message.completed"}')
    finally:
        sender.close()


async def test_the_name_is_asked_for_and_checked(receiver: Secure) -> None:
    """SNI and Host say the name although the address was connected to; each secret of a rotation verifies it."""
    assert await send(f"https://{NAME}:{receiver.port}/x?y=z") == Answer(204)
    assert receiver.names == [NAME]
    (got,) = receiver.received
    assert (got.path, got.headers["host"]) == ("/x?y=z", f"{NAME}:{receiver.port}")
    for key in KEYS:
        assert Webhook(as_text(key)).verify(got.body, got.headers) == {"type": "message.completed"}


async def test_a_certificate_of_another_name_is_refused(receiver: Secure) -> None:
    """Whoever answers at the address must be who was meant: nothing is sent to another."""
    assert await send(f"https://other.invalid:{receiver.port}/") == Answer(error="tls")
    assert receiver.received == []


async def test_an_address_has_its_own_certificate(receiver: Secure) -> None:
    """There is no name to ask for: the certificate must be one of the address."""
    assert await send(f"https://127.0.0.1:{receiver.port}/") == Answer(204)
    assert receiver.names == [None]


async def test_an_authority_that_nobody_trusts(receiver: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that proves nothing gets nothing."""
    monkeypatch.delenv("SSL_CERT_FILE")
    assert await send(f"https://{NAME}:{receiver.port}/") == Answer(error="tls")
    assert receiver.received == []


async def test_a_private_address_behind_a_good_certificate(receiver: Secure) -> None:
    """By default a name that is found at a private address is refused before anything is connected to, for good."""
    assert await send(f"https://{NAME}:{receiver.port}/", private=False) == Answer(error="address-refused", final=True)
    assert receiver.names == []
