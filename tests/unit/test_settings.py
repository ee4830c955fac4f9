"""Settings: names, bounds, contradictions, and what they say of Redis."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tq.celery import broker_url
from tq.connection import connect
from tq.errors import InvalidSettings
from tq.settings import Settings, is_loopback, load_settings, parse_duration, redacted


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting from outside, and a working directory without .env."""
    for name in os.environ:
        if name.startswith(("TQ_", "REDIS_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_defaults_are_the_documented_ones() -> None:
    """The defaults of the contract."""
    s = load_settings()
    assert (s.api_host, s.api_port, s.flower_host, s.flower_port) == ("127.0.0.1", 8000, "127.0.0.1", 5555)
    assert (s.concurrency, s.max_retries, s.retry_base, s.retry_max_delay) == (200, 5, 1, 600)
    assert (s.request_timeout, s.lease, s.result_ttl, s.max_wait) == (120, 45, 7 * 86_400, 60)
    assert (s.max_queued, s.max_content, s.batch_max_items, s.target_language) == (100_000, 1024 * 1024, 20, "en")
    assert s.embedded
    assert s.provider_name == "pseudo"


def test_dotenv_with_the_older_names(tmp_path: Path) -> None:
    """A .env of the older setup works as it is, values left empty included."""
    (tmp_path / ".env").write_text("REDIS_HOST=redis.internal\nREDIS_PORT=6380\nREDIS_DB=2\nREDIS_PASSWORD=\nOTHER=1\n")
    s = load_settings()
    assert s.store_url == "redis://redis.internal:6380/2"
    assert not s.embedded


def test_a_dotenv_that_is_no_text(tmp_path: Path) -> None:
    """A .env that cannot be read is said to be that."""
    (tmp_path / ".env").write_bytes(b"REDIS_HOST=\xff\xfe\n")
    with pytest.raises(InvalidSettings, match="env"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_PORT", "0"),
        ("REDIS_PORT", "65536"),
        ("REDIS_DB", "-1"),
        ("TQ_API_PORT", "0"),
        ("TQ_FLOWER_PORT", "70000"),
        ("TQ_CONCURRENCY", "0"),
        ("TQ_CONCURRENCY", "10001"),
        ("TQ_MAX_RETRIES", "-1"),
        ("TQ_RETRY_BASE", "0"),
        ("TQ_RETRY_MAX_DELAY", "86401"),
        ("TQ_REQUEST_TIMEOUT", "0"),
        ("TQ_REQUEST_TIMEOUT", "nan"),
        ("TQ_LEASE", "0.5"),
        ("TQ_LEASE", "2h"),
        ("TQ_RESULT_TTL", "0"),
        ("TQ_MAX_WAIT", "-1"),
        ("TQ_MAX_QUEUED", "0"),
        ("TQ_MAX_CONTENT", "0"),
        ("TQ_MAX_CONTENT", "65MiB"),
        ("TQ_BATCH_MAX_ITEMS", "0"),
        ("TQ_BATCH_WAIT", "61s"),
        ("TQ_BATCH_WAIT", "-1"),
        ("TQ_SEGMENT_TOKENS", "99"),
        ("TQ_SEGMENT_TOKENS", "100001"),
        ("TQ_SEGMENT_PARALLEL", "0"),
        ("TQ_SEGMENT_PARALLEL", "101"),
        ("TQ_MEMORY_TTL", "-1"),
        ("TQ_MEMORY_MAX", "0"),
        ("TQ_RATE_REQUESTS", "0"),
        ("TQ_RATE_TOKENS", "0.5"),
        ("TQ_BUDGET_PER_DAY", "0"),
        ("TQ_BUDGET_PER_DAY", "nan"),
        ("TQ_BUDGET_PER_DAY", "inf"),
        ("TQ_BUDGET_PER_DAY", "5 EUR"),
        ("TQ_PARAMETERS", "temperature=0.2"),
        ("TQ_PARAMETERS", "[]"),
        ("TQ_PARAMETERS", '{"stream": true}'),
        ("TQ_PARAMETERS", '{"temperature": 3}'),
        ("TQ_FALLBACK_MODELS", "a,b,c,d,e,f"),
        ("TQ_FALLBACK_MODELS", "http://x"),
        ("TQ_GRACE", "-1"),
        ("TQ_MODEL", " " * 201),
        ("TQ_PROVIDER", "deepl"),
        ("TQ_REDIS_URL", "http://x"),
        ("OPENAI_API_KEY", "sk-1\r\nX-Other: 1"),
        ("OPENAI_API_KEY", "sk-schlüssel"),
        ("OPENAI_BASE_URL", "localhost:11434"),
        ("OPENAI_BASE_URL", "file:///etc/passwd"),
        ("OPENAI_BASE_URL", "http://"),
        ("OPENAI_BASE_URL", "http:///v1"),
        ("OPENAI_BASE_URL", "http://:8000/v1"),
        ("OPENAI_BASE_URL", "http://[::1/v1"),
        ("OPENAI_BASE_URL", "http://h:65536/v1"),
        ("OPENAI_BASE_URL", "http://h/v1\r\nX-Other: 1"),
        ("OPENAI_BASE_URL", "http://h/v1\t"),
        ("OPENAI_BASE_URL", "http://h /v1"),
        ("OPENAI_BASE_URL", "http://h\\.other/v1"),
        ("OPENAI_BASE_URL", "http://user:password@h/v1"),
        ("OPENAI_BASE_URL", "http://h/v1?key=secret"),
        ("OPENAI_BASE_URL", "http://h/v1#there"),
        ("TQ_URL", "ftp://x"),
        ("TQ_FLOWER_BASIC_AUTH", "user-without-password"),
        ("TQ_TARGET_LANGUAGE", "french"),
    ],
)
def test_every_value_has_a_bound(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value out of bounds is refused, and the setting is named as the environment calls it."""
    with pytest.raises(InvalidSettings) as caught:
        load(monkeypatch, **{name: value})
    assert name in caught.value.why


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "TQ_URL", "TQ_REDIS_URL", "TQ_BROKER_URL"])
@pytest.mark.parametrize(
    "url", ["http://u:canary@h℀/v1", "redis://u:canary℀@h", "http://u:canary@[h/", "redis://:canary@[/"]
)
def test_urls_that_are_none(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    """A URL that cannot be read is refused without repeating the password in it."""
    with pytest.raises(InvalidSettings) as caught:
        load(monkeypatch, **{name: url})
    assert caught.value.why == f"{name}: is not a URL"


@pytest.mark.parametrize("url", ["https://api.example.com/v1/", "http://[::1]:11434/v1", "http://überall.example/v1"])
def test_base_urls(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """An address with scheme, host, port and path is taken as it is."""
    assert load(monkeypatch, OPENAI_BASE_URL=url).openai_base_url == url


@pytest.mark.parametrize(
    "environment",
    [
        {"REDIS_PASSWORD": "p"},
        {"TQ_RETRY_BASE": "10", "TQ_RETRY_MAX_DELAY": "5"},
        {"TQ_API_HOST": "0.0.0.0"},
        {"TQ_FLOWER_HOST": "::"},
        {"TQ_API_PORT": "5555"},
        {"TQ_BUDGET_PER_DAY": "5"},
    ],
)
def test_contradictions_are_refused(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Values that are fine alone and wrong together are refused with a reason and a fix."""
    with pytest.raises(InvalidSettings) as caught:
        load(monkeypatch, **environment)
    assert any(name in caught.value.why for name in environment)
    assert caught.value.fix


def test_options_for_all_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are listed with commas, parameters are JSON, and money is counted without rounding."""
    s = load(
        monkeypatch,
        TQ_FALLBACK_MODELS=" a , b,",
        TQ_PARAMETERS='{"temperature": 0.2, "seed": 5.0}',
        TQ_PRICES="prices.toml",
        TQ_BUDGET_PER_DAY="0.1",
        TQ_MEMORY_TTL="0",
        TQ_BATCH_WAIT="250ms",
    )
    assert s.fallback_models == ["a", "b"]
    assert s.parameters == {"temperature": 0.2, "seed": 5}
    assert (s.budget_nano, s.memory_ttl, s.batch_wait) == (100_000_000, 0, 0.25)


def test_options_by_default() -> None:
    """Nothing is sent along, nothing is limited that the provider does not limit, and there is a memory."""
    s = load_settings()
    assert (s.fallback_models, s.parameters, s.prices, s.budget_nano) == ([], {}, None, 0)
    assert (s.batch_wait, s.segment_tokens, s.segment_parallel) == (1, 1500, 4)
    assert (s.memory_ttl, s.memory_max, s.rate_requests, s.rate_tokens) == (7 * 86_400, 100_000, None, None)


def test_secrets_stay_out_of_errors_and_reprs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a refused set nor an accepted one shows a secret."""
    secrets = {
        "OPENAI_API_KEY": "sk-canary-1",
        "REDIS_PASSWORD": "canary-2",
        "TQ_API_TOKEN": "canary-3",
        "TQ_SECRET_KEY": "canary-4-canary-4-canary",
        "TQ_FLOWER_BASIC_AUTH": "user:canary-5",
        "TQ_REDIS_URL": "redis://:canary-6@h/0",
    }
    assert "canary" not in repr(load(monkeypatch, REDIS_HOST="h", **secrets))
    with pytest.raises(InvalidSettings) as caught:
        load(monkeypatch, TQ_LEASE="canary-7", TQ_FLOWER_BASIC_AUTH="canary-8", TQ_REDIS_URL="canary-9")
    assert "canary" not in str(caught.value) + caught.value.why + repr(caught.value)


@pytest.mark.parametrize(
    ("environment", "store", "broker"),
    [
        ({"REDIS_HOST": "h"}, "redis://h:6379/0", "redis://h:6379/0"),
        ({"REDIS_PORT": "7000"}, "redis://127.0.0.1:7000/0", "redis://127.0.0.1:7000/0"),
        (
            {"REDIS_HOST": "h", "REDIS_PASSWORD": "p@:/"},
            "redis://:p%40%3A%2F@h:6379/0",
            "redis://:p%40%3A%2F@h:6379/0",
        ),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ({"REDIS_HOST": "h", "TQ_REDIS_URL": "rediss://x:1/3"}, "rediss://x:1/3", "rediss://x:1/3"),
        (
            {"TQ_REDIS_URL": "redis+socket:///run/r.sock?virtual_host=2"},
            "unix:///run/r.sock?db=2",
            "redis+socket:///run/r.sock?virtual_host=2",
        ),
        (
            {"TQ_REDIS_URL": "sentinel://:p@a:1,b:2/0?master_name=m"},
            "sentinel://:p@a:1,b:2/0?master_name=m",
            "sentinel://:p@a:1/0;sentinel://:p@b:2/0",
        ),
        ({"REDIS_HOST": "h", "TQ_BROKER_URL": "amqp://b//"}, "redis://h:6379/0", "amqp://b//"),
    ],
)
def test_redis_and_broker(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], store: str, broker: str
) -> None:
    """What the store and Celery connect to, for each way to name a Redis."""
    s = load(monkeypatch, **environment)
    assert s.store_url == store
    assert broker_url(s) == broker
    assert not s.embedded


def test_a_long_data_dir_still_has_a_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A path too long for a unix socket is replaced by one that fits, the same for every process."""
    s = load(monkeypatch, TQ_DATA_DIR=str(tmp_path / ("x" * 120)))
    assert len(str(s.socket_path)) < 104
    assert s.socket_path == load_settings().socket_path
    assert str(s.socket_path.parent) in s.store_url


@pytest.mark.parametrize(
    ("text", "value"), [("7d", 604_800.0), ("90s", 90.0), ("1.5h", 5400.0), ("200ms", 0.2), ("5", "5"), ("x", "x")]
)
def test_durations_take_units(text: str, value: object) -> None:
    """Units are understood; everything else is left to pydantic."""
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_loopback(host: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """Only addresses that no other machine reaches are loopback."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize("url", ["redis://:canary@h:x/0", "redis://:can/ary[c@h/0", "sentinel://:canary@h:x/0"])
def test_a_redis_url_that_is_none(url: str) -> None:
    """It is said to be that by whatever connects, without the password in it."""
    with pytest.raises(InvalidSettings) as caught:
        connect(url)
    assert "can" not in f"{caught.value} {caught.value.why}"
    assert caught.value.fix


def test_passwords_are_redacted() -> None:
    """A URL that is shown has no password."""
    assert redacted("redis://user:p%40@h:1/0") == "redis://user:***@h:1/0"
    assert redacted("redis://h:1/0") == "redis://h:1/0"


@pytest.mark.parametrize(
    ("environment", "provider"),
    [
        ({}, "pseudo"),
        ({"OPENAI_API_KEY": "k"}, "openai"),
        ({"OPENAI_BASE_URL": "http://localhost:1/v1"}, "openai"),
        ({"OPENAI_API_KEY": "k", "TQ_PROVIDER": "pseudo"}, "pseudo"),
        ({"TQ_PROVIDER": "openai"}, "openai"),
    ],
)
def test_provider(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], provider: str) -> None:
    """``auto`` is openai as soon as there is a key or an endpoint."""
    assert load(monkeypatch, **environment).provider_name == provider
