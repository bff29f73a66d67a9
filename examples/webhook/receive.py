"""Receives orders as signed webhooks. WEBHOOK_SECRET is what Sidespan signs with; PORT is 8080."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
LARGEST_BODY = 1 << 20


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections: Sidespan uses them again

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        if length > LARGEST_BODY:
            self.close_connection = True
            return self.answer(413)  # goes to the dead letters
        body = self.rfile.read(length)
        try:
            order = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            return self.answer(401)  # anybody can post here
        # A message may come twice, with the same id: a real service looks it up.
        print(self.headers["webhook-id"], order["id"], order["item"], flush=True)
        self.answer(204)  # it never comes again; 500 would let it come again

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Receiver).serve_forever()
