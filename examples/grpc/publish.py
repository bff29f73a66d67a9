"""Publishes an order by gRPC: publish.py ID ITEM"""

import json
import os
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from sidespan.v1 import message_pb2, publisher_pb2, publisher_pb2_grpc

TARGET = os.environ.get("SIDESPAN_URL", "http://127.0.0.1:7400").removeprefix("http://")

order_id, item = sys.argv[1:]
message = message_pb2.Message(
    topic="orders",
    id=order_id,  # makes it safe to send again what may have been stored
    key=order_id.encode(),
    content_type="application/json",
    payload=json.dumps({"id": order_id, "item": item}).encode(),
)
with grpc.insecure_channel(TARGET) as channel:
    publisher = publisher_pb2_grpc.PublisherStub(channel)
    try:
        answer = publisher.Publish(publisher_pb2.PublishRequest(messages=[message]), timeout=15)
    except grpc.RpcError as error:
        reasons = []
        for detail in rpc_status.from_call(error).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                reasons.append(info.reason)
        sys.exit(f"{' '.join(reasons)}: {error.details()}")
print("stored at", answer.outcomes[0].receipt.position)
