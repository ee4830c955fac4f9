"""A stand-in interpreter for test_stack.py: with it as ``sys.executable``, a stack runs these services.

They do what the stack relies on and nothing else, and are told by the environment to misbehave:
``STANDIN_<NAME>`` = ``exit`` (at once, with a last word) or ``deaf`` (never healthy); ``STANDIN_DRAIN`` =
seconds that the worker drains, fewer when it is told. ``-m tq.stack`` is the real one, which the detached stack
starts.

Run as ``standin.py up JSON`` it is the command line of the stack: ``run_stack(**JSON)``.
"""

from __future__ import annotations

import http.server
import json
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any


def say(text: str) -> None:
    """A line of output."""
    print(text, flush=True)  # noqa: T201 - it is what the test reads


def registered() -> Path:
    """Exists while a worker is up."""
    return Path(os.environ["TQ_DATA_DIR"]) / "worker-is-up"


def told() -> Path:
    """Exists when a worker that drains need not go on with that."""
    return Path(os.environ["TQ_DATA_DIR"]) / "drain-is-over"


def serve(name: str, host: str, port: int) -> None:
    """A server that answers what the stack's probes ask."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ready = self.path != "/ready" or registered().exists()
            known = self.path in ("/health", "/ready", "/healthcheck") and os.environ.get(f"STANDIN_{name}") != "deaf"
            self.send_response((200 if ready else 503) if known else 404)
            self.end_headers()
            self.wfile.write(b"OK" if ready else b'{"reasons": ["no worker is alive"]}')

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer((host, port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    say(f"{name} serves")
    server.serve_forever()
    say(f"{name} stops")


def work() -> None:
    """A worker that registers itself, and drains at SIGTERM."""

    def drain(*_: Any) -> None:
        say("worker drains")
        end = time.monotonic() + float(os.environ.get("STANDIN_DRAIN", "0.1"))
        while time.monotonic() < end and not told().exists():
            time.sleep(0.05)
        registered().unlink()
        say("worker drained")
        sys.exit(0)

    signal.signal(signal.SIGTERM, drain)
    if os.environ.get("STANDIN_WORKER") != "deaf":
        registered().touch()
    say(f"worker up with {os.environ['TQ_CONCURRENCY']} slots")
    while True:
        time.sleep(0.05)


def up(options: dict[str, Any]) -> int:
    """What the `tq up` command does."""
    from tq.errors import TqError
    from tq.settings import load_settings
    from tq.stack import run_stack

    sys.executable = os.environ["STANDIN"]
    try:
        return run_stack(load_settings(), **options, out=sys.stdout)
    except TqError as error:
        print(f"error: {error.what}\n  why   {error.why}\n  fix   {error.fix}", file=sys.stderr)  # noqa: T201 - as above
        return error.exit_code


def main() -> None:
    """Be what argv says."""
    match sys.argv[1:]:
        case ["up", options]:
            sys.exit(up(json.loads(options)))
        case ["-m", "tq.stack", *rest]:
            sys.executable = os.environ["STANDIN"]
            sys.argv = ["tq.stack", *rest]
            runpy.run_module("tq.stack", run_name="__main__", alter_sys=True)
        case ["-m", "tq", name] if os.environ.get(f"STANDIN_{name.upper()}") == "exit":
            say(f"{name} has had enough")
            sys.exit(3)
        case ["-m", "tq", "api"]:
            serve("API", os.environ["TQ_API_HOST"], int(os.environ["TQ_API_PORT"]))
        case ["-m", "tq", "worker"]:
            work()
        case ["-m", "celery", "-A", "tq", "flower", address, port]:
            if os.environ.get("STANDIN_FLOWER") == "exit":
                sys.exit(3)
            serve("FLOWER", address.removeprefix("--address="), int(port.removeprefix("--port=")))
        case _:
            sys.exit(f"unknown: {sys.argv}")


if __name__ == "__main__":
    main()
