"""Takes orders over a WebSocket and settles them, until it is stopped."""

import json
import os

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

SIDESPAN = os.environ.get("SIDESPAN_URL", "http://127.0.0.1:7400")
URL = SIDESPAN.replace("http", "ws", 1) + "/v1/subscriptions/billing/stream"
WINDOW = 100  # messages that may be on their way


def consume(socket):
    socket.send(json.dumps({"type": "credit", "messages": WINDOW}))
    for text in socket:
        frame = json.loads(text)
        if frame["type"] == "message":
            message = frame["message"]
            print(message["position"], message["data"]["id"], message["data"]["item"], flush=True)
            socket.send(json.dumps({"type": "ack", "ack_ids": [message["ack_id"]]}))
            socket.send(json.dumps({"type": "credit", "messages": 1}))
        elif frame["type"] in ("error", "draining", "settled"):
            # An ack without a `seq` is answered only if it was not taken: that message comes again.
            print(text, flush=True)


while True:
    try:
        with connect(URL, subprotocols=["sidespan.v1.json"]) as socket:
            consume(socket)
    except (OSError, ConnectionClosed) as error:
        print(f"the connection broke, and what is not settled comes again: {error}", flush=True)
