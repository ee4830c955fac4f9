"""The page in a real browser where something is not as it should be: slow, double, held up, gone."""

from __future__ import annotations

from pathlib import Path

import browser
import httpx
import pytest
from llm_server import LlmServer
from pages import Open, click, fail, row
from playwright.sync_api import Browser, Page, Route, expect
from running_stack import RunningStack
from servers import wait_until

pytestmark = [
    pytest.mark.skipif(
        browser.executable() is None, reason="the page is not looked at: there is no chromium (apt install chromium)"
    ),
    pytest.mark.timeout(300),
]


@pytest.fixture
def api(page_api: httpx.Client) -> httpx.Client:
    """The API of the stack."""
    return page_api


def submit(page: Page, text: str) -> None:
    """Fill in the form, and send it once it is live."""
    expect(page.locator("#live")).to_have_text("live")
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Submit").click()


def number(api: httpx.Client) -> int:
    """How many messages there are."""
    return sum(api.get("/queue/stats").json()["counts"].values())


def test_before_its_script_is_there(open_: Open) -> None:
    """What is typed, a key above all, gets into no address: the form cannot be sent yet."""

    def hold(route: Route) -> None:
        route.fulfill(body="", content_type="text/javascript")

    page = open_("/docs")
    page.route("**/static/page/tq.js", hold)
    page.goto(page.url.replace("/docs", "/"))
    page.get_by_label("Text", exact=True).fill("private text")
    page.locator("#key").fill("sk-own-canary")
    page.locator("#key").press("Enter")
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    assert "?" not in page.url
    assert page.locator("#submit").get_attribute("method") == "post"


def test_twice_is_once(open_: Open, api: httpx.Client) -> None:
    """A double click, and a key that is held, submit one message; the same text can be submitted again after it."""
    page = open_()
    before = number(api)
    expect(page.locator("#live")).to_have_text("live")
    page.get_by_label("Text", exact=True).fill("Twice")
    page.get_by_role("button", name="Submit").dblclick()
    expect(page.locator("#result")).to_contain_text("completed in")
    page.get_by_label("Text", exact=True).fill("Held")
    expect(page.locator("#submit-button")).not_to_have_attribute("aria-disabled", "true")
    page.get_by_label("Text", exact=True).focus()
    page.keyboard.down("Control")
    for _ in range(8):
        page.keyboard.down("Enter")  # without an up between them these are repetitions
    page.keyboard.up("Enter")
    page.keyboard.up("Control")
    wait_until(lambda: number(api) == before + 2, "the second message is there")
    expect(page.locator("#submit-button")).not_to_have_attribute("aria-disabled", "true")
    page.get_by_role("button", name="Submit").click()
    wait_until(lambda: number(api) == before + 3, "so is the third")


def test_a_detail_that_is_slow(open_: Open, api: httpx.Client) -> None:
    """Two clicks open it once; the pointer says that something is on its way; one Escape closes it."""
    message_id = api.post("/messages", json={"content": "Hello"}).json()["message_id"]
    page = open_()
    expect(row(page, message_id)).to_contain_text("completed")
    held: list[Route] = []
    page.route("**/page/messages/*", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks what it calls
    page.get_by_role("link", name=message_id).dblclick()
    wait_until(
        lambda: bool(page.locator("body[aria-busy]").count()) and bool(held),
        "the page says that it waits, and the request is held",
    )
    assert len(held) == 1
    held[0].continue_()
    expect(page.locator("#detail")).to_be_visible()
    expect(page.locator("body[aria-busy]")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    page.wait_for_url(lambda url: "message=" not in url)
    expect(page.locator("#detail")).to_be_hidden()


def test_what_waits_in_a_paused_queue(open_: Open, api: httpx.Client) -> None:
    """Form, table and detail say so; the form has no connection of its own meanwhile, and hears of the end."""
    api.post("/queues/high_priority/pause")
    page = open_()
    submit(page, "Hello, later")
    result = page.locator("#result")
    expect(result).to_contain_text("high_priority is paused")
    message_id = result.locator("a").inner_text()
    expect(row(page, message_id)).to_contain_text("queue paused")
    assert "\ntq_event_streams 1\n" in api.get("/metrics").text
    result.locator("a").click()
    expect(page.locator("#detail .notice")).to_contain_text("high_priority is paused")
    page.keyboard.press("Escape")
    api.post("/queues/high_priority/resume")
    expect(result).to_contain_text("completed in")


def test_the_form_hears_of_another_try(chromium: Browser, provider: LlmServer, tmp_path: Path) -> None:
    """What has failed, and is tried again from anywhere, is seen to complete where it was submitted."""
    provider.mode = "401"
    with RunningStack(tmp_path, OPENAI_API_KEY="sk-wrong", OPENAI_BASE_URL=provider.base_url) as stack:
        watched = browser.Watched(chromium, stack.info.api_url)
        page = watched.page
        page.goto(stack.info.api_url)
        submit(page, "Hello")
        expect(page.locator("#result")).to_contain_text("failed: the provider refused the API key")
        provider.mode = "ok"
        page.locator("#result a").click()
        click(page.locator("#d-retry"))
        expect(page.locator("#result")).to_contain_text("completed in")
        assert watched.errors == []
        watched.close()


def test_rows_that_left_the_filter(open_: Open, stack: RunningStack) -> None:
    """Under the pointer a row stays, and says what has become of it: it has no button for what it is not any more."""
    fail(stack, ["leaves-1", "leaves-2"], kind="refusal")
    page = open_("/?status=failed&error=refusal")
    mine = row(page, "leaves-1")
    click(mine.get_by_role("button", name="Retry"))  # where the pointer stays
    expect(mine.locator("td.status")).to_contain_text("completed")
    expect(mine.get_by_role("button")).to_have_count(0)
    expect(page.locator("#fresh")).to_be_visible()
    page.locator("#fresh").click()
    expect(mine).to_have_count(0)
    expect(row(page, "leaves-2")).to_be_visible()


def test_an_api_that_stands_still(chromium: Browser, tmp_path: Path) -> None:
    """Although its connections stay open, the page says that nothing answers, and goes on when it does."""
    with RunningStack(tmp_path) as stack:
        watched = browser.Watched(chromium, stack.info.api_url)
        page = watched.page
        page.goto(stack.info.api_url)
        expect(page.locator("#live")).to_have_text("live")
        stack.service("api").suspend()
        try:
            expect(page.locator("#live")).to_contain_text("does not answer", timeout=60_000)
            page.get_by_label("Text", exact=True).fill("Hello")
            page.get_by_role("button", name="Submit").click()
            expect(page.locator("#result")).to_contain_text("sending")
        finally:
            stack.service("api").resume()
        expect(page.locator("#live")).to_have_text("live", timeout=60_000)
        expect(page.locator("#result")).to_contain_text("completed in")
        watched.close()


def test_logged_out_in_another_tab(chromium: Browser, tmp_path: Path) -> None:
    """Texts that were open are hidden, the stream is closed, and what is tried says how to go on."""
    with RunningStack(tmp_path, TQ_API_TOKEN="a-good-token") as stack, stack.http() as api:
        api.headers["Authorization"] = "Bearer a-good-token"
        api.post("/messages", json={"content": "Secret", "message_id": "open"})
        watched = browser.Watched(chromium, stack.info.api_url)
        page = watched.page
        page.goto(stack.info.api_url)
        page.get_by_label("Token").fill("a-good-token")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="open").click()
        page.get_by_role("button", name="Show the texts").click()
        expect(page.locator("#texts")).to_contain_text("Secret")
        page.context.clear_cookies()
        expect(page.locator("#detail")).to_be_hidden(timeout=30_000)
        assert "Secret" not in page.content()
        expect(page.locator("#live")).to_have_text("the session has ended")
        expect(page.locator("#ended")).to_be_in_viewport()
        wait_until(lambda: "\ntq_event_streams 0\n" in api.get("/metrics").text, "its stream is closed")
        page.get_by_label("Text", exact=True).fill("A draft")
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("#result")).to_contain_text("log in again in another tab")
        watched.close()


def test_addresses_that_say_nothing(open_: Open) -> None:
    """A filter that is none, and a message that is not there, do not stay in the address."""
    page = open_("/?status=bogus&to=fr")
    expect(page.locator("#live")).to_have_text("live")
    assert page.url.endswith("/?to=fr")
    page = open_("/?message=nope")
    expect(page.locator("#toasts")).to_contain_text("nope")
    page.wait_for_url(lambda url: "message=" not in url)


@pytest.mark.parametrize("width", [360, 800, 1150, 1280])
def test_budgets_of_several_keys(chromium: Browser, provider: LlmServer, tmp_path: Path, width: int) -> None:
    """They fit, however long the names and amounts; without a price they are said in tokens."""
    settings = {
        "OPENAI_API_KEY": "sk-demo",
        "OPENAI_BASE_URL": provider.base_url,
        "TQ_PRICES": '{"currency": "USD", "*": {"prompt": 1.23, "completion": 4.5}}',
        "TQ_BUDGET_PER_DAY": "1",
    }
    with RunningStack(tmp_path, **settings) as stack, stack.http() as api:
        api.post("/messages", json={"content": "Hello", "metadata": {"target_language": "fr", "k" * 100: "v"}})
        own = api.post("/messages", json={"content": "World", "api_key": "sk-another-key"}).json()["message_id"]
        wait_until(lambda: api.get("/queue/stats").json()["counts"]["completed"] == 2, "both are translated")
        watched = browser.Watched(chromium, stack.info.api_url, viewport={"width": width, "height": 900})
        page = watched.page
        page.goto(stack.info.api_url)
        expect(page.locator(".spend tbody tr")).to_have_count(2)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        card = page.locator(".card", has=page.locator(".spend")).bounding_box()
        table = page.locator(".spend").bounding_box()
        assert card is not None
        assert table is not None
        assert table["x"] + table["width"] <= card["x"] + card["width"]
        page.goto(f"{stack.info.api_url}/?message={own}")
        page.goto(f"{stack.info.api_url}/?message={api.get('/messages?to=fr').json()['messages'][0]['message_id']}")
        expect(page.locator("#detail")).to_be_visible()
        assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.getElementById('detail'))")
        watched.close()
