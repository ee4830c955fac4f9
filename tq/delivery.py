"""One request of a webhook: looked up, checked, and sent to the very address that was checked.

No redirect is followed (it could lead anywhere, with the text), and no proxy of the environment is used: it would look
the name up itself, so that nobody knew where a request went. Of the answer nothing but its head is of interest.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import httpcore
import httpx

from tq import __version__
from tq.lookups import LookupBusy, Lookups
from tq.retryafter import retry_after
from tq.signing import signature
from tq.targets import Target, is_refused, target

#: Seconds until the head of an answer is there, and for a connection; addresses that are tried.
TIMEOUT: Final = 15.0
_CONNECT: Final = 5.0
_MOST_ADDRESSES: Final = 3
#: Of an answer's body: what is read at most, and the seconds that are granted to it.
_MOST_READ: Final = 16 * 1024
_READ: Final = 1.0

#: What a connection may come to.
_FAILURES: Final = (httpcore.TimeoutException, httpcore.ProtocolError, httpcore.NetworkError, OSError)

#: The addresses of a name, in the order to try them; raises ``LookupBusy`` when it has not asked.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request.

    Attributes:
        status: the HTTP status, or None when there was no answer.
        error: why there was none, or why it will not do, in a word; "" when it was delivered.
        retry_after: seconds that the receiver asked to wait.
        final: whether to send it again would be of no use.
        begun: whether anything was tried at all: else this was no attempt.
    """

    status: int | None = None
    error: str = ""
    retry_after: float | None = None
    final: bool = False
    begun: bool = True


class Sender:
    """Sends webhooks; belongs to one asyncio loop.

    Args:
        keys: what signs; each makes a signature.
        private: whether private addresses are allowed.
        timeout: seconds for a request until the head of its answer is there.
        resolve: what finds the addresses of a name; ``Lookups`` of the system's resolver when None.
    """

    def __init__(
        self, keys: Sequence[bytes], *, private: bool, timeout: float = TIMEOUT, resolve: Resolve | None = None
    ) -> None:
        # Both would log a URL, or headers, when asked to log in detail.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._keys = keys
        self._private = private
        self._timeout = timeout
        self._lookups = Lookups()
        self._resolve = resolve or self._lookups
        # What httpx trusts: certifi's authorities, or those of SSL_CERT_FILE.
        self._tls = httpx.create_ssl_context()

    def close(self) -> None:
        """Let go of what is looked up."""
        self._lookups.close()

    async def send(self, url: str, event: str, body: bytes) -> Answer:
        """Send a webhook once; never raises for what a receiver does."""
        to = target(url)
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                return await self._send(to, event, body, deadline)
        except TimeoutError:
            return Answer(error="timeout")

    async def _send(self, to: Target, event: str, body: bytes, deadline: asyncio.Timeout) -> Answer:
        addresses: Sequence[str] = ()
        try:
            with suppress(OSError, UnicodeError):
                addresses = [to.host] if to.is_address else await self._resolve(to.host, to.port)
        except LookupBusy:
            return Answer(error="lookup", begun=False)
        if not addresses:
            return Answer(error="unknown-host")
        if (to.scheme == "http" and not self._private) or any(
            is_refused(address, private=self._private) for address in addresses
        ):
            return Answer(error="address-refused", final=True)
        answer = Answer()
        for address in addresses[:_MOST_ADDRESSES]:
            answer = await self._post(to, address, event, body, deadline)
            if answer.error != "connect":
                break
        return answer

    async def _post(self, to: Target, address: str, event: str, body: bytes, deadline: asyncio.Timeout) -> Answer:
        now = int(time.time())
        headers: dict[bytes | str, bytes | str] = {
            "Host": to.host_header,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Accept": "*/*",
            "User-Agent": f"tq/{__version__}",
            "webhook-id": event,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._keys, event, now, body),
        }
        # The address stands where a name would be looked up; the certificate is checked for the name.
        url = httpcore.URL(scheme=to.scheme, host=address, port=to.port, target=to.path)
        extensions: dict[str, Any] = {"timeout": {"connect": _CONNECT}}
        if not to.is_address:
            extensions["sni_hostname"] = to.host
        answer: Answer | None = None
        try:
            # A pool for each: a connection that is kept would be known by its address, and serve another name.
            async with (
                httpcore.AsyncConnectionPool(ssl_context=self._tls, max_connections=1) as pool,
                pool.stream("POST", url, headers=headers, content=body, extensions=extensions) as response,
            ):
                answer = _judge(response.status, _headers(response))
                # The receiver has decided: what may still go wrong is not its answer.
                deadline.reschedule(None)
                await _read(response)
        except _FAILURES as error:
            return answer or _failed(error)
        return answer


async def _read(response: httpcore.Response) -> None:
    """The beginning of a body, if it comes soon: some receivers take an answer that is not read for a lost one."""
    size = 0
    with suppress(TimeoutError, *_FAILURES):
        async with asyncio.timeout(_READ):
            async for chunk in response.aiter_stream():
                size += len(chunk)
                if size >= _MOST_READ:
                    return


def _headers(response: httpcore.Response) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def _judge(status: int, headers: Mapping[str, str]) -> Answer:
    if 200 <= status < 300:
        return Answer(status)
    if status == 410:
        return Answer(status, "gone", final=True)
    error = "redirect" if 300 <= status < 400 else "status"
    return Answer(status, error, retry_after(headers, time.time()))


def _failed(error: Exception) -> Answer:
    if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
        return Answer(error="tls" if _is_tls(error) else "connect")
    return Answer(error="timeout" if isinstance(error, httpcore.TimeoutException) else "broken")


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
