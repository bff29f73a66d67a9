"""CloudEvents by the SDK for Python, in both modes of each broker.

    python_sdk.py publish ADDRESS PLACE EVENTS        publishes each event in binary and in structured mode
    python_sdk.py read ADDRESS PLACE EVENTS COUNT     says `ready`, and prints what comes then as the SDK reads it

ADDRESS says which broker it is (kafka://, nats://, amqp://), EVENTS is a file of events in JSON. For NATS the SDK
has no binding: what its specification says is written out here.
"""

import asyncio
import base64
import json
import sys
from datetime import datetime
from urllib.parse import quote, unquote

import nats
import pika
from cloudevents.core.bindings import amqp, kafka, rabbitmq
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from nats.js.api import DeliverPolicy

FORMAT = JSONFormat()


def main(verb, address, place, file, *count):
    broker = BROKERS[address.split("://")[0]]
    if verb == "publish":
        with open(file) as opened:
            events = [FORMAT.read(CloudEvent, json.dumps(event)) for event in json.load(opened)]
        broker[0](address, place, events)
    else:
        broker[1](address, place, int(count[0]))


def ready():
    print("ready", flush=True)


def show(mode, event):
    data = event.get_data()
    if data is not None and not isinstance(data, bytes):
        data = data.encode() if isinstance(data, str) else json.dumps(data).encode()
    attributes = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in event.get_attributes().items()
    }
    line = {"mode": mode, "attributes": attributes, "data": base64.b64encode(data or b"").decode()}
    print(json.dumps(line), flush=True)


def publish_kafka(address, topic, events):
    producer = KafkaProducer(bootstrap_servers=address.removeprefix("kafka://"))
    for event in events:
        for write in (kafka.to_binary, kafka.to_structured):
            message = write(event, FORMAT)
            key = message.key.encode() if isinstance(message.key, str) else message.key
            producer.send(topic, message.value, key, headers=list(message.headers.items())).get(timeout=30)
    producer.close()


def read_kafka(address, topic, count):
    consumer = KafkaConsumer(bootstrap_servers=address.removeprefix("kafka://"))
    partitions = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_end()
    for partition in partitions:
        consumer.position(partition)
    ready()
    for _ in range(count):
        record = next(consumer)
        message = kafka.KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)
        mode = "structured" if b"cloudevents" in message.headers.get("content-type", b"") else "binary"
        show(mode, kafka.from_kafka(message, FORMAT))
    consumer.close()


def publish_nats(address, subject, events):
    async def run():
        client = await nats.connect(address)
        stream = client.jetstream()
        for event in events:
            headers = {
                f"ce-{name}": quote(text(value), safe="!#$&'()*+,/:;=?@[]^`{|}~")
                for name, value in event.get_attributes().items()
            }
            data = FORMAT.write_data(event.get_data(), event.get_attributes().get("datacontenttype"))
            await stream.publish(subject, data, headers=headers)
            # As the binding of 1.0.2 has it: nothing but the event.
            await stream.publish(subject, FORMAT.write(event))
        await client.close()

    asyncio.run(run())


def read_nats(address, subject, count):
    async def run():
        client = await nats.connect(address)
        subscription = await client.jetstream().subscribe(
            subject, ordered_consumer=True, deliver_policy=DeliverPolicy.NEW
        )
        ready()
        for _ in range(count):
            message = await subscription.next_msg(timeout=60)
            attributes = {
                name.removeprefix("ce-"): unquote(value)
                for name, value in message.headers.items()
                if name.startswith("ce-")
            }
            if attributes:
                if "time" in attributes:
                    attributes["time"] = datetime.fromisoformat(attributes["time"])
                show("binary", CloudEvent(attributes, message.data))
            else:
                show("structured", FORMAT.read(CloudEvent, message.data))
        await client.close()

    asyncio.run(run())


def text(value):
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


EXCHANGE = "amq.topic"


def publish_amqp(address, routing_key, events):
    connection = pika.BlockingConnection(pika.URLParameters(address))
    channel = connection.channel()
    channel.confirm_delivery()
    for event in events:
        for write in (amqp.to_binary, amqp.to_structured):
            message = write(event, FORMAT)
            content_type = message.properties.get("content-type")
            properties = pika.BasicProperties(content_type=content_type, headers=message.application_properties)
            channel.basic_publish(EXCHANGE, routing_key, message.application_data, properties, mandatory=True)
        for write in (rabbitmq.to_binary, rabbitmq.to_structured):
            message = write(event, FORMAT)
            properties = pika.BasicProperties(content_type=message.content_type, headers=message.headers)
            channel.basic_publish(EXCHANGE, routing_key, message.body, properties, mandatory=True)
    connection.close()


def read_amqp(address, routing_key, count):
    connection = pika.BlockingConnection(pika.URLParameters(address))
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, EXCHANGE, routing_key)
    ready()
    for _, properties, body in channel.consume(queue, auto_ack=True):
        content_type = properties.content_type
        own = {} if content_type is None else {"content-type": content_type}
        message = amqp.AMQPMessage(own, properties.headers or {}, body)
        mode = "structured" if "cloudevents" in (content_type or "") else "binary"
        show(mode, amqp.from_amqp(message, FORMAT))
        count -= 1
        if count == 0:
            break
    connection.close()


BROKERS = {
    "kafka": (publish_kafka, read_kafka),
    "nats": (publish_nats, read_nats),
    "amqp": (publish_amqp, read_amqp),
}

main(*sys.argv[1:])
