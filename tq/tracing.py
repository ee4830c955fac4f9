"""Traces: one per message, from its submission to the provider's answer, by OpenTelemetry where somebody wants them.

Two ways lead here. Whoever starts tq under ``opentelemetry-instrument``, or sets a tracer provider up in a program of
their own, is served by that. Otherwise tq sets one up (``pip install 'tq[otel]'``), if ``OTEL_EXPORTER_OTLP_ENDPOINT``
or ``OTEL_TRACES_EXPORTER`` asks for it. Without either nothing of OpenTelemetry is imported here.

The context travels with the message's record as W3C trace context, so that an attempt knows its submission however it
was woken. Spans follow the semantic conventions for messaging and for generative AI. They hold ids, languages, models
and numbers: never text, and never a key.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from tq.errors import TqError

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.context import Context

logger = logging.getLogger(__name__)
T = TypeVar("T")

Kind = Literal["PRODUCER", "CONSUMER", "CLIENT"]

_ASKED_BY: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TIMEOUTS: Final = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
_SDK: Final = "opentelemetry.sdk"
#: Of a command: seconds for one export, and for what is left at its end.
_BRIEF: Final = 1.0
_LAST_WORDS: Final = 1.0
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.37.0"
#: Characters of a tracestate that are kept with a message; the W3C asks for 512 at least.
_MAX_STATE: Final = 512
#: Between traceparent and tracestate.
_SEPARATOR: Final = " "

#: Of calls that are made for several messages: where the others' traces are.
_others: ContextVar[Sequence[str]] = ContextVar("others", default=())
_tracers: dict[int, tuple[Any, trace.Tracer]] = {}


def wanted() -> bool:
    """Whether the environment asks for traces."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    kinds = _kinds()
    return "none" not in kinds and (bool(kinds) or any(os.environ.get(name) for name in _ASKED_BY))


def missing() -> str | None:
    """What is not installed, and how it is, where the environment asks for traces; None when nothing is missing."""
    if not wanted() or _provider() is not None:
        return None
    with suppress(ModuleNotFoundError):  # what a name is in may be missing, too
        if find_spec(_SDK) is not None:
            return None
    return _not_installed(_SDK)


def _not_installed(name: str | None) -> str:
    return f"{name} is not installed (pip install 'tq[otel]')"


def set_up(service: str, *, brief: bool = False) -> None:
    """Export spans, if the environment asks for it and nobody else does so already.

    Args:
        service: ``service.name``, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says another.
        brief: somebody waits for the end of this process: a collector that does not answer holds it up no longer than
            ``_LAST_WORDS`` seconds.
    """
    if not wanted() or _provider() is not None:
        return
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporters = [
            exporter for kind in _kinds() or ["otlp"] if (exporter := _exporter(kind, brief=brief)) is not None
        ]
    except ImportError as error:
        logger.warning("there are no traces, though they are asked for: %s", _not_installed(error.name))
        return
    if not exporters:
        return
    provider = TracerProvider(resource=Resource.create(_named(service)), shutdown_on_exit=not brief)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    if brief:
        _end_soon(provider)


def _named(service: str) -> dict[str, str]:
    given = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {} if given else {"service.name": service}


def _kinds() -> list[str]:
    """The exporters that OTEL_TRACES_EXPORTER lists, each once."""
    given = os.environ.get("OTEL_TRACES_EXPORTER", "").lower().split(",")
    return list(dict.fromkeys(kind.strip() for kind in given if kind.strip()))


def _exporter(kind: str, *, brief: bool) -> Any:
    if kind == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    if kind != "otlp":
        logger.warning("OTEL_TRACES_EXPORTER names %s, which tq does not know: use otlp or console", kind)
        return None
    # A time that somebody has set is kept to; without one it would be ten seconds.
    timeout = _BRIEF if brief and not any(os.environ.get(name) for name in _TIMEOUTS) else None
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol == "grpc":
        # Not part of tq[otel], as gRPC is large: whoever wants it has it.
        module = import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
        return module.OTLPSpanExporter(timeout=timeout)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(timeout=timeout)


def _end_soon(provider: Any) -> None:
    """Export what is left at the end of the process, for a bounded time: the provider's own end may take 30 seconds."""
    asked, done = threading.Event(), threading.Event()

    def shut_down() -> None:
        asked.wait()
        provider.shutdown()
        done.set()

    # Begun now: at its end a process begins no threads.
    threading.Thread(target=shut_down, name="tq-last-spans", daemon=True).start()

    def end() -> None:
        asked.set()
        done.wait(_LAST_WORDS)

    atexit.register(end)


def _provider() -> trace.TracerProvider | None:
    """Who takes spans; None = nobody."""
    # Looked for, not imported: where nobody has set a provider up, there is nothing to import it for.
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    provider: trace.TracerProvider = api.get_tracer_provider()
    return None if type(provider).__name__ in {"ProxyTracerProvider", "NoOpTracerProvider"} else provider


def _tracer() -> trace.Tracer | None:
    provider = _provider()
    if provider is None:
        return None
    known = _tracers.get(id(provider))
    if known is None or known[0] is not provider:
        from tq import __version__

        known = _tracers[id(provider)] = (provider, provider.get_tracer("tq", __version__, schema_url=_SCHEMA))
    return known[1]


class Span:
    """A span that has begun; ``end`` it."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def carrier(self) -> str:
        """Where it is, for those who come after."""
        from opentelemetry import trace

        return _carrier(trace.set_span_in_context(self._span))

    @property
    def trace_id(self) -> str:
        """Of its trace, in hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def note(self, **attributes: str | float | None) -> None:
        """Say more of it; ``__`` in a name stands for a dot, and None for nothing."""
        self._span.set_attributes(
            {name.replace("__", "."): value for name, value in attributes.items() if value is not None}
        )

    def fail(self, error: BaseException) -> None:
        """It did not do what it should: the error's type, and no word of its text."""
        from opentelemetry.trace import StatusCode

        kind = error.type if isinstance(error, TqError) else type(error).__name__
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR, kind)

    def end(self) -> None:
        """It is over."""
        self._span.end()

    @contextmanager
    def current(self) -> Iterator[None]:
        """What is begun meanwhile, here, belongs to it."""
        from opentelemetry import context, trace

        token = context.attach(trace.set_span_in_context(self._span))
        try:
            yield
        finally:
            context.detach(token)


def start(
    name: str,
    kind: Kind,
    attributes: Mapping[str, str | int | float | None],
    *,
    parent: str = "",
    links: Sequence[str] = (),
) -> Span | None:
    """Begin a span; None where nobody wants any.

    Args:
        name: what is done, and to what.
        kind: its role.
        attributes: of the semantic conventions; None is left out.
        parent: carrier of the span that it belongs to; what is current, where there is none, or where that
            is of the same trace.
        links: carriers of spans that have to do with it.
    """
    tracer = _tracer()
    if tracer is None:
        return None
    from opentelemetry import trace

    current = trace.get_current_span().get_span_context()
    context = _context(parent)
    linked = [trace.get_current_span(_context(link)).get_span_context() for link in links if link]
    if context is not None and current.is_valid:
        if trace.get_current_span(context).get_span_context().trace_id == current.trace_id:
            context = None
        else:
            linked.append(current)
    return Span(
        tracer.start_span(
            name,
            context=context,
            kind=trace.SpanKind[kind],
            attributes={key: value for key, value in attributes.items() if value is not None},
            links=[trace.Link(each) for each in linked if each.is_valid],
        )
    )


@contextmanager
def span(
    name: str,
    kind: Kind,
    attributes: Mapping[str, str | int | float | None],
    *,
    parent: str = "",
    links: Sequence[str] = (),
) -> Iterator[Span | None]:
    """A span around what happens within; see ``start``."""
    begun = start(name, kind, attributes, parent=parent, links=links)
    if begun is None:
        yield None
        return
    try:
        with begun.current():
            yield begun
    except Exception as error:
        begun.fail(error)
        raise
    finally:
        begun.end()


def carrier() -> str:
    """Where we are; "" = in no trace."""
    if _provider() is None:
        return ""
    return _carrier(None)


def headers() -> dict[str, str]:
    """The same as headers of an HTTP request."""
    parent, _, state = carrier().partition(_SEPARATOR)
    return ({"traceparent": parent} if parent else {}) | ({"tracestate": state} if state else {})


def trace_id() -> str:
    """Of the trace that we are in; "" = none."""
    return carrier()[3:35]


@contextmanager
def within(where: str) -> Iterator[None]:
    """What is begun meanwhile belongs to that carrier's span; "" changes nothing."""
    known = _context(where) if where and _provider() is not None else None
    if known is None:
        yield
        return
    from opentelemetry import context

    token = context.attach(known)
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def for_all(carriers: Sequence[str]) -> Iterator[None]:
    """What is done meanwhile is done for several messages: the first one's trace has it, the others are linked."""
    carriers = [each for each in carriers if each]
    if not carriers:
        yield
        return
    token = _others.set(carriers[1:])
    try:
        with within(carriers[0]):
            yield
    finally:
        _others.reset(token)


def others() -> Sequence[str]:
    """Carriers of those that it is done for too."""
    return _others.get()


def carried(coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """The coroutine, in the trace that we are in now, wherever it is awaited."""
    where = carrier()
    return _awaited(coroutine, where) if where else coroutine


async def _awaited(coroutine: Coroutine[Any, Any, T], where: str) -> T:
    with within(where):
        return await coroutine


def _carrier(context: Context | None) -> str:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(found, context)
    parent, state = found.get("traceparent", ""), found.get("tracestate", "")
    return f"{parent}{_SEPARATOR}{state}" if parent and 0 < len(state) <= _MAX_STATE else parent


def _context(where: str) -> Context | None:
    if not where:
        return None
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent, _, state = where.partition(_SEPARATOR)
    return TraceContextTextMapPropagator().extract({"traceparent": parent, "tracestate": state}, Context())
