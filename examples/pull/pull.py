"""Fetches orders and settles them, until it is stopped."""

import json
import os
import urllib.error
import urllib.request

SIDESPAN = os.environ.get("SIDESPAN_URL", "http://127.0.0.1:7400")


def call(verb, body):
    request = urllib.request.Request(
        f"{SIDESPAN}/v1/subscriptions/billing/{verb}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def handle(order):
    """Does the work; what it cannot do it raises."""
    return f"{order['id']} {order['item']}"


while True:
    # Waits for the first message, and returns what is there then: maybe nothing.
    for message in call("pull", {"max_messages": 10, "wait": "10s"})["messages"]:
        ids = {"ack_ids": [message["ack_id"]]}
        try:
            print(message["position"], handle(message["data"]), flush=True)
        except (KeyError, TypeError):
            call("nack", ids)  # comes again later, and after the last attempt is a dead letter
            continue
        try:
            call("ack", ids)
        except urllib.error.HTTPError as error:
            # 409: the lease was over before the work was; the message comes again.
            print(json.load(error)["detail"], flush=True)
