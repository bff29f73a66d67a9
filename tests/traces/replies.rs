//! A reply is a message of its own, in the trace of its request.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
#[cfg(feature = "kafka")]
use sidespan_test_support::Kafka;
#[cfg(feature = "nats")]
use sidespan_test_support::Nats;
#[cfg(feature = "amqp")]
use sidespan_test_support::Rabbit;
use sidespan_test_support::{Answer, Client, Launch, Response, Sidecar, Webhook, unique_name};

use crate::collector::{Collector, Told};
use crate::{PATIENCE, RECORDED, SIDESPAN, TRACE, UNRECORDED, fetched, parts};

#[tokio::test]
async fn what_a_webhook_answers_to_a_request_is_sent_in_its_trace() {
    let collector = Collector::grpc().await;
    let webhook = Webhook::start(|_| Answer::status(201).body("three")).await;
    let bridge = "{ kind: embedded, dir: ./data }";
    let sidecar = answering(bridge, "prices", &webhook.url("/"), &collector).await;
    let answer = ask(&sidecar, RECORDED).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (201, "three"));
    let [request, reply] = a_reply_is_told_of(&collector, "prices", "sidespan_embedded").await;
    let [process] = collector.named(["process prices"]).await;
    assert_eq!((&process.parent, &reply.parent), (&request.id, &process.id));
    assert_eq!(reply.attribute("messaging.message.body.size"), "5");
    // Who asked can go on from it.
    assert_eq!(parts(answer.header("traceparent")), [TRACE, &*reply.id, "01"]);
}

#[tokio::test]
async fn what_a_consumer_replies_is_sent_behind_its_own_span() {
    const OWN: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    const STRANGE: &str = "00-11111111111111111111111111111111-2222222222222222-01";
    let collector = Collector::grpc().await;
    let sidecar = fetched(&collector.section(0.0)).await;
    for (context, parent) in [(Some(OWN), Some("00f067aa0ba902b7")), (Some(STRANGE), None), (None, None)] {
        let before = collector.spans().len();
        let answering = async {
            let pulled = post(&sidecar, "pull", &json!({ "max_messages": 1, "wait": "20s" })).await;
            let headers: Vec<Value> = context.iter().map(|own| json!(["traceparent", own])).collect();
            let message = json!({ "text": "three", "headers": headers });
            let given = json!({ "ack_id": pulled["messages"][0]["ack_id"], "message": message });
            post(&sidecar, "reply", &given).await;
        };
        let asking = async {
            let url = sidecar.url("/v1/topics/orders/requests");
            Client::new().post(&url, "how many?").header("traceparent", RECORDED).send().await.unwrap()
        };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer.text(), "three");
        let spans = || collector.spans().split_off(before);
        let find = |name: &str| spans().into_iter().find(|span| span.name == name);
        sidespan_test_support::eventually(PATIENCE, "both spans", async || {
            find("send orders").is_some() && find("send (temporary)").is_some()
        })
        .await;
        let (request, reply) = (find("send orders").unwrap(), find("send (temporary)").unwrap());
        assert_eq!((&*reply.trace, &*reply.parent), (TRACE, parent.unwrap_or(&request.id)), "{context:?}");
        assert_eq!(parts(answer.header("traceparent")), [TRACE, &*reply.id, "01"], "{context:?}");
    }
}

#[tokio::test]
async fn that_nobody_answers_is_sent_in_the_trace_too() {
    let collector = Collector::grpc().await;
    let webhook = Webhook::start(|_| Answer::hang()).await;
    let bridge = "{ kind: embedded, dir: ./data }";
    let sidecar = answering(bridge, "prices", &webhook.url("/"), &collector).await;
    let answer = ask(&sidecar, RECORDED).await;
    assert_eq!((answer.status.as_u16(), answer.header("sidespan-reply")), (504, "true"));
    let [request, reply] = a_reply_is_told_of(&collector, "prices", "sidespan_embedded").await;
    assert_eq!(reply.parent, request.id);
}

#[tokio::test]
async fn a_reply_to_a_request_that_is_not_recorded_is_left_alone() {
    let collector = Collector::grpc().await;
    let webhook = Webhook::start(|_| Answer::status(200).header("traceparent", RECORDED)).await;
    let bridge = "{ kind: embedded, dir: ./data }";
    let sidecar = answering(bridge, "prices", &webhook.url("/"), &collector).await;
    let answer = ask(&sidecar, UNRECORDED).await;
    assert_eq!(answer.header("traceparent"), RECORDED);
    ask(&sidecar, RECORDED).await;
    let [reply] = collector.named(["send (temporary)"]).await;
    assert_eq!(reply.trace, TRACE);
    assert_eq!(collector.spans().iter().filter(|span| span.name == reply.name).count(), 1);
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_reply_by_kafka_is_told_of() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("prices");
    kafka.create_topic(&topic, 1).await;
    let bridge = format!(
        "{{ kind: kafka, brokers: ['{}'], create_topics: {{ partitions: 1, replication_factor: 1 }} }}",
        kafka.address()
    );
    a_reply_by_a_broker_is_told_of(&bridge, &topic, "kafka").await;
}

#[cfg(feature = "nats")]
#[tokio::test]
async fn a_reply_by_nats_is_told_of() {
    let nats = Nats::shared().await;
    let bridge = format!("{{ kind: nats, servers: ['{}'], mode: core }}", nats.url());
    a_reply_by_a_broker_is_told_of(&bridge, &unique_name("prices"), "nats").await;
}

#[cfg(feature = "amqp")]
#[tokio::test]
async fn a_reply_by_rabbitmq_is_told_of() {
    let rabbit = Rabbit::shared().await;
    let bridge = format!("{{ kind: amqp, url: '{}' }}", rabbit.url());
    a_reply_by_a_broker_is_told_of(&bridge, &unique_name("prices"), "rabbitmq").await;
}

#[cfg(any(feature = "amqp", feature = "kafka", feature = "nats"))]
async fn a_reply_by_a_broker_is_told_of(bridge: &str, address: &str, system: &str) {
    let collector = Collector::grpc().await;
    let webhook = Webhook::start(|_| Answer::status(200).body("three")).await;
    let sidecar = answering(bridge, address, &webhook.url("/"), &collector).await;
    let answer = ask(&sidecar, RECORDED).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "three"));
    let [_, reply] = a_reply_is_told_of(&collector, address, system).await;
    let [process] = collector.named([&*format!("process {address}")]).await;
    assert_eq!(reply.parent, process.id);
    // The broker has carried it.
    assert_eq!(parts(answer.header("traceparent")), [TRACE, &*reply.id, "01"]);
}

/// Looks at the spans of a request and of its reply.
async fn a_reply_is_told_of(collector: &Collector, address: &str, system: &str) -> [Told; 2] {
    let [request, reply] = collector.named([&*format!("send {address}"), "send (temporary)"]).await;
    assert_eq!((&*request.trace, &*reply.trace), (TRACE, TRACE));
    assert_eq!((request.kind, reply.kind), (SpanKind::Producer, SpanKind::Producer));
    assert!(!request.is_error && !reply.is_error);
    assert_eq!(reply.attribute("messaging.destination.temporary"), "true");
    assert_eq!(reply.attribute("messaging.system"), system);
    assert_eq!(reply.attribute("sidespan.bridge"), "main");
    let correlation = reply.attribute("messaging.message.conversation_id");
    assert!(
        !correlation.is_empty() && !reply.attribute("messaging.destination.name").is_empty(),
        "{reply:?}"
    );
    [request, reply]
}

/// Starts a server that has a webhook answer what is asked of the topic `prices`.
async fn answering(bridge: &str, address: &str, webhook: &str, collector: &Collector) -> Sidecar {
    let service = unique_name("shop");
    let config = format!(
        "version: 1\nservice: {service}\nbridges: {{ main: {bridge} }}\n\
         topics: {{ prices: {{ address: '{address}' }} }}\n\
         subscriptions: {{ prices: {{ topic: prices, dead_letter: false, retry: {{ max_attempts: 1 }}, \
         push: {{ url: '{webhook}', reply: true, timeout: 2s }} }} }}\n{}\n",
        collector.section(0.0)
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    sidecar
}

async fn ask(sidecar: &Sidecar, context: &str) -> Response {
    let request = Client::new().post(&sidecar.url("/v1/topics/prices/requests"), "how many?");
    request.header("traceparent", context).send().await.unwrap()
}

async fn post(sidecar: &Sidecar, what: &str, body: &Value) -> Value {
    let url = sidecar.url(&format!("/v1/subscriptions/jobs/{what}"));
    let answer = Client::new().post(&url, body.to_string()).send().await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap_or_default()
}
