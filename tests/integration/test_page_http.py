"""The page over plain HTTP: who gets it, what may run on it, and who has a session."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from api_server import Api
from raw_http import Connection
from servers import Valkey, wait_until

from tq import session

TOKEN = "a-good-token"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API with a token."""
    folder = tmp_path_factory.mktemp("guarded")
    with Valkey(folder) as valkey:
        environment = os.environ | {"HOME": str(folder), "TQ_DATA_DIR": str(valkey.folder), "TQ_API_TOKEN": TOKEN}
        with Api(folder, environment) as api:
            yield api


@pytest.fixture
def visitor(guarded: Api) -> Iterator[httpx.Client]:
    """Somebody who has shown no token."""
    with guarded.client() as client:
        yield client


def log_in(client: httpx.Client, token: str = TOKEN) -> httpx.Response:
    """Send the form."""
    return client.post("/login", data={"token": token}, headers=SAME)


def test_programs_and_people(http: httpx.Client) -> None:
    """A browser gets the page, everybody else what DESIGN says."""
    page = http.get("/", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for accept in ("*/*", "application/json", ""):
        answer = http.get("/", headers={"Accept": accept})
        assert answer.json()["status"] == "ok"
        assert "Accept" in answer.headers["vary"]


@pytest.mark.parametrize("path", ["/", "/page/overview", "/page/failures", "/page/messages"])
def test_nothing_from_elsewhere_and_nothing_inline(http: httpx.Client, path: str) -> None:
    """The policy forbids it, and nothing on the page would need it."""
    answer = http.get(path, headers=BROWSER)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|https?://", answer.text)


def test_what_messages_say_is_escaped(http: httpx.Client) -> None:
    """Metadata, models and reasons are text, in the table, the groups and the detail."""
    evil = "<script>alert(1)</script>"
    body = {"content": evil, "message_id": "m", "model_name": evil, "metadata": {"target_language": "fr", evil: evil}}
    http.post("/messages", json=body)
    http.post("/messages/m/status", json={"status": "running"})
    http.post("/messages/m/status", json={"status": "failed", "error": evil})
    for path in ("/", "/page/messages", "/page/failures", "/page/messages/m"):
        text = http.get(path, headers=BROWSER).text
        assert "<script>" not in text
    assert "&lt;script&gt;" in http.get("/page/messages/m").text


def test_a_filter_that_is_none(http: httpx.Client) -> None:
    """It is said where the table would be, and a link with one still opens the page."""
    for query in ("priority=11", "priority=x", "status=nonsense"):
        assert "notice bad" in http.get(f"/page/messages?{query}").text
        assert http.get(f"/?{query}", headers=BROWSER).status_code == 200


def test_rows_of_those_that_left(http: httpx.Client) -> None:
    """Rows are asked for by id, whatever has become of them; what is not there is left out, and 25 are the most."""
    for name in ("a", "b"):
        http.post("/messages", json={"content": "Secret", "message_id": name})
    http.post("/messages/b/cancel")
    answer = http.get("/page/rows?id=a&id=b&id=nobody")
    assert re.findall(r'id="row-(\w+)"', answer.text) == ["a", "b"]
    assert "cancelled" in answer.text
    assert "Secret" not in answer.text
    assert http.get("/page/rows?" + "&".join(f"id={n}" for n in range(26))).status_code == 422
    http.post("/queues/default/pause")
    assert "queue paused" in http.get("/page/rows?id=a").text
    assert "queue paused" not in http.get("/page/rows?id=b").text
    http.post("/queues/default/resume")


def test_without_a_session(visitor: httpx.Client) -> None:
    """The page is a form; its parts and the API ask for a token; what the form needs is open."""
    page = visitor.get("/", headers=BROWSER)
    assert "Log in" in page.text
    assert "Messages" not in page.text
    for path in ("/page/overview", "/page/messages", "/messages", "/events"):
        assert visitor.get(path).status_code == 401
    assert visitor.get("/static/page/tq.css").status_code == 200
    assert visitor.get("/").json()["status"] == "ok"


def test_a_session_reads_and_writes(visitor: httpx.Client) -> None:
    """Its cookie is out of reach of scripts and other sites, holds no token, and opens the page and the API."""
    answer = log_in(visitor)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert "Messages" in visitor.get("/", headers=BROWSER).text
    assert visitor.get("/messages").status_code == 200
    assert visitor.post("/messages", json={"content": "x"}, headers=SAME).status_code == 202
    assert visitor.post("/logout", headers=SAME).status_code == 303
    assert visitor.get("/messages").status_code == 401


def test_a_session_writes_for_its_own_page_only(visitor: httpx.Client) -> None:
    """Without a word of the browser that it is, and from another site, a cookie is not enough."""
    log_in(visitor)
    assert visitor.post("/messages", json={"content": "x"}).status_code == 401
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "none"}):
        assert visitor.post("/messages", json={"content": "x"}, headers=headers).status_code in {401, 403}


def test_forged_sessions(guarded: Api, visitor: httpx.Client) -> None:
    """What was not signed with the token opens nothing."""
    later = int(time.time()) + 1000
    values = ["", "x", f"{later}.", f"{later}.{'0' * 64}", session.issue("another-token"), "é.é"]
    values += [session.issue(TOKEN).replace(".", "0."), "9" * 400 + "." + "0" * 64]
    for value in values:
        cookie = (b"Cookie", f"{session.name(guarded.port)}={value}".encode())
        assert visitor.get("/messages", headers=[cookie]).status_code == 401
        assert "Log in" in visitor.get("/", headers=[cookie, (b"Accept", b"text/html")]).text


def test_an_old_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends by itself."""
    value = session.issue(TOKEN)
    assert session.is_valid(value, [TOKEN])
    later = time.time() + session.LIFETIME + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert not session.is_valid(value, [TOKEN])


def test_guessing_is_slow(visitor: httpx.Client) -> None:
    """A wrong token costs a second, also one that is no text or far too long."""
    for body in (b"token=wrong", b"token=\xff", b"token=" + b"x" * 100_000, b""):
        began = time.monotonic()
        answer = visitor.post("/login", content=body, headers=SAME)
        assert answer.status_code == 401
        assert time.monotonic() - began > 0.9


def test_the_page_without_redis(tmp_path: Path) -> None:
    """It says what is wrong, and how to mend it."""
    with Valkey(tmp_path) as valkey, Api(tmp_path, os.environ | {"TQ_DATA_DIR": str(tmp_path)}) as api:
        valkey.kill()
        with api.client() as client:
            page = client.get("/", headers=BROWSER)
            assert page.status_code == 200
            assert "notice bad" in page.text
        valkey.start()


def test_a_broker_that_is_away(tmp_path: Path) -> None:
    """Where the broker is another one than the store's Redis, the page says what that means."""
    with Valkey(tmp_path):
        environment = os.environ | {"TQ_DATA_DIR": str(tmp_path), "TQ_BROKER_URL": "amqp://127.0.0.1:1//"}
        with Api(tmp_path, environment) as api, api.client() as client:
            text = client.get("/", headers=BROWSER).text
            assert "nobody is told of them" in text
            assert "<title>" in text
            assert 'data-title="broker down"' in text


def test_a_budget_that_is_spent(tmp_path: Path) -> None:
    """It is said whose, and until when; what is nearly spent has a bar of its own."""
    prices = {"TQ_PRICES": '{"gpt-5.4-mini": {"prompt": 1, "completion": 1}}', "TQ_BUDGET_PER_DAY": "5"}
    with Valkey(tmp_path) as valkey, Api(tmp_path, os.environ | {"TQ_DATA_DIR": str(tmp_path)} | prices) as api:
        with valkey.client() as redis:
            day = f"{datetime.now(UTC):%Y%m%d}"
            for account, cost in (("default", 5), ("0123456789abcdef", 4.5), ("total", 9.5)):
                redis.hset(f"tq:spend:{account}:{day}", mapping={"prompt_tokens": 1000, "cost": int(cost * 10**9)})
                if account != "total":
                    redis.zadd(f"tq:spenders:{day}", {account: 1000})
        with api.client() as client:
            text = client.get("/page/overview").text
    assert "Today's budget of the default key is spent" in text
    assert "the key 0123456789abcdef" not in text
    assert "90%" in text
    assert "9.50 USD" in text
    assert "of 5.00 USD for each key a day" in text


def test_pages_of_messages_without_a_script(http: httpx.Client) -> None:
    """The links to older ones work by themselves, filters included."""
    for number in range(40):
        http.post("/messages", json={"content": "x", "message_id": f"m{number}", "metadata": {"project": "p"}})
    first = http.get("/?q=p", headers=BROWSER).text
    older = re.search(r'href="\?(q=p&amp;cursor=[0-9]+)"', first)
    assert older is not None
    assert 'id="row-m39"' in first
    second = http.get(f"/?{older[1].replace('&amp;', '&')}", headers=BROWSER).text
    assert 'id="row-m14"' in second
    assert 'id="row-m39"' not in second
    assert "Older" not in second


def test_who_has_left_keeps_nobody_waiting(guarded: Api) -> None:
    """Wrong tokens wait in a line that is not endless, and that those leave who are gone."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(Connection(guarded.port)) for _ in range(30)]
        for connection in crowd:
            body = b"token=wrong"
            sizes = ("Sec-Fetch-Site: same-origin", f"Content-Length: {len(body)}")
            connection.begin("/login", *sizes, method="POST", body=body)
        # Those for whom there is no room hear so at once.
        assert sum(connection.answer().status == 429 for connection in crowd[-5:]) == 5
    with guarded.client() as client:
        assert log_in(client).status_code == 303
        began = time.monotonic()
        wait_until(lambda: log_in(client, "wrong").status_code == 401, "there is room in the line")
        assert time.monotonic() - began < 15


def test_the_way_in_and_out(visitor: httpx.Client) -> None:
    """The form's address leads to it, a login to what was asked for and nowhere else; a logout needs nothing."""
    assert visitor.get("/login").headers["location"] == "/"
    assert visitor.post("/logout", headers=SAME).status_code == 303
    page = visitor.get("/?status=failed&q=a%22b", headers=BROWSER).text
    assert 'name="next" value="status=failed&amp;q=a%22b"' in page
    for place in ("status=failed", "//evil.example", "https://evil.example/", "\r\nX: y"):
        answer = visitor.post("/login", data={"token": TOKEN, "next": place}, headers=SAME)
        assert answer.headers["location"].startswith("/?")
        assert "x" not in answer.headers
    assert visitor.get("/page/session").status_code == 204


def test_sessions_of_other_ports(guarded: Api, visitor: httpx.Client) -> None:
    """A browser sends the cookies of all ports of a host: each stack finds its own among them."""
    good, bad = session.issue(TOKEN), session.issue("another")
    own, other = session.name(guarded.port), session.name(guarded.port + 1)
    for cookies, status in (
        (f"{other}={bad}; {own}={good}", 200),
        (f"{own}={bad}; {own}={good}", 200),
        (f"{other}={good}", 401),
    ):
        assert visitor.get("/messages", headers={"Cookie": cookies}).status_code == status


def test_files_of_the_page_are_not_kept_unseen(http: httpx.Client) -> None:
    """A browser asks whether they are still the same: after an upgrade they are not."""
    answer = http.get("/static/page/tq.js")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert http.get("/static/page/tq.js", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
