"""What /metrics says while a real worker meets a provider that fails: each failure shows as what it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx
import pytest
from api_server import Api
from cli_driver import TQ, bare_environment
from llm_server import LlmServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families
from servers import Process, Valkey, wait_until

Labels = frozenset[tuple[str, str]]
Found = dict[str, dict[Labels, float]]


@pytest.fixture(scope="module")
def llm() -> Iterator[LlmServer]:
    """The provider."""
    with LlmServer() as server:
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, llm: LlmServer) -> Iterator[httpx.Client]:
    """An API and a worker on that provider; a client of the API."""
    folder = tmp_path_factory.mktemp("metrics")
    environment = bare_environment(folder) | {
        "TQ_DATA_DIR": str(folder),
        "OPENAI_BASE_URL": llm.base_url,
        "OPENAI_API_KEY": "sk-x",
        "TQ_REQUEST_TIMEOUT": "1",
        "TQ_RETRY_BASE": "0.05",
        "TQ_MAX_RETRIES": "1",
        "TQ_MEMORY_TTL": "0",
        "TQ_BATCH_MAX_ITEMS": "1",
    }
    with (
        Valkey(folder),
        Api(folder, environment) as api,
        Process([*TQ, "worker"], log=folder / "worker.log", env=environment, cwd=folder),
        api.client() as http,
    ):
        wait_until(lambda: scrape(http)["tq_workers"][frozenset()] == 1, "the worker is listed", timeout=60)
        yield http


def scrape(http: httpx.Client, accept: str = "text/plain") -> Found:
    """Name of a sample -> labels -> value."""
    answer = http.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    is_open = answer.headers["content-type"].startswith("application/openmetrics-text")
    assert is_open == ("openmetrics" in accept)
    parse: Callable[[str], Iterable[Any]] = open_metrics_families if is_open else text_string_to_metric_families
    found: Found = {}
    for family in parse(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def attempts(found: Found, outcome: str, reason: str = "") -> float:
    """How many attempts ended so."""
    return found["tq_attempts_total"][frozenset({("outcome", outcome), ("reason", reason)})]


def translate(http: httpx.Client, text: str) -> str:
    """Submit, and wait for its end; the status."""
    message_id = http.post("/messages", json={"content": text, "priority": 9}).json()["message_id"]

    def ended() -> str | None:
        message = http.get(f"/messages/{message_id}").json()
        return message["status"] if message["finished_at"] else None

    return wait_until(ended, f"{text!r} has ended", timeout=60) or ""


@pytest.mark.parametrize(
    ("fault", "status", "reason", "retries", "calls"),
    [
        ("", "completed", "", 0, 1),
        ("@@fault:401@@", "failed", "invalid-key", 0, 0),
        ("@@fault:500@@", "failed", "provider-failure", 1, 0),
        ("@@fault:timeout@@", "failed", "provider-timeout", 1, 2),
        ("@@fault:refusal@@", "failed", "refusal", 0, 1),
    ],
)
def test_each_failure_is_counted_as_what_it_was(
    stack: httpx.Client, fault: str, status: str, reason: str, retries: int, calls: int
) -> None:
    """One attempt more of that outcome and reason, its retries, and the calls that took their time."""
    before = scrape(stack)
    assert translate(stack, f"Good morning to {fault or 'all'}") == status
    after = scrape(stack)
    assert attempts(after, status, reason) - attempts(before, status, reason) == 1
    if reason:
        assert attempts(after, "retried", reason) - attempts(before, "retried", reason) == retries
    for name, grown in (
        ("tq_submitted_total", 1),
        ("tq_provider_call_seconds_count", calls),
        ("tq_lease_expiries_total", 0),
    ):
        assert after[name][frozenset()] - before[name][frozenset()] == grown, name
    ended = frozenset({("status", status)})
    assert after["tq_ended_messages_total"][ended] - before["tq_ended_messages_total"][ended] == 1
    if fault == "@@fault:timeout@@":
        took = after["tq_provider_call_seconds_sum"][frozenset()] - before["tq_provider_call_seconds_sum"][frozenset()]
        assert took > 1.9


def test_a_429_starts_a_cool_down(stack: httpx.Client) -> None:
    """The refusal is counted, and while nothing is sent the seconds that are left are shown."""
    before = scrape(stack)
    text = "Good evening @@fault:429=3x1@@"
    message_id = stack.post("/messages", json={"content": text, "priority": 9}).json()["message_id"]
    cool = wait_until(
        lambda: [each for each in scrape(stack).get("tq_provider_cool_down_seconds", {}).items() if each[1] > 0],
        "the cool-down is shown",
        timeout=20,
    )
    ((labels, seconds),) = cool
    assert seconds <= 3
    assert {name for name, _ in labels} == {"host", "key", "model"}
    wait_until(
        lambda: stack.get(f"/messages/{message_id}").json()["status"] == "completed", "it is completed", timeout=60
    )
    after = scrape(stack)
    grown = after["tq_provider_refusals_total"][frozenset()] - before["tq_provider_refusals_total"][frozenset()]
    assert grown == 1
    assert attempts(after, "retried", "rate-limited") - attempts(before, "retried", "rate-limited") == 1


def test_a_message_that_is_put_off_is_unfinished(stack: httpx.Client) -> None:
    """Nothing waits while its retry is not due, and yet it is seen how long it has been on its way, until it ends."""
    queue = frozenset({("queue", "high_priority")})
    body = {"content": "Hello @@fault:429=600@@", "priority": 9, "model_name": "put-off", "message_id": "put-off"}
    stack.post("/messages", json=body).raise_for_status()
    wait_until(lambda: stack.get("/messages/put-off").json()["status"] == "retrying", "it is put off", timeout=60)
    first = scrape(stack)
    assert set(first["tq_oldest_wait_seconds"].values()) == {0}
    wait_until(
        lambda: scrape(stack)["tq_oldest_unfinished_seconds"][queue] > first["tq_oldest_unfinished_seconds"][queue] > 0,
        "it gets older",
    )
    assert stack.get("/queue/stats").json()["oldest_unfinished_by_queue"]["default"] == 0
    stack.post("/messages/put-off/cancel").raise_for_status()
    assert scrape(stack)["tq_oldest_unfinished_seconds"][queue] == 0


def test_callers_cannot_make_series(stack: httpx.Client) -> None:
    """Any number of invented models, and of keys, are one series each way; those of the default key stay."""
    ids = [f"invented-{number}" for number in range(30)]
    for name in ids:
        key = {"api_key": f"sk-{name}"} if name.endswith("5") else {}
        body = {"content": f"Hello {name}", "priority": 9, "model_name": name, "message_id": name, **key}
        stack.post("/messages", json=body).raise_for_status()

    def ended() -> bool:
        found = stack.post("/messages/lookup", json={"message_ids": ids}).json()["messages"]
        return all(message["finished_at"] for message in found)

    wait_until(ended, "all have ended", timeout=60)
    found = scrape(stack)
    for name, series in found.items():
        if name.startswith("tq_provider_"):
            places = {tuple(dict(labels).get(part) for part in ("key", "model")) for labels in series}
            assert places <= {
                (None, None), ("default", "gpt-5.4-mini"), ("default", "other"), ("other", "other")
            }, name  # fmt: skip
    sent = {dict(labels)["model"]: value for labels, value in found["tq_provider_requests_total"].items()}
    assert sent["gpt-5.4-mini"] > 0
    assert sum(found["tq_provider_requests_total"].values()) >= len(ids)
    assert ("default", "gpt-5.4-mini") in {
        (dict(labels)["key"], dict(labels)["model"]) for labels in found["tq_provider_cool_down_seconds"]
    }


def test_both_formats_have_the_same_names(stack: httpx.Client) -> None:
    """OpenMetrics is what Prometheus asks for; it has every sample that the text format has."""
    media = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
    assert {name: set(of) for name, of in scrape(stack, media).items()} == {
        name: set(of) for name, of in scrape(stack).items()
    }


def test_the_process_is_the_one_that_answers(stack: httpx.Client) -> None:
    """An open event stream is counted while it is open."""
    with stack.stream("GET", "/events") as events:
        lines = events.iter_lines()
        next(lines)
        assert scrape(stack)["tq_event_streams"][frozenset()] == 1
    wait_until(lambda: scrape(stack)["tq_event_streams"][frozenset()] == 0, "the stream is closed")
    found = scrape(stack)
    assert found["process_start_time_seconds"][frozenset()] > 1.6e9
    assert found["process_resident_memory_bytes"][frozenset()] > 1e6
