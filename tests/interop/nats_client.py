"""A client of JetStream, by nats-py. The CloudEvents SDK has no binding for NATS: it is written out."""

import asyncio

import nats
from cloudevents.core.bindings.http import HTTPMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from nats.js.api import DeliverPolicy

import foreign


def publish(address, subject):
    return asyncio.run(publish_to(address, subject))


async def publish_to(address, subject):
    client = await nats.connect(address)
    stream = client.jetstream()
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Correlation-Id": "request-1",
        "Sidespan-Key": "customer-7",
        "note": "Zoë",
    }
    await stream.publish(subject, "Grüße".encode(), headers=headers)
    event = to_binary(foreign.EVENT, JSONFormat())
    # As over HTTP, but for one name.
    event.headers["ce-datacontenttype"] = event.headers.pop("content-type")
    await stream.publish(subject, event.body, headers=event.headers)
    await client.close()
    return 2


def read(address, subject, count):
    asyncio.run(read_from(address, subject, count))


async def read_from(address, subject, count):
    client = await nats.connect(address)
    subscription = await client.jetstream().subscribe(
        subject, ordered_consumer=True, deliver_policy=DeliverPolicy.NEW
    )
    foreign.ready()
    for _ in range(count):
        message = await subscription.next_msg(timeout=60)
        foreign.show({
            "headers": message.headers,
            "data": message.data.decode(),
            "event": event(message),
        })
    await client.close()


def event(message):
    """Returns what the SDK makes of it, if it is a CloudEvent."""
    if "ce-id" not in message.headers:
        return None
    headers = {name: value for name, value in message.headers.items() if name.startswith("ce-")}
    headers["content-type"] = headers.pop("ce-datacontenttype")
    read = from_binary(HTTPMessage(headers=headers, body=message.data), JSONFormat())
    return {"attributes": read.get_attributes(), "data": read.get_data()}


foreign.main(publish, read)
