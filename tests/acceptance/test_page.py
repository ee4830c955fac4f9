"""The page in a real browser, on a real stack: what a person sees and does."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import browser
import httpx
import pytest
from llm_server import LlmServer
from pages import Open, Traffic, click, fail, leave, row
from playwright.sync_api import Browser, Page, expect
from running_stack import RunningStack
from servers import wait_until

from tq.events import MAX_STREAMS

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


def test_a_first_visit(open_: Open) -> None:
    """It says how things stand, that the provider is none, and lives; its title, language and landmarks are there."""
    page = open_()
    expect(page).to_have_title("tq")
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#overview")).to_contain_text("No provider is set")
    expect(page.locator(".services")).to_contain_text("Redis embedded")
    expect(page.locator(".services")).to_contain_text("of 200 slots busy")
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
    expect(page).to_have_url(re.compile("to=ja.*q=needle-7-end"))
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
    click(page.get_by_role("button", name="Cancel goes"))
    expect(row(page, "goes")).to_contain_text("cancelled")
    click(page.get_by_role("button", name="Retry goes"))
    expect(row(page, "goes")).to_contain_text("queued")
    click(page.get_by_role("button", name="Resume default"))
    leave(page)
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
        && !each.getAttribute("aria-label") && !each.hidden).map((each) => each.outerHTML)"""
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
        # Whichever is noticed first: the stream that ends, or a part that gets no answer.
        expect(page.locator("#live")).to_have_text(re.compile("connection lost|does not answer"))
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
        click(failures.get_by_role("button", name="Retry all 2"))
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
    click(page.get_by_role("button", name="Retry own-key"))
    page.get_by_label("API key", exact=True).fill("sk-own-canary")
    page.locator("#ask-key").get_by_role("button", name="Retry").click()
    expect(row(page, "own-key")).to_contain_text("queued")
    assert "sk-own-canary" not in page.content()
    api.post("/messages/own-key/cancel")


def test_rows_stay_under_the_pointer(open_: Open, api: httpx.Client) -> None:
    """While somebody points at the table it keeps its rows, and says how many are new; then they come in."""
    for _ in range(30):
        api.post("/messages", json={"content": "Hello", "metadata": {"target_language": "fr"}})
    page = open_()
    expect(page.locator("#table tbody tr")).to_have_count(25)
    target = page.locator("#table tbody tr").nth(5)
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    assert box is not None
    x, y = box["x"] + 300, box["y"] + box["height"] / 2
    under = f"document.elementFromPoint({x}, {y}).closest('tr')?.id"
    page.mouse.move(x, y)
    with Traffic(api):
        expect(page.locator("#fresh")).to_contain_text("new: show")
        before = page.evaluate(under)
        assert before
        first = page.locator("#fresh").inner_text()
        expect(page.locator("#fresh")).not_to_have_text(first)  # there was another look
        assert page.evaluate(under) == before
    leave(page)
    expect(page.locator("#fresh")).to_be_hidden()
    newest = api.get("/messages?limit=1").json()["messages"][0]["message_id"]
    expect(page.locator("#table tbody tr").first).to_contain_text(newest)


def test_the_focus_stays_on_a_button(open_: Open) -> None:
    """Pressed with the keyboard it says the opposite next, and can be pressed again."""
    page = open_()
    expect(page.locator("#live")).to_have_text("live")
    page.locator("#toggle-default").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#toggle-default")).to_contain_text("Resume")
    assert page.evaluate("document.activeElement.id") == "toggle-default"
    expect(page).to_have_title("paused · tq")
    page.keyboard.press("Enter")
    expect(page.locator("#toggle-default")).to_contain_text("Pause")


def test_notices_stand_above_a_dialog(open_: Open, stack: RunningStack) -> None:
    """What a button in the detail comes to is seen, and can be closed."""
    fail(stack, ["notice"])
    page = open_("/?message=notice")
    click(page.locator("#d-retry"))
    notice = page.locator("#toasts p", has_text="queued again")
    expect(notice).to_be_visible()
    notice.get_by_role("button").click()
    expect(notice).to_have_count(0)
    expect(page.locator("#detail")).to_be_visible()


def test_the_detail_closes_beside_it_only(open_: Open, api: httpx.Client) -> None:
    """A click near its edge is one in it; one beside it closes it; Back and Forward close and open it."""
    message_id = api.post("/messages", json={"content": "Hello"}).json()["message_id"]
    page = open_()
    page.get_by_role("link", name=message_id).click()
    detail = page.locator("#detail")
    expect(detail).to_be_visible()
    box = detail.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 6, box["y"] + 6)
    # A selection that begins in it and ends beside it is none.
    page.mouse.move(box["x"] + 30, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] - 20, box["y"] + 60)
    page.mouse.up()
    expect(detail).to_be_visible()
    page.mouse.click(box["x"] - 20, box["y"] + 60)
    expect(detail).to_be_hidden()
    page.get_by_role("link", name=message_id).click()
    expect(detail).to_be_visible()
    page.go_back()
    expect(detail).to_be_hidden()
    page.go_forward()
    expect(detail).to_be_visible()


def test_figures_and_reasons_are_filters(open_: Open, stack: RunningStack) -> None:
    """A click on a count or a reason shows those messages, and Back shows all again."""
    fail(stack, ["late"], "provider-timeout", "too slow")
    page = open_()
    click_of = page.locator("#only-provider-timeout")
    click_of.click()
    expect(page.locator("#f-error")).to_have_value("provider-timeout")
    expect(page.locator("#table tbody tr")).to_have_count(1)
    expect(row(page, "late")).to_contain_text("failed")
    page.locator("#figure-cancelled").click()
    expect(page.locator("#f-status")).to_have_value("cancelled")
    expect(page.locator("#f-error")).to_have_value("")
    page.go_back()
    expect(page.locator("#f-error")).to_have_value("provider-timeout")


def test_thousands_are_tried_again(open_: Open, stack: RunningStack, api: httpx.Client) -> None:
    """All of them, a thousand at a time, after a question."""
    fail(stack, [f"many-{number:04}" for number in range(1200)], "many")
    api.post("/queues/default/pause")
    page = open_()
    click(page.locator("#retry-many"))
    dialog = page.locator("#confirm")
    expect(dialog).to_contain_text("Retry 1,200 messages?")
    dialog.get_by_role("button", name="Not now").click()
    assert api.get("/queue/stats").json()["counts"]["queued"] == 0
    click(page.locator("#retry-many"))
    dialog.get_by_role("button", name="Retry them").click()
    expect(page.locator("#toasts")).to_contain_text("1,200 queued again")
    expect(page.locator("#group-many")).to_have_count(0)
    assert api.get("/queue/stats").json()["counts"]["queued"] == 1200
    api.post("/queues/default/resume")
    wait_until(lambda: not api.get("/queue/stats").json()["counts"]["queued"], "they are done", timeout=60)


def test_failures_on_a_phone(open_: Open, stack: RunningStack) -> None:
    """Each is short, and its button is there."""
    words = "the provider refused the request: HTTP 400 some_code " * 3
    fail(stack, ["phone-" + "x" * 100], "a-rather-long-type-of-error", words)
    page = open_(viewport={"width": 360, "height": 740})
    for place in (page.locator("#group-a-rather-long-type-of-error"), row(page, "phone-")):
        box, button = place.bounding_box(), place.get_by_role("button").bounding_box()
        assert box is not None
        assert button is not None
        assert box["height"] < 250
        assert button["x"] + button["width"] <= 360
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_what_belongs_to_the_text_is_hidden_with_it(open_: Open, api: httpx.Client) -> None:
    """Glossary, context and instructions are shown by the same click; the caller's own metadata as JSON."""
    metadata = {
        "glossary": {"Secret": "Geheim"},
        "context": "Secret context",
        "instructions": "Secret words",
        "target_language": "de",
        "flags": {"final": True},
    }
    api.post("/messages", json={"content": "Hello", "message_id": "hidden", "metadata": metadata})
    page = open_("/?message=hidden")
    expect(page.locator("#detail")).to_contain_text('{"final": true}')
    assert "Secret" not in page.content()
    page.get_by_role("button", name="Show the texts").click()
    for name in ("Glossary", "Context", "Instructions"):
        expect(page.locator("#texts section", has_text=name)).to_contain_text("Secret")


def test_a_chart_is_read(open_: Open, api: httpx.Client) -> None:
    """Under the pointer it says the minute and its figure."""
    api.post("/messages", json={"content": "Hello"})
    page = open_()
    plot = page.locator(".plot").first
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 20)
    expect(page.locator("#reading-throughput")).to_contain_text("completed")
    leave(page)
    expect(page.locator("#reading-throughput")).to_be_empty()


def test_too_many_pages(open_: Open, stack: RunningStack) -> None:
    """Where the stream is refused nothing is lost that somebody types, and it is asked for again by itself."""
    with ExitStack() as all_of_them, stack.http(limits=httpx.Limits(max_connections=None)) as api:
        for _ in range(MAX_STREAMS):
            all_of_them.enter_context(api.stream("GET", "/events"))
        page = open_()
        page.get_by_label("Text", exact=True).fill("A draft")
        expect(page.locator("#live")).to_contain_text("too many pages listen")
    expect(page.locator("#live")).to_have_text("live", timeout=60_000)
    expect(page.get_by_label("Text", exact=True)).to_have_value("A draft")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#result")).to_contain_text("completed in")


def test_a_field_that_is_refused(open_: Open) -> None:
    """It is marked, and has the focus; what else was typed stays, the key too."""
    page = open_()
    page.get_by_label("Text", exact=True).fill("Hello")
    page.locator("#key").fill("sk-own-canary")
    page.locator("#target").fill("klingon")
    page.get_by_label("Text", exact=True).press("Control+Enter")
    expect(page.locator("#target")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#target")).to_be_focused()
    expect(page.locator("#key")).to_have_value("sk-own-canary")
    expect(page.locator("#result")).to_contain_text("BCP 47")


def test_a_session_ends(chromium: Browser, tmp_path: Path) -> None:
    """In the middle of the work: the page says so, keeps what was typed, and goes on after a login elsewhere."""
    with RunningStack(tmp_path, TQ_API_TOKEN="a-good-token") as stack:
        watched = browser.Watched(chromium, stack.info.api_url)
        page = watched.page

        def log_in(where: Page) -> None:
            where.get_by_label("Token").fill("a-good-token")
            where.get_by_role("button", name="Log in").click()

        page.goto(stack.info.api_url + "/?status=failed")
        log_in(page)
        expect(page.locator("#f-status")).to_have_value("failed")  # the login leads where the link did
        page.get_by_label("Text", exact=True).fill("A draft")
        page.context.clear_cookies()
        expect(page.locator("#ended")).to_be_visible(timeout=30_000)
        with page.context.expect_page() as other:
            page.get_by_role("link", name="Log in again").click()
        log_in(other.value)
        expect(other.value.locator("#live")).to_have_text("live")
        other.value.close()
        expect(page.locator("#ended")).to_be_hidden(timeout=30_000)
        expect(page.get_by_label("Text", exact=True)).to_have_value("A draft")
        watched.close()


def test_a_link_from_another_site(chromium: Browser, tmp_path: Path) -> None:
    """The browser keeps the cookie back at first; who has a session gets the page all the same."""
    with RunningStack(tmp_path, TQ_API_TOKEN="a-good-token") as stack:
        watched = browser.Watched(chromium, stack.info.api_url)
        page = watched.page
        page.goto(stack.info.api_url)
        page.get_by_label("Token").fill("a-good-token")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#live")).to_have_text("live")
        elsewhere = stack.info.api_url.replace("127.0.0.1", "localhost") + "/docs"
        page.goto(elsewhere)
        page.evaluate(f"location.href = '{stack.info.api_url}/?status=failed'")
        expect(page.locator("#live")).to_have_text("live")
        expect(page.locator("#f-status")).to_have_value("failed")
        watched.close()


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
