"""A real catalogue through the whole of tq: Django's messages in, Django's French out, each exactly once."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from catalogue import django_catalogue
from llm_server import LlmServer
from running_stack import RunningStack
from servers import wait_until

from tq.protection import translatable

#: How many messages take each way in; a process of the command line costs a third of a second.
ARGUMENTS = 20
STDIN = 8
SINGLE = 130


@pytest.fixture
def provider() -> Iterator[LlmServer]:
    """A model that knows Django's French."""
    with LlmServer(django_catalogue()) as server:
        yield server


@pytest.fixture
def stack(provider: LlmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that translates with it."""
    settings = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "sk-default", "TQ_RETRY_BASE": "0.01"}
    with RunningStack(tmp_path_factory.mktemp("stack"), **settings) as stack:
        yield stack


def test_catalogue(stack: RunningStack, provider: LlmServer) -> None:
    """Every message, whatever its way in and its priority, completes once, with Django's translation."""
    gold = django_catalogue()
    texts = sorted(gold)
    priorities = {text: number % 11 for number, text in enumerate(texts)}
    with stack.http() as http:
        ids = submit(stack, http, texts, priorities)
        wait_until(lambda: counts(http)["completed"] == len(gold), "all have completed", 60)
        found = {text: http.get(f"/messages/{message_id}").json() for text, message_id in ids.items()}
        listed = list_all(http)
        assert counts(http) == {**dict.fromkeys(counts(http), 0), "completed": len(gold)}

    assert {text: message["translation"] for text, message in found.items()} == gold
    assert {text: message["priority"] for text, message in found.items()} == priorities
    assert {(message["status"], message["provider"], message["error"]) for message in found.values()} == {
        ("completed", "openai", None)
    }

    # Once: in the list, in the history of the store, and at the model, who is asked again only for
    # what it gave back as it was, and that is then said.
    assert {message["message_id"]: message for message in listed} == {
        each["message_id"]: each for each in found.values()
    }
    assert len(listed) == len(set(ids.values())) == len(gold)
    outcomes = stack.outcomes()
    assert {message_id: outcomes[message_id, "completed"] for message_id in ids.values()} == dict.fromkeys(
        ids.values(), 1
    )
    calls = Counter(provider.contents())
    assert {text: message["attempts"] for text, message in found.items()} == {
        text: calls[text.strip()] or 1 for text in gold
    }
    assert all(calls[text.strip()] or not translatable(text) for text in gold), "only what has no word costs no call"
    asked_twice = {text for text in gold if calls[text.strip()] > 1}
    assert asked_twice == {text for text, message in found.items() if message["warnings"] == ["same as source"]}
    assert asked_twice
    assert all(calls[text.strip()] == 2 and words(text) == words(gold[text]) for text in asked_twice)

    shown = stack.tq("status", "--json", *(ids[text] for text in texts[: ARGUMENTS + STDIN]))
    assert [json.loads(line) for line in shown.stdout.splitlines()] == [
        found[text] for text in texts[: ARGUMENTS + STDIN]
    ]
    rows = [json.loads(line) for line in stack.tq("list", "--json", "--limit", "1000").stdout.splitlines()]
    assert rows == listed


def submit(stack: RunningStack, http: httpx.Client, texts: Sequence[str], priorities: dict[str, int]) -> dict[str, str]:
    """Submit all, by the command line's argument and stdin, one by one over HTTP, and in a batch: text -> id."""

    def typed(text: str) -> str:
        done = stack.tq("submit", *options(text), "--", text)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def piped(text: str) -> str:
        done = stack.tq("submit", "-", *options(text), stdin=text)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def options(text: str) -> list[str]:
        return ["--from", "en", "--to", "fr", "--priority", str(priorities[text])]

    def body(text: str) -> dict[str, Any]:
        languages = {"source_language": "en", "target_language": "fr"}
        return {"content": text, "priority": priorities[text], "metadata": languages}

    def posted(text: str) -> str:
        answer = http.post("/messages", json=body(text))
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/messages/{answer.json()['message_id']}"
        return str(answer.json()["message_id"])

    pipes, posts, rest = ARGUMENTS, ARGUMENTS + STDIN, ARGUMENTS + STDIN + SINGLE
    with ThreadPoolExecutor(3) as pool:
        ids = dict(zip(texts[:pipes], pool.map(typed, texts[:pipes]), strict=True))
        ids |= dict(zip(texts[pipes:posts], pool.map(piped, texts[pipes:posts]), strict=True))
    ids |= {text: posted(text) for text in texts[posts:rest]}
    answer = http.post("/messages/batch", json={"messages": [body(text) for text in texts[rest:]]})
    assert answer.status_code == 202, answer.text
    results = answer.json()["results"]
    return ids | {text: item["message"]["message_id"] for text, item in zip(texts[rest:], results, strict=True)}


def counts(http: httpx.Client) -> dict[str, int]:
    """How many messages are in each status."""
    found: dict[str, int] = http.get("/queue/stats").json()["counts"]
    return found


def list_all(http: httpx.Client) -> list[dict[str, Any]]:
    """All pages of the list."""
    messages: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = http.get("/messages", params={"limit": "100", **cursor}).json()
        messages += page["messages"]
        if page["next_cursor"] is None:
            return messages
        cursor = {"cursor": page["next_cursor"]}


def words(text: str) -> list[str]:
    """The words of at least three letters, in lower case."""
    return re.findall(r"[^\W\d_]{3,}", text.casefold())
