"""The first five minutes: `tq up` without any setting, a first message, the curl example, Ctrl-C."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_driver import ULID, exit_code
from llm_server import LlmServer
from running_stack import RunningStack
from servers import wait_until

README = Path(__file__).parents[2] / "README.md"


def readme_example() -> tuple[str, dict[str, Any]]:
    """The README's command that submits with curl, as it is to be pasted into a shell, and the body in it."""
    found = re.search(r"^    curl .*?/messages .*?-d '(\{.*?\}\})'$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert found, "the README has no example of POST /messages"
    return found[0].strip(), json.loads(found[1])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack as it is without any setting, as `make up` starts it."""
    with RunningStack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def provider() -> Iterator[LlmServer]:
    """An OpenAI-compatible server."""
    with LlmServer({"Hello": "Bonjour"}) as server:
        yield server


@pytest.fixture
def configured(provider: LlmServer, tmp_path: Path) -> Iterator[RunningStack]:
    """A stack with an endpoint, but without a key of its own."""
    with RunningStack(tmp_path, OPENAI_BASE_URL=provider.base_url) as stack:
        yield stack


def test_banner(stack: RunningStack) -> None:
    """The banner is complete within seconds: four healthy services, where the data is, and what to try."""
    assert stack.seconds < 30, "on an idle machine it is about one second"
    print(f"the banner took {stack.seconds:.1f} s")  # noqa: T201 - for whoever asks pytest for it (-rP)
    checks = stack.driven.find(r"  ✔ (\w+) .* (\d+\.\d)s$")
    assert [check[1] for check in checks] == ["valkey", "api", "worker", "flower"]
    assert stack.driven.find("  Data      ~/data ")
    assert stack.driven.find("  Provider  pseudo: no key, so output is accents, not a translation")
    assert stack.driven.find('  Try       tq submit "Hello" --to fr --wait')


def test_first_message(stack: RunningStack) -> None:
    """The first `tq submit` answers, says that it is no translation, and every other command shows it."""
    done = stack.tq("submit", "Hello", "--to", "fr", "--priority", "9", "--wait")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\[Ĥ.+\]", done.stdout)
    assert "NOT a translation" in done.stderr
    found = re.match(ULID, done.stderr)
    assert found, done.stderr
    message_id = found[0]

    shown = stack.tq("status", message_id)
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"{message_id}  completed\n")
    assert done.stdout in shown.stdout
    document = json.loads(stack.tq("status", message_id, "--json").stdout)
    assert (document["translation"], document["provider"], document["queue"]) == (
        done.stdout,
        "pseudo",
        "high_priority",
    )
    assert re.search(f"^{message_id} .*completed", stack.tq("list").stdout, re.MULTILINE)
    stats = json.loads(stack.tq("stats", "--json").stdout)
    assert (stats["counts"]["completed"], len(stats["workers"])) == (1, 1)
    tail = stack.tq.terminal("tail")
    tail.expect(f"{message_id}.*completed")
    tail.sendintr()
    assert exit_code(tail) == 130


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_example(configured: RunningStack, provider: LlmServer) -> None:
    """The README's curl command: 202, the document and its Location, and the endpoint's translation for its key."""
    command, sent = readme_example()
    assert sent.keys() == {"content", "model_name", "api_key", "priority", "metadata"}
    url = configured.info.api_url
    environment = configured.environment | {"NO_PROXY": "*"}
    pasted = command.replace("localhost:8000", url)
    answer = subprocess.run(["sh", "-c", pasted], capture_output=True, text=True, env=environment, check=True).stdout
    head, _, body = answer.partition("\n\n")
    message = json.loads(body)
    assert re.match(r"HTTP/1\.1 202 ", head)
    assert re.search(f"^location: /messages/{message['message_id']}$", head, re.MULTILINE | re.IGNORECASE)
    assert (message["status"], message["queue"], message["priority"]) == ("queued", "high_priority", 10)
    assert message["metadata"] == sent["metadata"]
    assert sent["api_key"] not in answer

    def read() -> dict[str, object]:
        with configured.http() as http:
            document: dict[str, object] = http.get(f"/messages/{message['message_id']}").json()
        return document

    wait_until(lambda: read()["status"] == "completed", lambda: f"it is completed: {read()}")
    assert (read()["translation"], read()["provider"], read()["attempts"]) == ("Bonjour", "openai", 1)
    assert [(call.key, call.model) for call in provider.calls] == [(sent["api_key"], sent["model_name"])]


def test_interrupt(configured: RunningStack, provider: LlmServer) -> None:
    """The first Ctrl-C lets the worker end what it has begun, and exits 0; the next start has its outcome."""
    provider.hold()
    with configured.http() as http:
        http.post("/messages", json={"content": "Hello", "message_id": "begun"})
        wait_until(lambda: provider.held == 1, "it is at the provider")
    configured.interrupt()
    wait_until(lambda: configured.states()["worker"] == "stopping", "the worker has been told")
    assert configured.states()["api"] == "stopped"
    provider.release()
    assert configured.driven.wait() == 0
    configured.driven.wait_gone(1)
    assert configured.driven.find(".* worker │ .*begun completed"), configured.driven.text
    configured.start()
    with configured.http() as http:
        assert http.get("/messages/begun").json()["translation"] == "Bonjour"
    assert len(provider.calls) == 1
