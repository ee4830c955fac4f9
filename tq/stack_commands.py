"""The commands of the stack and of its single components: up, down, ps, logs, api, worker, flower."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from tq.errors import UsageError
from tq.terminal import note, wants_style, write

Concurrency = Annotated[
    int | None,
    typer.Option(metavar="N", help="Messages in flight per worker.  [default: TQ_CONCURRENCY]", show_default=False),
]
Grace = Annotated[
    float | None,
    typer.Option(
        metavar="S", min=0, help="Seconds that the worker may drain.  [default: TQ_GRACE]", show_default=False
    ),
]


#: As ``tq.stack.LOG_NAMES``: a shell that completes has no time to import what runs a stack.
LOGS = ("valkey", "api", "worker", "flower", "stack")


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (up, down, ps, logs, api, worker, flower):
        app.command()(command)


def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.", show_default=False)] = False,
    port: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="Port of the API; auto takes free ones.", show_default=False),
    ] = None,
    concurrency: Concurrency = None,
    grace: Grace = None,
) -> int:
    """Run the whole stack.

    Valkey (unless a Redis is configured), API, worker and Flower. Ctrl-C stops it, twice kills it.
    """
    from tq.settings import get_settings
    from tq.stack import run_stack

    return run_stack(
        get_settings(), detach=detach, port=_port(port), concurrency=concurrency, grace=grace, out=sys.stdout
    )


def _port(text: str | None) -> int | Literal["auto"] | None:
    if text is None or text == "auto":
        return text  # type: ignore[return-value]  # mypy does not narrow str to the literal
    if not (text.isascii() and text.isdecimal()):
        raise UsageError("the port is not usable", fix="give a number of 1 to 65535, or auto")
    return int(text)


def down(*, grace: Grace = None) -> int:
    """Stop the running stack.

    It is found by TQ_DATA_DIR; the data is kept.
    """
    import io

    from tq.progress import Progress
    from tq.settings import get_settings
    from tq.stack import stack_down

    settings, said = get_settings(), io.StringIO()
    longest = settings.grace if grace is None else grace
    with Progress(f"stopping; the worker may drain for {longest:g} s"):
        code = stack_down(settings, grace, out=said)
    write(said.getvalue(), "")
    return code


def ps() -> None:
    """List the services of the running stack."""
    from tq.layout import age, columns
    from tq.settings import get_settings
    from tq.stack import stack_paused, stack_ps

    services = stack_ps(get_settings())
    if not services:
        note(f"no stack runs on {get_settings().data_dir}")
        return
    header = ("SERVICE", "STATE", "PID", "UPTIME", "RESTARTS", "DETAIL")
    rows = [
        (
            each.name,
            each.state,
            str(each.pid or "-"),
            "-" if each.uptime is None else age(each.uptime),
            str(each.restarts),
            each.detail,
        )
        for each in services
    ]
    write("\n".join(columns([header, *rows])))
    if paused := stack_paused(get_settings()):
        note(f"paused: {', '.join(paused)}, of which nothing begins (go on: tq resume {' '.join(paused)})")


def _complete_service(incomplete: str) -> list[str]:
    return [name for name in LOGS if name.startswith(incomplete)]


def logs(
    service: Annotated[
        str | None,
        typer.Argument(
            help="valkey, api, worker, flower or stack; all when absent.",
            autocompletion=_complete_service,
            show_default=False,
        ),
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.", show_default=False)] = False,
) -> None:
    """Print the logs of the stack."""
    from tq.settings import get_settings
    from tq.stack import stack_logs

    for line in stack_logs(get_settings(), service, follow=follow, color=wants_style(sys.stdout)):
        write(line)


def api(
    *,
    port: Annotated[int | None, typer.Option(metavar="N", help="Instead of TQ_API_PORT.", show_default=False)] = None,
) -> None:
    """Run the HTTP API in the foreground."""
    from tq.server import serve
    from tq.settings import get_settings, revise

    settings = get_settings()
    serve(settings if port is None else revise(settings, api_port=port))


def worker(
    *,
    concurrency: Concurrency = None,
    queues: Annotated[
        str | None, typer.Option("--queues", "-Q", metavar="A,B", help="Only these queues.", show_default=False)
    ] = None,
    pool: Annotated[
        Literal["solo", "threads", "prefork"] | None,
        typer.Option("--pool", "-P", help="Instead of tq's own.", show_default=False),
    ] = None,
    loglevel: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        typer.Option("--loglevel", "-l", help="Of the log on stderr.", case_sensitive=False),
    ] = "INFO",
) -> int:
    """Run a worker in the foreground.

    The first Ctrl-C lets it end what it has begun, the second ends it.
    """
    from tq.messages import QUARANTINE, QUEUES
    from tq.settings import get_settings, revise

    known = (*QUEUES, QUARANTINE)
    if queues is not None and not set(queues.split(",")) <= set(known):
        raise UsageError("there is no such queue", fix=f"take of these, with commas between them: {', '.join(known)}")
    settings = get_settings() if concurrency is None else revise(get_settings(), concurrency=concurrency)
    from tq.worker import run  # late: what is wrong is said before Celery is loaded

    return run(settings, queues=queues, pool=pool, loglevel=loglevel)


def flower() -> None:
    """Run Flower in the foreground."""
    from tq.settings import get_settings
    from tq.stack import exec_flower

    exec_flower(get_settings())
