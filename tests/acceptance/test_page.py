"""The page in a real browser, on a real stack: what a person sees and does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import browser
import httpx
import pytest
from llm_server import LlmServer
from playwright.sync_api import Browser, Locator, Page, expect
from running_stack import RunningStack
from servers import wait_until

pytestmark = [
    pytest.mark.skipif(
        browser.executable() is None, reason="the page is not looked at: there is no chromium (apt install chromium)"
    ),
    pytest.mark.timeout(300),
]

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
        # A browser calls each refusal an error; the page asks for the key then.
        assert [error for error in errors if "409 (Conflict)" not in error] == []
        assert foreign == []


@pytest.fixture
def api(stack: RunningStack) -> Iterator[httpx.Client]:
    """Its API, for the other side; both queues go on at the end."""
    with stack.http() as client:
        yield client
        for queue in ("default", "high_priority"):
            client.post(f"/queues/{queue}/resume")


def row(page: Page, message_id: str) -> Locator:
    """The row of a message in the table."""
    return page.locator("#table tr", has_text=message_id)


def test_a_first_visit(open_: Open) -> None:
    """It says how things stand, that the provider is none, and lives; its title, language and landmarks are there."""
    page = open_()
    expect(page).to_have_title("tq")
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#overview")).to_contain_text("No provider is set")
    expect(page.locator("#overview")).to_contain_text("of 200")
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("main").count() == page.locator("header.top").count() == 1


def test_a_translation_arrives(open_: Open) -> None:
    """Submitted from the form, it is seen to complete without a reload, and stands in the table."""
    page = open_()
    page.get_by_label("Text", exact=True).fill("Hello from the page")
    page.locator("#target").fill("fr")
    page.get_by_role("button", name="Submit").click()
    result = page.locator("#result")
    expect(result).to_contain_text("completed in")
    expect(result.locator(".translation")).to_contain_text("Ĥ")
    message_id = result.locator("a").inner_text()
    expect(row(page, message_id)).to_contain_text("completed")


def test_texts_are_hidden_until_they_are_asked_for(open_: Open, api: httpx.Client) -> None:
    """Neither table nor detail has them; a click shows them, as text; Escape closes the detail."""
    text = "Secret plans <img src=x onerror=alert(1)>"
    made = api.post("/messages", json={"content": text, "metadata": {"target_language": "de", "project": "alpha"}})
    message_id = made.json()["message_id"]
    page = open_()
    expect(row(page, message_id)).to_contain_text("completed")
    page.get_by_role("link", name=message_id).click()
    detail = page.locator("#detail")
    expect(detail).to_contain_text("Timeline")
    expect(detail).to_contain_text("alpha")
    expect(detail.locator(".timeline tbody tr")).to_have_count(3)
    assert "Secret" not in page.content()
    assert f"message={message_id}" in page.url
    detail.get_by_role("button", name="Show the texts").click()
    expect(detail.locator("pre").first).to_have_text(text)
    assert detail.locator("img").count() == 0
    page.keyboard.press("Escape")
    wait_until(lambda: "Secret" not in page.content(), "the texts are gone with the detail")


def test_a_link_to_a_message(open_: Open, api: httpx.Client) -> None:
    """It opens with the page."""
    message_id = api.post("/messages", json={"content": "Hello"}).json()["message_id"]
    page = open_(f"/?message={message_id}")
    expect(page.locator("#detail-title")).to_contain_text(message_id)


def test_filters(open_: Open, api: httpx.Client) -> None:
    """By language and text in the metadata, kept in the address, cleared with a button; pages of older ones."""
    for number in range(30):
        metadata = {"target_language": "ja" if number % 2 else "pt", "project": f"needle-{number}-end"}
        api.post("/messages", json={"content": "x", "message_id": f"filter-{number}", "metadata": metadata})
    page = open_()
    page.locator("#f-to").fill("ja")
    expect(page.locator("#table tbody tr")).to_have_count(15)
    page.locator("#f-q").fill("needle-7-end")
    expect(page.locator("#table tbody tr")).to_have_count(1)
    expect(page.locator("#table")).to_contain_text("filter-7")
    wait_until(lambda: "q=needle-7-end" in page.url and "to=ja" in page.url, "the address says it")
    page.reload()
    expect(page.locator("#table tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#table tbody tr")).to_have_count(25)
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("link", name="Newest")).to_be_visible()
    page.locator("#f-q").fill("no such thing")
    expect(page.locator("#table")).to_contain_text("No message is like that")


def test_pausing_a_queue(open_: Open, api: httpx.Client) -> None:
    """It is paused and resumed with a button; in between messages wait, and can be cancelled and retried."""
    page = open_()
    page.get_by_role("button", name="Pause default").click()
    expect(page.locator("#overview")).to_contain_text("Nothing of it begins until it is resumed")
    assert api.get("/queue/stats").json()["paused"] == ["default"]
    for name in ("waits", "goes"):
        api.post("/messages", json={"content": "x", "message_id": name, "metadata": {"target_language": "fr"}})
    expect(row(page, "waits")).to_contain_text("queued")
    page.get_by_role("button", name="Cancel goes").click()
    expect(row(page, "goes")).to_contain_text("cancelled")
    page.get_by_role("button", name="Retry goes").click()
    expect(row(page, "goes")).to_contain_text("queued")
    page.get_by_role("button", name="Resume default").click()
    for name in ("waits", "goes"):
        expect(row(page, name)).to_contain_text("completed")


def test_every_control_has_a_name(open_: Open, api: httpx.Client) -> None:
    """What a screen reader says for each field, button and link, in the page and in its dialogs."""
    message_id = api.post("/messages", json={"content": "Hello"}).json()["message_id"]
    page = open_(f"/?message={message_id}")
    expect(page.locator("#detail-title")).to_be_visible()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, textarea, [role=img]")].filter((each) =>
        !(each.labels?.length && each.labels[0].textContent.trim()) && !each.textContent.trim()
        && !each.getAttribute("aria-label")).map((each) => each.outerHTML)"""
    )
    assert nameless == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(open_: Open, scheme: str) -> None:
    """The contrast of text is at least 4.5 to 1 (WCAG 2.2, 1.4.3), light and dark."""
    page = open_(color_scheme=scheme)
    expect(page.locator("#live")).to_have_text("live")
    faint = page.evaluate(
        """() => {
        const numbers = (color) => color.match(/[0-9.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
          .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = (each) => {
          for (; each; each = each.parentElement) {
            const found = numbers(getComputedStyle(each).backgroundColor);
            if (found.length < 4 || found[3] > 0) return found;
          }
          return [255, 255, 255];
        };
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = [];
        for (let node; node = walker.nextNode();) {
          const each = node.parentElement;
          if (!node.data.trim() || !each.checkVisibility()) continue;
          if (each.closest(".hidden, .skip, option, script, noscript")) continue;
          const [a, b] = [light(numbers(getComputedStyle(each).color)), light(ground(each))];
          const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          if (ratio < 4.5) faint.push([node.data.trim(), ratio]);
        }
        return faint;
        }"""
    )
    assert faint == []


def test_on_a_phone(open_: Open, api: httpx.Client) -> None:
    """At 360 pixels nothing sticks out, with the table full and a message open."""
    message_id = api.post("/messages", json={"content": "Hello"}).json()["message_id"]
    page = open_(viewport={"width": 360, "height": 740})
    expect(row(page, message_id)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.get_by_role("link", name=message_id).click()
    expect(page.locator("#detail-title")).to_contain_text(message_id)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_with_the_keyboard_alone(open_: Open, api: httpx.Client) -> None:
    """From the first Tab to a message's detail and back, with the focus where it was."""
    message_id = api.post("/messages", json={"content": "Hello"}).json()["message_id"]
    page = open_()
    expect(row(page, message_id)).to_contain_text("completed")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the link that skips to the messages
    page.locator(f"#m-{message_id}").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#detail-title")).to_contain_text(message_id)
    page.keyboard.press("Escape")
    wait_until(lambda: page.evaluate("document.activeElement.id") == f"m-{message_id}", "the focus is back")


def test_a_tab_that_is_not_seen(open_: Open, api: httpx.Client) -> None:
    """It gives its connection back, and catches up once it is seen."""
    page = open_()
    expect(page.locator("#live")).to_have_text("live")

    def hide(*, hidden: bool) -> None:
        page.evaluate(
            """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    hide(hidden=True)
    expect(page.locator("#live")).to_contain_text("not listening")
    message_id = api.post("/messages", json={"content": "Hello"}).json()["message_id"]
    hide(hidden=False)
    expect(page.locator("#live")).to_have_text("live")
    expect(row(page, message_id)).to_contain_text("completed")


def test_a_restart_of_the_api(chromium: Browser, tmp_path: Path) -> None:
    """The page says that the connection is lost, and goes on by itself."""
    with RunningStack(tmp_path) as stack:
        watched = browser.Watched(chromium, stack.info.api_url)
        page = watched.page
        page.goto(stack.info.api_url)
        expect(page.locator("#live")).to_have_text("live")
        stack.service("api").kill()
        expect(page.locator("#live")).to_contain_text("connection lost")
        expect(page.locator("#live")).to_have_text("live", timeout=60_000)
        with stack.http() as api:
            api.post("/messages", json={"content": "x", "message_id": "after"})
        expect(row(page, "after")).to_contain_text("completed")
        watched.close()


def test_a_broken_key_is_seen_and_mended(chromium: Browser, provider: LlmServer, tmp_path: Path) -> None:
    """The reason stands on the page, by itself and grouped; once it is mended, one button retries all of them."""
    provider.mode = "401"
    settings = {"OPENAI_API_KEY": "sk-wrong", "OPENAI_BASE_URL": provider.base_url}
    with RunningStack(tmp_path, **settings) as stack:
        watched = browser.Watched(chromium, stack.info.api_url)
        page = watched.page
        page.goto(stack.info.api_url)
        page.get_by_label("Text", exact=True).fill("Hello")
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("#result")).to_contain_text("failed")
        with stack.http() as api:
            api.post("/messages", json={"content": "Good evening", "metadata": {"target_language": "fr"}})
        failures = page.locator("#failures")
        expect(failures).to_contain_text("Failed, by reason")
        expect(failures.locator("tbody tr td.number")).to_have_text("2")
        page.locator("#table").get_by_role("link").first.click()
        expect(page.locator("#detail .notice")).to_contain_text(re.compile("key", re.IGNORECASE))
        page.keyboard.press("Escape")
        provider.mode = "ok"
        failures.get_by_role("button", name="Retry all 2").click()
        expect(page.locator("#table td.status.completed")).to_have_count(2)
        expect(failures).to_be_empty()
        assert watched.errors == []
        watched.close()


def test_a_key_of_its_own_is_asked_for_again(open_: Open, api: httpx.Client) -> None:
    """A message that came with a key, and was cancelled, needs it again: the page asks, and keeps it nowhere."""
    api.post("/queues/default/pause")
    api.post("/messages", json={"content": "x", "message_id": "own-key", "api_key": "sk-own-canary"})
    api.post("/messages/own-key/cancel")
    page = open_()
    page.get_by_role("button", name="Retry own-key").click()
    page.get_by_label("API key", exact=True).fill("sk-own-canary")
    page.locator("#ask-key").get_by_role("button", name="Retry").click()
    expect(row(page, "own-key")).to_contain_text("queued")
    assert "sk-own-canary" not in page.content()
    api.post("/messages/own-key/cancel")


def test_a_session(chromium: Browser, tmp_path: Path) -> None:
    """With a token set the page asks for it, refuses another, works with the session, and ends it."""
    with RunningStack(tmp_path, TQ_API_TOKEN="a-good-token") as stack:
        watched = browser.Watched(chromium, stack.info.api_url)
        page = watched.page
        page.goto(stack.info.api_url)
        page.get_by_label("Token").fill("a-bad-token")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("No such token.")
        page.get_by_label("Token").fill("a-good-token")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#live")).to_have_text("live")
        page.get_by_label("Text", exact=True).fill("Hello")
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("#result")).to_contain_text("completed in")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        assert watched.page.context.cookies() == []
        watched.close()
