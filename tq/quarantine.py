"""The quarantine: messages under which worker processes died run in a process apart, one at a time.

Should one of them be what kills, it kills that process alone, is seen to do it, and fails. The innocent
that were beside it go through, however often their workers are killed. The process is started for the
first such message, serves those that follow, and ends when it has been idle for a while, or with the
worker that started it.

``python -m tq.quarantine`` is that process: ids on stdin, a line each; how they ended on stdout.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Any, Final

from tq import tracing
from tq.attempts import Attempts, Settled
from tq.errors import ERRORS, AttemptLost, AttemptReleased, TqError
from tq.identity import identity, log_handler, process_name
from tq.jsonlog import fields
from tq.messages import Status
from tq.queue import TranslationQueue

logger = logging.getLogger(__name__)

#: Seconds without a message after which the process ends, and that it gets to put one back.
_IDLE: Final = 15.0
_LAST_MOMENT: Final = 4.0


class Quarantine:
    """This process's quarantine; belongs to the loop of its queue.

    Args:
        queue: where the messages are.
    """

    def __init__(self, queue: TranslationQueue) -> None:
        self._queue = queue
        self._turn = asyncio.Lock()
        self._child: Process | None = None
        self._retirement: asyncio.TimerHandle | None = None

    async def perform(self, message_id: str) -> Settled:
        """As ``Attempts.perform``, apart; waits for those before it."""
        async with self._turn:
            child = await self._living_child()
            try:
                return await self._ask(child, message_id)
            except asyncio.CancelledError:
                await self._end(child)
                return Settled(None, AttemptReleased("this worker stops"))
            finally:
                self._retirement = asyncio.get_running_loop().call_later(_IDLE, self._retire)

    async def _living_child(self) -> Process:
        if self._retirement is not None:
            self._retirement.cancel()
        if self._child is None or self._child.returncode is not None:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tq.quarantine", stdin=PIPE, stdout=PIPE
            )
        return self._child

    async def _ask(self, child: Process, message_id: str) -> Settled:
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the quarantine's process has pipes")
        with suppress(ConnectionError):
            child.stdin.write(f"{message_id}\n".encode())
            await child.stdin.drain()
        answer = await child.stdout.readline()
        if answer:
            return _parse(json.loads(answer))
        # Zero is no death: it was asked to stop, and has put back what it had.
        poisoned = await self._blame(child, message_id) if await child.wait() else None
        if poisoned is None:
            return Settled(None, AttemptLost("its process in quarantine ended"))
        said = fields(message_id=message_id, status=Status.FAILED, error=poisoned.type)
        logger.warning("%s failed: %s, %s", message_id, poisoned.type, poisoned, extra=said)
        return Settled(Status.FAILED, poisoned)

    async def _blame(self, child: Process, message_id: str) -> TqError | None:
        said = fields(message_id=message_id)
        logger.warning("%s: its process in quarantine died (%s)", message_id, child.returncode, extra=said)
        try:
            return await self._queue.blame(message_id, process_name(child.pid))
        except TqError as error:
            logger.warning("%s is not blamed yet, its lease will expire: %s", message_id, error, extra=said)
            return None

    async def _end(self, child: Process) -> None:
        with suppress(ProcessLookupError):
            child.terminate()
            try:
                await asyncio.wait_for(child.wait(), _LAST_MOMENT)
            except TimeoutError:
                child.kill()

    def _retire(self) -> None:
        # It takes the end of its input for the end of its work.
        if self._child is not None and self._child.stdin is not None and not self._turn.locked():
            self._child.stdin.close()
            self._child = None


def _answer(settled: Settled) -> dict[str, Any]:
    return {
        "status": settled.status,
        "error": settled.error.record() if settled.error else None,
        "delay": settled.delay,
    }


def _parse(answer: dict[str, Any]) -> Settled:
    record = answer["error"]
    error = ERRORS.get(record["type"], AttemptLost)(record["message"]) if record else None
    return Settled(Status(answer["status"]) if answer["status"] else None, error, answer["delay"])


async def _serve() -> None:
    queue = TranslationQueue()
    attempts = Attempts(queue, identity.get())
    loop = asyncio.get_running_loop()
    ids = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ids), sys.stdin)
    lines: asyncio.Queue[str] = asyncio.Queue()
    current: asyncio.Task[Settled] | None = None
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True
        lines.put_nowait("")
        if current is not None:
            current.cancel()

    async def read() -> None:
        while line := await ids.readline():
            lines.put_nowait(line.decode().strip())
        # The worker has gone, or needs us no more: what runs is put back.
        stop()

    loop.add_signal_handler(signal.SIGTERM, stop)
    reading = loop.create_task(read())
    while (message_id := await lines.get()) and not stopping:
        current = loop.create_task(attempts.perform(message_id))
        settled = await current
        sys.stdout.write(json.dumps(_answer(settled)) + "\n")
        sys.stdout.flush()
    reading.cancel()
    await attempts.aclose()
    await queue.aclose()


def main() -> None:
    """Serve the worker that started this process."""
    logging.basicConfig(level=logging.INFO, handlers=[log_handler("worker")])
    tracing.set_up("tq-worker")
    # A terminal's Ctrl-C reaches the whole group; the worker decides what it means for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        asyncio.run(_serve())


if __name__ == "__main__":
    main()
