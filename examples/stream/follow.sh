#!/bin/sh
# Follows the orders from the beginning, as server-sent events, until it is stopped.
exec curl --silent --show-error --fail-with-body --no-buffer \
    "${SIDESPAN_URL:-http://127.0.0.1:7400}/v1/topics/orders/stream?start=begin"
