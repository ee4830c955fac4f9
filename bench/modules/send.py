"""Queues messages with one of the modules: ``send.py MODULE bulk|one FIRST COUNT [PER_SECOND]``.

``bulk`` sends as fast as the queue takes them, with what it has for many, and prints when it
began and messages per second. ``paced``
sends one by one at a fixed rate, and prints when each was.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import time
from typing import Any


async def close(sender: Any) -> None:
    """Let go of connections, where the queue has a way to say so."""
    for name in ("aclose", "shutdown", "close", "disconnect"):
        if inspect.iscoroutinefunction(method := getattr(sender, name, None)):
            await method()
            return


async def main(module: str, way: str, first: int, count: int, rate: float) -> None:
    """Send, and print a JSON document."""
    queue = importlib.import_module(module)
    sender = await queue.opened()
    numbers = range(first, first + count)
    start, began = time.time(), time.perf_counter()
    sent: dict[int, float] = {}
    if way == "bulk":
        if hasattr(queue, "send_many"):
            await queue.send_many(sender, numbers)
        else:
            for number in numbers:
                await queue.send(sender, number)
    else:
        for index, number in enumerate(numbers):
            await asyncio.sleep(max(0.0, began + index / rate - time.perf_counter()))
            sent[number] = time.time()
            await queue.send(sender, number)
    document = {"began": start, "rate": count / (time.perf_counter() - began), "sent": sent}
    await close(sender)
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
