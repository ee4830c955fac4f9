"""Every program of examples/, run as its docstring says, against a real stack."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import polib
import pytest
from cli_driver import ULID
from running_stack import RunningStack
from servers import Process, free_port, wait_until

from tq.client import Client

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
#: What the pseudo provider makes of any text.
PSEUDO: Final = r"\[.*[À-ž].*\]"
SECRET: Final = base64.b64encode(b"only the sender and we know this").decode()
OLD_SECRET: Final = base64.b64encode(b"only the sender and we knew this").decode()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack as it is without any setting."""
    with RunningStack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


def settings(stack: RunningStack, **more: str) -> dict[str, str]:
    """The environment of a program beside the stack."""
    return stack.environment | {"TQ_URL": stack.info.api_url, "NO_PROXY": "*"} | more


def ran(stack: RunningStack, name: str, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    """An example that has ended, with ``more`` settings."""
    interpreter = "sh" if name.endswith(".sh") else sys.executable
    return subprocess.run(
        [interpreter, str(EXAMPLES / name), *args],
        env=settings(stack, **more),
        cwd=stack.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run(stack: RunningStack, name: str, *args: str, **more: str) -> str:
    """What an example prints when it ends well."""
    done = ran(stack, name, *args, **more)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_each_is_run_here() -> None:
    """An example that no test runs would rot; and each says how it is run."""
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh"}}
    assert names == {path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__"}
    text = Path(__file__).read_text()
    assert {name for name in names if f'"{name}"' in text} == names
    for name in names:
        example = (EXAMPLES / name).read_text()
        assert f" examples/{name}" in example
        assert 8 <= len(example.splitlines()) <= 60


def test_readme(stack: RunningStack) -> None:
    """The README's two programs for the API run as they are printed there."""
    text = (EXAMPLES.parent / "README.md").read_text()
    programs = [
        code for code in re.findall("^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if "Client" in code
    ]
    assert len(programs) == 2
    outputs = []
    for code in programs:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=settings(stack),
            cwd=stack.folder,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout.splitlines())
    assert len(outputs[0]) == 1001
    assert re.fullmatch(PSEUDO, outputs[0][0])
    assert re.fullmatch(rf"\['{PSEUDO}', '{PSEUDO}'\]", outputs[1][0])


def test_translate(stack: RunningStack) -> None:
    """The shortest program prints the translation."""
    assert re.fullmatch(PSEUDO, run(stack, "translate.py", "Good morning", "fr").strip())


def test_a_text_of_any_characters_with_curl(stack: RunningStack) -> None:
    """Line breaks and control characters arrive as they are; without TQ_URL it goes to TQ_API_PORT."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    text = 'One "line"\nand\tanother \x1b[1m \\ é 日本\n'
    port = str(httpx.URL(stack.info.api_url).port)
    document = run(stack, "translate.sh", text, "fr", TQ_URL="", TQ_API_PORT=port).partition("\n")[0]
    assert json.loads(document)["content"] == text


def test_translate_with_curl(stack: RunningStack) -> None:
    """The shell prints the message, and then what happened to it, and ends."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    document, _, events = run(stack, "translate.sh", 'Say "hello" \\ world', "fr").partition("\n")
    message = json.loads(document)
    assert (message["status"], message["content"]) == ("completed", 'Say "hello" \\ world')
    assert re.findall("^event: (.*)$", events, re.MULTILINE) == ["queued", "running", "completed"]


def test_translate_a_folder(stack: RunningStack, tmp_path: Path) -> None:
    """Each text has its translation beside it; a second run translates no translation."""
    for n in range(30):
        (tmp_path / f"{n}.txt").write_text(f"Text number {n}\n")
    for _ in range(2):
        assert len(run(stack, "translate_folder.py", str(tmp_path), "fr").splitlines()) == 30
        assert len(list(tmp_path.iterdir())) == 60
    for n in range(30):
        assert re.fullmatch(f"{PSEUDO}\n", (tmp_path / f"{n}.fr.txt").read_text())


def test_a_file_that_fails(stack: RunningStack, tmp_path: Path) -> None:
    """What is no text does not keep the others; why it failed is said, and by the exit code that some did."""
    (tmp_path / "good.txt").write_text("Good morning\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (tmp_path / "folder.txt").mkdir()
    done = ran(stack, "translate_folder.py", str(tmp_path), "fr")
    assert (done.returncode, done.stdout) == (1, "good.fr.txt\n")
    lines = dict(line.split(": ", 1) for line in done.stderr.splitlines())
    assert lines.keys() == {"empty.txt", "latin.txt", "folder.txt"}
    assert "content: " in lines["empty.txt"]
    assert "utf-8" in lines["latin.txt"]


def test_translate_a_catalogue(stack: RunningStack, tmp_path: Path) -> None:
    """Only what is missing is translated, and marked as to be looked at."""
    path = tmp_path / "messages.po"
    catalogue = polib.POFile()
    catalogue.metadata = {"Content-Type": "text/plain; charset=utf-8", "Language": "fr"}
    catalogue.append(polib.POEntry(msgid="Yes", msgstr="Oui"))
    catalogue.append(polib.POEntry(msgid="Open %(name)s", msgctxt="button"))
    catalogue.append(polib.POEntry(msgid="Good morning"))
    catalogue.save(str(path))
    assert run(stack, "translate_po.py", str(path), "fr") == "2 to look at, 0 left\n"
    found = {entry.msgid: entry for entry in polib.pofile(str(path))}
    assert found["Yes"].msgstr == "Oui"
    assert "%(name)s" in found["Open %(name)s"].msgstr
    assert re.fullmatch(PSEUDO, found["Good morning"].msgstr)
    assert found["Good morning"].fuzzy


def test_celery(stack: RunningStack) -> None:
    """Celery's own interface gives the translation and a true state."""
    translation, state = run(stack, "celery_task.py", "Good morning", "fr").splitlines()
    assert re.fullmatch(PSEUDO, translation)
    assert re.fullmatch("[0-9a-f-]{36} SUCCESS", state)


def test_follow_events(stack: RunningStack) -> None:
    """It prints what happens, those changes that are wanted, until Ctrl-C."""
    command = [sys.executable, str(EXAMPLES / "follow_events.py"), "completed"]
    log = stack.folder / "events.log"
    with (
        Process(command, log=log, env=settings(stack), cwd=stack.folder) as process,
        Client(stack.info.api_url) as client,
    ):

        def seen() -> bool:
            # It sees what happens after it has begun: one after the other until then.
            client.translate("Good morning", to="fr", cache=False, timeout=60)
            return bool(process.output)

        wait_until(seen, "it sees a message")
        process.popen.send_signal(signal.SIGINT)
        assert process.popen.wait(30) == 0
        assert re.match(rf"\d\d:\d\d:\d\d {ULID} →fr completed pseudo", process.output), process.output
        assert {line.split()[3] for line in process.output.splitlines()} == {"completed"}


def test_receive_webhooks(stack: RunningStack) -> None:
    """What tq has signed is printed; a wrong signature, an old one, nonsense, and none at all are refused."""
    port = free_port()
    command = [sys.executable, str(EXAMPLES / "receive_webhooks.py"), str(port)]
    environment = settings(stack, TQ_WEBHOOK_SECRET=f"whsec_{OLD_SECRET}, whsec_{SECRET},")
    log = stack.folder / "webhooks.log"
    with Process(command, log=log, env=environment, cwd=stack.folder) as process, socket.socket() as idle:
        url = f"http://127.0.0.1:{port}"
        body = json.dumps({"type": "message.completed", "data": {"message_id": "mine"}}).encode()

        def send(**headers: str) -> int:
            named = {f"webhook-{name}".encode(): value.encode() for name, value in headers.items()}
            return httpx.post(url, content=body, headers=named, trust_env=False).status_code

        wait_until(lambda: answers(url), lambda: f"it serves: {process.output}")
        # Who connects and says nothing holds up nobody.
        idle.connect(("127.0.0.1", port))
        now = int(time.time())
        genuine = {"id": "msg_1", "timestamp": str(now), "signature": f"v1,other {signed('msg_1', now, body)}"}
        assert send(**genuine) == 204
        wait_until(lambda: "msg_1 message.completed mine" in process.output, "it prints what has ended")
        old = now - 3600
        assert send(**genuine | {"timestamp": str(old), "signature": signed("msg_1", old, body)}) == 401
        assert send(**genuine | {"id": "msg_2"}) == 401
        assert send(**genuine | {"timestamp": "soon"}) == 401
        assert send(**genuine | {"timestamp": "9" * 5000}) == 401
        assert send(**genuine | {"signature": "v1,é"}) == 401
        assert send(**genuine | {"signature": signed("msg_1", now, body, secret=b"")}) == 401
        assert send() == 401
        assert process.output.count("message.completed") == 1


def answers(url: str) -> bool:
    """Whether something serves there."""
    try:
        httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return False
    return True


def signed(event: str, moment: int, body: bytes, *, secret: bytes = base64.b64decode(SECRET)) -> str:
    """As Standard Webhooks signs."""
    text = f"{event}.{moment}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(secret, text, hashlib.sha256).digest()).decode()}"
