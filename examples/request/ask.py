"""Asks for a price: ask.py ITEM"""

import json
import os
import sys
import urllib.error
import urllib.request

SIDESPAN = os.environ.get("SIDESPAN_URL", "http://127.0.0.1:7400")


def ask(item):
    """Returns what whoever answers at `prices` says."""
    request = urllib.request.Request(
        f"{SIDESPAN}/v1/topics/prices/requests",
        data=json.dumps({"item": item}).encode(),
        headers={"Content-Type": "application/json", "Sidespan-Timeout": "10s"},
    )
    with urllib.request.urlopen(request, timeout=15) as response:
        return json.load(response)


try:
    print(json.dumps(ask(sys.argv[1])))
except urllib.error.HTTPError as error:
    if "Sidespan-Reply" in error.headers:  # the answer of who was asked
        sys.exit(f"{error.code}: {error.read().decode()}")
    problem = json.load(error)  # there was none
    sys.exit(f"{problem['code']}: {problem['detail']} (retry: {problem['retryable']})")
