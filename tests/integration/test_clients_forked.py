"""Clients of Python that were made before a fork."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import Api
from servers import Valkey

from tq.local import LocalClient

#: All processes use one client, whose connection was open before; its parent follows events meanwhile.
_SHARED = """
import os, sys, threading, time
from tq import Client

client = Client(sys.argv[1])
assert client.get("m0").content == "text 0"
seen = []

def follow():
    for change in client.events(after="0"):
        seen.append(change.message_id)

thread = threading.Thread(target=follow)
thread.start()
changes = client.changes(block=0.1)

def use(name):
    for _ in range(100):
        assert client.get(f"m{name}").content == f"text {name}"
        assert [each.content for each in client.get_many([f"m{name}"])] == [f"text {name}"]

children = []
for name in range(1, 5):
    pid = os.fork()
    if pid:
        children.append(pid)
        continue
    code = 1
    try:
        use(name)
        try:
            next(changes)
        except RuntimeError:
            code = 0
        client.close()
    finally:
        os._exit(code)
use(0)
codes = [os.waitpid(pid, 0)[1] for pid in children]
# What the children closed was their own: the parent goes on, and hears of what happens now.
use(0)
client.submit("Hello", message_id="last")
while not any(change.message_id == "last" for change in next(changes)):
    pass
while "last" not in seen:
    time.sleep(0.01)
client.close()
thread.join(10)
print(codes, thread.is_alive())
"""


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey as ``local``."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


def test_a_client_is_shared_with_children(
    api: Api, local: LocalClient, environment: dict[str, str], tmp_path: Path
) -> None:
    """Each process has its own connections, is answered what it asked for, and closes nothing of the others."""
    for name in range(5):
        local.submit(f"text {name}", message_id=f"m{name}")
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _SHARED, api.url],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 0, 0, 0] False\n", "")
