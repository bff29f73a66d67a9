"""Makes a subscription, changes it, sends all of its messages again, and ends it."""

import json
import os
import urllib.request

SIDESPAN = os.environ.get("SIDESPAN_URL", "http://127.0.0.1:7400")


def call(method, path="", body=None, headers=()):
    request = urllib.request.Request(
        f"{SIDESPAN}/v1/subscriptions/audit-py{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **dict(headers)},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        text = response.read()
        return response.headers, json.loads(text) if text else None


headers, made = call("PUT", body={"topic": "orders", "start": "begin", "pull": {}})
print(made["name"], made["state"], "revision", made["revision"])

# Only this version is meant: if somebody else changed it meanwhile, the answer is 412.
_, changed = call("PATCH", body={"pull": {"lease": "60s"}}, headers={"If-Match": headers["ETag"]})
print("leases of", changed["pull"]["lease"])

call("POST", "/pause")  # every replica leaves the group, and messages stay with the broker
call("POST", "/resume")
call("POST", "/seek", {"to": "begin"})
call("DELETE")
print("ended")
