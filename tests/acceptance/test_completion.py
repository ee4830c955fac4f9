"""Completion in a shell: languages, statuses, queues, and ids of messages, from the store and over HTTP."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from api_server import Api
from cli_driver import Cli, complete, fail
from servers import Valkey, free_port, wait_until

from tq.backend import make_submission
from tq.local import LocalClient
from tq.messages import Status
from tq.stack import LOG_NAMES


def offered(tq: Cli, line: str, **settings: str) -> list[str]:
    """What bash is offered for a line that ends where the cursor is."""
    words = line.split(" ")
    shell = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_TQ_COMPLETE": "complete_bash"}
    done = tq(**(shell | settings))
    assert done.stderr == ""
    return done.stdout.split()


def wait_for_offers(tq: Cli, expected: set[str], line: str, **settings: str) -> None:
    """On a machine that is busy, silence is an answer, too."""
    wait_until(lambda: set(offered(tq, line, **settings)) == expected, f"{line!r} is completed")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tq submit x --to pt", {"pt", "pt-BR"}),
        ("tq submit x --to PT-b", {"pt-BR"}),
        ("tq list --from ZH", {"zh-Hans", "zh-Hant"}),
        ("tq list --status f", {"failed"}),
        ("tq pause h", {"high_priority"}),
        ("tq logs ", {*LOG_NAMES}),
        ("tq logs w", {"worker"}),
        ("tq list --callback d", {"delivered", "disabled"}),
        ("tq list --error inv", {"invalid-key", "invalid-output"}),
        ("tq list --model m-", {"m-1", "m-2", "m-3"}),
        ("tq submit x --model m-2", {"m-2"}),
        ("tq submit x --fallback-model m-", {"m-1", "m-2", "m-3"}),
    ],
)
def test_words(tq: Cli, line: str, expected: set[str]) -> None:
    """Languages, whatever the case they are typed in, statuses, queues, services, errors and models of the settings."""
    assert set(offered(tq, line, TQ_MODEL="m-1", TQ_FALLBACK_MODELS="m-2,m-3")) == expected


@pytest.fixture
def messages(local: LocalClient) -> None:
    """One of each status, and more than a page of others after them."""
    for name in ("queued", "running", "failed", "cancelled", "completed"):
        local.submit("Hello", to="fr", message_id=f"a-{name}")
    local.set_status("a-running", Status.RUNNING)
    fail(local, "a-failed")
    local.cancel("a-cancelled")
    complete(local, "a-completed", "Bonjour")
    local.submit_many([make_submission("Hello", to="fr", message_id=f"b-{number:03}") for number in range(250)])


ALL = {"a-queued", "a-running", "a-failed", "a-cancelled", "a-completed"}


@pytest.mark.usefixtures("messages")
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("status", ALL),
        ("cancel", {"a-queued", "a-running"}),
        ("retry", {"a-failed", "a-cancelled"}),
        ("callback", {"a-failed", "a-cancelled", "a-completed"}),
        ("status a-queued", ALL - {"a-queued"}),
    ],
)
@pytest.mark.parametrize("over_http", [False, True])
def test_ids(
    tq: Cli,
    environment: dict[str, str],
    tmp_path: Path,
    command: str,
    expected: set[str],
    over_http: bool,  # noqa: FBT001 - a parameter of pytest's
) -> None:
    """Those that the command can do something with, however old they are; none that stands there already."""
    if not over_http:
        wait_for_offers(tq, expected, f"tq {command} a-")
        return
    with Api(tmp_path, environment | {"TQ_API_TOKEN": "right"}) as api:
        elsewhere = {"TQ_DATA_DIR": str(tmp_path / "elsewhere"), "TQ_API_TOKEN": "right"}
        name, *ids = command.split()
        wait_for_offers(tq, expected, " ".join(["tq", name, "--url", api.url, *ids, "a-"]), **elsewhere)
        wait_for_offers(tq, expected, " ".join(["tq", "--url", api.url, name, *ids, "a-"]), **elsewhere)
        wait_for_offers(tq, expected, f"tq {command} a-", **elsewhere, TQ_URL=api.url)


@pytest.mark.usefixtures("messages")
def test_the_newest(tq: Cli, local: LocalClient) -> None:
    """Where nothing was typed the newest are offered; small letters find ids of tq's own making."""
    found = wait_until(lambda: offered(tq, "tq status "), "ids are offered")
    assert found[0] == "b-249"
    assert len(found) == 50
    message_id = local.submit("Hello", to="fr").message_id
    wait_for_offers(tq, {message_id}, f"tq status {message_id[:20].lower()}")
    assert tq("status", message_id[:20].lower()).stdout.startswith(f"{message_id}  queued")
    assert offered(tq, "tq status [*") == []


def test_a_redis_with_a_password(tq: Cli, tmp_path: Path) -> None:
    """One of one's own, with another database."""
    port = free_port()
    (tmp_path / "redis").mkdir()
    with Valkey(tmp_path / "redis", password="p@ss word", port=port):
        own = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port), "REDIS_PASSWORD": "p@ss word", "REDIS_DB": "3"}
        assert tq("submit", "Hello", "--to", "fr", "--id", "mine", **own).returncode == 0
        wait_for_offers(tq, {"mine"}, "tq cancel m", **own)
        assert offered(tq, "tq cancel m", **(own | {"REDIS_PASSWORD": "wrong"})) == []
        assert offered(tq, "tq cancel m", **(own | {"REDIS_DB": "0"})) == []


def test_when_nothing_runs(tq: Cli) -> None:
    """Silence."""
    assert offered(tq, "tq status x") == []
    assert offered(tq, f"tq status --url http://127.0.0.1:{free_port()} x") == []


def test_when_nothing_answers(tq: Cli, valkey: Valkey) -> None:
    """Silence, and soon."""
    began = time.monotonic()
    assert offered(tq, "tq submit x --to pt") == ["pt", "pt-BR"]
    usual = time.monotonic() - began
    valkey.pause()
    began = time.monotonic()
    assert offered(tq, "tq status x") == []
    assert time.monotonic() - began < 3 * usual + 1
