"""The checks of `make check` that could pass for the wrong reason: each fails where it has to, and says so."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import shutil
import string
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from servers import free_port

ROOT = Path(__file__).parents[2]
KINGFISHER = Path(sys.executable).with_name("kingfisher")

audits = pytest.mark.skipif(not importlib.util.find_spec("pip_audit"), reason="pip-audit comes with `make check`")
scans = pytest.mark.skipif(
    not (KINGFISHER.exists() and shutil.which("git") and shutil.which("make")),
    reason="kingfisher comes with `make check`; git and make do not",
)


# -- audit -------------------------------------------------------------------------------------------


class Osv:
    """A stand-in for OSV's API: ``known`` package -> ids of vulnerabilities, ``statuses`` package -> HTTP status."""

    def __init__(self) -> None:
        self.known = {"jinja2": ["PYSEC-2014-8"]}
        self.statuses: dict[str, int] = {}
        self.late: set[str] = set()
        self.body: bytes | None = None
        self.asked: list[str] = []
        self._answered = threading.Event()

    def answer(self, query: dict[str, Any]) -> tuple[int, bytes]:
        """What the API says about one package; of those that are late, after another that is vulnerable."""
        name = query["package"]["name"]
        self.asked.append(f"{name} {query['version']}")
        if name in self.late:
            assert self._answered.wait(10)
        elif name in self.known and len(self.asked) > 1:
            threading.Timer(0.2, self._answered.set).start()
        package = {"name": name, "ecosystem": "PyPI"}
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}]
        vulns = [
            {"id": each, "summary": "A hole.", "affected": [{"package": package, "ranges": ranges}]}
            for each in self.known.get(name, [])
        ]
        body = json.dumps({"vulns": vulns} if vulns else {}).encode() if self.body is None else self.body
        return self.statuses.get(name, 200), body


@pytest.fixture
def osv() -> Iterator[tuple[Osv, str]]:
    """The stand-in, and its URL."""
    service = Osv()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = service.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield service, f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(folder: Path, url: str, *pins: str) -> subprocess.CompletedProcess[str]:
    """Audit these pins; without any, what is installed."""
    (folder / "requirements.txt").write_text("\n".join(pins))
    argv = [sys.executable, str(ROOT / ".ci" / "audit.py"), "--url", url]
    argv += ["-r", str(folder / "requirements.txt")] if pins else []
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@audits
def test_vulnerability_fails(osv: tuple[Osv, str], tmp_path: Path) -> None:
    """A vulnerable pin is exit code 1 and one line with its id and the version that mends it."""
    done = audit(tmp_path, osv[1], "jinja2==2.4.1", "idna==3.10")
    assert done.returncode == 1, done.stderr
    assert done.stdout == "audit: jinja2 2.4.1: PYSEC-2014-8, fixed in 9.9: A hole.\n"
    assert sorted(osv[0].asked) == ["idna 3.10", "jinja2 2.4.1", "jinja2 2.4.1"]


@audits
def test_installed_packages_are_asked_about(osv: tuple[Osv, str], tmp_path: Path) -> None:
    """Without a list it is everything that is installed, but for tq itself and what comes with Python."""
    service, url = osv
    service.known["celery"] = ["PYSEC-2021-858"]
    done = audit(tmp_path, url)
    assert done.returncode == 1, done.stderr
    # Jinja2, by which the service is tried out, is installed too.
    first, *_ = done.stdout.splitlines()
    assert re.fullmatch(r"audit: celery \S+: PYSEC-2021-858, fixed in 9.9: A hole.", first)
    names = {each.split()[0] for each in service.asked}
    assert names >= {"celery", "fastapi", "openai", "redis", "pip-audit"}
    assert not names & {"tq", "pip"}


@audits
def test_no_vulnerability_passes(osv: tuple[Osv, str], tmp_path: Path) -> None:
    """Packages without any are exit code 0, and their number is said."""
    done = audit(tmp_path, osv[1], "idna==3.10", "attrs==25.1.0")
    assert (done.returncode, done.stdout) == (0, "audit: no known vulnerability (packages: 2)\n"), done.stderr


@audits
def test_vulnerability_counts_when_the_service_fails_after_it(osv: tuple[Osv, str], tmp_path: Path) -> None:
    """What was found before the service failed is not lost behind it."""
    osv[0].statuses, osv[0].late = {"idna": 503}, {"idna"}
    done = audit(tmp_path, osv[1], "jinja2==2.4.1", "idna==3.10")
    assert done.returncode == 1, done.stderr
    found, skipped = done.stdout.splitlines()
    assert found.startswith("audit: jinja2 2.4.1: PYSEC-2014-8")
    assert skipped.startswith("audit: skipped after 1 of 2 packages, because 127.0.0.1 gives no usable answer")


@audits
@pytest.mark.parametrize("how", ["refused", "404", "503", "html", "ignorant"])
def test_no_service_is_skipped(osv: tuple[Osv, str], tmp_path: Path, how: str) -> None:
    """Without an answer, or with one that knows nothing, one line says that nothing was checked, and it passes."""
    service, url = osv
    match how:
        case "refused":
            url = f"http://127.0.0.1:{free_port()}/v1/query"
        case "404" | "503":
            service.statuses = {"jinja2": int(how), "idna": int(how)}
        case "html":
            service.body = b"<html>Please log in</html>"
        case "ignorant":
            service.known = {}
    done = audit(tmp_path, url, "idna==3.10")
    (line,) = done.stdout.splitlines()
    assert (done.returncode, line.split(",")[0]) == (0, "audit: skipped"), done.stderr
    reason = "knows no vulnerability of jinja2 2.4.1" if how == "ignorant" else "gives no usable answer"
    assert f"because 127.0.0.1 {reason}" in line
    assert "idna 3.10" not in service.asked


# -- secrets -----------------------------------------------------------------------------------------


def planted() -> dict[str, str]:
    """Keys in the form of real ones; made here, so that none stands in a file of ours."""
    source = random.Random(20)
    letters = string.ascii_letters + string.digits

    def some(count: int) -> str:
        return "".join(source.choices(letters, k=count))

    return {
        "tests/test_openai.py": f'KEY = "sk-proj-{some(74)}T3BlbkFJ{some(74)}"\n',
        "docs/notes.md": f"Use `sk-ant-api03-{some(93)}AA` for now.\n",
        ".env.example": f"GITHUB_TOKEN=ghp_{some(36)}\n",
        "compose.yaml": f"url: redis://:{some(20)}@cache.corp.net:6379/0\n",
    }


def run(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def scan(folder: Path) -> subprocess.CompletedProcess[str]:
    """Our `make secrets` on another repository, with the tools of this environment."""
    # Under `make test` it is a make within a make, which tells of the directories it enters.
    make = ("make", "--no-print-directory", "-f", str(ROOT / "Makefile"))
    return run(folder, *make, "secrets", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.dev")


@scans
def test_secrets_fail(tmp_path: Path) -> None:
    """Each key that git has or would take is found, and none is repeated; what git ignores is not looked at."""
    run(tmp_path, "git", "init", "--quiet")
    (tmp_path / ".gitignore").write_text(".env\n")
    clean = {"README.md": "OPENAI_API_KEY=sk-canary-1234\n", "empty.py": "", ".env": planted()["docs/notes.md"]}
    for name, text in clean.items():
        (tmp_path / name).write_text(text)
    done = scan(tmp_path)
    assert (done.returncode, done.stdout) == (0, "secrets: none found\n"), done.stderr

    for number, (name, text) in enumerate(planted().items()):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        if number % 2:
            run(tmp_path, "git", "add", name)
    done = scan(tmp_path)
    assert done.returncode == 2
    for name, text in planted().items():
        assert name in done.stdout
        assert max(re.split("[^\\w-]", text), key=len) not in done.stdout + done.stderr

    for name in planted():
        (tmp_path / name).unlink()  # git still has some, and that they are gone is no reason to fail
    done = scan(tmp_path)
    assert (done.returncode, done.stdout) == (0, "secrets: none found\n"), done.stderr


@scans
def test_no_repository_is_skipped(tmp_path: Path) -> None:
    """Unpacked from an archive there is no list of files, and one line says so."""
    done = scan(tmp_path)
    assert (done.returncode, done.stdout) == (0, "secrets: skipped: this is no git repository\n")
