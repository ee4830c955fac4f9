"""`tq up` with TQ_LOG_FORMAT=json: every line of every service is an object, and none holds text or a key."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from api_server import CANARY
from llm_server import LlmServer
from receiver import Receiver
from running_stack import RunningStack
from servers import wait_until

from tq.stack import stack_logs

TEXT = "Zebra quartz canary sentence"
KEYS = {"time", "level", "logger", "service", "message"}


def ended(http: httpx.Client, message_id: str) -> bool:
    """Whether a message has."""
    return http.get(f"/messages/{message_id}").json()["finished_at"] is not None


def told(http: httpx.Client, message_id: str) -> str:
    """How it stands with a message's webhook."""
    status: str = http.get(f"/messages/{message_id}").json()["callback"]["status"]
    return status


def test_every_line_is_an_object(tmp_path: Path, provider: LlmServer) -> None:
    """The API's, uvicorn's, the worker's, Flower's, Valkey's and the stack's own, with the message's fields."""
    settings = {
        "TQ_LOG_FORMAT": "json",
        "OPENAI_BASE_URL": provider.base_url,
        "OPENAI_API_KEY": CANARY,
        "TQ_RETRY_BASE": "0.05",
        "TQ_MAX_RETRIES": "1",
        "TQ_CALLBACK_PRIVATE": "true",
    }
    with Receiver() as taking, Receiver() as gone, RunningStack(tmp_path, **settings) as stack, stack.http() as http:
        gone.statuses = [410]
        hooks = {"good": taking.url("/canary/hook"), "bad": gone.url("/canary/hook")}
        for message_id, fault in (("good", ""), ("slow", " @@fault:500x1@@"), ("bad", " @@fault:401@@")):
            body = {"content": TEXT + fault, "message_id": message_id, "priority": 9, "api_key": f"{CANARY}-own"}
            http.post("/messages", json=body | {"callback_url": hooks.get(message_id)}).raise_for_status()
        http.post("/messages", content=b"{" + TEXT.encode())
        for message_id in ("good", "slow", "bad"):
            wait_until(partial(ended, http, message_id), f"{message_id} has ended", timeout=60)
        wait_until(lambda: told(http, "good") == "delivered", "its webhook is delivered", timeout=60)
        wait_until(lambda: told(http, "bad") == "disabled", "its webhook is not wanted", timeout=60)
        stack.service("flower").kill()
        wait_until(lambda: stack.restarts()["flower"] == 1, "what was killed is started again", timeout=60)
        stack.stop()
        shown = [line for line in stack.driven.text.replace("\r", "").split("\n") if line]
        # From a shell that does not know of it.
        plain = [*stack_logs(stack._settings)]
        assert sum(line.startswith('{"time"') for line in plain) > 10
        assert not any("│ {" in line for line in plain)
        kept = [json.loads(line) for line in stack_logs(stack._settings.model_copy(update={"log_format": "json"}))]
    lines: list[dict[str, Any]] = [json.loads(line) for line in shown]
    assert all(line.keys() >= KEYS for line in lines)
    assert {line["service"] for line in lines} >= {"api", "worker", "stack"}
    assert {line["service"] for line in kept} >= {"api", "worker", "flower", "valkey", "stack"}
    assert {line["logger"] for line in kept if line["service"] == "api"} & {"uvicorn.error", "uvicorn"}
    assert any(line["logger"].startswith(("flower.", "tornado")) for line in kept if line["service"] == "flower")
    own = [line for line in lines if line["service"] == "stack"]
    assert {line["logger"] for line in own} == {"stack"}
    (crash,) = (line for line in own if "was killed by SIGKILL; starts again" in line["message"])
    assert crash["level"] == "warning"
    assert [line["level"] for line in kept if line["message"] == crash["message"]] == ["warning"]
    said = {
        (line["message_id"], line["attempt"], line.get("status"), line.get("error"))
        for line in kept
        if "message_id" in line and "webhook" not in line
    }
    assert said >= {
        ("good", 1, "running", None),
        ("good", 1, "completed", None),
        ("slow", 1, "retrying", "provider-failure"),
        ("slow", 2, "completed", None),
        ("bad", 1, "failed", "invalid-key"),
    }
    (done,) = (line for line in kept if line.get("message_id") == "good" and line.get("status") == "completed")
    assert done["seconds"] > 0
    assert done["tokens"] > 0
    assert (done["model"], done["queue"], done["level"]) == ("gpt-5.4-mini", "high_priority", "info")
    sent = {line["webhook"]: line for line in kept if "webhook" in line}
    delivered, disabled = sent["delivered"], sent["disabled"]
    assert (delivered["message_id"], delivered["attempt"], delivered["http_status"]) == ("good", 1, 204)
    assert (delivered["level"], delivered["event"][:4], delivered["seconds"] > 0) == ("info", "evt_", True)
    assert (disabled["message_id"], disabled["error"], disabled["http_status"]) == ("bad", "gone", 410)
    assert disabled["receiver"] == f"127.0.0.1:{gone.port}"
    every = "\n".join(shown) + json.dumps(kept)
    assert CANARY not in every
    assert "Zebra" not in every
    assert "quartz" not in every
