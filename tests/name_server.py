"""A program with a name server of its own: names that begin with ``hang`` get no answer, all others are 127.0.0.1.

It wants a mount and a network namespace, in which it sets up the loopback interface and /etc/resolv.conf. It looks
names up as webhooks do, and prints what came of it as JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from tq.lookups import Lookups

#: Names that hang: as many as there were threads for all once.
HANGING = 8


def serve(ready: threading.Event) -> None:
    """Answer queries for addresses; of IPv6 there are none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 53))
        ready.set()
        while True:
            query, sender = listening.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
            if query[13:17] == b"hang":
                continue
            answer = struct.pack("!HHHLH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton("127.0.0.1") if kind == 1 else b""
            head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, int(kind == 1), 0, 0)
            listening.sendto(head + query[12:end] + answer, sender)


def prepare() -> None:
    """Make it the name server of this namespace."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        # As long as it takes with two name servers and the usual options, without a second one.
        file.write("nameserver 127.0.0.1\noptions timeout:10 attempts:2\n")
        file.flush()
        subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)
    ready = threading.Event()
    threading.Thread(target=serve, args=(ready,), daemon=True).start()
    assert ready.wait(10)


async def look_up() -> dict[str, object]:
    """Those that hang first, each of them twice, then one that does not."""
    lookups = Lookups()
    hanging = [asyncio.create_task(lookups(f"hang-{n % HANGING}.example", 443)) for n in range(2 * HANGING)]
    await asyncio.sleep(0.5)
    names = [thread.name for thread in threading.enumerate()]
    began = time.monotonic()
    found = await lookups("good.example", 443)
    took = time.monotonic() - began
    result = {
        "found": found,
        "took": took,
        "hang": sum(not task.done() for task in hanging),
        "threads": names.count("tq-webhook-name"),
    }
    for task in hanging:
        task.cancel()
    lookups.close()
    return result


if __name__ == "__main__":
    prepare()
    sys.stdout.write(json.dumps(asyncio.run(look_up())))
