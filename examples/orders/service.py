"""Takes orders, publishes them through Sidespan, and gets them back as signed webhooks.

Environment: WEBHOOK_SECRET (whsec_...), PORT (8080), SIDESPAN_URL (http://127.0.0.1:7400).
"""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIDESPAN = os.environ.get("SIDESPAN_URL", "http://127.0.0.1:7400")
SECRET = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
LARGEST_BODY = 1 << 20

lock = threading.Lock()
fulfilled = {}  # what has come back, by its webhook-id; a real service has a table for it


def publish(order):
    """Returns once the order is stored, and raises if that is not known."""
    request = urllib.request.Request(
        f"{SIDESPAN}/v1/topics/orders/messages",
        data=json.dumps(order).encode(),
        headers={
            "content-type": "application/json",
            "sidespan-key": order["id"],
            "idempotency-key": f'"{order["id"]}"',
        },
    )
    with urllib.request.urlopen(request, timeout=15) as response:
        return json.load(response)


def is_signed(headers, body):
    """Checks the signature as Standard Webhooks says; without one, anybody could send orders."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > 300:
        return False
    content = f"{message_id}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET, content, hashlib.sha256).digest())
    # Several, while a secret is changed for another.
    signatures = headers.get("webhook-signature", "").split()
    versions = (signature.partition(",") for signature in signatures)
    return any(
        version == "v1" and hmac.compare_digest(signature.encode(), expected)
        for version, _, signature in versions
    )


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections: Sidespan uses them again

    def do_GET(self):
        if self.path != "/orders":
            return self.answer(404, {"error": "try /orders"})
        with lock:
            self.answer(200, list(fulfilled.values()))

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > LARGEST_BODY:
            self.close_connection = True
            return self.answer(413, {"error": "too large"})
        body = self.rfile.read(length)
        if self.path == "/orders":
            self.take_order(body)
        elif self.path == "/events":
            self.take_event(body)
        else:
            self.answer(404, {"error": "try /orders"})

    def take_order(self, body):
        try:
            order = json.loads(body)
            assert isinstance(order["id"], str) and order["id"].isalnum()
        except (ValueError, TypeError, KeyError, AssertionError):
            return self.answer(400, {"error": 'an order is {"id": "17", ...}'})
        try:
            receipt = publish(order)
        except urllib.error.HTTPError as error:
            return self.answer(503 if error.code >= 500 else 500, json.load(error))
        except (OSError, ValueError) as error:
            return self.answer(503, {"error": f"not known to be stored, send it again: {error}"})
        self.answer(201, receipt)

    def take_event(self, body):
        if not is_signed(self.headers, body):
            return self.answer(401, {"error": "the signature is wrong"})
        try:
            order = json.loads(body)
        except ValueError:
            return self.answer(400, {"error": "not JSON"})  # 400: it will not get better
        with lock:
            # A message may come twice: the second time there is nothing left to do.
            fulfilled.setdefault(self.headers["webhook-id"], order)
        self.answer(204)

    def answer(self, status, content=None):
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        if content is not None:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8080"))
    print(f"takes orders on http://127.0.0.1:{port}/orders", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Service).serve_forever()
