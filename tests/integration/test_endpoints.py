"""Where a request goes, and how much comes back: the settings decide, and nothing that a message or an answer says."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from cli_driver import TQ, Cli
from llm_faults import fake_translation
from llm_server import LlmServer
from servers import Process, Valkey, wait_until

from tq import errors
from tq.errors import AttemptError
from tq.local import LocalClient
from tq.messages import Message, Status, parse_submission
from tq.providers import Job
from tq.settings import Settings
from tq.tasks import process_message
from tq.translation import Translation, Translator

KEY = "sk-canary-e41c"
DEFAULT_KEY = "sk-default"
MIB = 2**20


@pytest.fixture
def elsewhere() -> Iterator[LlmServer]:
    """A second stand-in, which nothing may reach."""
    with LlmServer() as server:
        yield server
        assert (server.accepted, server.calls) == (0, []), "a request went elsewhere"


@pytest.fixture
def live(valkey: Valkey, provider: LlmServer, environment: dict[str, str], tmp_path: Path) -> Iterator[Process]:
    """A worker that translates with the first stand-in."""
    assert valkey.socket.exists()
    settings = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": DEFAULT_KEY, "TQ_MAX_RETRIES": "0"}
    argv, log = [*TQ, "worker"], tmp_path / "worker.log"
    with (
        Process(argv, log=log, env=environment | settings, cwd=tmp_path) as process,
        LocalClient(Settings(data_dir=tmp_path)) as client,
    ):
        wait_until(lambda: client.stats().workers, "the worker is listed")
        yield process


def ask(provider: LlmServer, content: str, *, api_key: str | None = KEY) -> Translation:
    """What becomes of one text at the stand-in, without a worker around it."""
    settings = Settings.model_validate(
        {"openai_base_url": provider.base_url, "openai_api_key": DEFAULT_KEY, "segment_tokens": 100_000}
    )
    job = Job(content, "fr", source_language="en", domain=None, model="gpt-x", api_key=api_key)

    async def main() -> Translation:
        translator = Translator(settings)
        try:
            return await translator.translate(job)
        finally:
            await translator.aclose()

    return asyncio.run(main())


def failure(provider: LlmServer, content: str, **options: Any) -> AttemptError:
    """How it fails."""
    with pytest.raises(AttemptError) as caught:
        ask(provider, content, **options)
    return caught.value


def submit(local: LocalClient, content: str, **fields: Any) -> str:
    """Submit a text into French; its id."""
    fields.setdefault("metadata", {"target_language": "fr"})
    return local.submit(parse_submission({"content": content, **fields})).message_id


# -- what a message says -----------------------------------------------------------------------------

ADDRESSES = [
    "base_url",
    "api_base",
    "endpoint",
    "url",
    "host",
    "proxy",
    "organization",
    "project",
    "headers",
    "provider",
]


@pytest.mark.parametrize("field", ADDRESSES)
@pytest.mark.parametrize("path", ["/messages", "/messages/batch"])
def test_no_field_for_an_address(http: httpx.Client, elsewhere: LlmServer, field: str, path: str) -> None:
    """A field that would choose where the request goes is refused by name, and nothing is stored."""
    body: dict[str, Any] = {"content": "Hello", field: elsewhere.base_url}
    if path == "/messages":
        answer = http.post(path, json=body)
        assert answer.status_code == 422
        refused = answer.json()
    else:
        (result,) = http.post(path, json={"messages": [body]}).json()["results"]
        refused = result["error"]
    assert [error["field"] for error in refused["errors"]] == [field]
    assert http.get("/messages").json()["messages"] == []


@pytest.mark.parametrize("field", ADDRESSES)
def test_no_key_for_an_address(field: str) -> None:
    """A task that is sent as a dictionary takes no such key either."""
    with pytest.raises(errors.InvalidMessage) as caught:
        process_message.apply_async(args=[{"content": "Hello", field: "http://127.0.0.1:9/v1"}])
    assert [error["field"] for error in caught.value.errors] == [field]


def test_metadata_is_inert(live: Process, local: LocalClient, provider: LlmServer, elsewhere: LlmServer) -> None:
    """Addresses in metadata are stored, returned and ignored, whether the message has a key of its own or not."""
    metadata = dict.fromkeys(ADDRESSES, elsewhere.base_url) | {
        "target_language": "fr",
        "domain": elsewhere.base_url,
        "OPENAI_BASE_URL": elsewhere.base_url,
        "extra_headers": {"Host": "other", "OpenAI-Organization": "org-other", "X-Canary": "1"},
        "extra_query": {"api-version": "1"},
        "extra_body": {"base_url": elsewhere.base_url},
    }
    ids = [submit(local, f"Hello {n}", metadata=metadata, api_key=key) for n, key in enumerate([None, KEY])]
    done = [local.wait(message_id, 30) for message_id in ids]
    assert [(each.status, each.metadata) for each in done] == [(Status.COMPLETED, metadata)] * 2, live.output
    assert sorted(call.key for call in provider.calls) == sorted([DEFAULT_KEY, KEY])
    for call in provider.calls:
        assert call.headers["host"] == f"127.0.0.1:{provider.port}"
        assert not {"openai-organization", "x-canary"} & call.headers.keys()


def test_query_and_headers_are_inert(http: httpx.Client, elsewhere: LlmServer) -> None:
    """Nor do the query and the headers of a submit choose anything."""
    headers = {"OpenAI-Organization": "org-other", "X-Base-Url": elsewhere.base_url, "X-Forwarded-Host": "other"}
    answer = http.post("/messages", json={"content": "Hi"}, params={"base_url": elsewhere.base_url}, headers=headers)
    assert answer.status_code == 202
    assert "org-other" not in answer.text
    assert elsewhere.base_url not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "gpt\r\nAuthorization: Bearer other",
        "gpt\n",
        "gpt\x00",
        "gpt\x1b[2J",
        "gpt\x7f",
        "gpt\u0085",
        "gpt\u202e4",
        "gpt\u200b",
        "gpt\u2028",
        "gpt\xa04",
        "\ufeffgpt",
        "..",
        "../models",
        "a/../../b",
        "a/..",
        "http://127.0.0.1:9/v1",
        "file:///etc/passwd",
        "",
        "x" * 201,
    ],
)
def test_no_address_in_a_model_name(http: httpx.Client, name: str) -> None:
    """A model name is a line of what people can see, and neither a URL nor a way up a path."""
    answer = http.post("/messages", json={"content": "Hello", "model_name": name})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["model_name"]


NAMES = [
    "gpt-4",
    "meta-llama/Llama-3.1-8B-Instruct",
    "llama3.1:8b",
    "claude-sonnet-4@20250514",
    "ft:gpt-4o:org::id",
    "accounts/fireworks/models/qwen3-8b",
    "arn:aws:bedrock:us-east-1::foundation-model/x",
    "/models/llama..gguf",
    "./my model",
    "通义千问",
    "?api-version=1&x=%2e%2e/#",
]


def test_model_names_are_data(live: Process, local: LocalClient, provider: LlmServer) -> None:
    """Every name that providers use arrives as it is in the body, and no request takes another path for it."""
    ids = [submit(local, f"Hello {n}", model_name=name) for n, name in enumerate(NAMES)]
    assert {local.wait(message_id, 30).status for message_id in ids} == {Status.COMPLETED}, live.output
    # The stand-in answers on one path alone.
    assert sorted(call.model for call in provider.calls) == sorted(NAMES)


# -- what an answer says -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_redirects_are_not_followed(provider: LlmServer, elsewhere: LlmServer, status: int) -> None:
    """A redirect to another port ends the attempt for good, says where it pointed, and repeats no key."""
    error = failure(provider, f"Hello @@fault:redirect-{status}={elsewhere.port}@@")
    assert (type(error), error.status, error.retryable) == (errors.RequestRefused, status, False)
    assert error.why == f"HTTP {status} to http://127.0.0.1:{elsewhere.port}"
    assert error.fix == "set OPENAI_BASE_URL to the final address"
    assert KEY not in repr(vars(error))
    assert len(provider.calls) == 1


def test_redirect_on_the_same_server(provider: LlmServer) -> None:
    """Not even one to the same path of the same server, which would go on for ever."""
    error = failure(provider, "Hello @@fault:redirect-307=path@@")
    assert (type(error), error.why) == (errors.RequestRefused, "HTTP 307")
    assert len(provider.calls) == 1


def test_redirect_that_repeats_the_key(provider: LlmServer) -> None:
    """An address that holds the key is not shown."""
    error = failure(provider, "Hello @@fault:redirect-307=9@@", api_key="127.0.0.1")
    assert error.why == "HTTP 307"


def test_redirected_message_fails(live: Process, local: LocalClient, provider: LlmServer, elsewhere: LlmServer) -> None:
    """On a real worker the message has failed after one attempt, with a reason that mends it."""
    message = local.wait(submit(local, f"Hello @@fault:redirect-308={elsewhere.port}@@", api_key=KEY), 30)
    assert (message.status, message.attempts) == (Status.FAILED, 1), live.output
    assert message.error is not None
    assert message.error.type == "request-refused"
    assert "redirects to another address" in message.error.message
    assert len(provider.calls) == 1


def test_doctor_names_a_redirect(tq: Cli, elsewhere: LlmServer) -> None:
    """`tq doctor` does not follow one either, and says what to set."""

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(308)
            self.send_header("Location", f"{elsewhere.base_url}/models")
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        done = tq("doctor", OPENAI_BASE_URL=f"http://127.0.0.1:{server.server_port}/v1", OPENAI_API_KEY=KEY)
    assert re.search("✘ provider .*redirects, .*308.*\n +fix: set OPENAI_BASE_URL to the final", done.stdout), (
        done.stdout
    )


@pytest.mark.parametrize("fault", ["huge", "bomb=100"])
def test_large_answers_are_cut_off(provider: LlmServer, fault: str) -> None:
    """Of an answer that is far too large only the beginning is read, and the connection is given up."""
    error = failure(provider, f"Hello @@fault:{fault}@@")
    assert type(error) is errors.ProviderFailure
    assert error.why.startswith("it is larger than ")
    assert provider.streamed < 16 * MIB
    wait_until(lambda: not provider.connections, "the connection is closed")


def test_large_error_keeps_its_status(provider: LlmServer) -> None:
    """The body of an error is bounded as well, and its status still counts."""
    error = failure(provider, "Hello @@fault:huge-503@@")
    assert (type(error), error.status) == (errors.ProviderFailure, 503)
    assert provider.streamed < 16 * MIB


# Outside of tests Python does not show it; a megabyte to a socket holds the loop up for a millisecond.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("content", ["a" * MIB, "ก" * (MIB // 3), "\x01" * 1000 + "b" * (MIB - 1000)])
def test_long_translations_pass(provider: LlmServer, content: str) -> None:
    """The translation of the longest text arrives whole, in whatever script, and every character of it escaped."""
    assert ask(provider, content).text.replace(fake_translation(""), "") == content


def test_memory_of_a_worker(live: Process, local: LocalClient, provider: LlmServer) -> None:
    """Ten answers of 500 MiB, and ten that unpack to 100, leave a worker as large as it was, and at work."""
    process = psutil.Process(live.pid)

    def translated(content: str) -> Message:
        return local.wait(submit(local, content), 60)

    assert translated("Warm").status is Status.COMPLETED
    before = process.memory_info().rss
    peak = 0
    ids = [submit(local, f"Hello {n} @@fault:{fault}@@") for fault in ("huge", "bomb=100") for n in range(10)]

    def all_failed() -> bool:
        nonlocal peak
        peak = max(peak, process.memory_info().rss)
        return all(local.get(message_id).status is Status.FAILED for message_id in ids)

    wait_until(all_failed, lambda: f"all have failed: {live.output}", 60)
    print(f"from {before // MIB} to {peak // MIB} MiB, {provider.streamed // MIB} MiB sent")  # noqa: T201 - shown with a failure
    assert peak - before < 150 * MIB
    assert provider.streamed < 20 * 16 * MIB
    assert translated("Afterwards").status is Status.COMPLETED
