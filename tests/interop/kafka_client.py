"""A client of Kafka, by kafka-python and the CloudEvents SDK."""

from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

import foreign


def publish(address, topic):
    producer = KafkaProducer(bootstrap_servers=address)
    headers = [
        ("content-type", b"text/plain; charset=utf-8"),
        ("kafka_correlationId", b"request-1"),
        ("note", "Zoë".encode()),
        ("tag", b"one"),
        ("tag", b"two"),
    ]
    producer.send(topic, "Grüße".encode(), key=b"customer-7", headers=headers).get(timeout=30)
    event = to_binary(foreign.EVENT, JSONFormat())
    producer.send(topic, event.value, event.key.encode(), headers=list(event.headers.items())).get(timeout=30)
    producer.close()
    return 2


def read(address, topic, count):
    consumer = KafkaConsumer(bootstrap_servers=address)
    partitions = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_end()
    for partition in partitions:
        consumer.position(partition)
    foreign.ready()
    for _ in range(count):
        record = next(consumer)
        foreign.show({
            "key": record.key.decode(),
            "value": record.value.decode(),
            "headers": [[name, value.decode()] for name, value in record.headers],
            "event": event(record),
        })
    consumer.close()


def event(record):
    """Returns what the SDK makes of it, if it is a CloudEvent."""
    headers = dict(record.headers)
    if "ce_id" not in headers:
        return None
    message = KafkaMessage(headers=headers, key=record.key, value=record.value)
    read = from_binary(message, JSONFormat())
    return {"attributes": read.get_attributes(), "data": read.get_data()}


foreign.main(publish, read)
