#!/bin/sh
# Makes a subscription, looks at it, pauses and resumes it, sends all of its messages again, and ends it.
set -eu

audit=${SIDESPAN_URL:-http://127.0.0.1:7400}/v1/subscriptions/audit-sh

call() {
    curl --silent --show-error --fail-with-body --max-time 60 --header 'Content-Type: application/json' "$@"
}

call --request PUT --data '{"topic": "orders", "start": "begin", "pull": {}}' "$audit"
call "$audit"
call --request POST "$audit/pause" >/dev/null
call --request POST "$audit/resume" >/dev/null
call --data '{"to": "begin"}' "$audit/seek" >/dev/null
call --request DELETE "$audit"
echo ended
