"""A stand-in for an LLM: a real HTTP server that speaks OpenAI's chat completions and can misbehave on request.

It answers with gold pairs (source -> translation), and for texts that it does not know with
``fake_translation``. In a test::

    with LlmServer(pairs) as llm:
        ...  # OPENAI_BASE_URL = llm.base_url
        assert [call.content for call in llm.calls] == ["Hello"]

In a process of its own (it prints its base URL): ``python tests/llm_server.py --port 8100 --po django.po``.
Any process steers it through ``POST /control`` and reads it through ``GET /control`` (see ``control``).
Faults are chosen by ``mode`` for all calls, or by markers in a text: see ``llm_faults``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import struct
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import llm_faults
from limited import LimitPolicy
from llm_faults import ITEM_FAULTS, MARKER, SHARED_FAULTS, Call, Fault, completion, error_body, fake_translation


def _stripped(pairs: Mapping[str, str]) -> dict[str, str]:
    # No-break spaces of the target stay: French has one before its colon.
    return {source.strip(): target.strip(" \t\r\n") for source, target in pairs.items()}


def marks_of(system: str) -> dict[str, str]:
    """What the marks stand for, as the instructions say."""
    found = re.findall(r'(⟦\d+⟧) is ("(?:[^"\\]|\\.)*")', system)
    return {mark: json.loads(original) for mark, original in found}


def texts_of(call: Call) -> list[str]:
    """The text of a call, or those that share it, with what their marks stand for."""
    texts = shared_texts(call.content)
    if texts is None:
        return [unhidden(call.content, marks_of(call.system))]
    marks = shared_marks(call)
    return [unhidden(text, marks.get(name, {})) for name, text in texts.items()]


def shared_marks(call: Call) -> dict[str, dict[str, str]]:
    """What the marks in each text of a shared call stand for, by its id."""
    if call.content.startswith("==="):
        said = re.findall(r"^What the marks in the text (\w+) stand for[^:]*: (.*)$", call.system, re.MULTILINE)
        return {name: marks_of(shown) for name, shown in said}
    return {item["id"]: item.get("marks", {}) for item in json.loads(call.content)["texts"]}


def unhidden(text: str, marks: Mapping[str, str]) -> str:
    """The text with what its marks stand for."""
    for mark, original in marks.items():
        text = text.replace(mark, original)
    return text


def shared_texts(content: str) -> dict[str, str] | None:
    """The texts of a request for several, by id; None when it is for one."""
    if re.match(r"=== [0-9a-f]{4,64} ===\n", content) and content.count("\n=== ") > 0:
        _, *parts = re.split(r"(?:^|\n\n)=== ([0-9a-f]{4,64}) ===\n", content)
        return dict(zip(parts[::2], parts[1::2], strict=True))
    try:
        request = json.loads(content)
        return {item["id"]: item["text"] for item in request["texts"]}
    except (ValueError, KeyError, TypeError):
        return None


class LlmServer:
    """The server, in a thread of its own while used as a context manager; ``port`` 0 = a free one."""

    def __init__(self, pairs: Mapping[str, str] | None = None, *, port: int = 0) -> None:
        self.pairs: dict[str, str] = {}
        self.know(pairs or {})
        self.host = "127.0.0.1"  # where it listens; 0.0.0.0 = also for other network namespaces
        self.port = port
        self.inflight = 0
        self._held: list[asyncio.Future[None]] = []
        self.reset()
        self.connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    def reset(self) -> None:
        """Forget all calls and faults; whoever is held stays held."""
        self.calls: list[Call] = []
        self.accepted = self.streamed = 0  # connections; bytes of raw answers that were taken off our hands
        self.inflight_max = self.inflight
        self.latency = 0.0
        self.by_paragraph = False  # a text is known when its paragraphs are
        self.longest: int | None = None  # characters after which an answer is cut off
        self.cutting: random.Random | None = None  # cuts off one in three answers of more than 100 characters, anywhere
        self.window: int | None = None  # tokens; of a longer request half as many are read, as by Ollama
        self.cut = 0  # answers that it has cut off
        self.shared_mode: str | None = None  # what is answered to every request for several texts
        self.shared_plain = True  # also to one in the plainer form
        self.lacking: list[str] = []  # members of a request, and forms of answers, that are refused
        self.limit: LimitPolicy | None = None
        self._mode: Fault | None = None
        self._mode_left: int | None = None
        self._seen: Counter[str] = Counter()
        self._to_hold = 0

    def know(self, pairs: Mapping[str, str]) -> None:
        """Learn gold pairs."""
        self.pairs |= _stripped(pairs)

    # -- life --------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """What OPENAI_BASE_URL is to be."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="llm-server", daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the stand-in LLM server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not None:
            self._thread.join(10)

    def _run(self, ready: threading.Event, *, announce: bool = False) -> None:
        self._loop.run_until_complete(self._listen())
        ready.set()
        if announce:
            sys.stdout.write(f"{self.base_url}\n")
            sys.stdout.flush()
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._end())
            self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    def serve(self) -> None:
        """Run in this thread until interrupted."""
        self._run(threading.Event(), announce=True)

    # -- steering ----------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """The fault of all calls that have no marker of their own; ``ok`` = none."""
        return "ok" if self._mode is None else self._mode.name

    @mode.setter
    def mode(self, text: str) -> None:
        fault = None if text == "ok" else Fault.parse(text)
        self._mode, self._mode_left = fault, fault and fault.times

    def hold(self, count: int = -1) -> None:
        """Keep the next ``count`` calls (-1 = all) waiting until ``release``."""
        self._to_hold = count

    def release(self) -> None:
        """Let everyone go on who is held, and hold nobody any more."""
        self._to_hold = 0
        self._loop.call_soon_threadsafe(self._let_go)

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for future in held:
            if not future.done():
                future.set_result(None)

    @property
    def held(self) -> int:
        """How many calls wait for ``release`` now."""
        return sum(not future.done() for future in self._held)

    def contents(self) -> list[str]:
        """The texts of all calls so far, in order of arrival, with what their marks stand for."""
        return [text for call in self.calls for text in texts_of(call)]

    def apply(self, changes: Mapping[str, Any]) -> None:
        """What ``POST /control`` does: reset, pairs, mode, latency, hold (true or a number), release.

        And ``limit``: the arguments of a ``LimitPolicy``, or null.
        """
        if changes.get("reset"):
            self.reset()
        if "pairs" in changes:
            self.know(changes["pairs"])
        if "mode" in changes:
            self.mode = changes["mode"]
        self.latency = float(changes.get("latency", self.latency))
        if "limit" in changes:
            self.limit = LimitPolicy(**changes["limit"]) if changes["limit"] is not None else None
        if "hold" in changes:
            self.hold(-1 if changes["hold"] is True else int(changes["hold"]))
        if changes.get("release"):
            self.release()

    def state(self) -> dict[str, Any]:
        """What ``GET /control`` answers."""
        return {
            "count": len(self.calls),
            "calls": [asdict(call) for call in self.calls],
            "inflight": self.inflight,
            "inflight_max": self.inflight_max,
            "held": self.held,
            "mode": self.mode,
            "refused": self.limit.refused if self.limit else 0,
        }

    # -- answers -----------------------------------------------------------------------------------

    async def answer(
        self, connection: _Connection, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> None:
        """One request of any kind."""
        match method, path:
            case "POST", "/v1/chat/completions":
                await self._complete(connection, headers, json.loads(body))
            case "GET", "/v1/models":
                connection.send_json(200, {"object": "list", "data": [{"id": "stand-in", "object": "model"}]})
            case "GET", "/control":
                connection.send_json(200, self.state())
            case "POST", "/control":
                self.apply(json.loads(body))
                connection.send_json(200, self.state())
            case _:
                connection.send_json(404, error_body("no such route", "not_found"))

    async def _complete(self, connection: _Connection, headers: dict[str, str], request: dict[str, Any]) -> None:
        texts = {message["role"]: message["content"] for message in request["messages"]}
        call = Call(
            content=texts["user"],
            system=texts.get("system", ""),
            model=request["model"],
            key=headers.get("authorization", "").removeprefix("Bearer "),
            at=time.time(),
            headers=headers,
        )
        self.calls.append(call)
        connection.limits = {}
        if self.limit is not None:
            tokens = (len(call.system) + len(call.content)) // 4 + 1
            admitted, connection.limits = self.limit.admit(time.monotonic(), tokens)
            if not admitted:
                connection.send_json(429, error_body("Rate limit reached", "requests", "rate_limit_exceeded"))
                return
        used = [*request, request.get("response_format", {}).get("type")]
        if lacking := next((name for name in self.lacking if name in used), None):
            connection.send_json(400, error_body(f"{lacking!r} is not supported", "invalid_request_error"))
            return
        self.inflight += 1
        self.inflight_max = max(self.inflight_max, self.inflight)
        try:
            fault = self._fault_of_call(call.content)
            if self._to_hold:
                self._to_hold -= self._to_hold > 0
                await self._wait_for_release()
            if self.latency:
                await asyncio.sleep(self.latency)
            await self._reply(connection, call, fault)
        finally:
            self.inflight -= 1

    def _answer(self, call: Call) -> tuple[str, str]:
        """The text that was asked for, and what a good model says."""
        source = MARKER.sub("", call.content).strip()
        shared = shared_texts(call.content)
        if shared is None:
            return source, self._translated(source, marks_of(call.system))
        plain = call.content.startswith("===")
        if self.shared_mode is not None and (self.shared_plain or not plain):
            return source, SHARED_FAULTS[self.shared_mode]
        answers = [*self._shared_answers(call)]
        if plain:
            return source, "\n\n".join(f"=== {item['id']} ===\n{item['text']}" for item in answers)
        return source, json.dumps({"translations": answers}, ensure_ascii=False)

    def _translated(self, source: str, marks: Mapping[str, str]) -> str:
        """The gold translation, also of a text whose placeholders are hidden behind marks."""
        if self.by_paragraph and "\n\n" in source:
            return "\n\n".join(self._translated(part, marks) for part in source.split("\n\n"))
        source = unhidden(source, marks)
        target = self.pairs[source] if source in self.pairs else fake_translation(source)
        for mark, original in marks.items():
            target = target.replace(original, mark, 1)
        return target

    def _shared_answers(self, call: Call) -> Iterator[dict[str, str]]:
        marks = shared_marks(call)
        for name, text in (shared_texts(call.content) or {}).items():
            target = self._translated(MARKER.sub("", text).strip(), marks.get(name, {}))
            fault = self._fault_of(text) if MARKER.search(text) else None
            if fault is None or fault.name not in ITEM_FAULTS:
                yield {"id": name, "text": target}
            elif fault.name == "twice":
                yield from [{"id": name, "text": target}] * 2
            elif fault.name != "missing":
                yield {"id": name, "text": ITEM_FAULTS[fault.name](text, target)}

    async def _wait_for_release(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held.append(future)
        await future

    def _fault_of_call(self, content: str) -> Fault | None:
        """A shared call has the first fault of its texts that is not a matter of this text alone."""
        shared = shared_texts(content)
        if shared is None:
            return self._fault_of(content)
        for text in shared.values():
            fault = self._fault_of(text) if MARKER.search(text) else None
            if fault is not None and fault.name not in ITEM_FAULTS:
                return fault
            if fault is not None:
                self._seen[text] -= 1  # it counts when the text is answered
        return self._fault_of(MARKER.sub("", content))

    def _fault_of(self, content: str) -> Fault | None:
        index = self._seen[content]
        self._seen[content] += 1
        for text in MARKER.findall(content):
            fault = Fault.parse(text)
            if fault.times is None or index < fault.times:
                return fault
            index -= fault.times
        if self._mode is None or self._mode_left == 0:
            return None
        if self._mode_left is not None:
            self._mode_left -= 1
        return self._mode

    def _limited(self, call: Call, target: str) -> dict[str, Any]:
        """The right answer, as far as the model's window and its longest answer allow."""
        good = completion(call, target)
        if self.longest is not None and len(target) > self.longest:
            good = completion(call, target[: self.longest], finish="length")
        if self.cutting is not None and len(target) > 100 and self.cutting.random() < 1 / 3:
            good = completion(call, target[: self.cutting.randrange(len(target))], finish="length")
            self.cut += 1
        if self.window is not None and good["usage"]["prompt_tokens"] > self.window:
            good = completion(call, target[len(target) // 2 :])
            good["usage"]["prompt_tokens"] = self.window // 2 + 2
        return good

    async def _reply(self, connection: _Connection, call: Call, fault: Fault | None) -> None:
        source, target = self._answer(call)
        good = self._limited(call, target)
        name, value, _ = fault = fault or Fault("ok", None, None)
        match name:
            case _ if (status := llm_faults.status_answer(fault, call.key)) is not None:
                connection.send_json(*status)
            case _ if (raw := llm_faults.raw_answer(fault, json.dumps(good).encode())) is not None:
                await connection.stream(*raw)
            case "ok":
                connection.send_json(200, good)
            case "timeout":
                await asyncio.Event().wait()
            case "hold":
                await self._wait_for_release()
                connection.send_json(200, good)
            case "latency":
                await asyncio.sleep(float(value or 1))
                connection.send_json(200, good)
            case "drip":
                await connection.drip(json.dumps(good).encode(), float(value or 1))
            case "reset" | "reset-early" | "disconnect" | "cut":
                connection.break_off(json.dumps(good).encode(), name)
            case _:
                connection.send_json(200, llm_faults.odd_answer(name, call, source, target))


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and Content-Length bodies; one request at a time."""

    def __init__(self, server: LlmServer) -> None:
        self._llm = server
        self.limits: dict[str, str] = {}  # headers of all answers, about the rate limit
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._llm.connections.add(self)
        self._llm.accepted += 1

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._llm.connections.discard(self)
        if self._task is not None:
            self._task.cancel()  # the caller is gone: a held call ends here

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._take_request()

    def _take_request(self) -> None:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator or self._task is not None:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        answer = self._llm.answer(self, method, path, headers, rest[:length])
        self._task = asyncio.get_running_loop().create_task(answer)
        self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.send_json(500, error_body(f"the stand-in itself failed: {error!r}", "stand-in"))
        if self._buffer:
            self._take_request()

    def abort(self) -> None:
        self._transport.abort()

    def send_json(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        self.send(status, json.dumps(body).encode(), "application/json", headers)

    def send(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self._transport.write(_head(status, len(body), kind, self.limits | dict(headers or {})) + body)

    async def stream(self, status: int, length: int, parts: Iterable[bytes], kind: str, encoding: str) -> None:
        self._transport.write(_head(status, length, kind, {"Content-Encoding": encoding}))
        for part in parts:
            self._transport.write(part)
            await asyncio.sleep(0)  # the other side may be gone
            await self._writable.wait()
            self._llm.streamed += len(part)

    async def drip(self, body: bytes, seconds: float) -> None:
        self._transport.write(_head(200, len(body), "application/json", {}))
        for index in range(len(body)):
            self._transport.write(body[index : index + 1])
            await asyncio.sleep(seconds)

    def break_off(self, body: bytes, how: str) -> None:
        if how in {"reset", "cut"}:
            self._transport.write(_head(200, len(body), "application/json", {}) + body[: len(body) // 2])
        if how in {"reset", "reset-early"}:
            # Closing with a linger time of zero sends RST instead of FIN.
            raw: socket.socket = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()


def _head(status: int, length: int, kind: str, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", f"Date: {formatdate(usegmt=True)}"]
    lines += [f"Content-Type: {kind}", f"Content-Length: {length}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def control(base_url: str, **changes: Any) -> dict[str, Any]:
    """Steer (``mode="500x3"``, ``hold=1``, ``release=True`` …) or, without changes, read a server elsewhere."""
    url = base_url.removesuffix("/v1") + "/control"
    data = json.dumps(changes).encode() if changes else None
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10) as response:  # noqa: S310 - our own
        state: dict[str, Any] = json.load(response)
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description="Stand-in for an OpenAI-compatible LLM server.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--po", type=Path, help="a PO file with the translations to answer with")
    options = parser.parse_args()
    pairs: dict[str, str] = {}
    if options.po:
        from catalogue import read_po  # needs polib, which a server without --po does not

        pairs = read_po(options.po)
    with suppress(KeyboardInterrupt):
        LlmServer(pairs, port=options.port).serve()


if __name__ == "__main__":
    main()
