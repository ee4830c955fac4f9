"""What can happen to workers."""

from __future__ import annotations

import time

import pytest
from servers import wait_until
from stage import MakeStage

LEASE = 3
#: Seconds after its worker's death in which a message runs again, beyond the lease.
SLACK = 10


@pytest.mark.scenario(1, "kill -9 of a worker in mid-call", ci=("embedded",), weight=20)
def test_worker_killed_in_mid_call(stage: MakeStage) -> None:
    """Whatever it held runs again within TQ_LEASE + 10 s."""
    with stage(TQ_LEASE=str(LEASE)) as s:
        s.provider.hold()
        ids = s.submit(50)
        s.wait_running(50)
        before = len(s.provider.calls)
        s.stack.service("worker").kill()
        killed = time.monotonic()
        wait_until(lambda: len(s.provider.calls) >= before + 50, "all are called for again", LEASE + SLACK + 5)
        again = time.monotonic() - killed
        assert again < LEASE + SLACK
        s.provider.release()
        s.wait_ended(ids)
        s.note(running_again_after_s=again)
