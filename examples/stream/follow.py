"""Follows the orders from the beginning, as server-sent events, until it is stopped."""

import json
import os
import time
import urllib.error
import urllib.request

SIDESPAN = os.environ.get("SIDESPAN_URL", "http://127.0.0.1:7400")

last_id = None  # where to go on after a break; kept in a file, it survives a restart too


def events():
    """Yields (id, event, data) until the stream ends."""
    request = urllib.request.Request(f"{SIDESPAN}/v1/topics/orders/stream?start=begin")
    if last_id:
        request.add_header("Last-Event-ID", last_id)
    # A comment comes every 15 seconds: silence for longer means that the connection is dead.
    with urllib.request.urlopen(request, timeout=40) as lines:
        event = {}
        for line in lines:
            name, _, value = line.decode().rstrip("\n").partition(":")
            if name:
                event[name] = value.removeprefix(" ")
            elif line == b"\n":
                yield event.get("id"), event.get("event", "message"), event.get("data")
                event = {}


while True:
    try:
        for last_id, event, data in events():
            if data is None:
                continue  # the place where the stream opened
            if event == "error":
                break
            message = json.loads(data)
            print(message["position"], message["data"]["id"], message["data"]["item"], flush=True)
    except urllib.error.HTTPError as error:
        raise SystemExit(json.load(error)["detail"])
    except OSError as error:
        print(f"the connection broke: {error}", flush=True)
    time.sleep(1)
