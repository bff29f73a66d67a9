#!/bin/sh
# Publishes an order: publish.sh ID ITEM
set -eu

# --fail-with-body: a problem is printed too, and the exit status says that it was one.
curl --silent --show-error --fail-with-body --max-time 15 \
    --header 'Content-Type: application/json' \
    --header "Sidespan-Key: $1" \
    --header "Idempotency-Key: \"$1\"" \
    --data "{\"id\": \"$1\", \"item\": \"$2\"}" \
    "${SIDESPAN_URL:-http://127.0.0.1:7400}/v1/topics/orders/messages"
