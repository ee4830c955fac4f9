"""All settings: environment variables, or a ``.env`` file in the working directory.

A number has a bound, a contradictory set is refused at start with what, why and fix, and an empty
value counts as not set. Sizes take units (``1MiB``), durations too (``7d``, ``90s``); bare numbers
are bytes and seconds.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import SplitResult, quote, unquote, urlsplit

import platformdirs
from pydantic import BeforeValidator, ByteSize, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tq.errors import InvalidSettings
from tq.fields import FallbackModels, Parameters
from tq.languages import check_language
from tq.signing import parse_secrets

_UNPREFIXED = frozenset({"redis_host", "redis_port", "redis_db", "redis_password", "openai_api_key", "openai_base_url"})
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

#: Where requests go unless OPENAI_BASE_URL says another place.
DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
#: Set in the environment of a stack's children; not a setting.
UNDER_STACK: Final = "TQ_UNDER_STACK"
#: sun_path holds 104 bytes on macOS and 108 on Linux, terminating NUL included.
_MAX_SOCKET_PATH = 100

#: As it stands in a Host header: underscores are no part of DNS, and common in container networks.
_HOST_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?", re.ASCII)


def environment_name(field: str) -> str:
    """The environment variable of a field: ``lease`` -> ``TQ_LEASE``, ``redis_host`` -> ``REDIS_HOST``."""
    return field.upper() if field in _UNPREFIXED else f"TQ_{field.upper()}"


def parse_duration(value: object) -> object:
    """``"7d"`` -> 604800.0; numbers and everything that is not a duration pass through unchanged."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(number) :].strip()
    if unit in _UNITS:
        try:
            return float(number) * _UNITS[unit]
        except ValueError:
            return value
    return value


def _split_list(value: object) -> object:
    return _listed(value) if isinstance(value, str) else value


def _decode_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('must be a JSON object, for example {"temperature": 0.2}') from None


Duration = Annotated[float, BeforeValidator(parse_duration), Field(allow_inf_nan=False)]


class Settings(BaseSettings):
    """The settings of one process; immutable. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        alias_generator=environment_name,
        populate_by_name=True,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    redis_host: str | None = Field(default=None, description="host of the Redis to use; set, nothing is embedded")
    redis_port: int | None = Field(
        default=None, ge=1, le=65535, description="its port (6379); set, nothing is embedded"
    )
    redis_db: int = Field(default=0, ge=0, le=65535, description="number of its database")
    redis_password: SecretStr | None = Field(default=None, description="its password")
    redis_url: SecretStr | None = Field(
        default=None,
        description="the Redis to use, instead of the four: redis://, rediss://, redis+socket://, sentinel://",
    )
    broker_url: SecretStr | None = Field(
        default=None, description="Celery's broker, if it is to be another one (amqp://…); the store stays on Redis"
    )
    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("tq", appauthor=False)),
        description="embedded data, logs, key file, stack file",
    )
    log_format: Literal["text", "json"] = Field(default="text", description="of services' log lines: text or json")

    openai_api_key: SecretStr | None = Field(default=None, description="key for messages that bring none")
    openai_base_url: str | None = Field(default=None, description="an OpenAI-compatible endpoint")
    model: str = Field(
        default="gpt-5.4-mini", min_length=1, max_length=200, description="model for messages that name none"
    )
    target_language: str = Field(default="en", description="target language for messages that name none")
    fallback_models: Annotated[FallbackModels, NoDecode, BeforeValidator(_split_list)] = Field(
        default=[], description="models to try after the first, in order, for messages that name none; comma separated"
    )
    parameters: Annotated[Parameters, NoDecode, BeforeValidator(_decode_json)] = Field(
        default={}, description='sent with every request, as JSON: {"temperature": 0.2}; a message\'s own go first'
    )
    provider: Literal["auto", "openai", "pseudo"] = Field(
        default="auto", description="openai, pseudo, or auto: openai if a key or a base URL is known"
    )

    api_host: str = Field(default="127.0.0.1", description="address of the API")
    api_port: int = Field(default=8000, ge=1, le=65535, description="port of the API")
    api_token: SecretStr | None = Field(default=None, description="bearer token(s) that open the API, comma separated")
    api_allowed_hosts: str | None = Field(
        default=None, description="names of the API besides this machine's own, comma separated; * = any name"
    )
    flower_host: str = Field(default="127.0.0.1", description="address of Flower")
    flower_port: int = Field(default=5555, ge=1, le=65535, description="port of Flower")
    flower_basic_auth: SecretStr | None = Field(default=None, description="user:password for Flower")

    concurrency: int = Field(default=200, ge=1, le=10_000, description="messages in flight per worker process")
    max_retries: int = Field(default=5, ge=0, le=100, description="retries of a message before it has failed")
    retry_base: Duration = Field(
        default=1.0, gt=0, le=3600, description="first pause between attempts; doubles each time, with full jitter"
    )
    retry_max_delay: Duration = Field(default=600.0, gt=0, le=86_400, description="longest pause between attempts")
    request_timeout: Duration = Field(default=120.0, gt=0, le=3600, description="hard deadline of one attempt")
    lease: Duration = Field(default=45.0, ge=1, le=3600, description="how long a silent worker keeps a message")
    grace: Duration = Field(default=30.0, ge=0, le=3600, description="how long a worker may drain when it stops")
    result_ttl: Duration = Field(
        default=7 * 86_400.0, ge=1, le=10 * 365 * 86_400, description="how long a finished message is kept"
    )
    max_wait: Duration = Field(
        default=60.0, gt=0, le=7 * 86_400, description="a message queued longer is moved to the front"
    )
    max_queued: int = Field(
        default=100_000, ge=1, le=100_000_000, description="above it, submits are refused until there is room"
    )
    max_content: ByteSize = Field(
        default=ByteSize(2**20), ge=1, le=64 * 2**20, description="longest text, in bytes of UTF-8"
    )
    batch_max_items: int = Field(
        default=20, ge=1, le=1000, description="messages that may share one provider call; 1 = never"
    )
    batch_wait: Duration = Field(
        default=1.0,
        ge=0,
        le=60,
        description="how long an incomplete shared call waits for company while more messages are queued",
    )
    segment_tokens: int = Field(default=1500, ge=100, le=100_000, description="longest piece of a text per call")
    segment_parallel: int = Field(default=4, ge=1, le=100, description="pieces of one text translated at a time")
    memory_ttl: Duration = Field(
        default=7 * 86_400.0,
        ge=0,
        le=10 * 365 * 86_400,
        description="how long the translation memory keeps a translation; 0 = no memory",
    )
    memory_max: int = Field(
        default=100_000, ge=1, le=100_000_000, description="translations that the memory keeps at most"
    )
    rate_requests: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000,
        description="requests a minute per endpoint, key and model; unset = learnt from the provider",
    )
    rate_tokens: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000_000,
        description="tokens a minute per endpoint, key and model; unset = learnt from the provider",
    )
    prices: str | None = Field(
        default=None, description="what tokens cost: the path of a JSON or TOML file, or JSON itself"
    )
    budget_per_day: Decimal | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="what each key may spend per UTC day, in the currency of the prices; then submits are refused",
    )
    callback_private: bool = Field(
        default=False, description="webhooks may go to private addresses, this machine's own too, and by http"
    )
    callback_parallel: int = Field(
        default=16, ge=1, le=256, description="webhooks under way to one receiver at a time, per process"
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="signs webhooks (whsec_…); several, comma separated, all sign; made of the secret key when unset",
    )
    secret_key: SecretStr | None = Field(default=None, description="seals api keys; made once in the data dir")
    url: str | None = Field(default=None, description="client commands talk HTTP to this API instead of the broker")

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _is_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _split(value.get_secret_value())
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_redis_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        schemes = ("redis", "rediss", "redis+socket", "unix", "sentinel")
        if value is not None and _split(value.get_secret_value()).scheme not in schemes:
            raise ValueError("must start with redis://, rediss://, redis+socket:// or sentinel://")
        return value

    @field_validator("target_language")
    @classmethod
    def _language(cls, value: str) -> str:
        return check_language(value)

    @field_validator("openai_base_url", "url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is None:
            return value
        parts = _split(value)
        if parts.scheme not in ("http", "https"):
            raise ValueError("must start with http:// or https://")
        if not parts.hostname or not value.isprintable() or set(value) & set(" \\"):
            raise ValueError("must name a host, and have no spaces, backslashes or control characters")
        return value

    @field_validator("openai_base_url")
    @classmethod
    def _nothing_secret(cls, value: str | None) -> str | None:
        # It is shown in errors and by `tq config`, and what is behind a ? is often a key.
        if value is not None and ("@" in _split(value).netloc or set(value) & set("?#")):
            raise ValueError(
                "must be an address alone, without user, password, ? or #; the key goes into OPENAI_API_KEY"
            )
        return value

    @field_validator("api_allowed_hosts")
    @classmethod
    def _names(cls, value: str | None) -> str | None:
        if value is not None and not all(name == "*" or host_name(name) for name in _listed(value)):
            raise ValueError("must be host names or addresses, without scheme, port or path (tq.example.com), or *")
        return value

    @field_validator("openai_api_key")
    @classmethod
    def _fits_into_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not all("!" <= char <= "~" for char in value.get_secret_value()):
            raise ValueError("must be printable ASCII characters without spaces")
        return value

    @field_validator("flower_basic_auth")
    @classmethod
    def _user_and_password(cls, value: SecretStr | None) -> SecretStr | None:
        # Flower takes a comma for the end of one login: half a password would be a login of its own.
        if value is not None and not all(all(part.partition(":")) for part in value.get_secret_value().split(",")):
            raise ValueError("must have the form user:password (several are separated by commas)")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _signs(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not parse_secrets(value.get_secret_value()):
            raise ValueError("names no secret")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.redis_password is not None and self.redis_url is None and self.embedded:
            raise ValueError("REDIS_PASSWORD is set, but neither REDIS_HOST nor REDIS_PORT says which Redis it is for")
        if self.retry_base > self.retry_max_delay:
            raise ValueError(
                "TQ_RETRY_BASE is above TQ_RETRY_MAX_DELAY: the first retry would wait longer than any may"
            )
        if self.budget_per_day is not None and self.prices is None:
            raise ValueError("TQ_BUDGET_PER_DAY is set, but without TQ_PRICES nobody knows what was spent")
        if not is_loopback(self.api_host) and not self.api_tokens:
            raise ValueError(f"TQ_API_HOST={self.api_host} lets other machines in: TQ_API_TOKEN must be set then")
        if not is_loopback(self.flower_host) and self.flower_basic_auth is None:
            raise ValueError(
                f"TQ_FLOWER_HOST={self.flower_host} lets other machines in: TQ_FLOWER_BASIC_AUTH must be set then"
            )
        if self.api_port == self.flower_port and self.api_host == self.flower_host:
            raise ValueError("TQ_API_PORT and TQ_FLOWER_PORT are the same port of the same host")
        return self

    @property
    def embedded(self) -> bool:
        """Whether the stack brings its own Valkey: nothing names a Redis to use."""
        return self.redis_url is None and self.redis_host is None and self.redis_port is None

    @property
    def socket_path(self) -> Path:
        """The unix socket of the embedded Valkey.

        It lies in the data dir, or, where that path is too long for a socket, in a directory of the
        system's temporary directory that is named after it.
        """
        path = self.data_dir / "valkey.sock"
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
            return path
        name = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tq-{os.getuid()}-{name}" / "valkey.sock"

    @property
    def store_url(self) -> str:
        """The Redis of the store, secrets included: ``unix://``, ``redis://``, ``rediss://`` or ``sentinel://``."""
        if self.redis_url is not None:
            return as_redis_url(self.redis_url.get_secret_value())
        if self.embedded:
            return f"unix://{quote(str(self.socket_path))}?db={self.redis_db}"
        password = f":{quote(self.redis_password.get_secret_value(), safe='')}@" if self.redis_password else ""
        host = self.redis_host or "127.0.0.1"
        host = f"[{host}]" if ":" in host else host
        return f"redis://{password}{host}:{self.redis_port or 6379}/{self.redis_db}"

    @property
    def store_name(self) -> str:
        """The Redis of the store as it may be shown: without password."""
        return redacted(self.store_url)

    @property
    def api_tokens(self) -> list[str]:
        """The bearer tokens of which each opens the API."""
        if self.api_token is None:
            return []
        return _listed(self.api_token.get_secret_value())

    def models_of(self, first: str | None, fallbacks: Sequence[str]) -> list[str]:
        """The models to ask for a message that names these, in this order."""
        return [first or self.model, *(fallbacks or self.fallback_models)]

    @property
    def budget_nano(self) -> int:
        """TQ_BUDGET_PER_DAY in billionths of the currency, as spending is counted; 0 = no budget."""
        return 0 if self.budget_per_day is None else max(1, int(self.budget_per_day * 10**9))

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """The names of TQ_API_ALLOWED_HOSTS as ``host_name`` gives them, and ``*``."""
        return frozenset(name if name == "*" else host_name(name) for name in _listed(self.api_allowed_hosts or ""))

    @property
    def provider_host(self) -> str:
        """Where requests go, host and port."""
        return urlsplit(self.openai_base_url or DEFAULT_BASE_URL).netloc.rpartition("@")[2]

    @property
    def provider_name(self) -> Literal["openai", "pseudo"]:
        """Which provider serves a message that has no key of its own."""
        if self.provider != "auto":
            return self.provider
        return "openai" if self.openai_api_key or self.openai_base_url else "pseudo"


def is_secret(field: str) -> bool:
    """Whether the value of a setting is for nobody's eyes."""
    annotation = Settings.model_fields[field].annotation
    return annotation is SecretStr or SecretStr in get_args(annotation)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https"):
            _ = parts.port  # raises for one out of range
    except ValueError:
        # Its own text repeats the URL, password included.
        raise ValueError("is not a URL") from None
    return parts


def _listed(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def host_name(text: str) -> str:
    """A host name or address in its canonical form: ``TQ.example.com.`` -> ``tq.example.com``; "" when it is none."""
    name = text.lower().removesuffix(".")
    if _HOST_NAME.fullmatch(name):
        return name
    try:
        return str(ipaddress.IPv6Address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def as_redis_url(url: str) -> str:
    """A Redis URL as redis-py spells it: kombu calls a unix socket ``redis+socket://``."""
    if not url.startswith(("redis+socket://", "unix://")):
        return url
    parts = urlsplit(url)
    query = parts.query.replace("virtual_host=", "db=").replace("db=/", "db=")
    return f"unix://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")


def redacted(url: str) -> str:
    """A URL without its password: ``redis://:***@host:6379/0``."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return unquote(url) if parts.scheme == "unix" else url
    user, _, _ = parts.netloc.rpartition("@")[0].partition(":")
    return parts._replace(netloc=f"{user}:***@{parts.netloc.rpartition('@')[2]}").geturl()


@cache
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        InvalidSettings: a value is out of bounds or contradicts another; values are not repeated.
    """
    return load_settings()


def load_settings() -> Settings:
    """Read the environment and ``.env`` now (``get_settings`` keeps the first reading)."""
    return _checked({})


def revise(settings: Settings, **changes: Any) -> Settings:
    """The settings with some fields changed (an option of the command line), checked as a whole.

    Raises:
        InvalidSettings: as ``get_settings``.
    """
    return _checked({name: getattr(settings, name) for name in Settings.model_fields} | changes)


def _checked(fields: dict[str, Any]) -> Settings:
    try:
        return Settings(**fields)
    except ValidationError as error:
        raise InvalidSettings(
            "the settings are not usable",
            why="; ".join(_describe(item["loc"], item["msg"]) for item in error.errors(include_input=False)),
            fix="correct them in the environment or in .env (`tq config` lists all with their meaning)",
        ) from None
    except UnicodeDecodeError:
        raise InvalidSettings(
            "the file .env cannot be read", why="it is not UTF-8 text", fix="save it as UTF-8"
        ) from None


def _describe(location: tuple[int | str, ...], message: str) -> str:
    name = ".".join(str(part) for part in location)
    text = message.removeprefix("Value error, ")
    return f"{name}: {text}" if name else text
