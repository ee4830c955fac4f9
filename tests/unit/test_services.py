"""What the services of a stack are given: commands without secrets, environments, health order."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from tq.errors import InvalidSettings, StackError
from tq.ports import free_ports, http_url, require_free_port
from tq.services import environment, flower_command, flower_environment, make_services
from tq.settings import Settings, is_secret, load_settings, revise
from tq.signing import new_secret

KEY = "sk-canary-1"
TOKEN = "token-canary-2"
SECRET = "c2VjcmV0LWNhbmFyeS0zLXBhZGRlZC10by0zMi1ieXQ="
LOGIN = "anna:login-canary-4"
SECRETS = {"openai_api_key": KEY, "api_token": TOKEN, "secret_key": SECRET, "flower_basic_auth": LOGIN}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in Settings.model_fields:
        for prefix in ("", "TQ_"):
            monkeypatch.delenv(f"{prefix}{field.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def make(**fields: Any) -> Settings:
    return Settings(**{"data_dir": Path("/data"), **fields})


def test_environment_carries_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child reads the very settings of its parent, whatever the parent's environment says."""
    monkeypatch.setenv("TQ_API_PORT", "1111")
    monkeypatch.setenv("tq_model", "of-the-environment")
    monkeypatch.setenv("TQ_MAX_QUEUED", "7")
    settings = make(api_port=2222, model="of-the-caller", max_content="2MiB", retry_base="1500ms", **SECRETS)
    child = environment(settings)
    monkeypatch.setattr("os.environ", child)
    assert load_settings() == settings
    assert child["TQ_MAX_QUEUED"] == "7"
    assert "tq_model" not in child


def test_environment_drops_what_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that the parent's settings do not have does not reach the child either."""
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-environment")
    monkeypatch.setenv("REMAP_SIGTERM", "SIGQUIT")
    child = environment(make(openai_api_key=None))
    assert "OPENAI_API_KEY" not in child
    assert "REMAP_SIGTERM" not in child


def test_no_secret_in_commands() -> None:
    """Command lines are public, so no secret is on them."""
    for service in make_services(make(**SECRETS)):
        line = " ".join(service.command)
        assert not [secret for secret in (KEY, TOKEN, SECRET, LOGIN) if secret in line], service.name


def test_flower_environment_is_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower gets its login but no other secret, is read-only, and the user cannot loosen it by accident."""
    loose = ("FLOWER_UNAUTHENTICATED_API", "FLOWER_READ_ONLY", "FLOWER_CONF", "FLOWER_AUTH", "flower_debug")
    for name in loose:
        monkeypatch.setenv(name, "false")
    monkeypatch.setenv("FLOWER_MAX_TASKS", "99")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    child = flower_environment(make(**SECRETS, redis_host="h", redis_password="needed"))
    own = {name: value for name, value in child.items() if name.upper().startswith("FLOWER_")}
    assert own == {
        "FLOWER_READ_ONLY": "true",
        "FLOWER_PERSISTENT": "false",
        "FLOWER_MAX_TASKS": "99",
        "FLOWER_BASIC_AUTH": LOGIN,
    }
    assert child["REDIS_PASSWORD"] == "needed"
    text = "\n".join(value for name, value in child.items() if name != "FLOWER_BASIC_AUTH")
    assert not [secret for secret in (KEY, TOKEN, SECRET, LOGIN) if secret in text]


def test_flower_gets_no_secret_that_it_does_not_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever setting is a secret, also one that is yet to come: but for its login, none but those of the broker."""
    secrets = {field: f"canary-{field}" for field in Settings.model_fields if is_secret(field)}
    assert secrets.keys() >= {"openai_api_key", "api_token", "webhook_secret", "secret_key", "redis_password"}
    secrets |= {"redis_url": "redis://:canary-redis_url@h", "broker_url": "redis://:canary-broker_url@h"}
    secrets |= {"webhook_secret": new_secret(), "flower_basic_auth": LOGIN}
    monkeypatch.setenv("TQ_URL", "http://anna:canary-url@h")
    child = flower_environment(load_settings().model_copy(update={k: SecretStr(v) for k, v in secrets.items()}))
    text = "\n".join(f"{name}={value}" for name, value in child.items() if name != "FLOWER_BASIC_AUTH")
    found = {field for field, value in secrets.items() if value in text}
    assert found == {"redis_password", "redis_url", "broker_url"}
    assert "canary-url" not in text


def test_flower_environment_is_consistent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tokens and logins, which Flower is not given, the settings it reads are still accepted."""
    settings = make(
        **SECRETS, api_host="0.0.0.0", api_port=5555, flower_host="0.0.0.0", flower_port=8000, redis_host="h"
    )
    monkeypatch.setattr("os.environ", flower_environment(settings))
    assert load_settings().store_url == settings.store_url


def test_flower_command() -> None:
    """Flower binds the configured address, as Celery's own command."""
    command = flower_command(make(flower_port=5599))
    assert command == [sys.executable, *["-m", "celery", "-A", "tq", "flower", "--address=127.0.0.1", "--port=5599"]]


def test_a_comma_separates_logins() -> None:
    """Flower would take the part after a comma in a password for a login of its own: refused."""
    assert make(flower_basic_auth="a:b,c:d").flower_basic_auth is not None
    with pytest.raises(InvalidSettings, match="not usable"):
        revise(make(), flower_basic_auth="a:b,c")


def test_order() -> None:
    """Valkey comes first and goes last; the worker drains when the API is gone; Flower is not essential."""
    services = {service.name: service for service in make_services(make(grace=7))}
    assert list(services) == ["valkey", "api", "worker", "flower"]
    assert all(services[name].needs == ("valkey",) for name in ("api", "worker", "flower"))
    assert set(services["valkey"].stops_after) == {"api", "worker", "flower"}
    assert services["worker"].stops_after == ("api",)
    assert services["worker"].grace > 7
    assert [service.name for service in services.values() if not service.essential] == ["flower"]


def test_external_redis_has_no_valkey() -> None:
    """With a Redis of the user's there is nothing to embed, and nothing to wait for."""
    services = make_services(make(redis_host="example.org"))
    assert [service.name for service in services] == ["api", "worker", "flower"]
    assert all(not service.needs for service in services)


def test_valkey_options() -> None:
    """The embedded Valkey keeps every write, listens on no TCP port, and has the database that is asked for."""
    command = list(make_services(make(redis_db=40))[0].command)
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--port"] == "0"
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--save"] == ""
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--unixsocketperm"] == "700"
    assert int(options["--databases"]) > 40


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_port_in_use(host: str) -> None:
    """A port that is in use is named with the pid and the command that hold it, and the ways out."""
    with socket.create_server((host, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StackError) as caught:
            require_free_port("127.0.0.1", port, service="the API", setting="TQ_API")
    assert f"port {port} is in use" in caught.value.what
    assert f"pid {os.getpid()} ({psutil.Process().name()})" in caught.value.why
    assert "--port auto" in caught.value.fix
    assert "TQ_API_PORT" in caught.value.fix
    require_free_port("127.0.0.1", port, service="the API", setting="TQ_API")


def test_foreign_address() -> None:
    """An address that is not this machine's is a problem of its own, not a port in use."""
    with pytest.raises(StackError, match=r"cannot listen on 192\.0\.2\.1"):
        require_free_port("192.0.2.1", 8000, service="the API", setting="TQ_API")


def test_free_ports_differ() -> None:
    """Ports picked together are not the same, and nobody listens on them."""
    ports = free_ports("127.0.0.1", "127.0.0.1", "127.0.0.1")
    assert len(set(ports)) == 3
    for port in ports:
        require_free_port("127.0.0.1", port, service="the API", setting="TQ_API")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("api.example", "http://api.example:80"),
    ],
)
def test_http_url(host: str, url: str) -> None:
    """A wildcard is shown as the loopback address that reaches it, an IPv6 address in brackets."""
    assert http_url(host, 80) == url
