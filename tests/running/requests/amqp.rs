//! Through RabbitMQ: replies come by direct reply-to.

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use sidespan_test_support::{Rabbit, Sidecar, Webhook, unique_name};
use tokio::time::timeout;

use super::{QUESTIONS, ask, greeting, is_greeted, service};
use crate::{PATIENCE, ended_with};

/// Where a client of RabbitMQ awaits replies without a queue of its own.
const DIRECT: &str = "amq.rabbitmq.reply-to";

#[tokio::test(flavor = "multi_thread")]
async fn an_amqp_client_asks_a_service_that_speaks_only_http() {
    let rabbit = Rabbit::shared().await;
    let (key, webhook) = (unique_name("asked"), service().await);
    let mut sidecar = start(rabbit, "", &key, &webhook).await;
    let (_connection, client) = connect(rabbit).await;
    let mut replies = consume(&client, DIRECT).await;
    for ((question, status), correlation) in QUESTIONS.into_iter().zip(["17", "18"]) {
        let asked = BasicProperties::default().with_correlation_id(correlation.into());
        send(&client, "amq.topic", &key, asked.with_reply_to(DIRECT.into()), question).await;
        let reply = timeout(PATIENCE, replies.next()).await.expect("a reply in time").unwrap().unwrap();
        assert_eq!(str::from_utf8(&reply.data).unwrap(), greeting(question));
        let said = &reply.properties;
        assert_eq!(said.correlation_id().as_ref().unwrap().as_str(), correlation);
        assert_eq!(said.content_type().as_ref().unwrap().as_str(), "text/greeting");
        assert_eq!(header(said, "sidespan-status"), status.to_string());
        assert_eq!(header(said, "x-total"), "42");
    }
    assert_eq!(webhook.received().len(), QUESTIONS.len());
    ended_with(&sidecar.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_asks_a_service_that_speaks_only_amqp() {
    let rabbit = Rabbit::shared().await;
    let (own, queue, webhook) = (unique_name("own"), unique_name("service"), service().await);
    let (_connection, responder) = connect(rabbit).await;
    let passing = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
    responder.queue_declare(queue.as_str().into(), passing, FieldTable::default()).await.unwrap();
    let mut requests = consume(&responder, &queue).await;
    let serving = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let request = request.unwrap();
            let asked = &request.properties;
            let mut headers = FieldTable::default();
            headers.insert("x-total".into(), AMQPValue::LongString(header(asked, "total").into()));
            let properties = BasicProperties::default()
                .with_correlation_id(asked.correlation_id().clone().unwrap())
                .with_content_type("text/greeting".into())
                .with_headers(headers);
            let body = greeting(str::from_utf8(&request.data).unwrap());
            send(&responder, "", asked.reply_to().as_ref().unwrap().as_str(), properties, &body).await;
        }
    });
    let topics = format!("topics: {{ service: {{ address: '/{queue}' }} }}");
    let mut sidecar = start(rabbit, &topics, &own, &webhook).await;
    for question in ["hello", "again"] {
        is_greeted(&ask(&sidecar, "service", question).await, question);
    }
    let nobody = ask(&sidecar, &unique_name("nobody"), "hello").await;
    assert_eq!(nobody.status, 404, "{}", nobody.text());
    assert_eq!(nobody.json()["code"], "UNROUTABLE");
    serving.abort();
    ended_with(&sidecar.stop().await, 0);
}

async fn start(rabbit: &Rabbit, topics: &str, asked: &str, webhook: &Webhook) -> Sidecar {
    let bridge = format!("{{ kind: amqp, url: '{}', create: [queues], open: true }}", rabbit.url());
    super::start(&bridge, topics, asked, webhook).await
}

async fn connect(rabbit: &Rabbit) -> (Connection, Channel) {
    let connection = Connection::connect(rabbit.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn consume(channel: &Channel, queue: &str) -> Consumer {
    let unsettled = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(queue.into(), "".into(), unsettled, FieldTable::default()).await.unwrap()
}

async fn send(channel: &Channel, exchange: &str, key: &str, properties: BasicProperties, body: &str) {
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish(exchange.into(), key.into(), options, body.as_bytes(), properties);
    drop(sent.await.unwrap());
}

/// Returns the text of a header, which must be there.
#[track_caller]
fn header(properties: &BasicProperties, name: &str) -> String {
    match properties.headers().as_ref().and_then(|headers| headers.inner().get(name)) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?} in {properties:?}"),
    }
}
