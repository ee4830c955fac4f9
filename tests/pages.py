"""What tests of the page do in a browser, and their fixtures: ``conftest`` makes this a plugin."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Self

import browser
import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from running_stack import RunningStack

from tq.backend import make_submission
from tq.errors import ErrorRecord
from tq.local import LocalClient
from tq.messages import Status
from tq.queue import TranslationQueue
from tq.settings import Settings

#: Opens the page of a stack at a path.
Open = Callable[..., Page]


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """A browser of this test's own: it starts processes as it goes."""
    with browser.running() as found:
        yield found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """`tq up` without a key, for all."""
    with RunningStack(tmp_path_factory.mktemp("page")) as found:
        yield found


@pytest.fixture
def open_(chromium: Browser, stack: RunningStack) -> Iterator[Open]:
    """Opens the page of a stack; at the end nothing may have gone wrong on it, or asked another host."""
    opened: list[browser.Watched] = []

    def open_page(path: str = "/", of: RunningStack = stack, **context: object) -> Page:
        watched = browser.Watched(chromium, of.info.api_url, **context)
        opened.append(watched)
        watched.page.goto(of.info.api_url + path)
        return watched.page

    yield open_page
    for watched in opened:
        errors, foreign = watched.errors, watched.foreign
        watched.close()
        # A browser calls each refusal an error; what the page says to it is looked at.
        assert [error for error in errors if not re.search(r"status of (404|409|422|429) ", error)] == []
        assert foreign == []


@pytest.fixture
def page_api(stack: RunningStack) -> Iterator[httpx.Client]:
    """Its API, for the other side; both queues go on at the end."""
    with stack.http() as client:
        yield client
        for queue in ("default", "high_priority"):
            client.post(f"/queues/{queue}/resume")


def row(page: Page, message_id: str) -> Locator:
    """The row of a message in the table."""
    return page.locator("#table tr", has_text=message_id)


def click(button: Locator) -> None:
    """Click it, once it may be: a click on a button that has just come was meant for what was there before."""
    expect(button).to_be_visible()
    expect(button.page.locator("[data-new]")).to_have_count(0)
    button.click()


def leave(page: Page) -> None:
    """Point at nothing: rows stay where they are under the pointer, and with the focus."""
    page.mouse.move(2, 2)
    page.evaluate("document.activeElement.blur()")


class Traffic:
    """Messages that come one after the other while this is entered."""

    def __init__(self, api: httpx.Client) -> None:
        self._api = api
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(0.1):
            self._api.post("/messages", json={"content": "Hello", "metadata": {"target_language": "fr"}})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def fail(stack: RunningStack, names: list[str], kind: str = "reported", message: str = "no luck") -> None:
    """Let messages fail, as a program outside does."""
    reported: ErrorRecord = {"type": kind, "message": message, "retryable": False}

    async def all_of_them(queue: TranslationQueue) -> None:
        for name in names:
            await queue.set_status(name, Status.RUNNING)
            await queue.set_status(name, Status.FAILED, error=reported)

    worker = stack.service("worker")
    worker.suspend()
    with LocalClient(Settings(data_dir=stack.data)) as local:
        local.submit_many([make_submission("Hello", message_id=name) for name in names])
        local.call(all_of_them(local._queue))
    worker.resume()
