#!/bin/sh
# Fetches orders and settles them, until it is stopped.
set -eu

billing=${SIDESPAN_URL:-http://127.0.0.1:7400}/v1/subscriptions/billing

call() {
    curl --silent --show-error --fail-with-body --max-time 30 \
        --header 'Content-Type: application/json' --data "$2" "$billing/$1"
}

while true; do
    pulled=$(call pull '{"max_messages": 10, "wait": "10s"}')
    # What is not settled when its lease ends comes again, here or at another consumer.
    echo "$pulled" | jq --raw-output '.messages[] | "\(.position) \(.data.id) \(.data.item)"'
    ack_ids=$(echo "$pulled" | jq --compact-output '[.messages[].ack_id]')
    [ "$ack_ids" = '[]' ] || call ack "{\"ack_ids\": $ack_ids}" >/dev/null
done
