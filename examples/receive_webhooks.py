"""Receive tq's webhooks (https://www.standardwebhooks.com), and print what ended; nothing that is not signed by tq.

TQ_WEBHOOK_SECRET=whsec_... python examples/receive_webhooks.py 9000
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GIVEN = filter(None, map(str.strip, os.environ["TQ_WEBHOOK_SECRET"].split(",")))
SECRETS = [base64.b64decode(each.removeprefix("whsec_")) for each in GIVEN]
TOLERANCE = 300  # seconds; what is older may be a copy


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what is genuine, and 401 to everything else."""

    timeout = 10  # seconds: who connects and says nothing is not waited for

    def do_POST(self) -> None:
        """Look at the signature before anything else."""
        size = self.headers.get("Content-Length", "")
        body = self.rfile.read(int(size)) if size.isdecimal() and len(size) < 9 else b""
        if not self.is_genuine(body):
            self.send_error(401)
            return
        # The same event may come twice: its id says so. Answer when it is dealt with, for then it does not come again.
        event = json.loads(body)
        print(self.headers["webhook-id"], event["type"], event["data"]["message_id"], flush=True)
        self.send_response(204)
        self.end_headers()

    def is_genuine(self, body: bytes) -> bool:
        """Whether it is signed with one of our secrets, and fresh."""
        event, moment = self.headers.get("webhook-id", ""), self.headers.get("webhook-timestamp", "")
        if not moment.isdecimal() or len(moment) > 12 or abs(time.time() - int(moment)) > TOLERANCE:
            return False
        signed = f"{event}.{moment}.".encode() + body
        right = [b"v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()) for secret in SECRETS]
        # As bytes: a text that is not ASCII cannot be compared.
        given = self.headers.get("webhook-signature", "").encode().split()
        return any(hmac.compare_digest(one, other) for one in given for other in right)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
