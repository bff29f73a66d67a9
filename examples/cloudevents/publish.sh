#!/bin/sh
# Publishes an order as a CloudEvent in binary mode: publish.sh ID ITEM
set -eu

curl --silent --show-error --fail-with-body --max-time 15 \
    --header 'ce-specversion: 1.0' \
    --header "ce-id: $1" \
    --header 'ce-source: /shop' \
    --header 'ce-type: com.example.order.placed' \
    --header "ce-partitionkey: $1" \
    --header 'Content-Type: application/json' \
    --data "{\"id\": \"$1\", \"item\": \"$2\"}" \
    "${SIDESPAN_URL:-http://127.0.0.1:7400}/v1/topics/orders/messages"
