"""The stand-in LLM server itself: what acceptance tests in other processes rely on."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import httpx
import llm_server
from catalogue import django_po
from llm_faults import fake_translation
from llm_server import LlmServer, control


def ask(base_url: str, content: str) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    return httpx.post(f"{base_url}/chat/completions", json=body, timeout=10, trust_env=False)


def text(response: httpx.Response) -> str:
    answer: dict[str, Any] = response.json()
    return str(answer["choices"][0]["message"]["content"])


def test_control_from_elsewhere() -> None:
    """Faults for all, pairs, reset and what was seen go over HTTP."""
    with LlmServer() as llm:
        control(llm.base_url, mode="500x1", pairs={"Yes": "Oui"})
        assert ask(llm.base_url, "Yes").status_code == 500
        assert text(ask(llm.base_url, "Yes")) == "Oui"
        assert text(ask(llm.base_url, "No")) == fake_translation("No")
        assert [call["content"] for call in control(llm.base_url)["calls"]] == ["Yes", "Yes", "No"]
        assert control(llm.base_url, reset=True)["count"] == 0


def test_hold_the_first_and_release() -> None:
    """``hold=1`` keeps one call waiting while later ones pass, until it is released (as priority tests need)."""
    with LlmServer() as llm:
        control(llm.base_url, hold=1)
        answers: list[str] = []
        held = threading.Thread(target=lambda: answers.append(text(ask(llm.base_url, "first"))))
        held.start()
        while control(llm.base_url)["held"] < 1:
            assert held.is_alive(), "the first call ended without being held"
        assert text(ask(llm.base_url, "second")) == fake_translation("second")
        assert answers == []
        control(llm.base_url, release=True)
        held.join(10)
        assert answers == [fake_translation("first")]
        assert (llm.contents(), llm.inflight, llm.inflight_max) == (["first", "second"], 0, 2)


def test_as_a_process() -> None:
    """Started by hand it prints its base URL, and answers with the PO file it was given."""
    command = [sys.executable, llm_server.__file__, "--po", str(django_po())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip()
            answer = text(ask(base_url, "Enter a valid URL."))
        finally:
            process.terminate()
    assert answer == "Saisissez une URL valide."
