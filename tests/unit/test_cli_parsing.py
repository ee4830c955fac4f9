"""The command line without anything behind it: names, options, refusals, settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import typer

from tq.backend import make_submission
from tq.cli import app, main
from tq.config import MASK, setting_lines
from tq.errors import InvalidMessage, UsageError
from tq.inputs import read_context, read_glossary, read_parameters, read_text
from tq.options import complete_language
from tq.settings import Settings, get_settings
from tq.wire import body_of

#: DESIGN 1.3.
CONTRACT = {
    "up": ["-d", "--port", "--concurrency", "--grace"],
    "down": [],
    "ps": [],
    "logs": ["-f"],
    "api": [],
    "worker": [],
    "flower": [],
    "submit": [
        "--file", "--to", "--from", "--priority", "--model", "--domain", "--id", "--idempotency-key", "--wait",
        "--timeout", "--json", "--url", "--context", "--formality", "--instructions", "--glossary", "--fallback-model",
        "--param", "--no-cache", "--estimate",
    ],
    "status": ["--follow", "--json", "--url"],
    "list": ["--status", "--limit", "--callback", "--prefix", "--json", "--url"],
    "tail": ["--status", "--to", "--json", "--url"],
    "stats": ["--watch", "--json", "--url"],
    "cancel": ["--url"],
    "pause": ["--url"],
    "resume": ["--url"],
    "webhook-secret": ["--new"],
    "retry": ["--failed", "--url"],
    "callback": ["--json", "--url"],
    "doctor": [],
    "config": [],
}  # fmt: skip


def commands() -> dict[str, Any]:
    """The commands by name."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """The exit code of a command line."""
    monkeypatch.setattr(sys, "argv", ["tq", *args])
    return main()


def test_the_contract_is_complete() -> None:
    """Every command of the contract exists, and no other."""
    assert set(commands()) == set(CONTRACT)


@pytest.mark.parametrize("name", CONTRACT)
def test_options_of_the_contract(name: str) -> None:
    """Every option of the contract exists, and every parameter is explained."""
    parameters = commands()[name].params
    assert set(CONTRACT[name]) <= {option for parameter in parameters for option in parameter.opts}
    assert all(parameter.help for parameter in parameters)


def test_submit_parses() -> None:
    """A full command line ends up in the right parameters; --to may be repeated."""
    line = [
        "Hello",
        "--to",
        "fr",
        "--to",
        "pt-BR",
        "--from",
        "en",
        "--priority",
        "9",
        "--timeout",
        "2.5",
        "-w",
        "--json",
    ]
    params = commands()["submit"].make_context("submit", line).params
    assert params["text"] == "Hello"
    assert params["to"] == ["fr", "pt-BR"]
    assert (params["source"], params["priority"], params["timeout"]) == ("en", 9, 2.5)
    assert params["wait"]
    assert params["json"]


def test_no_key_on_the_command_line() -> None:
    """No option takes a key: arguments can be read by every user of the machine."""
    options = [option for command in commands().values() for parameter in command.params for option in parameter.opts]
    assert [option for option in options if "key" in option] == ["--idempotency-key", "--ask-key", "--ask-key"]
    ask = next(parameter for parameter in commands()["submit"].params if "--ask-key" in parameter.opts)
    assert ask.is_flag


@pytest.mark.parametrize(
    "line",
    [
        ["nonsense"],
        ["--nonsense"],
        ["status"],
        ["submit", "a", "b"],
        ["submit", "a", "--to"],
        ["submit", "a", "--priority", "high"],
        ["submit", "a", "--file", "b"],
        ["submit", "a", "--file", "/no/such/file"],
        ["submit", "a", "--to", "fr", "--to", "de", "--id", "x"],
        ["submit", "a", "--to", "fr", "--to", "de", "--idempotency-key", "x"],
        ["submit", "a", "--to", "klingon-at-large"],
        ["submit", "a", "--priority", "11"],
        ["submit", "   "],
        ["submit", "a", "--id", "with space"],
        ["submit", "a", "--timeout", "-1"],
        ["submit", "a", "--formality", "polite"],
        ["submit", "a", "--param", "temperature"],
        ["submit", "a", "--param", "=1"],
        ["submit", "a", "--param", "temperature=hot"],
        ["submit", "a", "--param", "stream=true"],
        ["submit", "a", "--context", "@/no/such/file"],
        ["submit", "a", "--glossary", "/no/such/file"],
        ["submit", "a", *["--fallback-model", "m"] * 6],
        ["list", "--status", "nope"],
        ["list", "--limit", "0"],
        ["list", "--url", "nonsense"],
        ["retry"],
        ["retry", "x", "--failed"],
        ["up", "--port", "many"],
    ],
)
def test_usage_errors(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What makes no sense is refused with exit code 2, in the form of all errors, before anything is reached."""
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *line) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    first, *rest = shown.err.splitlines()
    assert first.startswith("error: ")
    assert rest
    assert all(text.startswith(("  why   ", "  fix   ")) for text in rest)


def test_version_and_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both are data: on stdout, exit code 0."""
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("tq ")
    for line in ([], ["--help"], ["submit", "-h"]):
        assert run(monkeypatch, *line) == 0
        assert capsys.readouterr().out.startswith("Usage: tq")


def test_help_imports_nothing_heavy() -> None:
    """`tq --help` pays for none of the libraries that commands use."""
    heavy = ["celery", "openai", "fastapi", "redis", "httpx", "rich", "pydantic", "cryptography", "kombu"]
    code = f"import sys, tq.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_languages_complete() -> None:
    """Completion offers tags that a submission takes."""
    assert "pt-BR" in complete_language("pt")
    assert all(make_submission("x", to=tag) for tag in complete_language(""))


def test_friendly_keywords() -> None:
    """Keywords become the body of the contract; what is absent stays absent."""
    submission = make_submission("Hello", to="fr", source="en", priority=9, model="m", metadata={"ticket": 7})
    assert submission.metadata == {"ticket": 7, "source_language": "en", "target_language": "fr"}
    assert (submission.priority, submission.model_name, submission.message_id) == (9, "m", None)
    assert make_submission("Hello").metadata == {}


def test_friendly_keywords_for_options() -> None:
    """What is said about how to translate goes where the contract has it, whatever kind of list or mapping it is."""
    submission = make_submission(
        "Hello",
        to="fr",
        context="a button",
        formality="formal",
        instructions="short",
        cache=False,
        fallback_models=("a", "b"),
        parameters=MappingProxyType({"temperature": 0.5}),
    )
    assert submission.metadata == {
        "target_language": "fr",
        "context": "a button",
        "formality": "formal",
        "instructions": "short",
    }
    assert submission.options() == {
        "cache": False, "fallback_models": ["a", "b"], "parameters": {"temperature": 0.5}
    }  # fmt: skip


def test_parameters_are_json_or_text() -> None:
    """A number stays one, a word needs no quotation marks, and a value may have an equals sign."""
    given = ["temperature=0.2", "seed=7", "reasoning_effort=low", "x=a=b", "y="]
    expected = {"temperature": 0.2, "seed": 7, "reasoning_effort": "low", "x": "a=b", "y": ""}
    assert read_parameters(given) == expected


def test_a_context_may_be_a_file(tmp_path: Path) -> None:
    """After an @ stands a file's name; else it is the context itself."""
    path = tmp_path / "context"
    path.write_bytes("été\r\n".encode())
    assert read_context(f"@{path}") == "été\r\n"
    assert read_context("me@example.org") == "me@example.org"
    assert read_context(None) is None


def test_a_glossary_is_a_csv_file(tmp_path: Path) -> None:
    """Its terms go into the metadata, as they are accepted there; what is no glossary is refused with the line."""
    path = tmp_path / "terms.csv"
    path.write_text("source,target,mandatory\nshop,Laden,yes\ncart,Wagen,\n")
    terms = read_glossary(path)
    assert terms == [{"source": "shop", "target": "Laden", "mandatory": True}, {"source": "cart", "target": "Wagen"}]
    assert make_submission("a", glossary=terms).metadata["glossary"] == terms
    assert make_submission("a", glossary={"shop": "Laden"}).metadata["glossary"] == {"shop": "Laden"}
    assert read_glossary(None) is None
    path.write_text("shop\n")
    with pytest.raises(UsageError) as caught:
        read_glossary(path)
    assert "line 1" in caught.value.why


def estimated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], prices: str, *args: str
) -> tuple[str, str]:
    """What an estimate prints with these prices: out and err. Nothing is there to submit to."""
    if prices:
        monkeypatch.setenv("TQ_PRICES", prices)
    get_settings.cache_clear()
    try:
        assert run(monkeypatch, "submit", "Hello, world", "--model", "m", "--estimate", *args) == 0
    finally:
        get_settings.cache_clear()
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_an_estimate_says_tokens_and_cost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each language, and one for all; a context costs, too; as JSON a document a line."""
    prices = '{"currency": "EUR", "m": {"prompt": 1000, "completion": 0}}'
    out, err = estimated(monkeypatch, capsys, prices, "--to", "fr", "--to", "de")
    assert err == ""
    header, *rows = [text.split() for text in out.splitlines()]
    assert header == ["LANG", "MODEL", "PROMPT", "COMPLETION", "COST"]
    assert [(row[0], row[-1]) for row in rows] == [("fr", "EUR"), ("de", "EUR"), ("all", "EUR")]
    out, _ = estimated(monkeypatch, capsys, prices, "--to", "fr", "--json")
    plain = json.loads(out)
    out, _ = estimated(monkeypatch, capsys, prices, "--to", "fr", "--json", "--context", "a page of a shop")
    assert json.loads(out)["prompt_tokens"] > plain["prompt_tokens"] > 0
    assert plain["cost"] == pytest.approx(plain["prompt_tokens"] / 1000)
    assert (plain["target_language"], plain["model_name"], plain["currency"]) == ("fr", "m", "EUR")


def test_an_unknown_price_is_unknown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is never 0, and what mends it is said."""
    out, err = estimated(monkeypatch, capsys, "", "--to", "fr")
    assert out.splitlines()[1].split()[-1] == "unknown"
    assert "TQ_PRICES" in err
    out, _ = estimated(monkeypatch, capsys, '{"other": {"prompt": 1, "completion": 1}}', "--to", "fr", "--json")
    assert json.loads(out)["cost"] is None


def test_an_older_api_is_sent_what_it_knows() -> None:
    """Over HTTP goes what was said, and nothing that is as it is by default."""
    plain = make_submission("Hello", to="fr", api_key="sk-x")
    assert body_of(plain) == {"content": "Hello", "metadata": {"target_language": "fr"}, "api_key": "sk-x"}
    assert body_of(make_submission("a", metadata={"mine": None}, priority=3, cache=False)) == {
        "content": "a", "metadata": {"mine": None}, "priority": 3, "cache": False
    }  # fmt: skip


def test_texts_are_utf_8(tmp_path: Path) -> None:
    """A file is taken as it is, line ends included; another encoding is refused without showing its bytes."""
    path = tmp_path / "text"
    path.write_bytes("été\r\n".encode())
    assert read_text(None, path, key=False) == "été\r\n"
    path.write_bytes(b"secret \xff")
    with pytest.raises(InvalidMessage) as caught:
        read_text(None, path, key=False)
    assert "secret" not in f"{caught.value.what}{caught.value.why}"


def test_stdin_is_one_thing() -> None:
    """The text and the key cannot both come from stdin."""
    with pytest.raises(UsageError):
        read_text("-", None, key=True)


def test_settings_say_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment wins over .env, which wins over the default; an empty value counts as not set."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("TQ_LEASE=9s\nTQ_MODEL=from-file\n")
    monkeypatch.setenv("TQ_MODEL", "from-env")
    monkeypatch.setenv("TQ_MAX_WAIT", "")
    found = {each.name: (each.value, each.source) for each in setting_lines()}
    assert found["TQ_MODEL"] == ("from-env", "env")
    assert found["TQ_LEASE"] == ("9s", ".env")
    assert found["TQ_MAX_WAIT"] == ("60", "default")


def test_settings_show_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, passwords and tokens are masked, also inside of URLs and of values that are not valid."""
    monkeypatch.chdir(tmp_path)
    canary = "c4n4ry"
    for name in ("OPENAI_API_KEY", "REDIS_PASSWORD", "TQ_API_TOKEN", "TQ_SECRET_KEY"):
        monkeypatch.setenv(name, canary)
    monkeypatch.setenv("TQ_FLOWER_BASIC_AUTH", f"user:{canary}")
    for name, scheme in (("TQ_REDIS_URL", "redis"), ("TQ_BROKER_URL", "amqp"), ("TQ_URL", "http")):
        monkeypatch.setenv(name, f"{scheme}://user:{canary}@host/0")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://[{canary}@/")
    lines = setting_lines()
    assert not [each for each in lines if canary in each.value]
    assert [each.value for each in lines].count(MASK) >= 5


def test_every_setting_has_a_meaning() -> None:
    """No setting is listed without a word on what it is for."""
    assert len(setting_lines()) == len(Settings.model_fields)
    assert all(each.meaning for each in setting_lines())
