"""THE Celery app, so that ``celery -A tq …`` works: queues, delivery settings, nothing else.

A Celery message of tq is a wake-up token: it carries the id of a message in the store and nothing
more. It may be lost, repeated or late without harm, which is why none of Celery's own guarantees
(acknowledgements, visibility timeout, retries, ETA) is relied on; see docs/architecture.md.
"""

from __future__ import annotations

import logging
import sys
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from celery import Celery
from kombu import Exchange, Queue

from tq import jsonlog
from tq.messages import DEFAULT, HIGH_PRIORITY, MAX_PRIORITY, QUARANTINE
from tq.settings import Settings, get_settings
from tq.tokens import PRIORITY_STEPS, SEPARATOR


def broker_url(settings: Settings) -> str:
    """The broker as kombu spells it: TQ_BROKER_URL, else the Redis of the store."""
    if settings.broker_url is not None:
        return settings.broker_url.get_secret_value()
    url = settings.store_url
    parts = urlsplit(url)
    if parts.scheme == "unix":
        database = parse_qs(parts.query).get("db", ["0"])[0]
        return f"redis+socket://{unquote(parts.path)}?virtual_host={database}"
    if parts.scheme == "sentinel":
        login, _, hosts = parts.netloc.rpartition("@")
        login = f"{login}@" if login else ""
        nodes = hosts.replace(";", ",").split(",")
        return ";".join(f"sentinel://{login}{node}{parts.path}" for node in nodes)
    return url


def _transport_options(settings: Settings, url: str) -> dict[str, Any]:
    scheme = urlsplit(url).scheme
    if not scheme.startswith(("redis", "sentinel")):
        return {}
    options: dict[str, Any] = {
        # The same in every process, Flower included: they decide the names of the lists.
        "priority_steps": PRIORITY_STEPS,
        "sep": SEPARATOR,
        "queue_order_strategy": "priority",
        # Without these a publish to a Redis that hangs would hang for ever.
        "socket_timeout": 5.0,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": not scheme.endswith("socket"),
        "health_check_interval": 10,
    }
    if scheme == "sentinel":
        query = parse_qs(urlsplit(settings.store_url).query)
        options["master_name"] = query.get("master_name", ["mymaster"])[0]
    return options


def _queue(name: str, *, amqp: bool) -> Queue:
    # The nameless exchange needs no bindings, so that no lost binding can drop a token silently.
    arguments = {"x-max-priority": MAX_PRIORITY} if amqp else None
    return Queue(name, Exchange(""), routing_key=name, queue_arguments=arguments)


def make_app(settings: Settings) -> Celery:
    """A Celery app for these settings; nothing is connected yet."""
    url = broker_url(settings)
    amqp = urlsplit(url).scheme.startswith(("amqp", "pyamqp"))
    app = Celery("tq", broker=url, include=["tq.tasks", "tq.worker"], set_as_current=False)
    app.conf.update(
        result_backend="tq.results:StoreBackend",
        broker_transport_options=_transport_options(settings, url),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        task_queues=[_queue(name, amqp=amqp) for name in (HIGH_PRIORITY, DEFAULT, QUARANTINE)],
        task_default_queue=DEFAULT,
        task_default_exchange="",
        task_default_routing_key=DEFAULT,
        task_create_missing_queues=False,
        task_acks_late=True,
        task_serializer="json",
        accept_content=["json"],
        worker_pool="tq.pool:TaskPool",
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # A publish is repeated by the reaper if need be; a caller must not hang on it.
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.05, "interval_step": 0.1, "interval_max": 0.2},
        timezone="UTC",
    )
    if urlsplit(url).scheme == "rediss":
        # kombu's own default for rediss:// does not verify the server.
        app.conf.broker_use_ssl = {"ssl_cert_reqs": "required"}
    return app


def _log_flower() -> None:
    if "flower" not in sys.argv:
        return
    # It asks at its start, when the worker that starts beside it cannot answer yet, and asks again.
    logging.getLogger("flower.inspector").addFilter(lambda record: record.msg != "Inspect method %s failed")
    # Flower's lines are Tornado's, which adds no handler where there is one.
    if get_settings().log_format == "json":
        logging.basicConfig(level=logging.INFO, handlers=[jsonlog.handler("flower")])


_log_flower()
app = make_app(get_settings())
app.set_default()
app.set_current()


def app_for(settings: Settings) -> Celery:
    """THE app, unless ``settings`` are others than this process's own."""
    return app if settings == get_settings() else make_app(settings)
