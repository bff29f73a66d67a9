#!/bin/sh
# Asks for a price: ask.sh ITEM
set -eu

# --fail-with-body: what is no success is printed too, whether the reply says so or there is none.
curl --silent --show-error --fail-with-body --max-time 15 \
    --header 'Content-Type: application/json' \
    --header 'Sidespan-Timeout: 10s' \
    --data "{\"item\": \"$1\"}" \
    "${SIDESPAN_URL:-http://127.0.0.1:7400}/v1/topics/prices/requests"
