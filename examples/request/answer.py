"""Answers what things cost, to whoever asks at the broker: a service that speaks only HTTP. PORT is 8081."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PRICES = {"tea": 4.5, "coffee": 5}


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections: Sidespan uses them again

    def do_POST(self):
        item = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["item"]
        if item in PRICES:
            self.answer(200, {"item": item, "price": PRICES[item]})
        else:
            self.answer(404, {"error": f"there is no {item}"})  # a reply as well: who asked gets it

    def answer(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8081"))), Answering).serve_forever()
