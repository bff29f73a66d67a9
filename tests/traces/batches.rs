//! One span for a batch, whose messages may come from many traces; and which traces are recorded at all.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use sidespan_test_support::{Answer, Client, Scene, Sidecar, Webhook, eventually};

use crate::collector::Collector;
use crate::{
    CALLER, PATIENCE, RECORDED, TRACE, UNRECORDED, embedded, header, messages, parts, publish, start,
};

const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-01";
const THIRD: &str = "00-33333333333333333333333333333333-4444444444444444-01";

#[tokio::test]
async fn a_batch_is_one_span_whose_context_all_of_its_messages_have() {
    let collector = Collector::grpc().await;
    let sidecar = embedded(&collector.section(0.0)).await;
    batch(&sidecar, RECORDED, &json!([{"text": "a"}, {"text": "b"}, {"text": "c"}])).await;
    let [send] = collector.named(["send orders"]).await;
    assert_eq!((&*send.trace, &*send.parent), (TRACE, CALLER));
    assert_eq!((send.kind, send.attribute("messaging.batch.message_count")), (SpanKind::Producer, "3"));
    for message in messages(&sidecar, "orders", 3).await {
        assert_eq!(parts(&header(&message, "traceparent")[0]), [TRACE, &*send.id, "01"]);
    }
}

#[tokio::test]
async fn messages_of_a_batch_that_have_contexts_of_their_own_keep_them_and_are_linked() {
    let collector = Collector::grpc().await;
    let sidecar = embedded(&collector.section(0.0)).await;
    let own = |context: &str| json!({"text": "a", "headers": [["traceparent", context]]});
    batch(&sidecar, UNRECORDED, &json!([own(OTHER), {"text": "b"}, own(THIRD), own(OTHER)])).await;
    let [send] = collector.named(["send orders"]).await;
    let pair = |context: &str| {
        let [trace, span, _] = parts(context);
        (trace, span)
    };
    assert_eq!((send.trace.clone(), send.parent.clone()), pair(OTHER));
    assert_eq!(send.links, [pair(OTHER), pair(THIRD)], "those that are recorded, once");
    assert_eq!(send.attribute("messaging.batch.message_count"), "4");
    let kept: Vec<_> =
        messages(&sidecar, "orders", 4).await.iter().map(|message| header(message, "traceparent")).collect();
    assert_eq!(kept, [[OTHER], [UNRECORDED], [THIRD], [OTHER]]);
}

#[tokio::test]
async fn a_trace_that_begins_here_is_recorded_by_ratio() {
    let collector = Collector::grpc().await;
    let always = embedded(&collector.section(1.0)).await;
    publish(&always, &[]).await;
    let [send] = collector.named(["send orders"]).await;
    assert_eq!(send.parent, "");
    let message = messages(&always, "orders", 1).await.remove(0);
    assert_eq!(parts(&header(&message, "traceparent")[0]), [&*send.trace, &*send.id, "01"]);

    let never = embedded(&collector.section(0.0)).await;
    publish(&never, &[]).await;
    let message = messages(&never, "orders", 1).await.remove(0);
    // Nobody behind us decides again.
    let [trace, _, flags] = parts(&header(&message, "traceparent")[0]);
    assert_eq!(flags, "00");
    // What is recorded later is told later.
    publish(&never, &[("traceparent", RECORDED)]).await;
    eventually(PATIENCE, "the span of what is recorded", async || {
        collector.spans().iter().any(|span| span.parent == CALLER)
    })
    .await;
    assert!(collector.spans().iter().all(|span| span.trace != trace));
}

#[tokio::test]
async fn who_began_a_trace_has_decided_that_it_is_not_recorded() {
    let collector = Collector::grpc().await;
    let webhook = Webhook::start(|_| Answer::status(200)).await;
    let scene = Scene::embedded();
    let sidecar = start(&scene, &webhook.url("/"), &collector.section(1.0)).await;
    publish(&sidecar, &[("traceparent", UNRECORDED), ("tracestate", "a=b")]).await;
    let received = webhook.wait_until("an attempt", |received| received.len() == 1).await;
    assert_eq!((received[0].header("traceparent"), received[0].header("tracestate")), (UNRECORDED, "a=b"));
    publish(&sidecar, &[("traceparent", OTHER)]).await;
    collector.named([&*format!("settle {}", scene.orders())]).await;
    assert!(collector.spans().iter().all(|span| span.trace != TRACE));
}

#[tokio::test]
async fn without_a_collector_nothing_is_added_and_what_came_goes_on() {
    let webhook = Webhook::start(|_| Answer::status(200)).await;
    let sidecar = start(&Scene::embedded(), &webhook.url("/"), "telemetry: { traces: { ratio: 1.0 } }").await;
    publish(&sidecar, &[]).await;
    publish(&sidecar, &[("traceparent", RECORDED)]).await;
    let received = webhook.wait_until("two attempts", |received| received.len() == 2).await;
    let mut contexts: Vec<&str> = received.iter().map(|received| received.header("traceparent")).collect();
    contexts.sort_unstable();
    assert_eq!(contexts, ["", RECORDED]);
}

async fn batch(sidecar: &Sidecar, context: &str, messages: &Value) {
    let request = Client::new().post(&sidecar.url("/v1/topics/orders/batches"), messages.to_string());
    let request = request.header("content-type", "application/json").header("traceparent", context);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}
