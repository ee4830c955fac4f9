"""Print what happens to messages as it happens; it goes on when the API restarts. Ctrl-C ends it.

python examples/follow_events.py            # all
python examples/follow_events.py failed     # those that fail
"""

import sys
from contextlib import suppress

from tq import Client, Status

status = Status(sys.argv[1]) if sys.argv[1:] else None
with Client() as tq, suppress(KeyboardInterrupt):
    for change in tq.events(status=status):
        print(f"{change.at:%H:%M:%S} {change.message_id} {change.languages} {change.status} {change.info}", flush=True)
