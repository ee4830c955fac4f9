"""A running stack as people and other terminals see it: banner, log lines, stack file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from tq import jsonlog, tracing
from tq.datadir import log_path, stack_path, tilde
from tq.logs import Console, Line, LogFile
from tq.ports import http_url
from tq.processes import ProcessId
from tq.services import SERVICE_NAMES, paused_queues
from tq.settings import Settings, is_loopback
from tq.stackfile import ServiceInfo, StackInfo, write
from tq.supervisor import Service, ServiceError, Snapshot

#: The name under which the stack's own lines are logged.
STACK: Final = "stack"
#: Everything that has a log.
LOG_NAMES: Final = (*SERVICE_NAMES, STACK)
#: SGR colours of the prefixes.
COLORS: Final = {"valkey": "35", "api": "36", "worker": "32", "flower": "33", STACK: "1"}


class StackView:
    """Observes a supervisor: shows what happens, keeps the logs and the stack file.

    Args:
        settings: of the stack.
        console: where banner and logs are shown.
        background: called when the banner is complete, after which nothing more is shown; None for a
            stack in the foreground.
    """

    def __init__(
        self,
        settings: Settings,
        console: Console,
        *,
        background: Callable[[], None] | None,
    ) -> None:
        self._settings = settings
        self._console = console
        self._background = background
        self._details = _details(settings)
        self._logs = {name: LogFile(log_path(settings, name)) for name in LOG_NAMES}
        self._shows_logs = False
        self._ready = False
        self._stopping = False
        self._held: list[Line] = []
        self._identities: dict[int, ProcessId | None] = {os.getpid(): ProcessId.of(os.getpid())}
        self._started_at = time.time()
        self._snapshots: Sequence[Snapshot] = ()

    def begin(self) -> None:
        """The head of the banner."""
        self._write_stack_file()
        self._say(f"tq {version('tq')} · dev stack (not for production)")
        if not self._settings.embedded:
            self._say(f"  ✔ redis   {self._settings.store_name} (yours)")

    def end(self, failure: ServiceError | None) -> None:
        """The last words, and the end of the stack file."""
        if failure is not None and not self._ready:
            for text in failure.tail:
                self._console.say(f"{failure.service:<6} │ {text}")
        self.event("the stack has stopped; the data is kept")
        stack_path(self._settings).unlink(missing_ok=True)
        for log in self._logs.values():
            log.close()

    def lines(self, service: str, lines: Sequence[str]) -> None:
        """Keep the lines, and show them once the banner is complete."""
        now = datetime.now(UTC)
        stamped = [Line(now, service, text) for text in lines]
        self._logs[service].write(stamped)
        if self._shows_logs:
            self._console.show(stamped)

    def event(self, text: str, *, warns: bool = False) -> None:
        """A line of the stack itself; held back until the banner is complete."""
        line = self._line(text, "warning" if warns else "info")
        self._logs[STACK].write([line])
        if self._shows_logs:
            self._console.show([line])
        else:
            self._held.append(line)

    def healthy(self, service: Service, seconds: float) -> None:
        """A line of the banner."""
        self._check(service.name, self._details[service.name], seconds)

    def unhealthy(self, service: Service, reason: str) -> None:
        """A line of the banner."""
        self._say(f"  ✘ {service.name:<7} {reason} (see `tq logs {service.name}`)")

    def ready(self) -> None:
        """The rest of the banner; from now on the logs."""
        settings = self._settings
        self._say(f"  Data      {tilde(settings.data_dir)} (kept)")
        self._say(f"  Provider  {_provider(settings)}")
        if (missing := tracing.missing()) is not None:
            self._say(f"  Traces    none, though they are asked for: {missing}")
        if paused := paused_queues(settings):
            self._say(f"  Paused    {', '.join(paused)}, from before: `tq resume {' '.join(paused)}` goes on")
        self._say('  Try       tq submit "Hello" --to fr --wait')
        self._say("            or open the api's address in a browser")
        if self._background is None:
            self._say("Ctrl-C stops; twice kills.")
        else:
            self._say("It runs in the background: `tq logs -f` follows it, `tq down` stops it.")
        self._ready = True
        self._write_stack_file()
        self._show_logs()
        if self._background is not None:
            self._console.close()
            self._background()

    def stopping(self) -> None:
        """Say what a second signal does."""
        self._stopping = True
        self._write_stack_file()
        self._show_logs()
        self.event(
            f"stopping: API and Flower first, the worker drains for up to {self._settings.grace:g} s, "
            "the rest after it. Ctrl-C again kills all at once."
        )

    def changed(self, services: Sequence[Snapshot]) -> None:
        """Write the stack file."""
        self._snapshots = services
        self._write_stack_file()

    # -- output ------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self._console.say(text)
        self._logs[STACK].write([self._line(text, "info")])

    def _line(self, text: str, level: str) -> Line:
        """A line of the stack's own log, which has its level where lines are objects."""
        now = datetime.now(UTC)
        as_json = self._settings.log_format == "json"
        return Line(now, STACK, jsonlog.line(now, level, STACK, STACK, text.strip()) if as_json else text)

    def _check(self, name: str, detail: str, seconds: float) -> None:
        width = max(map(len, self._details.values()))
        self._say(f"  ✔ {name:<7} {detail:<{width}}  {seconds:.1f}s")

    def _show_logs(self) -> None:
        self._shows_logs = True
        self._console.show(self._held)
        self._held = []

    def _write_stack_file(self) -> None:
        settings = self._settings
        supervisor = self._identity(os.getpid())
        if supervisor is None:
            return
        info = StackInfo(
            process=supervisor,
            started_at=self._started_at,
            ready=self._ready,
            stopping=self._stopping,
            grace=self._settings.grace,
            api_url=http_url(settings.api_host, settings.api_port),
            flower_url=http_url(settings.flower_host, settings.flower_port),
            services=[
                ServiceInfo(
                    each.name,
                    each.state,
                    self._identity(each.pid) if each.pid is not None else None,
                    each.restarts,
                    each.since,
                    self._details[each.name],
                )
                for each in self._snapshots
            ],
        )
        try:
            write(stack_path(settings), info)
        except OSError as error:
            self.event(f"the stack file cannot be written: {error.strerror}", warns=True)

    def _identity(self, pid: int) -> ProcessId | None:
        if pid not in self._identities:
            self._identities[pid] = ProcessId.of(pid)
        return self._identities[pid]


def _details(settings: Settings) -> dict[str, str]:
    details = {
        "valkey": "embedded, unix socket, AOF always",
        "api": _url(settings.api_host, settings.api_port),
        "worker": f"{settings.concurrency} slots",
        "flower": _url(settings.flower_host, settings.flower_port),
    }
    return details if settings.embedded else {name: text for name, text in details.items() if name != "valkey"}


def _url(host: str, port: int) -> str:
    url = http_url(host, port)
    return url if is_loopback(host) else f"{url} (bound to {host})"


def _provider(settings: Settings) -> str:
    if settings.provider_name == "openai":
        return f"openai: {settings.model} at {settings.openai_base_url or 'api.openai.com'}"
    if settings.provider == "pseudo":
        return "pseudo: TQ_PROVIDER says so; output is accents, not a translation"
    return "pseudo: no key, so output is accents, not a translation. Set OPENAI_API_KEY"
