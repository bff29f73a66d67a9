//! What is told of one message, on every broker.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
#[cfg(feature = "kafka")]
use sidespan_test_support::Kafka;
#[cfg(feature = "nats")]
use sidespan_test_support::Nats;
#[cfg(feature = "amqp")]
use sidespan_test_support::Rabbit;
use sidespan_test_support::{Answer, Scene, Webhook};

use crate::collector::{Collector, Told};
use crate::{CALLER, PATIENCE, RECORDED, TRACE, parts, publish, start};

#[tokio::test]
async fn a_message_of_the_embedded_log_is_one_trace() {
    let told = a_message_is_one_trace(&Scene::embedded(), "sidespan_embedded").await;
    for span in [&told.send, &told.receive, &told.process, &told.settle] {
        assert_eq!(span.attribute("sidespan.position"), told.position, "{span:?}");
    }
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_message_of_kafka_is_one_trace() {
    let kafka = Kafka::shared().await;
    let told = a_message_is_one_trace(&Scene::kafka(kafka).await, "kafka").await;
    is_at(&told, kafka.address());
    let (partition, offset) = told.position.split_once('-').unwrap();
    for span in [&told.send, &told.receive, &told.process, &told.settle] {
        assert_eq!(span.attribute("messaging.destination.partition.id"), partition, "{span:?}");
        assert_eq!(span.attribute("messaging.kafka.offset"), offset, "{span:?}");
    }
}

#[cfg(feature = "nats")]
#[tokio::test]
async fn a_message_of_jetstream_is_one_trace() {
    let nats = Nats::shared().await;
    let told = a_message_is_one_trace(&Scene::nats(nats), "nats").await;
    is_at(&told, nats.url());
    for span in [&told.send, &told.receive, &told.process, &told.settle] {
        assert_eq!(span.attribute("sidespan.position"), told.position, "{span:?}");
    }
}

#[cfg(feature = "amqp")]
#[tokio::test]
async fn a_message_of_rabbitmq_is_one_trace() {
    let rabbit = Rabbit::shared().await;
    let scene = Scene::rabbit(rabbit);
    let told = a_message_is_one_trace(&scene, "rabbitmq").await;
    is_at(&told, rabbit.url());
    for span in [&told.send, &told.receive, &told.process, &told.settle] {
        assert_eq!(span.attribute("messaging.rabbitmq.destination.routing_key"), scene.orders());
    }
}

/// What is done at the broker says where that is.
#[cfg(any(feature = "amqp", feature = "kafka", feature = "nats"))]
fn is_at(told: &Story, broker: &str) {
    for span in [&told.send, &told.receive, &told.settle] {
        let server = format!("{}:{}", span.attribute("server.address"), span.attribute("server.port"));
        assert!(broker.contains(&server), "{broker} {span:?}");
    }
}

struct Story {
    send: Told,
    receive: Told,
    process: Told,
    settle: Told,
    position: String,
}

async fn a_message_is_one_trace(scene: &Scene, system: &str) -> Story {
    let collector = Collector::grpc().await;
    // The first attempt fails.
    let webhook =
        Webhook::start(|received| Answer::status(if received.number == 0 { 500 } else { 200 })).await;
    // Its ratio has no say in traces that began elsewhere.
    let sidecar = start(scene, &webhook.url("/orders"), &collector.section(0.0)).await;
    let receipt =
        publish(&sidecar, &[("traceparent", RECORDED), ("tracestate", "a=b"), ("baggage", "k=v")]).await;
    let id = receipt["id"].as_str().unwrap();
    let attempts = webhook.wait_until("two attempts", |received| received.len() == 2).await;

    let name = |operation: &str| format!("{operation} {}", scene.orders());
    let [send_name, receive_name, process_name, settle_name] =
        ["send", "receive", "process", "settle"].map(name);
    let [send, receive, _, settle] =
        collector.named([&*send_name, &*receive_name, &*process_name, &*settle_name]).await;
    sidespan_test_support::eventually(PATIENCE, "both attempts", async || {
        collector.spans().iter().filter(|span| span.name == process_name).count() == 2
    })
    .await;
    let process: Vec<Told> = collector.spans().into_iter().filter(|span| span.name == process_name).collect();

    assert_eq!(send.parent, CALLER);
    for span in [&receive, &process[0], &process[1], &settle] {
        assert_eq!(span.parent, send.id, "{span:?}");
        assert_eq!(span.links, [(TRACE.to_owned(), send.id.clone())], "{span:?}");
        assert_eq!(span.attribute("messaging.consumer.group.name"), format!("{}.billing", scene.service()));
    }
    let kinds = [send.kind, receive.kind, process[0].kind, settle.kind];
    assert_eq!(kinds, [SpanKind::Producer, SpanKind::Client, SpanKind::Consumer, SpanKind::Client]);
    for (span, operation) in
        [(&send, "send"), (&receive, "receive"), (&process[0], "process"), (&settle, "settle")]
    {
        assert_eq!(span.trace, TRACE, "{span:?}");
        assert_eq!(span.attribute("messaging.system"), system);
        assert_eq!(span.attribute("messaging.operation.name"), operation);
        assert_eq!(span.attribute("messaging.operation.type"), operation);
        assert_eq!(span.attribute("messaging.destination.name"), scene.orders());
        assert_eq!(span.attribute("messaging.message.id"), id, "{span:?}");
        assert_eq!(span.attribute("sidespan.bridge"), "main");
        assert_eq!(span.resource["service.name"], scene.service());
    }
    assert_eq!(send.attribute("messaging.message.body.size"), "8");
    assert_eq!(settle.attribute("sidespan.verdict"), "accept");
    assert!(!send.is_error && !receive.is_error && !settle.is_error);

    let port = webhook.address().port().to_string();
    for (attempt, span) in attempts.iter().zip(&process) {
        // Who is called goes on from the attempt, with what else the publisher said.
        assert_eq!(parts(attempt.header("traceparent")), [TRACE, &*span.id, "01"]);
        assert_eq!((attempt.header("tracestate"), attempt.header("baggage")), ("a=b", "k=v"));
        assert_eq!((span.attribute("server.address"), span.attribute("server.port")), ("127.0.0.1", &*port));
        assert_eq!(span.attribute("sidespan.attempt"), (attempt.number + 1).to_string());
        assert_eq!(span.attribute("sidespan.subscription"), "billing");
    }
    assert_eq!(
        process.iter().map(|span| span.attribute("http.response.status_code")).collect::<Vec<_>>(),
        ["500", "200"]
    );
    assert_eq!(process.iter().map(|span| span.attribute("error.type")).collect::<Vec<_>>(), ["500", ""]);
    assert_eq!(process.iter().map(|span| span.is_error).collect::<Vec<_>>(), [true, false]);
    let position = receipt["position"].as_str().unwrap_or_default().to_owned();
    let [_, process] = <[Told; 2]>::try_from(process).unwrap();
    Story { send, receive, process, settle, position }
}
