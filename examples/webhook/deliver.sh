#!/bin/sh
# Calls a receiver as Sidespan does, with a signature, to try it alone: deliver.sh URL BODY
set -eu

id=order-$$
timestamp=$(date +%s)
key=$(printf %s "${WEBHOOK_SECRET#whsec_}" | base64 --decode | od -An -v -tx1 | tr -d ' \n')
signature=$(printf %s "$id.$timestamp.$2" |
    openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)

curl --silent --show-error --fail-with-body --max-time 10 \
    --header 'Content-Type: application/json' \
    --header "webhook-id: $id" \
    --header "webhook-timestamp: $timestamp" \
    --header "webhook-signature: v1,$signature" \
    --data "$2" "$1"
