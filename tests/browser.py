"""A real browser for tests: Debian's chromium, driven by playwright, which must not fetch one of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

#: It asks nobody but the page: no updates, no services of its maker.
_ARGS: Final = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def executable() -> str | None:
    """The browser, where it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def running() -> Iterator[Browser]:
    """A browser, gone at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=_ARGS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page and what went wrong on it.

    Attributes:
        page: the page.
        errors: what its console reported as an error, and exceptions.
        foreign: requests to other hosts.
    """

    def __init__(self, browser: Browser, origin: str, **context: Any) -> None:
        self._context = browser.new_context(**context)
        self._origin = origin
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(30_000)
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._origin, "data:")):
            self.foreign.append(request.url)

    def close(self) -> None:
        """Close it."""
        self._context.close()
