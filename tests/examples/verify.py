"""Checks a webhook with the official library: verify.py SECRET FILE, with {headers, body} in FILE."""

import json
import sys

from standardwebhooks import Webhook

secret, file = sys.argv[1:]
with open(file, encoding="utf-8") as opened:
    webhook = json.load(opened)
Webhook(secret).verify(webhook["body"], webhook["headers"])
