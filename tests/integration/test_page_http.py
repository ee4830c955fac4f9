"""The page over plain HTTP: who gets it, what may run on it, and who has a session."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_server import Api
from servers import Valkey

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


def test_forged_sessions(visitor: httpx.Client) -> None:
    """What was not signed with the token opens nothing."""
    later = int(time.time()) + 1000
    values = ["", "x", f"{later}.", f"{later}.{'0' * 64}", session.issue("another-token"), "é.é"]
    values += [session.issue(TOKEN).replace(".", "0."), "9" * 400 + "." + "0" * 64]
    for value in values:
        cookie = (b"Cookie", f"{session.NAME}={value}".encode())
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
