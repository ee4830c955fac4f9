"""Makes the pictures of the page in README: run it with PYTHONPATH=tests."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Final

import browser
import httpx
from llm_server import LlmServer
from playwright.sync_api import expect
from running_stack import RunningStack

DOCS: Final = Path(__file__).parent.parent / "docs"
_TEXTS: Final = ["Add to cart", "Your order is on its way", "Forgot your password?", "%d items left", "Terms of use"]
_LANGUAGES: Final = ["fr", "de", "ja", "es", "pt-BR", "it", "nl", "pl"]


_VIEWS: Final = (("page", 1200, "light"), ("page-dark", 1200, "dark"), ("page-phone", 390, "light"))


def main() -> None:
    """A stack with some traffic, some of which fails, seen in three ways."""
    settings = {"OPENAI_API_KEY": "sk-demo", "TQ_MODEL": "gpt-5-mini", "TQ_CONCURRENCY": "20", "TQ_MAX_RETRIES": "1"}
    with LlmServer() as provider, tempfile.TemporaryDirectory() as folder:
        provider.latency = 0.7
        with (
            RunningStack(Path(folder), OPENAI_BASE_URL=provider.base_url, **settings) as stack,
            stack.http() as api,
            browser.running() as chromium,
        ):
            bring_life(api)
            for name, width, scheme in _VIEWS:
                size = {"width": width, "height": 1000}
                watched = browser.Watched(chromium, stack.info.api_url, viewport=size, color_scheme=scheme)
                watched.page.goto(stack.info.api_url)
                expect(watched.page.locator("#live")).to_have_text("live")
                expect(watched.page.locator("#failures")).to_contain_text("by reason")
                if name == "page-dark":
                    watched.page.locator("#failures").get_by_role("link", name="example").first.click()
                    watched.page.get_by_role("button", name="Show the texts").click()
                    expect(watched.page.locator("#texts pre").first).to_be_visible()
                watched.page.screenshot(path=DOCS / f"{name}.png")
                watched.close()


def bring_life(api: httpx.Client) -> None:
    """Two minutes of traffic, and more than can be done at once."""
    choice = random.Random(4)

    def submit(number: int, text: str) -> None:
        metadata = {"source_language": "en", "target_language": choice.choice(_LANGUAGES), "project": "shop"}
        body = {"content": f"{text} ({number})", "priority": choice.randrange(11), "metadata": metadata}
        api.post("/messages", json=body)

    for number in range(600):
        submit(number, choice.choice(_TEXTS))
        if number % 80 == 5:
            submit(number, choice.choice(["Limited offer @@fault:400@@", "See you soon @@fault:refusal@@"]))
        time.sleep(choice.random() * 0.4)
    for number in range(600, 900):
        submit(number, choice.choice(_TEXTS))


if __name__ == "__main__":
    main()
