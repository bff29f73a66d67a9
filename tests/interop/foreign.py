"""What the foreign clients have in common: their arguments, and the CloudEvent that they send.

    CLIENT publish ADDRESS PLACE          publishes a message, then CloudEvents; prints how many in all
    CLIENT read ADDRESS PLACE COUNT       says `ready`, and prints what comes then, as it sees it, in JSON
"""

import json
import sys
from datetime import datetime, timezone

from cloudevents.core.v1.event import CloudEvent

EVENT = CloudEvent(
    attributes={
        "id": "event-1",
        "source": "/orders",
        "type": "com.example.order.placed",
        "specversion": "1.0",
        "subject": "Zoë",
        "time": datetime(2026, 11, 20, 8, 30, tzinfo=timezone.utc),
        "datacontenttype": "application/json",
        "partitionkey": "customer-7",
    },
    data={"order": 17},
)


def main(publish, read):
    verb, address, place, *count = sys.argv[1:]
    if verb == "publish":
        print(publish(address, place))
    else:
        read(address, place, int(count[0]))


def ready():
    print("ready", flush=True)


def show(message):
    print(json.dumps(message, default=datetime.isoformat), flush=True)
