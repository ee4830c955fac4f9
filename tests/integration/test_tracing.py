"""One trace a message: real processes that export to a collector, with tq's own set-up and with the standard one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from api_server import Api
from cli_driver import TQ, bare_environment
from llm_server import LlmServer
from otlp import Collector, Span
from running_stack import RunningStack
from servers import Process, Valkey, wait_until

SECRET_TEXT = "Wombat xylophone quartz"
SECRET_KEY = "sk-secret-canary-0815"
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))


class Stack(NamedTuple):
    """What a test talks to."""

    http: httpx.Client
    environment: dict[str, str]
    collector: Collector
    worker: Process


@contextmanager
def running(folder: Path, prefix: Sequence[str] = (), **settings: str) -> Iterator[Stack]:
    """An API and a worker that export their spans; ``prefix`` stands before their commands."""
    with LlmServer() as llm, Collector() as collector, Valkey(folder):
        environment = (
            bare_environment(folder)
            | collector.environment
            | {
                "TQ_DATA_DIR": str(folder),
                "OPENAI_BASE_URL": llm.base_url,
                "OPENAI_API_KEY": "sk-default",
                "TQ_RETRY_BASE": "0.05",
                "TQ_MEMORY_TTL": "0",
                "TQ_BATCH_WAIT": "30",
                "TQ_BATCH_MAX_ITEMS": "4",
                "TQ_CONCURRENCY": "8",
                **settings,
            }
        )
        serve = [*prefix, *TQ, "api"]
        with (
            Api(folder, environment, argv=serve) as api,
            Process([*prefix, *TQ, "worker"], log=folder / "worker.log", env=environment, cwd=folder) as worker,
            api.client() as http,
        ):
            wait_until(lambda: http.get("/queue/stats").json()["workers"], "the worker is listed", timeout=60)
            yield Stack(http, environment, collector, worker)
            assert SECRET_TEXT not in worker.output
            assert not any("raceback" in each.output for each in (worker, api.process))
        for body in collector.bodies:
            assert SECRET_TEXT.encode() not in body, "a span holds the text"
            assert SECRET_KEY.encode() not in body, "a span holds a key"


def completed(http: httpx.Client, message_id: str) -> None:
    """Wait for the end."""
    wait_until(
        lambda: http.get(f"/messages/{message_id}").json()["status"] == "completed", f"{message_id} is done", timeout=60
    )


def of(collector: Collector, message_id: str, count: int, name: str = "attempt") -> list[Span]:
    """So many spans of a message whose name begins so, in the order of its attempts."""

    def found() -> list[Span]:
        return [
            span
            for span in collector.spans
            if span.name.startswith(f"{name} ") and span.attributes.get("messaging.message.id") == message_id
        ]

    wait_until(lambda: len(found()) >= count, lambda: f"{name} is exported: {[each.name for each in collector.spans]}")
    return sorted(found(), key=lambda span: int(span.attributes.get("tq.attempt", 0)))


def chain(collector: Collector, last: Span) -> list[str]:
    """The names from the first span of a trace to this one."""
    spans = {span.id: span for span in collector.spans if span.trace == last.trace}
    names = []
    span: Span | None = last
    while span is not None:
        names.append(span.name)
        assert not span.parent or span.parent in spans, f"the parent of {span.name} is not in its trace"
        span = spans.get(span.parent)
    return names[::-1]


def chat_of(collector: Collector, attempt: Span) -> Span:
    """The call that was made within an attempt."""

    def found() -> list[Span]:
        return [span for span in collector.spans if span.name.startswith("chat ") and span.trace == attempt.trace]

    return wait_until(found, "the call is exported")[0]


def test_a_message_is_one_trace_from_the_request_to_the_call(tmp_path: Path) -> None:
    """POST /messages, submit, attempt, chat: with tq's own set-up; a retry is linked; shared calls are linked too."""
    with running(tmp_path) as stack:
        http, collector = stack.http, stack.collector
        body = {"content": SECRET_TEXT, "priority": 9, "message_id": "one", "api_key": SECRET_KEY}
        http.post("/messages", json=body).raise_for_status()
        completed(http, "one")
        (attempt,) = of(collector, "one", 1)
        chat = chat_of(collector, attempt)
        assert chain(collector, chat) == [
            "POST /messages",
            "submit high_priority",
            "attempt high_priority",
            f"chat {chat.attributes['gen_ai.request.model']}",
        ]
        assert (attempt.service, attempt.kind, attempt.failed) == ("tq-worker", "CONSUMER", False)
        assert attempt.attributes["tq.status"] == "completed"
        (submit,) = of(collector, "one", 1, "submit")
        assert (submit.service, submit.kind) == ("tq-api", "PRODUCER")
        assert submit.attributes["messaging.destination.name"] == "high_priority"
        assert chat.kind == "CLIENT"
        assert chat.attributes["gen_ai.usage.output_tokens"] > 0

        # A caller's own trace goes on, and a failed attempt has its error and its follower.
        caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        content = "Good night @@fault:500x1@@"
        http.post(
            "/messages",
            json={"content": content, "priority": 9, "message_id": "two"},
            headers={"traceparent": caller, "tracestate": "vendor=value"},
        ).raise_for_status()
        completed(http, "two")
        first, second = of(collector, "two", 2)
        assert {first.trace, second.trace} == {"0af7651916cd43dd8448eb211c80319c"}
        assert first.parent == second.parent != ""
        assert (first.failed, first.attributes["error.type"]) == (True, "provider-failure")
        assert second.links == {(first.trace, first.id)}
        assert not second.failed

        # Short messages share a call: one trace has it, the other is linked.
        batch = [{"content": f"Word {n}", "message_id": f"b{n}"} for n in range(20)]
        os.kill(stack.worker.pid, signal.SIGSTOP)
        http.post("/messages/batch", json={"messages": batch}).raise_for_status()
        os.kill(stack.worker.pid, signal.SIGCONT)
        for each in batch:
            completed(http, each["message_id"])
        attempts = [of(collector, each["message_id"], 1)[0] for each in batch]
        wait_until(
            lambda: [span for span in collector.spans if span.name.startswith("chat ") and span.links],
            lambda: f"a shared call is exported: {[(span.name, len(span.links)) for span in collector.spans]}",
        )
        chats = [span for span in collector.spans if span.name.startswith("chat ") and span.links]
        known = {(span.trace, span.id) for span in attempts}
        assert all(span.links <= known for span in chats)


def test_programs_and_commands_begin_traces_too(tmp_path: Path) -> None:
    """`tq submit` exports its submission, which the worker's attempt belongs to."""
    with running(tmp_path) as stack:
        argv = [*TQ, "submit", "Good day", "--id", "cli", "--to", "fr"]
        done = subprocess.run(
            argv, env=stack.environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        completed(stack.http, "cli")
        (attempt,) = of(stack.collector, "cli", 1)
        (submit,) = of(stack.collector, "cli", 1, "submit")
        assert (submit.service, attempt.parent) == ("tq", submit.id)


@pytest.mark.skipif(not shutil.which(INSTRUMENT), reason="opentelemetry-instrument is not installed")
def test_the_standard_instrumentations_work_unchanged(tmp_path: Path) -> None:
    """Celery's, FastAPI's and aiohttp's, by `opentelemetry-instrument`: their spans are in the message's trace."""
    names = {
        "OTEL_SERVICE_NAME": "mine",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        # The distribution's own default is gRPC.
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    with running(tmp_path, [INSTRUMENT], **names) as stack:
        body = {"content": SECRET_TEXT, "priority": 9, "message_id": "one", "api_key": SECRET_KEY}
        stack.http.post("/messages", json=body).raise_for_status()
        completed(stack.http, "one")
        (attempt,) = of(stack.collector, "one", 1)
        chat = chat_of(stack.collector, attempt)
        # Celery's own spans end after ours.
        wait_until(
            lambda: [span for span in stack.collector.spans if span.name == "run/tq.tasks.process_message"],
            "Celery's span is exported",
        )
        assert chain(stack.collector, chat) == [
            "POST /messages",
            "submit high_priority",
            "apply_async/tq.tasks.process_message",
            "run/tq.tasks.process_message",
            "attempt high_priority",
            chat.name,
        ]
        inner = [span for span in stack.collector.spans if span.parent == chat.id]
        assert [(span.scope, span.kind) for span in inner] == [
            ("opentelemetry.instrumentation.aiohttp_client", "CLIENT")
        ]
        server = next(span for span in stack.collector.spans if span.name == "POST /messages")
        assert server.scope.startswith("opentelemetry.instrumentation")
        # The client's: its span is the parent of the API's.
        code = "from tq import Client; Client().submit('Hello there', to='fr', message_id='two')"
        program = [INSTRUMENT, sys.executable, "-c", code]
        environment = stack.environment | {"TQ_URL": str(stack.http.base_url)}
        subprocess.run(program, env=environment, cwd=tmp_path, check=True, timeout=60)
        completed(stack.http, "two")
        (attempt,) = of(stack.collector, "two", 1)
        assert chain(stack.collector, attempt)[:2] == ["POST", "POST /messages"]


def test_nothing_is_imported_where_nobody_asks(tmp_path: Path) -> None:
    """Without configuration a worker and a client export nothing, and bring nothing along that would."""
    code = (
        "import sys, tq.worker, tq.client; from tq import tracing; tracing.set_up('x');"
        "assert tracing.start('x', 'CLIENT', {}) is None and not tracing.carrier();"
        # redis-py itself looks at OpenTelemetry's metrics where they are installed.
        "heavy = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'opentelemetry.instrumentation', 'google');"
        "print(*[name for name in sys.modules if name.startswith(heavy)])"
    )
    environment = bare_environment(tmp_path) | {"TQ_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


@pytest.fixture
def submitting(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Callable[..., tuple[float, str]]:
    """Runs `tq submit` to its end, with these variables: the seconds that it takes, and its stderr."""
    assert valkey.socket.exists()

    def run(**variables: str) -> tuple[float, str]:
        began = time.monotonic()
        done = subprocess.run(
            [*TQ, "submit", "Hello", "--to", "fr"],
            env=environment | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return time.monotonic() - began, done.stderr

    return run


def test_no_command_waits_for_a_collector(submitting: Callable[..., tuple[float, str]]) -> None:
    """One that is not there, and one that takes a connection and says nothing, cost a second or two; that is told."""
    usual = min(submitting()[0] for _ in range(2))
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for port in (silent.getsockname()[1], nobody.getsockname()[1]):
            took, said = submitting(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
            assert took < usual + 5, said
            assert "raceback" not in said


#: Makes a Python that finds nothing of OpenTelemetry but its interface, which FastAPI brings along.
HIDING = """
import sys
class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden)
"""


def test_traces_that_nothing_can_export(tmp_path: Path, submitting: Callable[..., tuple[float, str]]) -> None:
    """They are asked for where `tq[otel]` is not installed: API, worker, command and `tq up` say so, once each."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(HIDING)
    asked = {"PYTHONPATH": str(hidden), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    told = "is not installed (pip install 'tq[otel]')"
    assert submitting(**asked)[1].count(told) == 1
    (tmp_path / "up").mkdir()
    with RunningStack(tmp_path / "up", **asked) as stack:
        assert stack.driven.find("  Traces    none, though they are asked for: opentelemetry.*tq.otel")
        for service in ("api", "worker"):
            said = stack.tq("logs", service).stdout
            assert said.count(told) == 1, said


def test_several_exporters(submitting: Callable[..., tuple[float, str]]) -> None:
    """OTEL_TRACES_EXPORTER is a list, as everywhere; what is not known of it is said, and the rest is used."""
    with Collector() as collector:
        _, said = submitting(OTEL_TRACES_EXPORTER=" otlp, Console,jaeger,otlp", **collector.environment)
        assert [span.name for span in collector.spans] == ["submit default"]
        assert said.count('"name": "submit default"') == 1
        assert "jaeger" in said
        for none in ("none", "none,otlp"):
            submitting(OTEL_TRACES_EXPORTER=none, **collector.environment)
        assert len(collector.spans) == 1
