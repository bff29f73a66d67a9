"""A client of the gRPC door.

    grpc_client.py publish ADDRESS SUBSCRIPTION         publishes a batch and a stream; prints how many in all
    grpc_client.py read ADDRESS SUBSCRIPTION COUNT      says `ready`, and prints what it is handed, once the broker
                                                        has each acknowledgement
"""

import json
import queue
import sys

import grpc
import grpc_made
from sidespan.v1 import message_pb2, publisher_pb2, publisher_pb2_grpc, subscriber_pb2, subscriber_pb2_grpc


def message(text):
    return message_pb2.Message(
        topic="orders",
        id=text,
        key=b"customer-7",
        content_type="text/plain; charset=utf-8",
        headers=[message_pb2.Header(name="note", value="Zoë".encode()), message_pb2.Header(name="tag", value=b"one")],
        payload=text.encode(),
    )


def publish(channel):
    publisher = publisher_pb2_grpc.PublisherStub(channel)
    batch = publisher_pb2.PublishRequest(messages=[message("batch-0"), message("batch-1")])
    answer = publisher.Publish(batch, timeout=20)
    assert answer.failed == 0 and [one.receipt.id for one in answer.outcomes] == ["batch-0", "batch-1"], answer

    try:
        publisher.Publish(publisher_pb2.PublishRequest(messages=[message_pb2.Message(topic="\n")]), timeout=20)
        sys.exit("a topic that cannot be is published to")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        assert b"INVALID_REQUEST" in details and b"messages[0].topic" in details, details

    requests = (
        publisher_pb2.PublishStreamRequest(sequence=number, message=message(f"stream-{number}")) for number in range(3)
    )
    answers = list(publisher.PublishStream(requests, timeout=20))
    assert sorted(answer.sequence for answer in answers) == [0, 1, 2], answers
    assert all(answer.outcome.WhichOneof("result") == "receipt" for answer in answers), answers
    print(5)


def read(channel, subscription, count):
    requests = queue.SimpleQueue()
    begin = subscriber_pb2.Begin(subscription=subscription, credit=subscriber_pb2.Credit(messages=count))
    requests.put(subscriber_pb2.SubscribeRequest(begin=begin))
    answers = subscriber_pb2_grpc.SubscriberStub(channel).Subscribe(iter(requests.get, None), timeout=60)
    print("ready", flush=True)
    settled = 0
    for answer in answers:
        for received in answer.messages:
            print(json.dumps({"attempt": received.attempt, **grpc_made.seen(received.message)}), flush=True)
            done = subscriber_pb2.Acknowledge(ack_ids=[received.ack_id])
            requests.put(subscriber_pb2.SubscribeRequest(acknowledge=done))
        for outcome in answer.settled:
            assert not outcome.HasField("failure"), outcome
            settled += 1
        if settled == count:
            requests.put(None)


verb, address, place, *more = sys.argv[1:]
with grpc.insecure_channel(address) as door:
    if verb == "publish":
        publish(door)
    else:
        read(door, place, int(more[0]))
