"""Why a connection did not come about, in words: libraries say it with the names of their classes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpx

_IN_TIME: Final = "it does not answer in time"
#: From the most exact one on; the first that is among an error and its causes.
_WORDS: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...]] = (
    (socket.gaierror, "no such host"),
    (ConnectionRefusedError, "connection refused"),
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "no TLS connection came about: it may not speak TLS there"),
    ((TimeoutError, httpx.TimeoutException), _IN_TIME),
    ((ConnectionError, httpx.NetworkError, httpx.RemoteProtocolError, EOFError), "the connection broke"),
    (httpx.DecodingError, "its answer cannot be read"),
    (UnicodeEncodeError, "the key has characters that cannot be sent"),
    (httpx.LocalProtocolError, "the address, or the key, has characters that cannot be sent"),
    ((httpx.InvalidURL, httpx.UnsupportedProtocol), "this is no address of HTTP"),
)


def in_words(error: BaseException) -> str:
    """Why it happened; what is not known here has the name of its class, in brackets."""
    chain = [*_chain(error)]
    for each in chain:
        # What the system says is more than that a connection broke.
        if type(each) is OSError and each.strerror:
            return each.strerror[:1].lower() + each.strerror[1:]
    for kinds, words in _WORDS:
        if any(isinstance(each, kinds) for each in chain):
            return words
    return f"something unforeseen ({type(error).__name__})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
