"""The API does what its OpenAPI document says, whatever it is sent: Schemathesis, on a real server.

TQ_TEST_SEED chooses other requests (``TQ_TEST_SEED=7 pytest …``); the seed is part of the output of a failure.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import Api
from servers import Valkey

#: Steps to each status, for messages that every operation finds something to do with.
WAYS: dict[str, list[dict[str, str]]] = {
    "queued": [],
    "running": [{"status": "running"}],
    "retrying": [{"status": "running"}, {"status": "retrying"}],
    "completed": [{"status": "running"}, {"status": "completed", "translation": "Bonjour"}],
    "failed": [{"status": "running"}, {"status": "failed", "error": "no luck"}],
    "cancelled": [{"status": "cancelled"}],
}
SEED = os.environ.get("TQ_TEST_SEED", "1")
TOKEN = "a-token-for-schemathesis"
FOLDER = Path(__file__).parents[1]
#: Seconds; on a machine of its own it needs a tenth.
PATIENCE = 560
CONFIG = FOLDER / "openapi_contract.toml"


pytestmark = pytest.mark.timeout(PATIENCE + 20)


@pytest.fixture
def guarded(tmp_path: Path, valkey: Valkey, environment: dict[str, str]) -> Iterator[Api]:
    """An API of this test's own that wants a token, without network."""
    assert valkey.folder == tmp_path
    with Api(tmp_path, environment | {"TQ_PROVIDER": "pseudo", "TQ_API_TOKEN": TOKEN}) as server:
        yield server


def submit(http: httpx.Client, status: str, **fields: str) -> None:
    """A message on its way to a status; someone else may take it in between."""
    location = http.post("/messages", json={"content": "Hello", **fields}).raise_for_status().headers["location"]
    for step in WAYS[status]:
        http.post(f"{location}/status", json=step)


@contextmanager
def traffic(http: httpx.Client) -> Iterator[None]:
    """Messages come and change all the time, so that no stream of events stays silent.

    Those that are known as queued are queued again after what was done to them: something is always found to be so.
    """
    stop = threading.Event()

    def run() -> None:
        for status, number in zip(itertools.cycle(WAYS), itertools.count()):
            if stop.wait(0.05):
                return
            submit(http, status)
            http.post(f"/messages/queued-{number % 4 + 1}/retry")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def schemathesis(api: Api, folder: Path, *options: str) -> dict[str, Any]:
    """Let it ask everything in the API's document, and return its report; all its checks must pass."""
    document, report = folder / "openapi.json", folder / "report.json"
    with api.client(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        document.write_bytes(http.get("/openapi.json").raise_for_status().content)
        for message_id in tomllib.loads(CONFIG.read_text())["dictionaries"]["known-ids"]["values"]:
            # Its webhook can be sent again once it has ended; nobody has that name (RFC 6761, section 6.4).
            url = "https://receiver.invalid/"
            submit(http, message_id.partition("-")[0], message_id=message_id, callback_url=url)
        # More urgent, and more than are processed: otherwise those that are known would be, and be completed for ever.
        others = {"messages": [{"content": f"Hello {n}", "priority": 9} for n in range(400)]}
        http.post("/messages/batch", json=others).raise_for_status()
        with traffic(http):
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
                    *(str(document), "--url", api.url, "--seed", SEED, "--no-color"),
                    *("--report", "json", "--report-json-path", str(report)),
                    *options,
                ],
                env=os.environ | {"TQ_API_TOKEN": TOKEN, "PYTHONPATH": str(FOLDER), "PYTHONIOENCODING": "utf-8"},
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                timeout=PATIENCE,
                check=False,
            )
    assert done.returncode == 0, f"with TQ_TEST_SEED={SEED}:\n{done.stdout}"
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def test_the_api_keeps_to_its_document(guarded: Api, tmp_path: Path) -> None:
    """With a token: examples, edge cases, random requests, and chains of requests, valid and not, pass every check."""
    report = schemathesis(guarded, tmp_path, "--max-examples", "60")
    assert report["complete"]
    assert report["operations"]["tested"] == report["operations"]["total"] >= 15
    assert {name: phase["status"] for name, phase in report["phases"].items()} == dict.fromkeys(
        ["examples", "coverage", "fuzzing", "stateful"], "success"
    )
    assert report["test_cases"]["generated"] > 1000
    assert "unexpected" not in guarded.process.output, "the API logged a defect"


def test_an_api_without_a_token_keeps_to_its_document_too(api: Api, http: httpx.Client, tmp_path: Path) -> None:
    """Its document is another one: the edge cases of each operation pass, though not each of them finds messages."""
    assert http.get("/messages").json()["messages"] == []
    options = ("--phases", "coverage", "--warnings", "off", "--exclude-checks", "EveryOperationSucceeds")
    report = schemathesis(api, tmp_path, *options)
    assert report["phases"]["coverage"]["status"] == "success"
