"""The HTTP API over a real server: every route, its answers, and that nothing it refuses is stored."""

from __future__ import annotations

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import CANARY, Api
from prometheus_client.parser import text_string_to_metric_families
from servers import Process, Valkey, wait_until

from tq import __version__

SUBMISSION: dict[str, Any] = {
    "content": "Hello",
    "model_name": "gpt-4",
    "api_key": CANARY,
    "priority": 10,
    "metadata": {"source_language": "en", "target_language": "fr", "domain": "general", "mine": [1, None, {"a": 0.5}]},
}
DOCUMENT = [
    "message_id", "status", "queue", "priority", "content", "model_name", "metadata", "provider", "translation",
    "error", "warnings", "attempts", "created_at", "started_at", "finished_at", "next_retry_at", "usage",
    "cost", "cached", "detected_language", "cache", "fallback_models", "parameters", "callback",
]  # fmt: skip


def submit(http: httpx.Client, **changes: Any) -> dict[str, Any]:
    """The document of a message that is accepted."""
    response = http.post("/messages", json={"content": "Hello"} | changes)
    assert response.status_code == 202, response.text
    document: dict[str, Any] = response.json()
    return document


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem document of an answer, which must be of this status and type."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    document: dict[str, Any] = response.json()
    assert document["type"] == f"urn:tq:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["instance"].startswith("/")
    assert set(document) <= {"type", "title", "status", "detail", "instance", "fix", "errors"}
    return document


def kept(http: httpx.Client) -> int:
    """How many messages the store has."""
    return sum(http.get("/queue/stats").json()["counts"].values())


# -- what answers ----------------------------------------------------------------------------------


def test_the_root_says_what_answers(http: httpx.Client) -> None:
    """GET / names the version, the broker's state, and that pseudo output is not a translation."""
    answer = http.get("/").json()
    assert answer["status"] == "ok"
    assert answer["version"] == __version__
    assert answer["broker"] == "connected"
    assert answer["provider"] == "pseudo"
    assert "not a translation" in answer["note"]


def test_health_and_readiness_follow_a_worker(http: httpx.Client, api_valkey: Valkey) -> None:
    """The process is live at once, and ready as long as a worker is."""
    assert http.get("/health").json() == {"status": "ok", "version": __version__}
    response = http.get("/ready")
    assert response.status_code == 503
    assert response.json()["status"] == "not ready"
    assert "worker" in response.json()["reasons"][0]

    folder = api_valkey.folder
    environment = os.environ | {"TQ_DATA_DIR": str(folder), "HOME": str(folder), "TQ_PROVIDER": "pseudo"}
    argv = [sys.executable, "-m", "celery", "-A", "tq", "worker", "-n", "ready@test", "--pool=solo"]
    with Process(argv, log=folder / "worker.log", env=environment, cwd=folder) as worker:
        wait_until(lambda: http.get("/ready").status_code == 200, "the API is ready")
        assert http.get("/ready").json() == {"status": "ready", "reasons": [], "paused": []}
        (info,) = http.get("/queue/stats").json()["workers"]
        assert (info["version"], info["provider"]) == (__version__, "pseudo")
        assert metrics(http)["tq_workers"] == {(): 1}
        worker.terminate()
    wait_until(lambda: http.get("/ready").status_code == 503, "the API is not ready without its worker")


def metrics(http: httpx.Client) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The samples of GET /metrics: name -> sorted labels -> value."""
    response = http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        family.name: {tuple(sorted(sample.labels.items())): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(response.text)
    }


def test_metrics_count_what_there_is(http: httpx.Client) -> None:
    """Prometheus reads depths, statuses and the longest wait."""
    submit(http, priority=7)
    submit(http, priority=7)
    cancelled = submit(http, priority=2)
    http.post(f"/messages/{cancelled['message_id']}/cancel")
    found = metrics(http)
    assert found["tq_queued_messages"][("priority", "7"), ("queue", "high_priority")] == 2
    assert found["tq_queued_messages"][("priority", "2"), ("queue", "default")] == 0
    assert found["tq_messages"][(("status", "queued"),)] == 2
    assert found["tq_messages"][(("status", "cancelled"),)] == 1
    assert found["tq_workers"] == {(): 0}
    assert found["tq_info"] == {(("provider", "pseudo"), ("version", __version__)): 1}


# -- submit ----------------------------------------------------------------------------------------


def test_a_submitted_message_is_answered_and_found(http: httpx.Client) -> None:
    """202 with the whole document, a Location that answers the same, and never the key."""
    response = http.post("/messages", json=SUBMISSION)
    document = response.json()
    assert response.status_code == 202
    assert list(document) == DOCUMENT
    assert response.headers["location"] == f"/messages/{document['message_id']}"
    assert http.get(response.headers["location"]).json() == document
    assert (document["status"], document["queue"], document["priority"]) == ("queued", "high_priority", 10)
    assert (document["content"], document["model_name"]) == ("Hello", "gpt-4")
    assert document["metadata"] == SUBMISSION["metadata"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", document["created_at"])
    for path in ("/messages", "/messages/next", "/queue/stats"):
        assert http.get(path).status_code == 200


def test_only_content_is_required(http: httpx.Client) -> None:
    """The rest has defaults: priority 0, an id, the default model and target language."""
    document = submit(http)
    assert (document["priority"], document["queue"]) == (0, "default")
    assert document["metadata"] == {"target_language": "en"}
    assert document["message_id"]
    assert document["model_name"] is None  # the worker that takes it decides


@pytest.mark.parametrize(("priority", "queue"), [(4, "default"), (5, "high_priority")])
def test_the_queue_follows_from_the_priority(http: httpx.Client, priority: int, queue: str) -> None:
    """From 5 up it is high_priority."""
    assert submit(http, priority=priority)["queue"] == queue


def test_the_same_id_with_the_same_body_is_the_same_message(http: httpx.Client) -> None:
    """A repeated submit answers the message that is there; another body under its id is a conflict."""
    body = SUBMISSION | {"message_id": "mine:1"}
    first, again = (http.post("/messages", json=body) for _ in range(2))
    assert again.status_code == 202
    assert again.json() == first.json()
    others: list[dict[str, Any]] = [{"content": "Bye"}, {"priority": 9}, {"api_key": "sk-other"}, {"metadata": {}}]
    for changes in others:
        response = http.post("/messages", json=body | changes)
        assert "mine:1" in problem(response, 409, "duplicate-message")["detail"]
    assert kept(http) == 1


def test_an_idempotency_key_makes_one_message(http: httpx.Client) -> None:
    """Twenty posts at once with one key are one message; another body under the key is a conflict."""
    headers = {"Idempotency-Key": "order 66"}
    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda _: http.post("/messages", json=SUBMISSION, headers=headers), range(20)))
    assert {response.status_code for response in responses} == {202}
    assert len({response.json()["message_id"] for response in responses}) == 1
    conflict = http.post("/messages", json=SUBMISSION | {"content": "Bye"}, headers=headers)
    problem(conflict, 409, "idempotency-conflict")
    assert kept(http) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "caf\xe9"])
def test_a_bad_idempotency_key_is_refused(http: httpx.Client, key: str) -> None:
    """It must be 1 to 255 printable ASCII characters."""
    response = http.post("/messages", json=SUBMISSION, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    problem(response, 422, "invalid-message")
    assert kept(http) == 0


def test_a_batch_answers_each_item_in_order(http: httpx.Client) -> None:
    """What is good is accepted, what is not says why, and neither disturbs the other."""
    items = [{"content": "a", "message_id": "a"}, {"content": " "}, 5, {"content": "b", "message_id": "a"}, SUBMISSION]
    response = http.post("/messages/batch", json={"messages": items})
    assert response.status_code == 202
    first, blank, number, duplicate, last = response.json()["results"]
    assert first["message"]["message_id"] == "a"
    assert list(last["message"]) == DOCUMENT
    assert blank["error"]["errors"][0]["field"] == "content"
    assert (blank["error"]["status"], number["error"]["status"]) == (422, 422)
    assert blank["error"]["instance"] == "/messages/batch#/messages/1"
    assert (duplicate["error"]["status"], duplicate["error"]["type"]) == (409, "urn:tq:problem:duplicate-message")
    assert kept(http) == 2


def test_a_batch_in_several_languages(http: httpx.Client) -> None:
    """Each item once for each language, in that order; what cannot be is refused by itself, with its item's index."""
    items = [
        {"content": "Hello", "metadata": {"domain": "general"}},
        {"content": "Own", "metadata": {"target_language": "es"}},
        {"content": "Id", "message_id": "mine"},
        {"content": "", "metadata": {}},
        {"content": "Last"},
    ]
    body = {"messages": items, "target_languages": ["fr", "ja"]}
    results = http.post("/messages/batch", json=body).json()["results"]
    assert len(results) == 10
    accepted = [result["message"] for result in (*results[:2], *results[8:])]
    assert [(each["content"], each["metadata"]["target_language"]) for each in accepted] == [
        ("Hello", "fr"),
        ("Hello", "ja"),
        ("Last", "fr"),
        ("Last", "ja"),
    ]
    assert accepted[0]["metadata"]["domain"] == "general"
    refused = [result["error"] for result in results[2:8]]
    assert [each["instance"] for each in refused] == [f"/messages/batch#/messages/{n}" for n in (1, 1, 2, 2, 3, 3)]
    assert "target_language of its own" in refused[0]["title"] + refused[0]["detail"]
    one = {"messages": [items[2]], "target_languages": ["fr"]}
    assert http.post("/messages/batch", json=one).json()["results"][0]["message"]["message_id"] == "mine"


@pytest.mark.parametrize("languages", [["fr", "xx-nonsense"], ["fr", "fr"], "fr", [None], ["fr", "de", "ja", "es"]])
def test_languages_of_a_batch_that_cannot_be(http: httpx.Client, languages: Any) -> None:
    """An unknown one, one twice, no list, or more than a thousand messages in all: nothing is submitted."""
    body = {"messages": [{"content": "Hello"}] * 300, "target_languages": languages}
    problem(http.post("/messages/batch", json=body), 422, "invalid-message")
    assert http.get("/queue/stats").json()["counts"]["queued"] == 0


def test_a_batch_takes_a_thousand(http: httpx.Client) -> None:
    """1,000 messages at once are all accepted, in order; one more is refused as a whole."""
    items = [{"content": "x", "message_id": f"m{number}"} for number in range(1001)]
    response = http.post("/messages/batch", json={"messages": items[:1000]})
    assert [item["message"]["message_id"] for item in response.json()["results"]] == [f"m{n}" for n in range(1000)]
    problem(http.post("/messages/batch", json={"messages": items}), 422, "invalid-message")
    assert kept(http) == 1000


@pytest.mark.parametrize("body", [{"messages": []}, {"messages": {}}, {}, [], {"messages": [1], "more": 1}])
def test_a_malformed_batch_is_refused_as_a_whole(http: httpx.Client, body: Any) -> None:
    """It needs a list of 1 to 1,000 messages and nothing else."""
    problem(http.post("/messages/batch", json=body), 422, "invalid-message")


# -- look ------------------------------------------------------------------------------------------


def test_messages_are_listed_newest_first_in_pages(http: httpx.Client) -> None:
    """The cursor leads through all pages, each message once, also when new ones arrive meanwhile."""
    for number in range(5):
        submit(http, message_id=f"m{number}")
    first = http.get("/messages", params={"limit": 2}).json()
    submit(http, message_id="newer")
    second = http.get("/messages", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    third = http.get("/messages", params={"limit": 2, "cursor": second["next_cursor"]}).json()
    pages = [[message["message_id"] for message in page["messages"]] for page in (first, second, third)]
    assert pages == [["m4", "m3"], ["m2", "m1"], ["m0"]]
    assert third["next_cursor"] is None


def test_messages_are_listed_by_status(http: httpx.Client) -> None:
    """Only those of the status asked for."""
    submit(http, message_id="a")
    submit(http, message_id="b")
    http.post("/messages/a/cancel")
    found = http.get("/messages", params={"status": "cancelled"}).json()["messages"]
    assert [message["message_id"] for message in found] == ["a"]
    assert http.get("/messages", params={"status": "failed"}).json() == {"messages": [], "next_cursor": None}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "status=pending", "cursor=x", "cursor=-1", f"cursor={'9' * 5000}"]
)
def test_a_bad_page_is_refused(http: httpx.Client, query: str) -> None:
    """Limit, status and cursor are checked."""
    problem(http.get(f"/messages?{query}"), 422, "invalid-message")


def test_the_next_message_is_shown_untouched(http: httpx.Client) -> None:
    """The most urgent first, across both queues; asking changes nothing; 204 when nothing waits."""
    assert http.get("/messages/next").status_code == 204
    for priority in (3, 9, 5):
        submit(http, message_id=f"p{priority}", priority=priority)
    for _ in range(2):
        assert http.get("/messages/next").json()["message_id"] == "p9"
    assert http.get("/messages/p9").json()["status"] == "queued"


def test_stats_count_by_queue_priority_and_status(http: httpx.Client) -> None:
    """Depths, waits and counts are those of the messages there are."""
    for priority in (9, 9, 1):
        submit(http, priority=priority)
    submit(http, message_id="run")
    http.post("/messages/run/status", json={"status": "running"})
    stats = http.get("/queue/stats").json()
    assert stats["queues"] == {"high_priority": 2, "default": 1, "quarantine": 0}
    assert [(depth["queue"], depth["priority"], depth["queued"]) for depth in stats["priorities"]] == [
        ("high_priority", 9, 2),
        ("default", 1, 1),
    ]
    assert stats["counts"] | {"queued": 3, "running": 1} == stats["counts"]
    assert (stats["running"], stats["retries_pending"], stats["workers"]) == (1, 0, [])
    assert stats["oldest_wait"] > 0
    assert set(stats["throughput"]) == {"attempts", "completed", "failed", "cancelled"}
    assert stats["spend"]["total"] == {
        "account": "total", "messages": 0, "prompt_tokens": 0, "completion_tokens": 0, "unpriced_tokens": 0,
        "known_cost": 0, "cost": 0,
    }  # fmt: skip
    assert (stats["spend"]["accounts"], stats["spend"]["currency"], stats["spend"]["budget"]) == ([], None, None)
    assert stats["rates"] == []


def test_what_was_said_about_a_text_comes_back(http: httpx.Client) -> None:
    """Options are part of the document as they were given, and of what makes two submissions the same."""
    options = {"cache": False, "fallback_models": ["a", "b"], "parameters": {"temperature": 0.5, "seed": 7}}
    metadata = {
        "target_language": "fr",
        "context": "A button\nof a shop",
        "formality": "formal",
        "instructions": "short",
        "glossary": {"button": "bouton"},
    }
    document = submit(http, message_id="m", metadata=metadata, **options)
    assert {name: document[name] for name in options} == options
    assert document["metadata"] == metadata
    assert http.get("/messages/m").json() == document
    assert submit(http, message_id="m", metadata=metadata, **options) == document
    body = {"content": "Hello", "message_id": "m", "metadata": metadata, **options, "cache": True}
    problem(http.post("/messages", json=body), 409, "duplicate-message")


# -- change ----------------------------------------------------------------------------------------


def test_process_takes_the_next_message(http: httpx.Client) -> None:
    """It is translated within the request, says that pseudo output is no translation, and 204 follows."""
    submit(http, message_id="low", priority=1)
    submit(http, message_id="high", priority=8)
    document = http.post("/messages/process").json()
    assert (document["message_id"], document["status"], document["provider"]) == ("high", "completed", "pseudo")
    assert document["translation"] not in {"", "Hello", None}
    assert any("not a translation" in warning for warning in document["warnings"])
    assert document["attempts"] == 1
    assert http.get("/messages/high").json() == document
    assert http.post("/messages/process", json={}).json()["message_id"] == "low"
    assert http.post("/messages/process").status_code == 204


def test_process_takes_the_message_named(http: httpx.Client) -> None:
    """One that is not queued is a conflict, one that does not exist is not found."""
    submit(http, message_id="low", priority=1)
    submit(http, message_id="high", priority=8)
    assert http.post("/messages/process", json={"message_id": "low"}).json()["status"] == "completed"
    problem(http.post("/messages/process", json={"message_id": "low"}), 409, "illegal-transition")
    for name in ("none", "", "a/b"):
        problem(http.post("/messages/process", json={"message_id": name}), 404, "unknown-message")
    assert http.get("/messages/high").json()["status"] == "queued"


def test_a_program_outside_may_translate(http: httpx.Client) -> None:
    """queued, running, completed: with times, attempt and translation."""
    submit(http, message_id="a")
    running = http.post("/messages/a/status", json={"status": "running"}).json()
    assert (running["status"], running["attempts"]) == ("running", 1)
    assert running["started_at"]
    done = http.post("/messages/a/status", json={"status": "completed", "translation": "Bonjour"}).json()
    assert (done["status"], done["translation"]) == ("completed", "Bonjour")
    assert done["finished_at"]
    assert http.get("/messages/a").json() == done


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("no luck", {"type": "reported", "message": "no luck", "retryable": False}),
        (
            {"type": "my-kind", "message": "no luck", "retryable": True},
            {"type": "my-kind", "message": "no luck", "retryable": True},
        ),
    ],
)
@pytest.mark.parametrize("status", ["failed", "retrying"])
def test_a_program_outside_may_report_a_failure(http: httpx.Client, status: str, error: Any, expected: Any) -> None:
    """As a sentence or as an error record."""
    submit(http, message_id="a")
    http.post("/messages/a/status", json={"status": "running"})
    document = http.post("/messages/a/status", json={"status": status, "error": error}).json()
    assert (document["status"], document["error"]) == (status, expected | {"violations": []})
    assert bool(document["next_retry_at"]) == (status == "retrying")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "done"},
        {"status": 1},
        {"status": "completed"},
        {"status": "completed", "translation": ""},
        {"status": "completed", "translation": 5},
        {"status": "completed", "translation": "a\u0000"},
        {"status": "running", "translation": "x"},
        {"status": "running", "error": "x"},
        {"status": "failed", "error": ""},
        {"status": "failed", "error": 5},
        {"status": "failed", "error": {"type": "x"}},
        {"status": "failed", "error": {"message": "x", "type": "no spaces"}},
        {"status": "failed", "error": "x" * 2001},
        {"status": "failed", "other": 1},
        [],
        "failed",
    ],
)
def test_a_bad_status_body_changes_nothing(http: httpx.Client, body: Any) -> None:
    """It is refused with what is wrong, and the message stays as it was."""
    submit(http, message_id="a")
    before = http.post("/messages/a/status", json={"status": "running"}).json()
    problem(http.post("/messages/a/status", json=body), 422, "invalid-message")
    assert http.get("/messages/a").json() == before


#: How to bring a message into a status, and which the state machine then refuses.
ILLEGAL = {
    "queued": ([], ["queued", "retrying", "completed", "failed"]),
    "running": (["running"], ["running"]),
    "retrying": (["running", "retrying"], ["running", "retrying", "completed", "failed"]),
    "completed": (["running", "completed"], ["queued", "running", "retrying", "completed", "failed", "cancelled"]),
    "failed": (["running", "failed"], ["running", "retrying", "completed", "failed", "cancelled"]),
    "cancelled": (["cancelled"], ["running", "retrying", "completed", "failed", "cancelled"]),
}


@pytest.mark.parametrize("status", ILLEGAL)
def test_illegal_transitions_are_conflicts(http: httpx.Client, status: str) -> None:
    """Every way that the state machine does not have is a 409, and changes nothing."""

    def move(wanted: str) -> httpx.Response:
        extra = {"translation": "x"} if wanted == "completed" else {}
        return http.post("/messages/a/status", json={"status": wanted} | extra)

    way, refused = ILLEGAL[status]
    submit(http, message_id="a")
    for step in way:
        assert move(step).status_code == 200
    before = http.get("/messages/a").json()
    assert before["status"] == status
    for wanted in refused:
        detail = problem(move(wanted), 409, "illegal-transition")["detail"]
        assert status in detail
        assert wanted in detail
    assert http.get("/messages/a").json() == before


def test_cancel_ends_a_message_that_waits(http: httpx.Client) -> None:
    """It is cancelled once, and never comes up again."""
    submit(http, message_id="a")
    document = http.post("/messages/a/cancel").json()
    assert document["status"] == "cancelled"
    assert document["finished_at"]
    problem(http.post("/messages/a/cancel"), 409, "illegal-transition")
    assert http.get("/messages/next").status_code == 204


def test_retry_revives_a_message(http: httpx.Client) -> None:
    """A cancelled message is queued again; one that is queued cannot be."""
    submit(http, message_id="a")
    problem(http.post("/messages/a/retry"), 409, "illegal-transition")
    http.post("/messages/a/cancel")
    document = http.post("/messages/a/retry").json()
    assert (document["status"], document["finished_at"]) == ("queued", None)
    assert http.post("/messages/process").json()["status"] == "completed"


def test_retry_asks_again_for_a_key_that_is_gone(http: httpx.Client) -> None:
    """A message that came with its own key needs one, and a bad one is not repeated in the answer."""
    http.post("/messages", json=SUBMISSION | {"message_id": "a"})
    http.post("/messages/a/cancel")
    for body in (None, {}, {"api_key": None}):
        problem(http.post("/messages/a/retry", json=body), 409, "missing-key")
    problem(http.post("/messages/a/status", json={"status": "queued"}), 409, "missing-key")
    for key in ("", f"{CANARY} with spaces", 5):
        problem(http.post("/messages/a/retry", json={"api_key": key}), 422, "invalid-message")
    assert http.post("/messages/a/retry", json={"api_key": CANARY}).json()["status"] == "queued"


@pytest.mark.parametrize("verb", ["", "/cancel", "/retry", "/status"])
@pytest.mark.parametrize("name", ["none", "%00", "%ff%fe", "%E2%82%AC", "..%2e", "%zz", "%", "a" * 10_000, "%F0%9F"])
def test_an_unknown_id_is_not_found(http: httpx.Client, verb: str, name: str) -> None:
    """Whatever stands where the id should: 404, never "pending" and never a defect."""
    body = {"status": "running"} if verb == "/status" else None
    path = f"/messages/{name}{verb}"
    url = httpx.URL(str(http.base_url)).copy_with(raw_path=path.encode())
    document = problem(http.request("POST" if verb else "GET", url, json=body), 404, "unknown-message")
    assert len(document["detail"]) < 500
    assert len(document["instance"]) < 500


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nope", 404, "not-found"),
        ("POST", "/messages/a/nope", 404, "not-found"),
        ("GET", "/messages/", 404, "not-found"),
        ("GET", "/messages/a%2Fb", 404, "not-found"),
        ("GET", "//", 404, "not-found"),
        ("GET", "/static/nope.js", 404, "not-found"),
        ("GET", "/static/..%2f..%2fserver.py", 404, "not-found"),
        ("PUT", "/messages", 405, "method-not-allowed"),
        ("DELETE", "/messages/a", 405, "method-not-allowed"),
        ("POST", "/", 405, "method-not-allowed"),
        ("POST", "/docs", 405, "method-not-allowed"),
        ("GET", "/messages/a/cancel", 405, "method-not-allowed"),
    ],
)
def test_what_there_is_not_is_a_problem_too(http: httpx.Client, method: str, path: str, status: int, slug: str) -> None:
    """Unknown paths and methods answer in the same form; 405 names the methods there are."""
    response = http.request(method, httpx.URL(str(http.base_url)).copy_with(raw_path=path.encode()))
    problem(response, status, slug)
    assert ("allow" in response.headers) == (status == 405)


def test_all_methods_of_a_path_are_allowed(http: httpx.Client) -> None:
    """Also when several routes share it."""
    assert http.put("/messages").headers["allow"] == "GET, POST"
    assert http.put("/messages/a").headers["allow"] == "GET"
    assert http.put("/messages/batch").headers["allow"] == "POST"


# -- documentation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_needs_no_other_host(http: httpx.Client, path: str) -> None:
    """Whatever the pages load is of this server, and the browser is told to load nothing else."""
    page = http.get(path)
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r"""(?:src|href|spec-url|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
    assert "/openapi.json" in loaded
    assert len(loaded) >= 3
    for target in loaded:
        assert target.startswith("/")
        assert not target.startswith("//")
        assert http.get(target).status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy


# -- the process -----------------------------------------------------------------------------------


def test_uvicorn_runs_the_app(tmp_path: Path, valkey: Valkey, environment: dict[str, str]) -> None:
    """``uvicorn tq.server:app`` is the same API, and SIGTERM ends it promptly."""
    assert valkey.folder == tmp_path
    argv = [sys.executable, "-m", "uvicorn", "tq.server:app", "--port", "{port}"]
    with Api(tmp_path, environment, argv=argv) as api, api.client() as http:
        assert submit(http)["status"] == "queued"
        api.process.terminate(timeout=10)


#: An API with a route that fails, as no route of tq's does.
DEFECTIVE = """
import sys
import uvicorn
from tq.server import create_app
from tq.settings import get_settings

async def boom():
    raise ValueError(" ".join(["the", "text", "of", "a", "message"]))

app = create_app(get_settings())
app.add_api_route("/boom", boom)
uvicorn.run(app, port=int(sys.argv[1]))
"""


def test_a_defect_says_nothing_about_itself(tmp_path: Path, valkey: Valkey, environment: dict[str, str]) -> None:
    """500 without details; the log names the class and the place, but not the exception's text."""
    script = valkey.folder / "defective.py"
    script.write_text(DEFECTIVE)
    with Api(tmp_path, environment, argv=[sys.executable, str(script), "{port}"]) as api, api.client() as http:
        document = problem(http.get("/boom"), 500, "internal")
        assert "ValueError" not in str(document)
        assert "unexpected ValueError while answering /boom" in api.process.output
        assert "in boom" in api.process.output
        assert "the text of a message" not in api.process.output
        assert http.get("/health").status_code == 200
