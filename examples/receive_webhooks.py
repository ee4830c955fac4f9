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
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRETS = [base64.b64decode(each.removeprefix("whsec_")) for each in os.environ["TQ_WEBHOOK_SECRET"].split(",")]
TOLERANCE = 300  # seconds; what is older may be a copy


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what is genuine, and 401 to everything else."""

    def do_POST(self) -> None:
        """Look at the signature before anything else."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.is_genuine(body):
            self.send_error(401)
            return
        self.send_response(204)
        self.end_headers()
        # The same event may come twice: its id says so.
        event = json.loads(body)
        print(self.headers["webhook-id"], event["type"], event["data"]["message_id"], flush=True)

    def is_genuine(self, body: bytes) -> bool:
        """Whether it is signed with one of our secrets, and fresh."""
        event, moment = self.headers.get("webhook-id", ""), self.headers.get("webhook-timestamp", "")
        if not moment.isdecimal() or abs(time.time() - int(moment)) > TOLERANCE:
            return False
        signed = f"{event}.{moment}.".encode() + body
        right = [base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode() for secret in SECRETS]
        given = self.headers.get("webhook-signature", "").split()
        return any(hmac.compare_digest(one, f"v1,{other}") for one in given for other in right)


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
