"""What counts of a receiver's answer is its head: a body that drips, breaks or is nonsense changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tq.delivery import Answer, Sender

#: Seconds that a request may take in all here; far more than is granted to a body.
TIMEOUT = 30.0


@asynccontextmanager
async def answering(*parts: bytes, pause: float = 0.0) -> AsyncIterator[str]:
    """The address of a server that answers with these parts, the last again and again if there are pauses."""
    over = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
        while pause and not over.is_set() and not writer.is_closing():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), pause)
            writer.write(parts[-1])
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(answer(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        over.set()
        await asyncio.gather(*tasks)


async def send(url: str) -> Answer:
    """What comes of one request."""
    sender = Sender([b"k" * 32], private=True, timeout=TIMEOUT)
    try:
        return await sender.send(url, "evt_1", b"{}")
    finally:
        sender.close()


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "pause"),
    [
        ((b"Content-Length: 100000\r\n\r\n", b"x"), 0.05),
        ((CHUNKED, b"1\r\nx\r\n"), 0.05),
        ((b"\r\n", b"x"), 0.05),
        ((b"Content-Length: 100\r\n\r\n", b"half of it"), 0.0),
        ((CHUNKED, b"no number\r\nx\r\n"), 0.0),
        ((CHUNKED, b"5\r\nab"), 0.0),
        ((b"Content-Length: 100\r\n\r\n",), 0.0),
        ((b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n", b"none"), 0.0),
        ((b"\r\n", b"x" * 200_000), 0.0),
    ],
    ids=["drips", "drips-chunks", "never-ends", "breaks", "bad-chunk", "breaks-chunk", "no-body", "bad-gzip", "large"],
)
@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\n", Answer(200)),
        (b"HTTP/1.1 410 Gone\r\n", Answer(410, "gone", final=True)),
        (b"HTTP/1.1 503 No\r\nRetry-After: 7\r\n", Answer(503, "status", retry_after=7.0)),
    ],
    ids=["200", "410", "503"],
)
async def test_the_head_decides(head: bytes, answer: Answer, parts: tuple[bytes, ...], pause: float) -> None:
    """Whatever comes after it, and however slowly; soon."""
    began = time.monotonic()
    async with answering(head + parts[0], *parts[1:], pause=pause) as url:
        assert await send(url) == answer
    assert time.monotonic() - began < TIMEOUT / 2


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Le", b"220 mail.example ESMTP\r\n"])
async def test_half_a_head_is_no_answer(head: bytes) -> None:
    """Nor is what is no HTTP."""
    async with answering(head) as url:
        assert await send(url) == Answer(error="broken")


async def test_a_head_that_drips_is_not_waited_for() -> None:
    """The time of the request is that of its head."""
    sender = Sender([b"k" * 32], private=True, timeout=0.3)
    async with answering(b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n", pause=0.05) as url:
        assert await sender.send(url, "evt_1", b"{}") == Answer(error="timeout")
    sender.close()
