"""What schemathesis cannot know about this door, and a count of what it tried."""

import atexit
import collections
import json
import os
import random

import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection as refused


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value if isinstance(value, (str, bytes)) else json.dumps(value) + "\n"


leased = collections.deque(maxlen=100)
asked = collections.deque(maxlen=100)
answers = collections.defaultdict(collections.Counter)


@schemathesis.check
def what_breaks_the_schema_is_refused(context, response, case):
    """Unless it does so by being `null`: then it is not there."""
    return None if has_null(case.body) else refused(context, response, case)


def has_null(value):
    if isinstance(value, dict):
        return any(has_null(member) for member in value.values())
    if isinstance(value, list):
        return any(has_null(item) for item in value)
    return value is None


@schemathesis.hook
def before_call(context, case, kwargs):
    """Settles what was really leased: nobody would think of such an id."""
    fits = case.meta is not None and case.meta.generation.mode.is_positive
    change(case, fits)
    if fits and leased and isinstance(case.body, dict) and case.body.get("ack_ids"):
        case.path_parameters["subscription"], ack_id = leased.pop()
        case.body["ack_ids"] = [ack_id]
    if fits and case.operation.path.endswith("/pull") and not (isinstance(case.body, dict) and "wait" in case.body):
        # Where nothing is said it is ten seconds, so ask where there always is something.
        case.path_parameters["subscription"] = "stocked"
    if fits and asked and case.operation.path.endswith("/reply") and isinstance(case.body, dict):
        case.path_parameters["subscription"], case.body["ack_id"] = asked.pop()


def change(case, fits):
    """Changes what is there to be changed, and leaves alone what others fetch from."""
    path, method = case.operation.path, case.operation.method.upper()
    if path.endswith(("/pause", "/seek")) and case.path_parameters.get("subscription") in ("answered", "jobs", "stocked"):
        case.path_parameters["subscription"] = "resting"
    if fits and path.endswith("/{subscription}") and method in ("PUT", "PATCH", "DELETE"):
        case.path_parameters["subscription"] = "made"
        for name in [name for name in case.headers or {} if name.lower() in ("if-match", "if-none-match")]:
            del case.headers[name]
        if method == "PUT" and random.random() < 0.7:
            case.body = {"topic": "orders", "start": "begin", "pull": {"lease": "30s"}}
        if method == "PATCH":
            case.body = {"pull": {"lease": random.choice(["10s", "20s"])}}


@schemathesis.hook
def after_call(context, case, response):
    if case.operation.path.endswith("/pull") and response.status_code == 200:
        subscription = case.path_parameters["subscription"]
        for message in response.json()["messages"]:
            (asked if "reply_to" in message else leased).append((subscription, message["ack_id"]))
    answers[case.operation.label][response.status_code] += 1


@atexit.register
def report():
    with open(os.environ["ANSWERS"], "w", encoding="utf-8") as file:
        json.dump(answers, file)
