"""A client of RabbitMQ, by pika and the CloudEvents SDK."""

import pika
from cloudevents.core.bindings import amqp, rabbitmq
from cloudevents.core.formats.json import JSONFormat

import foreign

EXCHANGE = "amq.topic"


def publish(address, routing_key):
    connection = pika.BlockingConnection(pika.URLParameters(address))
    channel = connection.channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(
        content_type="text/plain; charset=utf-8",
        correlation_id="request-1",
        message_id="0b8a7c9e-5d1e-4c57-9d6e-7f3a1f7c2b10",
        delivery_mode=2,
        headers={"note": "Zoë", "sidespan-key": "customer-7", "count": 3},
    )
    channel.basic_publish(EXCHANGE, routing_key, "Grüße".encode(), properties, mandatory=True)
    event = amqp.to_binary(foreign.EVENT, JSONFormat())
    properties = pika.BasicProperties(
        content_type=event.properties["content-type"], headers=event.application_properties
    )
    channel.basic_publish(EXCHANGE, routing_key, event.application_data, properties, mandatory=True)
    event = rabbitmq.to_binary(foreign.EVENT, JSONFormat())
    properties = pika.BasicProperties(content_type=event.content_type, headers=event.headers)
    channel.basic_publish(EXCHANGE, routing_key, event.body, properties, mandatory=True)
    connection.close()
    return 3


def read(address, routing_key, count):
    connection = pika.BlockingConnection(pika.URLParameters(address))
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, EXCHANGE, routing_key)
    foreign.ready()
    for _, properties, body in channel.consume(queue, auto_ack=True):
        foreign.show({
            "content_type": properties.content_type,
            "message_id": properties.message_id,
            "correlation_id": properties.correlation_id,
            "delivery_mode": properties.delivery_mode,
            "headers": properties.headers,
            "body": body.decode(),
            "event": event(properties, body),
        })
        count -= 1
        if count == 0:
            break
    connection.close()


def event(properties, body):
    """Returns what the SDK makes of it, if it is a CloudEvent."""
    headers = properties.headers or {}
    if "cloudEvents_id" not in headers:
        return None
    message = amqp.AMQPMessage({"content-type": properties.content_type}, headers, body)
    read = amqp.from_binary(message, JSONFormat())
    return {"attributes": read.get_attributes(), "data": read.get_data()}


foreign.main(publish, read)
