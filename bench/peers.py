"""The queues that are compared: what each needs, and how its worker is started."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
MODULES = HERE / "modules"
VENVS = HERE / ".venvs"


@dataclass(frozen=True)
class Peer:
    """One queue.

    Attributes:
        name: in the table.
        module: in ``modules``.
        worker: the command line, ``{slots}`` and ``{redis}`` to be filled in; its first word is a script.
        packages: what its virtual environment holds; none = it is tq's own.
        environment: further variables.
        slots: what runs at once at most; None = as many as the bench asks for.
    """

    name: str
    module: str
    worker: str
    packages: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    slots: int | None = None

    @property
    def venv(self) -> Path:
        """Its virtual environment, which a module of the same packages shares."""
        return VENVS / re.sub(r"[^a-z0-9]+", "-", self.name.lower())

    @property
    def bin(self) -> Path:
        """Where its scripts are."""
        return self.venv / "bin" if self.packages else Path(sys.executable).parent

    def install(self) -> None:
        """Make its virtual environment, once."""
        done = self.venv / "complete"
        if not self.packages or done.exists():
            return
        subprocess.run([sys.executable, "-m", "venv", self.venv], check=True)  # noqa: S603 - no shell, own words
        pip = [str(self.bin / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *self.packages], check=True)  # noqa: S603 - no shell, own words
        done.touch()

    def versions(self) -> dict[str, str]:
        """What of its packages is installed; for tq, tq and what it is built on."""
        names = self.packages or ("tq", "celery", "redis", "fastapi", "uvicorn", "uvloop", "openai")
        pip = [str(self.bin / "python"), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
        found = json.loads(subprocess.run(pip, check=True, capture_output=True).stdout)  # noqa: S603 - as above
        wanted = {re.split(r"[^\w-]", name)[0] for name in names}
        return {each["name"]: each["version"] for each in found if each["name"] in wanted}

    def command(self, slots: int, redis: str) -> list[str]:
        """How its worker is started."""
        script, *words = self.worker.format(slots=slots, redis=redis).split()
        return [str(self.bin / script), *words]


_SDK = ("openai[aiohttp]>=3.54,<4", "uvloop", "hiredis")
CELERY = "Celery, threads"
ALONE = {"TQ_BATCH_MAX_ITEMS": "1"}

TQ = Peer("tq", "p_tq", "tq worker --concurrency {slots} --loglevel warning", environment=ALONE)
TQ_SHARED = Peer("tq, shared calls", "p_tq", "tq worker --concurrency {slots} --loglevel warning")
PEERS = (
    TQ,
    TQ_SHARED,
    Peer(
        "taskiq",
        "p_taskiq",
        "taskiq worker p_taskiq:broker --workers 1 --max-async-tasks {slots} --log-level ERROR",
        (*_SDK, "taskiq", "taskiq-redis"),
    ),
    Peer("arq", "p_arq", "arq p_arq.WorkerSettings", (*_SDK, "arq")),
    Peer("saq", "p_saq", "saq p_saq.settings --quiet", (*_SDK, "saq[redis]")),
    Peer("streaq", "p_streaq", "streaq run p_streaq:worker", (*_SDK, "streaq")),
    Peer(
        CELERY,
        "p_celery",
        "celery -A p_celery worker -P threads -c {slots} -l ERROR -E",
        (*_SDK, "celery[redis]", "fastapi", "uvicorn", "httptools"),
    ),
    Peer(
        "dramatiq",
        "p_dramatiq",
        "dramatiq p_dramatiq --skip-logging -p 1 -t {slots}",
        (*_SDK, "dramatiq[redis]"),
    ),
    Peer("rq", "p_rq", "rq worker --url {redis} -q", (*_SDK, "rq"), slots=1),
)

#: Not a queue: what draws the plots.
PLOTS = Peer("plots", "plots", "python plots.py", ("matplotlib",))
