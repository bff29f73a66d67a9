"""What schemathesis cannot know about this door, and a count of what it tried."""

import atexit
import collections
import json
import os

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value if isinstance(value, (str, bytes)) else json.dumps(value) + "\n"


answers = collections.defaultdict(collections.Counter)


@schemathesis.hook
def after_call(context, case, response):
    answers[case.operation.label][response.status_code] += 1


@atexit.register
def report():
    with open(os.environ["ANSWERS"], "w", encoding="utf-8") as file:
        json.dump(answers, file)
