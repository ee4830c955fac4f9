"""The stage of a scenario: a real stack, who submits to it, who watches it, and the five invariants at its end."""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx
import psutil
from broker import PASSWORD, UNAVAILABLE, Broker, Embedded, Server
from cli_driver import TQ
from ledger import ENDED, Entry, Ledger
from llm_server import LlmServer
from places import Places, look_into_redis, pattern
from pydantic import SecretStr
from running_stack import RunningStack
from servers import Process, Valkey, free_port, wait_until
from watching import ChangeLog, Observer, illegal_changes, untrue_sights

from tq.local import LocalClient
from tq.settings import Settings

#: Keys that must be seen nowhere: a message's own one, and the stack's.
OWN_KEY: Final = "sk-canary-own-b81f40"
DEFAULT_KEY: Final = "sk-canary-default-5d20"
_SECRETS: Final = pattern(OWN_KEY, DEFAULT_KEY)
#: Keys of tq without a TTL once all messages have ended; what Celery and kombu keep besides.
_LASTING: Final = re.compile(
    r"tq:(status:\w+|ended|workers|workers:seen|alive|changes|seq|claims|ageing|reaper|totals|paused|failures|failed:[\w-]+)|_kombu\..*"
)
_BATCH: Final = 500
#: Submits at most that were stored while their answer got lost: nobody promised them anything.
_UNANSWERED: Final = 5
#: How many messages are looked at one by one through the API at the end; the others in the store.
_LOOKED_AT: Final = 400


class Stage:
    """Everything that a scenario needs, up and running while used as a context manager.

    When its block ends without an error, all acknowledged messages are waited for and the invariants
    are checked; then the stack is stopped as a person stops it.

    Args:
        folder: for all its files.
        kind: ``embedded``, or ``redis`` for a redis-server of the test's own.
        rng: the source of all chance of this scenario.
        settings: environment variables of the stack.
        server: instead of the embedded Valkey, or of Debian's redis-server on TCP.
        patience: seconds in which all must have ended after the block.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        rng: random.Random,
        settings: dict[str, str],
        *,
        server: Valkey | None = None,
        patience: float = 120,
    ) -> None:
        self.folder = folder
        self.kind = kind
        self.rng = rng
        self.patience = patience
        self.ledger = Ledger()
        self.provider = LlmServer()
        self.figures: dict[str, str] = {}
        self.answers: Counter[int] = Counter()
        self.leaks: list[str] = []
        #: Set by scenarios that end the stack themselves, or take away what is looked at.
        self.expect_restarts = False
        self.exit_code = 0
        self._settings = settings
        self._exits = ExitStack()
        self._server = server
        self._workers = 0

    # -- its beginning and its end -----------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def _start(self) -> None:
        enter = self._exits.enter_context
        enter(self.provider)
        where: dict[str, str] = {}
        server = None
        if self.kind == "redis" or self._server:
            (self.folder / "redis").mkdir(exist_ok=True)
            options: dict[str, Any] = {"password": PASSWORD, "port": free_port(), "binary": Valkey.redis_server()}
            server = Server(enter(self._server or Valkey(self.folder / "redis", **options)))
            where = {"TQ_REDIS_URL": server.url}
        base = {
            "OPENAI_BASE_URL": self.provider.base_url,
            "OPENAI_API_KEY": DEFAULT_KEY,
            # Fillers of one long word are one call.
            "TQ_SEGMENT_TOKENS": "100000",
        }
        self.stack = RunningStack(self.folder, **(base | where | self._settings))
        enter(self.stack)
        self.broker: Broker = server or Embedded(self.stack)
        self.log = ChangeLog(self.broker)
        self._exits.callback(self.log.close)
        self.monitor = Monitor(self.broker)
        self._exits.callback(self.monitor.close)
        self.observer = Observer(self.http, self.ledger, random.Random(self.rng.random()))
        self._exits.callback(self.observer.close)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._exits:
            if kind is None:
                self.verify()

    # -- ways in -----------------------------------------------------------------------------------

    def http(self, **options: Any) -> httpx.Client:
        """A client of the API; every answer is counted and searched for keys."""
        return self.stack.http(event_hooks={"response": [self._look]}, **options)

    def _look(self, answer: httpx.Response) -> None:
        asked = f"{answer.request.method} {answer.request.url}"
        self.examine(asked, answer.status_code, str(answer.headers).encode() + answer.read())

    def examine(self, asked: str, status: int, answer: bytes) -> None:
        """Count an answer, headers and body, of the API; it must hold no key, and be no defect."""
        self.answers[status] += 1
        if _SECRETS.search(answer):
            self.leaks.append(f"{asked} answered with a key")
        if status in {500, 501, 502}:
            self.leaks.append(f"{asked}: {status} {answer[-300:]!r}")

    @contextmanager
    def local(self) -> Iterator[LocalClient]:
        """The queue itself, as a Python program on this machine uses it."""
        with LocalClient(self.settings()) as client:
            yield client

    def settings(self) -> Settings:
        """Those with which a Python program on this machine finds the queue."""
        url = SecretStr(self.broker.url) if isinstance(self.broker, Server) else None
        return Settings(data_dir=self.stack.data, redis_url=url)

    def start_worker(self, argv: Sequence[str] = (), **settings: str) -> Process:
        """Start one more `tq worker`, beside the one of the stack; a context manager that kills it."""
        self._workers += 1
        log = self.folder / f"worker-{self._workers}.log"
        return Process([*argv, *TQ, "worker"], log=log, env=self.stack.environment | settings, cwd=self.folder)

    @contextmanager
    def worker(self, argv: Sequence[str] = (), **settings: str) -> Iterator[Process]:
        """One more `tq worker`, ready; killed at the end if it still lives."""
        with self.start_worker(argv, **settings) as process:
            wait_until(lambda: self._lists(process.pid) or process.popen.poll() is not None, "a worker is ready", 60)
            assert process.popen.poll() is None, process.output
            yield process

    def _lists(self, pid: int) -> bool:
        """Whether a process is among the live workers."""
        try:
            with self.broker.client(decode_responses=True) as client:
                names: Any = client.zrange("tq:workers:seen", 0, -1)
        except UNAVAILABLE:
            return False
        return any(name.split(":")[-2] == str(pid) for name in names)

    # -- submitting --------------------------------------------------------------------------------

    def body(self, entry: Entry, **fields: Any) -> dict[str, Any]:
        """The submit of an entry; every other message has a key of its own.

        One that its provider tells to keep still has a model of its own, too: others of the model would wait with it.
        """
        own = {"api_key": OWN_KEY} if int(entry.message_id[1:]) % 2 else {}
        languages = {"source_language": "en", "target_language": "fr"}
        message = {"message_id": entry.message_id, "content": entry.content, "priority": entry.priority}
        if re.search(r"@@fault:(?:429|402|quota)", entry.content):
            own["model_name"] = entry.message_id
        return message | {"metadata": languages} | own | fields

    def submit(self, count: int, *, fault: str = "", priority: int | None = None, words: str = "") -> list[str]:
        """Submit so many messages in batches; all must be accepted. Returns their ids.

        Args:
            count: how many.
            fault: what the stand-in does to each, as in ``llm_faults``.
            priority: of all; by chance when None.
            words: the text of all, besides their number.
        """
        entries = [
            self.ledger.new(self.rng.randrange(11) if priority is None else priority, fault, words)
            for _ in range(count)
        ]
        with self.http() as http:
            for first in range(0, count, _BATCH):
                part = entries[first : first + _BATCH]
                answer = http.post("/messages/batch", json={"messages": [self.body(each) for each in part]})
                assert answer.status_code == 202, answer.text
                for entry, result in zip(part, answer.json()["results"], strict=True):
                    assert result.get("message"), result
                    self.ledger.acknowledge(entry.message_id)
        return [entry.message_id for entry in entries]

    @contextmanager
    def load(self, per_second: float, *, fault: str = "", words: str = "", again: bool = True) -> Iterator[Load]:
        """Submit one message after the other in the background, until the block ends."""
        load = Load(self, per_second, fault=fault, words=words, again=again)
        load.start()
        try:
            yield load
        finally:
            load.close()

    # -- what is going on --------------------------------------------------------------------------

    def note(self, **figures: object) -> None:
        """Figures for the report."""
        self.figures |= {
            name.replace("_", " "): f"{value:.2f}" if isinstance(value, float) else str(value)
            for name, value in figures.items()
        }

    def statuses(self, ids: Sequence[str] | None = None) -> dict[str, str]:
        """The status of each message by id, read from the store; of all acknowledged ones when None."""
        ids = self.ledger.acknowledged if ids is None else ids
        with self.broker.client(socket_timeout=30) as client:
            pipeline = client.pipeline(transaction=False)
            for message_id in ids:
                pipeline.hget(f"tq:message:{message_id}", "status")
            found = pipeline.execute()
        return {name: value.decode() if value else "unknown" for name, value in zip(ids, found, strict=True)}

    def count(self, status: str, ids: Sequence[str] | None = None) -> int:
        """How many messages have a status."""
        return sum(each == status for each in self.statuses(ids).values())

    def calls(self) -> Counter[str]:
        """How often the provider was called for each message, by id."""
        ids = {entry.content: entry.message_id for entry in list(self.ledger.entries.values())}
        return Counter(ids[content] for content in self.provider.contents() if content in ids)

    def wait_ended(self, ids: Sequence[str] | None = None, timeout: float | None = None) -> float:
        """Wait until all have ended; returns the seconds it took."""
        began = time.monotonic()
        left: dict[str, str] = {}

        def ended() -> bool:
            nonlocal left
            try:
                left = {name: status for name, status in self.statuses(ids).items() if status not in ENDED}
            except UNAVAILABLE:
                return False
            return not left

        def description() -> str:
            return f"all have ended; {len(left)} have not: {dict(list(left.items())[:10])} {Counter(left.values())}"

        wait_until(ended, description, self.patience if timeout is None else timeout)
        return time.monotonic() - began

    def wait_running(self, count: int, timeout: float = 60) -> None:
        """Wait until so many calls are held by the provider (after ``provider.hold()``)."""
        wait_until(lambda: self.provider.held >= count, lambda: f"{count} in flight, not {self.provider.held}", timeout)

    def memory(self, service: str) -> float:
        """MiB that a service of the stack holds (RSS), its children included."""
        process = self.stack.service(service)
        return float(sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 2**20)

    # -- the invariants ----------------------------------------------------------------------------

    def verify(self) -> None:
        """Wait for the end of all messages, check I1 … I5, and stop the stack."""
        seconds = self.wait_ended()  # I1
        wait_until(self.log.caught_up, "the change log has caught up")
        self.observer.close()
        self._check_outcomes()
        self._check_observers()
        self._check_store()
        self._check_secrets()
        self._check_end()
        calls = len(self.provider.calls)
        ended = Counter(self.statuses_at_end.values())
        self.figures = {
            "acked": str(len(self.ledger.acknowledged)),
            "ended": " ".join(f"{count} {status}" for status, count in sorted(ended.items())),
            "calls": str(calls),
            "drained": f"{seconds:.1f} s",
            **self.figures,
        }

    def _check_outcomes(self) -> None:
        """I2: one outcome for each, the right one, and with the translation of its own text."""
        entries = self.ledger.entries
        self.statuses_at_end = self.statuses()
        wrong = [
            f"{name} is {status}, not {sorted(entries[name].ends)}: {self.log.changes.get(name)}"
            for name, status in self.statuses_at_end.items()
            if status not in entries[name].ends
        ]
        outcomes = {name: sum(change.status in ENDED for change in self.log.changes.get(name, ())) for name in entries}
        wrong += [
            f"{name} ended {outcomes[name]} times, not {entries[name].outcomes}: {self.log.changes.get(name)}"
            for name in self.statuses_at_end
            if outcomes[name] != entries[name].outcomes
        ]
        with self.broker.client(socket_timeout=30) as client:
            pipeline = client.pipeline(transaction=False)
            for name in entries:
                pipeline.hget(f"tq:message:{name}", "translation")
            found = pipeline.execute()
        wrong += [
            f"{name} has the translation {text.decode()!r}"
            for name, text in zip(entries, found, strict=True)
            if text is not None and text.decode() != entries[name].translation
        ]
        wrong += [
            f"{name} is completed without a translation"
            for name, text in zip(entries, found, strict=True)
            if text is None and self.statuses_at_end.get(name) == "completed"
        ]
        assert not wrong, f"I2: {len(wrong)} wrong outcomes: " + "\n".join(wrong[:10])

    def _check_observers(self) -> None:
        """I3: the changes are legal, and nobody was told what was not so."""
        wrong = illegal_changes(self.log) + untrue_sights(self.log, self.observer.sights) + self.observer.untrue
        assert not wrong, f"I3: {len(wrong)} untrue: " + "\n".join(wrong[:10])
        with self.http() as http:
            for name in self.rng.sample(sorted(self.statuses_at_end), min(_LOOKED_AT, len(self.statuses_at_end))):
                document = http.get(f"/messages/{name}").json()
                assert document["status"] == self.statuses_at_end[name], document

            # What was stored while its answer got lost is not among the acknowledged: it ends, too.
            live = ("queued", "running", "retrying")
            found = wait_until(
                lambda: self._counts_without(http, live),
                "I3: the statistics say that all have ended",
                60,
            )
            assert found is not None
        ended = Counter(self.statuses(list(self.ledger.entries)).values())
        beyond = {status: found[status] - ended[status] for status in ENDED}
        assert min(beyond.values()) >= 0, f"I3: the statistics say {found}, and {ended} have ended"
        assert sum(beyond.values()) <= _UNANSWERED, f"I3: {beyond} that nobody was told of"

    @staticmethod
    def _counts_without(http: httpx.Client, live: Sequence[str]) -> dict[str, int] | None:
        """What the statistics count, once there are none of these statuses."""
        counts: dict[str, int] = http.get("/queue/stats").json()["counts"]
        return None if any(counts[status] for status in live) else counts

    def _check_store(self) -> None:
        """I5: nothing is left in Redis but what lasts; what ended has a TTL, and no key of its own."""

        def left() -> list[str]:
            with self.broker.client(decode_responses=True) as client:
                keys: Any = client.scan_iter(count=5000)
                names = [name for name in keys if not _LASTING.fullmatch(name)]
                pipeline = client.pipeline(transaction=False)
                for name in names:
                    pipeline.ttl(name)
                times = pipeline.execute()
                assert set(client.info("keyspace")) == {"db0"}
            return [name for name, ttl in zip(names, times, strict=True) if ttl == -1]

        # Tokens published twice, or too late, are popped and dropped by the worker.
        wait_until(lambda: not left(), lambda: f"I5: no key without a TTL is left; there are {left()[:20]}", 60)
        with self.broker.client() as client:
            assert not client.keys("tq:sealed:*"), "I5: sealed keys of messages that have ended"

    def _check_secrets(self) -> None:
        """I4: neither key is anywhere."""
        places = Places()
        with self.broker.client() as client:
            if client.dbsize() < 20_000:
                look_into_redis(places, client)
        for path in ("/", "/workers", "/tasks", "/broker", "/metrics", "/api/tasks?limit=500", "/api/workers"):
            with self.stack.flower(follow_redirects=True) as flower:
                places.add("Flower", flower.get(path).text)
        for process in self.stack.processes().values():
            places.add("argv", " ".join(process.cmdline()))
        places.add("output", self.stack.driven.text)
        found = [place for place, data in places.found.items() if _SECRETS.search(data)]
        found += [str(path.relative_to(self.folder)) for path in self._files() if holds(path, _SECRETS)]
        found += ["MONITOR"] if self.monitor.found else []
        assert not found + self.leaks, f"I4: keys in {found}; {self.leaks[:10]}"
        assert self.monitor.lines, "MONITOR saw nothing"

    def _files(self) -> Iterator[Path]:
        return (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())

    def _check_end(self) -> None:
        """I5: a stack that is stopped leaves no process and no socket."""
        code = self.stack.stop()
        assert code == self.exit_code, f"I5: `tq up` ended with {code}:\n{self.stack.driven.text[-3000:]}"
        sockets = [path for path in self.stack.data.rglob("*") if path.is_socket()]
        assert not sockets, f"I5: sockets are left: {sockets}"


class Load(threading.Thread):
    """Someone who submits one message after the other, and asks again with the same id when it was not accepted.

    Attributes:
        ids: what was acknowledged.
        refused: how often each status other than 202 was the answer; 0 = none came.
        slowest: seconds of the slowest answer.
    """

    def __init__(self, stage: Stage, per_second: float, *, fault: str, words: str, again: bool) -> None:
        super().__init__(daemon=True, name="load")
        self._stage = stage
        self._pause = 1 / per_second
        self._rng = random.Random(stage.rng.random())
        self._fault = fault
        self._words = words
        self._again = again
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self.ids: list[str] = []
        self.refused: Counter[int] = Counter()
        self.slowest = 0.0

    def run(self) -> None:
        """Submit until stopped."""
        try:
            while not self._stopped.is_set():
                entry = self._stage.ledger.new(self._rng.randrange(11), self._fault, self._words)
                while not self._submit(entry) and self._again and not self._stopped.wait(0.2):
                    pass
                self._stopped.wait(self._pause)
        except BaseException as error:  # noqa: BLE001 - shown where the load is closed
            self._error = error

    def _submit(self, entry: Entry) -> bool:
        began = time.monotonic()
        try:
            with self._stage.http() as http:
                answer = http.post("/messages", json=self._stage.body(entry))
        except (httpx.TransportError, AssertionError):
            self.refused[0] += 1
            return False
        self.slowest = max(self.slowest, time.monotonic() - began)
        if answer.status_code != 202:
            self.refused[answer.status_code] += 1
            assert answer.status_code in {429, 503}, answer.text
            assert int(answer.headers["Retry-After"]) > 0
            return False
        self._stage.ledger.acknowledge(entry.message_id)
        self.ids.append(entry.message_id)
        return True

    def close(self) -> None:
        """Stop, and raise what went wrong."""
        self._stopped.set()
        self.join(60)
        if self._error is not None:
            raise self._error


class Monitor(threading.Thread):
    """What Redis is told, from MONITOR, searched for keys as it comes, through every outage."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(daemon=True, name="monitor")
        self._broker = broker
        self._stopped = threading.Event()
        self.lines = 0
        self.found = False
        self.start()

    def run(self) -> None:
        """Read on until stopped."""
        while not self._stopped.is_set():
            try:
                with self._broker.client(socket_timeout=1) as client:
                    connection = client.connection_pool.get_connection()
                    connection.send_command("MONITOR")
                    connection.read_response()
                    self._read(connection._sock)
                    connection.disconnect()
            except (*UNAVAILABLE, OSError, psutil.Error, AssertionError, ValueError):
                self._stopped.wait(0.05)

    def _read(self, connection: socket.socket) -> None:
        # What a chunk ends with may be the beginning of a key.
        rest, overlap = b"", 256
        while not self._stopped.is_set():
            try:
                data = connection.recv(2**20)
            except TimeoutError:
                continue
            if not data:
                return
            self.lines += data.count(b"\n")
            self.found = self.found or bool(_SECRETS.search(rest + data))
            rest = data[-overlap:]

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self.join(10)


def holds(path: Path, words: re.Pattern[bytes]) -> bool:
    """Whether a file, however large, holds one of the words."""
    overlap, rest = 256, b""
    with path.open("rb") as file:
        while data := file.read(2**22):
            if words.search(rest + data):
                return True
            rest = data[-overlap:]
    return False


#: Makes a stage for the settings given: ``with stage(TQ_LEASE="3") as s``.
MakeStage = Callable[..., Stage]
