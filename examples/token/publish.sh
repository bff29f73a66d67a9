#!/bin/sh
# Publishes an order and shows a token: SIDESPAN_TOKEN=... publish.sh ID ITEM
set -eu

# --header @-: what is read is not seen among the arguments of the process, as a token on the command line is.
printf 'Authorization: Bearer %s\n' "$SIDESPAN_TOKEN" |
    curl --silent --show-error --fail-with-body --max-time 15 \
        --header @- \
        --header 'Content-Type: application/json' \
        --header "Sidespan-Key: $1" \
        --header "Idempotency-Key: \"$1\"" \
        --data "{\"id\": \"$1\", \"item\": \"$2\"}" \
        "${SIDESPAN_URL:-http://127.0.0.1:7400}/v1/topics/orders/messages"
