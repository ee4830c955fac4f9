"""Nothing is paid for twice: thousands of short texts, a limited provider, and a text as long as a book."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from limited import LimitPolicy
from llm_server import LlmServer, shared_texts
from running_stack import RunningStack
from servers import wait_until

from tq.segments import split

MESSAGES = 5_000
#: Of these, so many are no repetition.
UNIQUE = 3_000
ITEMS = 20
WORDS = [
    "red",
    "blue",
    "green",
    "large",
    "small",
    "open",
    "closed",
    "early",
    "late",
    "quick",
    "slow",
    "north",
    "south",
    "full",
    "empty",
]
MOTS = [
    "rouge",
    "bleu",
    "vert",
    "grand",
    "petit",
    "ouvert",
    "fermé",
    "tôt",
    "tard",
    "rapide",
    "lent",
    "nord",
    "sud",
    "plein",
    "vide",
]


def short_pairs(count: int) -> dict[str, str]:
    """Short texts, no two alike, with their translations."""
    pairs = {}
    for number in range(count):
        first, second, third = number % 15, number // 15 % 15, number // 225
        source = f"The {WORDS[first]} house number {third} is {WORDS[second]}."
        pairs[source] = f"La maison numéro {third}, qui est {MOTS[first]}, est {MOTS[second]}."
    return pairs


@pytest.fixture
def texts() -> list[str]:
    """5,000 texts, 40% of them repetitions, in an order that a printed seed decides."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    chance = random.Random(seed)
    unique = list(short_pairs(UNIQUE))
    chosen = unique + chance.choices(unique, k=MESSAGES - UNIQUE)
    chance.shuffle(chosen)
    return chosen


@pytest.fixture
def provider() -> Iterator[LlmServer]:
    """A model that knows the short texts, and takes half a second for a call."""
    with LlmServer(short_pairs(UNIQUE)) as server:
        server.latency = 0.5
        yield server


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short name, for sockets."""
    return tmp_path_factory.mktemp("s")


def settings_for(provider: LlmServer, **settings: str) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": provider.base_url,
        "OPENAI_API_KEY": "sk-default",
        "TQ_BATCH_MAX_ITEMS": str(ITEMS),
        "TQ_MEMORY_TTL": "1d",
    } | settings


def submit_all(http: httpx.Client, texts: list[str]) -> dict[str, str]:
    """Submit; returns id -> text."""
    ids: dict[str, str] = {}
    for start in range(0, len(texts), 500):
        items = [
            {"content": text, "metadata": {"source_language": "en", "target_language": "fr"}}
            for text in texts[start : start + 500]
        ]
        answer = http.post("/messages/batch", json={"messages": items})
        assert answer.status_code == 202, answer.text
        ids |= {
            item["message"]["message_id"]: text
            for item, text in zip(answer.json()["results"], texts[start : start + 500], strict=True)
        }
    return ids


def counts(http: httpx.Client) -> dict[str, int]:
    answer: dict[str, int] = http.get("/queue/stats").json()["counts"]
    return answer


def ended(http: httpx.Client, message_id: str) -> dict[str, Any]:
    """The message once it has ended."""
    found: dict[str, Any] = {}

    def is_so() -> bool:
        nonlocal found
        found = http.get(f"/messages/{message_id}").json()
        return found["status"] in {"completed", "failed"}

    wait_until(is_so, "it has ended", 180)
    return found


def documents(http: httpx.Client) -> Iterator[dict[str, Any]]:
    """All messages."""
    cursor = None
    while True:
        page = http.get("/messages", params={"limit": 200} | ({"cursor": cursor} if cursor else {})).json()
        yield from page["messages"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def test_short_texts_share_calls(folder: Path, provider: LlmServer, texts: list[str]) -> None:
    """5,000 short messages, 40% of them repetitions, cost 5,000 × 0.6 / 20 calls, with the right results."""
    # All wait at the same time, and a machine that is busy elsewhere does not end the wait for company.
    with RunningStack(folder, **settings_for(provider, TQ_BATCH_WAIT="30")) as stack, stack.http() as http:
        worker = stack.service("worker")
        worker.suspend()
        ids = submit_all(http, texts)
        worker.resume()
        wait_until(lambda: counts(http)["completed"] == MESSAGES, lambda: f"all have completed: {counts(http)}", 240)
        gold = short_pairs(UNIQUE)
        found = {document["message_id"]: document for document in documents(http)}
        assert {name: found[name]["translation"] for name in ids} == {name: gold[text] for name, text in ids.items()}
        sizes = Counter(len(shared_texts(call.content) or {}) for call in provider.calls)
        print(f"{len(provider.calls)} calls, of so many texts: {dict(sizes)}")  # noqa: T201 - shown with a failure
        asked = Counter(provider.contents())
        assert max(asked.values()) == 1, "no text is asked for twice"
        assert len(provider.calls) <= UNIQUE / ITEMS
        assert sum(document["cached"] for document in found.values()) == MESSAGES - UNIQUE
        tokens = sum((document["usage"] or {"prompt_tokens": 0})["prompt_tokens"] for document in found.values())
        assert tokens == sum((len(call.system) + len(call.content)) // 4 + 1 for call in provider.calls)


@pytest.mark.alone
@pytest.mark.parametrize("told", ["headers", "settings"])
def test_limited_provider(folder: Path, provider: LlmServer, told: str) -> None:
    """At 600 requests a minute, work takes at most 1.2 times the ideal time, and fewer than 1% of calls get a 429."""
    provider.latency = 0.05
    per_minute, calls = 600, 300
    # Two seconds' worth at once: a machine that is held up lets calls arrive later than they are let go.
    provider.limit = LimitPolicy(requests=per_minute, burst=20, headers=told == "headers")
    settings = settings_for(provider, TQ_BATCH_MAX_ITEMS="1", TQ_MEMORY_TTL="0")
    if told == "settings":
        settings["TQ_RATE_REQUESTS"] = str(per_minute)
    with RunningStack(folder, **settings) as stack, stack.http() as http:
        began = time.monotonic()
        submit_all(http, list(short_pairs(calls)))
        wait_until(lambda: counts(http)["completed"] == calls, lambda: f"all have completed: {counts(http)}", 120)
        seconds = time.monotonic() - began
        refused = provider.limit.refused
        ideal = calls / per_minute * 60
        print(f"{seconds:.1f} s for {calls} calls, ideal {ideal:.0f} s, {refused} refused")  # noqa: T201 - shown with a failure
        # Two seconds more, for a machine that is held up: idle it takes 30.7 s.
        assert seconds <= 1.2 * ideal + 2
        assert refused < 0.01 * len(provider.calls)


def test_long_text_after_a_crash(folder: Path, provider: LlmServer) -> None:
    """200 pages, and a worker that is killed half way: only what was in flight is asked for again."""
    pages = 200
    pairs = list(short_pairs(UNIQUE).items())
    paragraphs = [" ".join(source for source, _ in pairs[n * 15 : n * 15 + 15]) for n in range(pages)]
    translated = [" ".join(target for _, target in pairs[n * 15 : n * 15 + 15]) for n in range(pages)]
    provider.know(dict(zip(paragraphs, translated, strict=True)))
    provider.by_paragraph = True
    provider.latency = 0.2
    parallel = 4
    settings = settings_for(
        provider, TQ_LEASE="3", TQ_SEGMENT_TOKENS="600", TQ_SEGMENT_PARALLEL=str(parallel), TQ_RETRY_BASE="0.01"
    )
    text = "\n\n".join(paragraphs)
    with RunningStack(folder, **settings) as stack, stack.http() as http:
        body = {"content": text, "metadata": {"source_language": "en", "target_language": "fr"}}
        message_id = http.post("/messages", json=body).json()["message_id"]
        wait_until(lambda: len(provider.calls) > 20, "it is under way", 60)
        stack.service("worker").kill()
        document = ended(http, message_id)
        assert document["status"] == "completed", document["error"]
        assert document["translation"] == "\n\n".join(translated)
        repeated = sum(times - 1 for times in Counter(provider.contents()).values())
        print(f"{len(provider.calls)} calls, {repeated} repeated")  # noqa: T201 - shown with a failure
        assert repeated <= parallel
        assert document["attempts"] == 2
        with stack.redis() as redis:
            assert not list(redis.scan_iter("tq:parts:*"))


def test_long_text_through_random_cuts(folder: Path, provider: LlmServer) -> None:
    """An endpoint that cuts off any answer beyond a few hundred characters still gets a long text done."""
    pairs = list(short_pairs(UNIQUE).items())
    paragraphs, translated = [source for source, _ in pairs[:400]], [target for _, target in pairs[:400]]
    provider.by_paragraph = True
    provider.latency = 0.01
    provider.longest = 400
    with RunningStack(folder, **settings_for(provider, TQ_SEGMENT_TOKENS="400")) as stack, stack.http() as http:
        body = {"content": "\n\n".join(paragraphs), "metadata": {"source_language": "en", "target_language": "fr"}}
        message_id = http.post("/messages", json=body).json()["message_id"]
        document = ended(http, message_id)
        assert document["status"] == "completed", document["error"]
        assert document["translation"] == "\n\n".join(translated)
        assert re.search("numéro", document["translation"])


def test_long_text_cut_off_at_random(folder: Path, provider: LlmServer) -> None:
    """200 pages, and one answer in three is cut off at a random place: complete, and at a bounded cost."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown with a failure
    sources, targets = (list(texts) for texts in zip(*short_pairs(UNIQUE).items(), strict=True))
    provider.by_paragraph = True
    provider.latency = 0.02
    provider.cutting = random.Random(seed)
    with RunningStack(folder, **settings_for(provider, TQ_SEGMENT_TOKENS="600")) as stack, stack.http() as http:
        body = {"content": "\n\n".join(sources), "metadata": {"source_language": "en", "target_language": "fr"}}
        message_id = http.post("/messages", json=body).json()["message_id"]
        document = ended(http, message_id)
    assert document["status"] == "completed", document["error"]
    assert document["translation"] == "\n\n".join(targets)
    asked = Counter((call.system, call.content) for call in provider.calls)
    pieces = len(split(document["content"], 600, "en"))
    print(f"{len(provider.calls)} calls, {provider.cut} cut off, {pieces} pieces")  # noqa: T201 - as above
    assert provider.cut > 0.1 * len(provider.calls)
    # Where every third call is followed by two, and so on, there are three for each piece; more by chance.
    assert len(provider.calls) <= 8 * pieces
    assert max(asked.values()) == 1, "nothing is asked for twice in the same way"
    assert document["attempts"] == 1
