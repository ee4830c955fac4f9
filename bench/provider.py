"""A stand-in for an LLM: an OpenAI-compatible server that answers each call after a fixed time.

Usage: ``provider.py PORT``. ``POST /reset`` with ``{"latency": seconds}`` forgets all calls, ``GET /stats`` counts
them, ``GET /arrivals`` lists when each text came. It speaks just enough HTTP for the clients at hand, in one
process that keeps up with all of them.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

from work import translation

_NUMBER = re.compile(r"text number (\d+)")


class Calls:
    """What was asked since the last reset."""

    def __init__(self, latency: float = 1.0) -> None:
        self.latency = latency
        self.calls = self.answered = self.texts = self.in_flight = self.in_flight_max = 0
        self.last = 0.0
        self.arrivals: dict[int, float] = {}

    def begin(self, content: str) -> None:
        """One more call."""
        now = time.time()
        numbers = _NUMBER.findall(content)
        self.calls += 1
        self.texts += len(numbers)
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        for number in numbers:
            self.arrivals.setdefault(int(number), now)

    def end(self) -> None:
        """It is answered."""
        self.in_flight -= 1
        self.answered += 1
        self.last = time.time()


class Connection(asyncio.Protocol):
    """One client's connection; requests on it follow one another."""

    state = Calls()

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answers go out here."""
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Part of a request, or several."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].decode("latin-1").lower()
            match = re.search(r"content-length: *(\d+)", head)
            size = int(match[1]) if match else 0
            if len(self._buffer) < end + 4 + size:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            self._answer(head.split(" ")[1], body)

    def _answer(self, path: str, body: bytes) -> None:
        state = Connection.state
        if path == "/stats":
            counts = {name: value for name, value in vars(state).items() if name != "arrivals"}
            self._send(counts)
        elif path == "/arrivals":
            self._send(state.arrivals)
        elif path == "/reset":
            Connection.state = Calls(float(json.loads(body)["latency"]))
            self._send({})
        elif path.endswith("/models"):
            self._send({"object": "list", "data": [{"id": "m", "object": "model"}]})
        else:
            content = json.loads(body)["messages"][-1]["content"]
            state.begin(content)
            asyncio.get_running_loop().call_later(state.latency, self._complete, state, content)

    def _complete(self, state: Calls, content: str) -> None:
        state.end()
        self._send(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": _translated(content)},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
            }
        )

    def _send(self, answer: Any) -> None:
        body = json.dumps(answer).encode()
        if not self._transport.is_closing():
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


def _translated(content: str) -> str:
    if not content.startswith("{"):
        return translation(content)
    items = json.loads(content)["texts"]
    return json.dumps({"translations": [{"id": item["id"], "text": translation(item["text"])} for item in items]})


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=8192)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
