"""The API when something stands in the way: no token, no Redis, a wrong password, no room."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import CANARY, Api
from servers import Valkey, wait_until

from tq.errors import StackError
from tq.server import serve
from tq.settings import Settings

ROUTES = [
    ("GET", "/messages"),
    ("POST", "/messages"),
    ("POST", "/messages/batch"),
    ("GET", "/messages/next"),
    ("POST", "/messages/process"),
    ("GET", "/messages/a"),
    ("POST", "/messages/a/status"),
    ("POST", "/messages/a/cancel"),
    ("POST", "/messages/a/retry"),
    ("GET", "/queue/stats"),
    ("GET", "/queue/history"),
    ("GET", "/events"),
    ("GET", "/metrics"),
]
#: Routes that answer without Redis.
OTHERS = [("GET", "/ready"), ("GET", "/docs"), ("GET", "/redoc"), ("GET", "/openapi.json"), ("GET", "/nope")]
BODIES: dict[str, Any] = {
    "/messages": {"content": "Hello", "api_key": CANARY},
    "/messages/batch": {"messages": [{"content": "Hello"}]},
    "/messages/a/status": {"status": "running"},
}


def ask(http: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    """A request that a route would accept if nothing stood in the way."""
    return http.request(method, path, json=BODIES.get(path) if method == "POST" else None, **options)


def expect(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem document, of this status and type."""
    assert response.status_code == status, response.text
    document: dict[str, Any] = response.json()
    assert document["type"] == f"urn:tq:problem:{slug}"
    assert CANARY not in response.text
    return document


# -- tokens ----------------------------------------------------------------------------------------

TOKENS = ("first-token-1a", "second-token-2b")


@pytest.fixture(scope="module")
def guarded(api_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory, api: Api) -> Iterator[Api]:
    """A second API on the same Valkey: two tokens, room for two messages of 100 bytes."""
    folder = tmp_path_factory.mktemp("guarded")
    environment = api.environment | {
        "TQ_DATA_DIR": str(folder),
        "TQ_REDIS_URL": api_valkey.url,
        "TQ_API_TOKEN": ", ".join(TOKENS),
        "TQ_MAX_QUEUED": "2",
        "TQ_MAX_CONTENT": "100",
    }
    with Api(folder, environment) as server:
        yield server
        assert not any(token in server.process.output for token in TOKENS)


@pytest.mark.parametrize(("method", "path"), [*ROUTES, *OTHERS], ids=lambda value: value)
def test_without_the_token_nothing_is_answered(guarded: Api, http: httpx.Client, method: str, path: str) -> None:
    """401 on every route but the two open ones, whatever is sent instead of the token; nothing is stored."""
    bad = [None, "", "Bearer", "Bearer first", f"Bearer {TOKENS[0]}x", f"Basic {TOKENS[0]}", TOKENS[0]]
    with guarded.client() as client:
        for value in bad:
            headers = {} if value is None else {"Authorization": value}
            response = ask(client, method, path, headers=headers)
            assert response.headers["www-authenticate"] == "Bearer"
            assert "TQ_API_TOKEN" in expect(response, 401, "unauthorised")["fix"]
            assert not any(token in response.text for token in TOKENS)
    assert http.get("/messages").json()["messages"] == []


@pytest.mark.parametrize("token", TOKENS)
def test_each_token_opens_the_api(guarded: Api, http: httpx.Client, token: str) -> None:
    """Either of them; the scheme's case does not matter (RFC 9110, 11.1)."""
    assert http.get("/health").status_code == 200
    for scheme in ("Bearer", "bearer"):
        with guarded.client(headers={"Authorization": f"{scheme} {token}"}) as client:
            assert client.get("/queue/stats").status_code == 200
            assert client.get("/docs").status_code == 200


def test_two_tokens_at_once_are_none(guarded: Api) -> None:
    """Two Authorization headers say nothing certain."""
    headers = [("Authorization", f"Bearer {token}") for token in TOKENS]
    with guarded.client() as client:
        expect(client.get("/queue/stats", headers=headers), 401, "unauthorised")


@pytest.mark.parametrize("path", ["/", "/health"])
def test_two_paths_are_open(guarded: Api, path: str) -> None:
    """Whether something answers here may be asked without a token."""
    with guarded.client() as client:
        assert client.get(path).json()["status"] == "ok"


def test_the_documentation_says_that_a_token_is_wanted(guarded: Api) -> None:
    """OpenAPI declares the scheme and the 401 on every operation but the open ones."""
    with guarded.client(headers={"Authorization": f"Bearer {TOKENS[0]}"}) as client:
        document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path not in {"/", "/health"})
            assert ("401" in operation["responses"]) == (path not in {"/", "/health"})


# -- room ------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_more(guarded: Api, http: httpx.Client) -> None:
    """TQ_MAX_QUEUED: 503 with Retry-After, alone and in a batch; what waits is not touched."""
    assert http.get("/health").status_code == 200
    with guarded.client(headers={"Authorization": f"Bearer {TOKENS[0]}"}) as client:
        items = [{"content": "x", "message_id": f"m{number}"} for number in range(3)]
        first, second, third = client.post("/messages/batch", json={"messages": items}).json()["results"]
        assert (first["message"]["status"], second["message"]["status"]) == ("queued", "queued")
        assert third["error"]["type"] == "urn:tq:problem:queue-full"
        response = client.post("/messages", json={"content": "x"})
        expect(response, 503, "queue-full")
        assert int(response.headers["retry-after"]) > 0
        assert client.get("/queue/stats").json()["counts"]["queued"] == 2
        # What is there already is answered all the same.
        assert client.post("/messages", json=items[0]).status_code == 202


def test_content_is_measured_against_the_setting(guarded: Api, http: httpx.Client) -> None:
    """TQ_MAX_CONTENT, in bytes of UTF-8, alone and in a batch."""
    assert http.get("/health").status_code == 200
    with guarded.client(headers={"Authorization": f"Bearer {TOKENS[0]}"}) as client:
        assert client.post("/messages", json={"content": "é" * 50}).status_code == 202
        detail = expect(client.post("/messages", json={"content": "é" * 51}), 413, "content-too-large")["detail"]
        assert "102 bytes" in detail
        batch = client.post("/messages/batch", json={"messages": [{"content": "é" * 51}]})
        assert batch.json()["results"][0]["error"]["status"] == 413


def test_a_full_redis_refuses_more(http: httpx.Client, api_valkey: Valkey) -> None:
    """At its maxmemory: 503 with Retry-After, nothing stored; afterwards all is well."""
    with api_valkey.client() as redis:
        redis.config_set("maxmemory", 1)
        try:
            response = http.post("/messages", json=BODIES["/messages"])
            expect(response, 503, "store-full")
            assert int(response.headers["retry-after"]) > 0
        finally:
            redis.config_set("maxmemory", 0)
    assert http.get("/messages").json()["messages"] == []
    assert http.post("/messages", json=BODIES["/messages"]).status_code == 202


# -- Redis -----------------------------------------------------------------------------------------


def test_without_redis_every_answer_says_so(tmp_path: Path, valkey: Valkey, environment: dict[str, str]) -> None:
    """Stopped: 503 with Retry-After within seconds, on each route; started again: all is well."""
    with Api(tmp_path, environment) as api, api.client() as http:
        assert http.post("/messages", json={"content": "x", "message_id": "a"}).status_code == 202
        valkey.stop()
        for method, path in ROUTES:
            began = time.monotonic()
            response = ask(http, method, path)
            assert time.monotonic() - began < 10
            if path == "/messages/batch":
                assert response.json()["results"][0]["error"]["type"] == "urn:tq:problem:unreachable"
            else:
                assert "cannot be reached" in expect(response, 503, "unreachable")["detail"]
                assert int(response.headers["retry-after"]) > 0
        assert http.get("/").json()["broker"].startswith("unreachable: Redis at unix://")
        assert http.get("/health").status_code == 200
        assert "cannot be reached" in http.get("/ready").json()["reasons"][0]
        valkey.start()
        assert http.get("/messages/a").json()["status"] == "queued"
        assert http.get("/").json()["broker"] == "connected"
        assert http.post("/messages/a/cancel").status_code == 200


def test_a_redis_that_hangs_is_not_waited_for(tmp_path: Path, valkey: Valkey, environment: dict[str, str]) -> None:
    """Stopped by SIGSTOP it accepts connections and never answers: 503 within 10 s all the same."""
    with Api(tmp_path, environment) as api, api.client() as http:
        assert http.get("/queue/stats").status_code == 200
        valkey.pause()
        try:
            began = time.monotonic()
            expect(http.get("/queue/stats"), 503, "unreachable")
            assert time.monotonic() - began < 10
        finally:
            valkey.resume()
        wait_until(lambda: http.get("/queue/stats").status_code == 200, "Redis answers again")


@pytest.mark.parametrize("broker", ["redis+socket:///nowhere/redis.sock", "amqp://user:not-to-be-shown@127.0.0.1:1//"])
def test_messages_are_stored_while_the_broker_is_gone(
    tmp_path: Path, valkey: Valkey, environment: dict[str, str], broker: str
) -> None:
    """With a broker besides the store, its absence is said, but refuses nothing: the reaper publishes later."""
    assert valkey.folder == tmp_path
    with Api(tmp_path, environment | {"TQ_BROKER_URL": broker}) as api, api.client() as http:
        assert http.post("/messages", json={"content": "x"}).status_code == 202
        assert "TQ_BROKER_URL" in http.get("/").json()["broker"]
        assert "TQ_BROKER_URL" in http.get("/ready").json()["reasons"][0]
        assert "not-to-be-shown" not in http.get("/").text + api.process.output
        api.process.terminate(timeout=15)
        assert "Traceback" not in api.process.output


def test_a_wrong_password_is_said_and_not_shown(tmp_path: Path, environment: dict[str, str]) -> None:
    """503 without Retry-After, for waiting does not help; neither password is in an answer or the log."""
    with Valkey(tmp_path, password="the-right-one") as valkey:
        settings = {"TQ_REDIS_URL": valkey.url_with("the-wrong-one")}
        with Api(tmp_path, environment | settings) as api, api.client() as http:
            response = http.post("/messages", json=BODIES["/messages"])
            assert "REDIS_PASSWORD" in expect(response, 503, "store-refused")["fix"]
            assert "retry-after" not in response.headers
            texts = [response.text, http.get("/").text, http.get("/ready").text, api.process.output]
            assert "the password, or the user, is wrong" in texts[1]
            for text in texts:
                assert "the-right-one" not in text
                assert "the-wrong-one" not in text
        with Api(tmp_path, environment | {"TQ_REDIS_URL": valkey.url}) as api, api.client() as http:
            assert http.post("/messages", json={"content": "x"}).status_code == 202


def test_serving_on_a_port_in_use_is_refused(api: Api) -> None:
    """The second server on a port says who is in its way and what to do."""
    with pytest.raises(StackError, match=f"port {api.port} is in use") as caught:
        serve(Settings(api_port=api.port))
    assert "TQ_API_PORT" in caught.value.fix
