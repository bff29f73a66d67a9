"""Publishes an order as a CloudEvent in binary mode: publish.py ID ITEM"""

import json
import os
import sys
import urllib.error
import urllib.request

from cloudevents.core.bindings.http import to_binary_event
from cloudevents.core.v1.event import CloudEvent

SIDESPAN = os.environ.get("SIDESPAN_URL", "http://127.0.0.1:7400")


def publish(event):
    """Returns the receipt: the event is stored."""
    message = to_binary_event(event)
    request = urllib.request.Request(f"{SIDESPAN}/v1/topics/orders/messages", message.body, message.headers)
    with urllib.request.urlopen(request, timeout=15) as response:
        return json.load(response)


order = {"id": sys.argv[1], "item": sys.argv[2]}
event = CloudEvent(
    attributes={
        "specversion": "1.0",
        "id": order["id"],
        "source": "/shop",
        "type": "com.example.order.placed",
        "partitionkey": order["id"],
        "datacontenttype": "application/json",
    },
    data=order,
)
try:
    print(json.dumps(publish(event)))
except urllib.error.HTTPError as error:
    problem = json.load(error)
    sys.exit(f"{problem['code']}: {problem['detail']} (retry: {problem['retryable']})")
