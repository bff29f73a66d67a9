"""Publishes an order and shows a token: SIDESPAN_TOKEN=... publish.py ID ITEM"""

import json
import os
import sys
import urllib.error
import urllib.request

SIDESPAN = os.environ.get("SIDESPAN_URL", "http://127.0.0.1:7400")
TOKEN = os.environ["SIDESPAN_TOKEN"]


def publish(order):
    """Returns the receipt: the order is stored."""
    request = urllib.request.Request(
        f"{SIDESPAN}/v1/topics/orders/messages",
        data=json.dumps(order).encode(),
        headers={
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": "application/json",
            "Sidespan-Key": order["id"],
            "Idempotency-Key": f'"{order["id"]}"',
        },
    )
    with urllib.request.urlopen(request, timeout=15) as response:
        return json.load(response)


try:
    print(json.dumps(publish({"id": sys.argv[1], "item": sys.argv[2]})))
except urllib.error.HTTPError as error:
    # 401: nobody has this token. 403: who has it may not publish this topic.
    problem = json.load(error)
    sys.exit(f"{problem['code']}: {problem['detail']} (retry: {problem['retryable']})")
