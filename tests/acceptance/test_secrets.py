"""Keys and texts stay where they belong, through a run with successes and every kind of failure.

A key may be in the environment of API and worker, and on its way to the provider: nowhere else, live or
afterwards. A message's text may be in Redis besides, and in what tq answers about that message.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from llm_server import LlmServer
from places import Places, look_into_redis
from running_stack import RunningStack
from servers import wait_until

OWN = "sk-canary-own-7d1f0c52"
DEFAULT = "sk-canary-default-93ab6e"
#: What the stand-in says in the body of an error besides the key.
PROVIDERS_WORDS = "canary body"
#: The first word of each text.
TEXT = "Zyzzyva"
#: Put into Redis in Base64, to see that it would be found.
CONTROL = "sk-control-5e2a77"

SLOTS = 9
FAULTS = {
    "good": "",
    "later-good": "503x1",
    "slow-good": "timeoutx1",
    "wrong-key": "401",
    "bad-request": "400",
    "forbidden": "403",
    "no-model": "404",
    "no-money": "quota",
    "rate-limit": "429=1x1",
    "down": "500",
    "down-then-fine": "500x4",
    "reset": "reset",
    "reset-once": "reset-earlyx1",
    "cut": "cutx1",
    "truncated": "length",
    "refusal": "refusal",
    "echo": "echo",
    "empty": "empty",
    "surrogate": "surrogate",
    "html": "garbage",
    "half-json": "bad-json",
    "no-choices": "no-choices",
    "embedded-error": "embedded",
}


class Monitor(threading.Thread):
    """What Redis is told, from MONITOR, until its connection ends."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self.seen = b""
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(path)
        self._connection.sendall(b"MONITOR\r\n")
        self.start()

    def run(self) -> None:
        """Read on."""
        with self._connection:
            while data := self._connection.recv(2**20):
                self.seen += data

    def events(self) -> bytes:
        """The events of Celery among it."""
        return b"\n".join(line for line in self.seen.splitlines() if b'"PUBLISH"' in line)


@pytest.fixture
def stack(provider: LlmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack with few slots and little patience."""
    settings = {
        "OPENAI_BASE_URL": provider.base_url,
        "OPENAI_API_KEY": DEFAULT,
        "TQ_CONCURRENCY": str(SLOTS + 1),  # of which one is kept for urgent messages
        "TQ_MAX_RETRIES": "3",
        "TQ_RETRY_BASE": "0.01",
        "TQ_REQUEST_TIMEOUT": "3",
        "TQ_LEASE": "3",
    }
    with RunningStack(tmp_path_factory.mktemp("stack"), **settings) as stack:
        yield stack


def test_keys_and_texts(stack: RunningStack, provider: LlmServer) -> None:
    """Neither key is anywhere, nor is a text where it does not belong; the same search does find ids."""
    answers = Places()
    monitor = Monitor(str(stack.data / "valkey.sock"))
    stack.wait_for_flower()
    with stack.http(event_hooks={"response": [lambda answer: answers.add("http", whole(answer))]}) as http:
        ids = fail_in_every_way(http, stack)
        late = hold_some(http, provider)
        with stack.redis() as client:
            client.set("control", base64.b64encode(f"? {CONTROL} ?".encode()))
        live = look(stack, http, monitor, answers)
        assert statuses(http) >= {"queued", "running", "retrying", "completed", "failed", "cancelled"}
        check(live, ids["down"])
        assert live.holding(CONTROL) == {"redis", "monitor", "aof"}
        end_all(http, provider, late)
        with stack.redis() as client:
            assert not client.keys("tq:sealed:*")
        after = look(stack, http, monitor, answers)
        look_at_commands(after, stack, ids)
        check(after, ids["down"])

    assert stack.stop() == 0
    stopped = Places()
    look_at_files(stopped, stack)
    check(stopped, ids["down"])
    assert {call.key for call in provider.calls} == {OWN, DEFAULT}


def check(places: Places, message_id: str) -> None:
    """No secret at any place, no text where none belongs; a known id at each place that tells of messages."""
    assert {word: places.holding(word) for word in (OWN, DEFAULT, PROVIDERS_WORDS)} == {
        word: set() for word in (OWN, DEFAULT, PROVIDERS_WORDS)
    }
    where_text_belongs = {"redis", "monitor", "aof", "http", "commands"} & places.found.keys()
    assert places.holding(TEXT) == where_text_belongs
    assert places.holding(message_id) == places.found.keys() - {"argv", "files"}
    assert places.holding("unixsocket") >= places.found.keys() & {"argv"}


# -- a run -------------------------------------------------------------------------------------------


def body(name: str, fault: str, key: str | None, priority: int = 0) -> dict[str, Any]:
    """A message to submit, whose text says what is to go wrong; with a model, hence limits, of its own."""
    text = f"{TEXT} {name}" + (f" @@fault:{fault}@@" if fault else "")
    languages = {"source_language": "en", "target_language": "fr"}
    own = {"api_key": key} if key else {}
    return {
        "content": text,
        "message_id": f"id-{name}",
        "model_name": name,
        "priority": priority,
        "metadata": languages,
        **own,
    }


def fail_in_every_way(http: httpx.Client, stack: RunningStack) -> dict[str, str]:
    """Messages that end in every way, half of them with a key of their own; name -> id.

    Then what a caller can do wrong with a key, and retries with a key.
    """
    bodies = [body(name, fault, OWN if index % 2 else None) for index, (name, fault) in enumerate(FAULTS.items())]
    bodies += [body(f"{name}-again", FAULTS[name], OWN) for name in ("wrong-key", "bad-request", "down-then-fine")]
    for each in bodies:
        assert http.post("/messages", json=each).status_code == 202

    duplicate = bodies[-1] | {"content": "other"}
    wrong = [{"content": "", "api_key": OWN}, {"content": "a", "api_key": f"{OWN} "}, {"content": "a", "key": OWN}]
    assert http.post("/messages", json=duplicate).status_code == 409
    assert [http.post("/messages", json=each).status_code for each in wrong] == [422] * 3
    half, kind = f'{{"api_key": "{OWN}", ', {"Content-Type": "application/json"}
    assert http.post("/messages", content=half).status_code == 415
    assert http.post("/messages", content=half, headers=kind).status_code == 400
    assert http.post("/messages/batch", json={"messages": [*wrong, duplicate]}).status_code == 202
    assert http.get(f"/messages/{'x' * 200}").status_code == 404

    wait_until(lambda: not statuses(http) & {"queued", "running", "retrying"}, "all have ended", 60)
    assert http.post("/messages/id-down-then-fine-again/retry").status_code == 409
    assert http.post("/messages/id-down-then-fine-again/retry", json={"api_key": OWN}).status_code == 200
    done = stack.tq("retry", "id-wrong-key-again", "--ask-key", stdin=f"{OWN}\n")
    assert done.returncode == 0, done.stderr
    assert OWN not in done.stdout + done.stderr
    found = {each["message_id"]: each["status"] for each in ended(http)}
    assert found["id-down-then-fine-again"] == "completed"
    assert found["id-wrong-key-again"] == "failed"
    assert {found["id-good"], found["id-slow-good"], found["id-reset-once"]} == {"completed"}
    assert {found["id-down"], found["id-truncated"], found["id-reset"]} == {"failed"}
    return {name: f"id-{name}" for name in FAULTS}


def hold_some(http: httpx.Client, provider: LlmServer) -> list[str]:
    """Messages that run, wait and retry until ``end_all``, and some that are cancelled while they do."""
    late = [body(f"late-{number}", "429=600", OWN) for number in range(3)]
    for each in late:
        http.post("/messages", json=each)
    wait_until(lambda: len(ended(http, "retrying")) == len(late), "they are to be retried late")
    provider.hold()
    running = [body(f"held-{number}", "", OWN if number % 2 else None) for number in range(SLOTS)]
    waiting = [body(f"waiting-{number}", "", OWN) for number in range(3)]
    for each in (*running, *waiting):
        http.post("/messages", json=each)
    wait_until(lambda: provider.held >= SLOTS, "all slots are taken")
    for each in (late[0], waiting[0], running[0]):
        assert http.post(f"/messages/{each['message_id']}/cancel").status_code == 200
    return [each["message_id"] for each in late[1:]]


def end_all(http: httpx.Client, provider: LlmServer, late: list[str]) -> None:
    """Let everything end."""
    for message_id in late:
        http.post(f"/messages/{message_id}/cancel")
    provider.release()
    wait_until(lambda: not statuses(http) & {"queued", "running", "retrying"}, "all have ended", 60)


def ended(http: httpx.Client, status: str | None = None) -> list[dict[str, Any]]:
    """The messages, of one status or once none is on its way."""
    if status is None:
        wait_until(lambda: not statuses(http) & {"queued", "running", "retrying"}, "all have ended", 60)
    parameters = {"limit": "200"} | ({"status": status} if status else {})
    messages: list[dict[str, Any]] = http.get("/messages", params=parameters).json()["messages"]
    return messages


def statuses(http: httpx.Client) -> set[str]:
    """The statuses that some message has."""
    return {name for name, count in http.get("/queue/stats").json()["counts"].items() if count}


# -- where to look -----------------------------------------------------------------------------------


def look(stack: RunningStack, http: httpx.Client, monitor: Monitor, answers: Places) -> Places:
    """Everything there is to be seen of a running stack."""
    places = Places()
    with stack.redis() as client:
        assert look_into_redis(places, client) >= {b"string", b"hash", b"zset", b"stream"}
        assert set(client.info("keyspace")) == {"db0"}
    look_at_flower(places, stack)
    look_at_api(http)
    places.found |= answers.found
    for process in stack.processes().values():
        places.add("argv", " ".join(process.cmdline()))
    places.add("monitor", monitor.seen)
    places.add("events", monitor.events())
    look_at_files(places, stack)
    return places


def look_at_flower(places: Places, stack: RunningStack) -> None:
    """Its pages and its API, for every task that it knows."""
    table = {"draw": "1", "start": "0", "length": "1000", "order[0][column]": "0", "columns[0][data]": "uuid"}
    with stack.flower(follow_redirects=True) as flower:
        tasks = wait_until(lambda: flower.get("/api/tasks").json(), "Flower has seen tasks")
        workers = flower.get("/api/workers", params={"refresh": "1"}).json()
        paths = ["/", "/workers", "/tasks", "/broker", "/metrics", "/api/workers", "/api/tasks", "/api/task/types"]
        paths += [f"/worker/{name}" for name in workers] + ["/api/queues/length", "/healthcheck"]
        paths += [f"{path}/{task}" for task in tasks for path in ("/task", "/api/task/info")]
        for path in paths:
            answer = flower.get(path)
            assert answer.status_code == 200, path
            places.add("flower", answer.text)
        places.add("flower", flower.get("/tasks/datatable", params=table).text)
        places.add("flower", flower.get("/api/task/result/id-down").text)


def look_at_api(http: httpx.Client) -> None:
    """Whatever it can be asked; the answers are kept by the client's hook."""
    for path in ("/", "/health", "/ready", "/metrics", "/queue/stats", "/messages/next", "/openapi.json", "/docs"):
        http.get(path)
    for message in ended(http, "failed") + ended(http, "cancelled") + ended(http, "retrying"):
        assert http.get(f"/messages/{message['message_id']}").json()["message_id"] == message["message_id"]
    http.get("/messages", params={"limit": "200"})


def look_at_files(places: Places, stack: RunningStack) -> None:
    """What the stack printed, and every file of its home, data dir and temporary directory."""
    places.add("output", stack.driven.text)
    for path in stack.folder.rglob("*"):
        if path.is_file() and not path.is_socket():
            within = {stack.data / "valkey": "aof", stack.data / "logs": "logs"}
            place = next((name for folder, name in within.items() if path.is_relative_to(folder)), "files")
            places.add(place, f"{path.name} ".encode() + path.read_bytes())


def look_at_commands(places: Places, stack: RunningStack, ids: dict[str, str]) -> None:
    """What the command line shows."""
    lines = [["status", "--json", *ids.values()], ["list", "--limit", "1000"], ["logs"], ["config"], ["doctor"]]
    for line in lines:
        done = stack.tq(*line)
        places.add("commands", done.stdout + done.stderr)


def whole(answer: httpx.Response) -> str:
    """An answer with its headers."""
    answer.read()
    return json.dumps(dict(answer.headers)) + answer.text
