"""The command line: parse, call, print, exit code. Errors become three lines and an exit code in ``main`` alone.

Commands import what they use when they run: `tq --help` pays for nothing but Typer.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tq import message_commands, queue_commands, stack_commands, streams
from tq.errors import TqError, UsageError
from tq.options import (
    AskKey,
    Callback,
    Context,
    Estimate,
    FallbackModels,
    Formality,
    Glossary,
    Instructions,
    Json,
    NoCache,
    Parameters,
    Url,
    ask_key,
    complete_language,
    complete_model,
    connect,
    debugging,
    explained,
)
from tq.terminal import leave_closed_pipe, lost, note, report, write, writing

app = typer.Typer(
    name="tq",
    help="A translation job queue.",
    epilog="A first try: `tq up`, and in another terminal `tq submit Hello --to fr --wait`.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
INTERRUPTED = 130
#: What a write is refused with: no room, no stream, no device.
_OF_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO, errno.ENXIO})


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer's signature of a callback
    if wanted:
        from tq import __version__

        write(f"tq {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.", show_default=False)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.  [TQ_DEBUG]", show_default=False)] = False,
    url: Url = None,
) -> None:
    """A translation job queue."""
    del version
    if debug:
        os.environ["TQ_DEBUG"] = "1"
    if url is not None:
        os.environ["TQ_URL"] = url
    if ctx.invoked_subcommand is None:
        write(ctx.get_help())


@app.command()
def submit(  # noqa: PLR0913 - Typer takes the options from the signature
    ctx: typer.Context,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT | -", help="The text; - reads it from stdin.", show_default=False)
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the text from a file.", show_default=False)
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="LANG",
            help="Target language (BCP 47); again for more, each a message.  [default: TQ_TARGET_LANGUAGE]",
            autocompletion=complete_language,
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="LANG", help="Source language.", autocompletion=complete_language, show_default=False
        ),
    ] = None,
    priority: Annotated[int, typer.Option(metavar="0..10", help="10 is the most urgent.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(help="The model.  [default: TQ_MODEL]", autocompletion=complete_model, show_default=False),
    ] = None,
    fallback_models: FallbackModels = None,
    domain: Annotated[str | None, typer.Option(help="The subject area.", show_default=False)] = None,
    context: Context = None,
    formality: Formality = None,
    instructions: Instructions = None,
    glossary: Glossary = None,
    parameters: Parameters = None,
    no_cache: NoCache = False,
    callback: Callback = None,
    message_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Your own id.", show_default=False)
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key again answers the same message.", show_default=False)
    ] = None,
    key: AskKey = False,
    estimate: Estimate = False,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait, and print the translation.", show_default=False)
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="S", min=0, help="Wait at most S seconds (exit code 124).", show_default=False),
    ] = None,
    json: Json = False,
    url: Url = None,
) -> int:
    """Submit a text for translation."""
    from tq import inputs, submitting
    from tq.estimating import show_estimate

    content = inputs.read_text(text, file, key=key)
    if content is None:
        note(ctx.get_help())
        return UsageError.exit_code
    languages: Sequence[str | None] = to or [None]
    if twice := next((tag for tag in to or () if languages.count(tag) > 1), None):
        raise UsageError(f"--to names {twice} twice", fix="name each language once; nothing was submitted")
    if len(languages) > 1 and (message_id or idempotency_key):
        raise UsageError(
            "an id or idempotency key belongs to one message", why=f"{len(languages)} are to be submitted: one per --to"
        )
    submissions = submitting.prepare(
        content,
        languages,
        {
            "source": source,
            "priority": priority,
            "model": model,
            "domain": domain,
            "context": inputs.read_context(context),
            "formality": formality,
            "instructions": instructions,
            "glossary": inputs.read_glossary(glossary),
            "cache": not no_cache,
            "fallback_models": fallback_models,
            "parameters": inputs.read_parameters(parameters or ()),
            "callback_url": callback,
            "message_id": message_id,
            "api_key": ask_key() if key and not estimate else None,
        },
    )
    if estimate:
        show_estimate(submissions, as_json=json)
        return 0
    waits = wait or timeout is not None
    with connect(url) as backend:
        messages = submitting.submit(backend, submissions, idempotency_key, show=not waits, as_json=json)
        if not waits:
            return 0
        if len(messages) > 1:
            return submitting.await_all(backend, messages, timeout, as_json=json)
        submitting.await_end(backend, messages[0], timeout, as_json=json)
        return 0


@app.command()
def stats(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.", show_default=False)] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Show what waits, runs and has ended.

    Also per queue and priority, with the throughput of the last minute and the live workers.
    """
    from tq import listing

    with connect(url) as backend:
        if watch:
            listing.watch_stats(backend, as_json=json)
        listing.show_stats(backend, as_json=json)


@app.command()
def doctor(*, json: Json = False, url: Url = None) -> int:
    """Check what messages need on their way.

    Settings, data dir, Redis or API, clocks, workers, paused queues, keys, priorities, ports and the
    provider: each with what mends it. Exit code 5 when nothing is reachable,
    4 when Redis or the API refuses the password or token, 1 when something else is wrong.
    """
    from tq.doctor import run_checks

    return run_checks(url, as_json=json)


@app.command()
def config() -> None:
    """List all settings.

    Name, value (secrets are masked), where it comes from, and meaning.
    """
    from tq import listing
    from tq.settings import load_settings

    listing.show_settings()
    load_settings()  # raises what is wrong with them, below the list that helps to mend it


message_commands.register(app)
queue_commands.register(app)
stack_commands.register(app)


# -- the edge --------------------------------------------------------------------------------------


def main() -> int:
    """Run the command line; returns the exit code.

    0 ok · 1 the message failed · 2 usage · 3 not found · 4 not authorised · 5 nothing reachable, or no room ·
    124 timed out · 130 interrupted.
    """
    streams.prepare()
    try:
        code = app(standalone_mode=False, prog_name="tq")
        with writing():  # what libraries have written
            pass
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        leave_closed_pipe()
    except typer.TyperException as error:
        return report(_usage(error))
    except TqError as error:
        if debugging():
            raise
        return report(explained(error))
    except Exception as error:
        if debugging():
            raise
        if isinstance(error, OSError) and error.errno in _OF_WRITING:
            return report(lost(error))  # Typer writes to stdout itself
        return report(
            TqError(
                "something in tq, or in a library, is broken",
                why=type(error).__name__,
                fix="run it again with `tq --debug …`, and report the traceback",
            )
        )
    return code if isinstance(code, int) else 0


def _usage(error: typer.TyperException) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tq"
    return UsageError(error.format_message().replace("Value error, ", "").rstrip("."), fix=f"see `{path} --help`")
