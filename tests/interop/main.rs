//! Interoperability: foreign clients of the brokers and Sidespan read what the other one wrote.
//!
//! A client of the gRPC door is among them, and a service that messages are pushed to.
//!
//! The clients are Python's, with the CloudEvents SDK where that has a binding; `tests/interop/setup`
//! installs them. What they publish arrives at a webhook with all that it had, and what is published
//! here is, to them, a message as any: their own fields, and no envelope.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod script;

use script::Script;
use serde_json::{Value, json};
use sidespan_test_support::{
    Answer, Client, Kafka, Launch, Nats, Rabbit, Received, Request, Scene, Sidecar, Webhook, free_port,
};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_python_and_sidespan_understand_each_other() {
    let kafka = Kafka::shared().await;
    let scene = Scene::kafka(kafka).await;
    let (sidecar, webhook) = start(&scene).await;
    let script = Script::new("kafka_client.py", kafka.address(), scene.orders()).await;

    let (message, events) = published_there(&script, &webhook).await;
    let tags: Vec<_> = message.headers.get_all("sidespan-header-tag").iter().collect();
    assert_eq!(tags, ["one", "two"], "repeats stay, in order");
    has(&events[0], &[("sidespan-key", "customer-7")]);

    let read = published_here(&script, &sidecar).await;
    assert_eq!(
        read.messages[0],
        json!({
            "key": "customer-7",
            "value": "Grüße",
            "headers": [
                ["content-type", "text/plain; charset=utf-8"],
                ["sidespan-id", read.ids[0]],
                ["note", "Zoë"],
                ["tag", "one"],
                ["tag", "two"],
            ],
            "event": null,
        })
    );
    assert_eq!(read.messages[1]["key"], "customer-7");
    assert_eq!(read.messages[1]["event"], the_event());
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_py_and_sidespan_understand_each_other() {
    let nats = Nats::shared().await;
    let scene = Scene::nats(nats);
    let (sidecar, webhook) = start(&scene).await;
    let script = Script::new("nats_client.py", nats.url(), scene.orders()).await;

    published_there(&script, &webhook).await;

    let read = published_here(&script, &sidecar).await;
    assert_eq!(
        natural(&read.messages[0]),
        json!({
            "headers": {
                "Content-Type": "text/plain; charset=utf-8",
                "Sidespan-Id": read.ids[0],
                "Sidespan-Key": "customer-7",
                "note": "Zoë",
                // The client keeps the last of a name.
                "tag": "two",
            },
            "data": "Grüße",
            "event": null,
        })
    );
    assert_eq!(read.messages[1]["event"], the_event());
}

#[tokio::test(flavor = "multi_thread")]
async fn pika_and_sidespan_understand_each_other() {
    let rabbit = Rabbit::shared().await;
    let scene = Scene::rabbit(rabbit);
    let (sidecar, webhook) = start(&scene).await;
    let script = Script::new("amqp_client.py", rabbit.url(), scene.orders()).await;

    let (message, _) = published_there(&script, &webhook).await;
    has(&message, &[("webhook-id", "0b8a7c9e-5d1e-4c57-9d6e-7f3a1f7c2b10"), ("sidespan-header-count", "3")]);

    let read = published_here(&script, &sidecar).await;
    assert_eq!(
        natural(&read.messages[0]),
        json!({
            "content_type": "text/plain; charset=utf-8",
            "message_id": read.ids[0],
            "correlation_id": null,
            "delivery_mode": 2,
            "headers": {"sidespan-key": "customer-7", "note": "Zoë", "tag": "one"},
            "body": "Grüße",
            "event": null,
        })
    );
    assert_eq!(read.messages[1]["event"], the_event());
}

/// What grpcio publishes it reads again, and is sent: by calls, by streams, and as a service.
#[tokio::test(flavor = "multi_thread")]
async fn grpcio_and_sidespan_understand_each_other() {
    let receiver = format!("127.0.0.1:{}", free_port());
    let pushed = Script::new("grpc_receiver.py", &receiver, "-").await.read(5).await;
    let config = format!(
        "version: 1\nservice: shop\nbridges: {{ main: {{ kind: embedded, dir: ./data }} }}\n\
         topics: {{ orders: {{}} }}\nsubscriptions:\n\
         \x20 jobs: {{ topic: orders, start: begin, pull: {{}} }}\n\
         \x20 ship: {{ topic: orders, start: begin, order: topic, retry: {{ backoff: {{ base: 5ms }} }}, \
         push: {{ url: 'http://{receiver}', protocol: grpc }} }}\n"
    );
    let sidecar = Launch::new(env!("CARGO_BIN_EXE_sidespan")).config(&config).start().await;
    sidecar.until_ready().await;
    let door = sidecar.url("").trim_start_matches("http://").to_owned();
    let client = Script::new("grpc_client.py", &door, "jobs").await;
    assert_eq!(client.publish().await, 5);
    let fetched = client.read(5).await.lines().await;
    let names = ["batch-0", "batch-1", "stream-0", "stream-1", "stream-2"];
    for (name, (fetched, pushed)) in names.iter().zip(fetched.iter().zip(pushed.lines().await)) {
        let message = json!({
            "topic": "orders",
            "id": fetched["id"],
            "key": "customer-7",
            "content_type": "text/plain; charset=utf-8",
            "headers": [["note", "Zoë"], ["tag", "one"]],
            "payload": name,
            "tombstone": false,
        });
        let with = |more: Value| {
            let mut all = message.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        assert_eq!(*fetched, with(json!({"attempt": 1})));
        assert_eq!(pushed, with(json!({"attempt": 2, "subscription": "ship"})));
    }
}

async fn start(scene: &Scene) -> (Sidecar, Webhook) {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let config = scene.config(&webhook.url("/"), &webhook.url("/dead"), 1);
    let sidecar = Launch::new(env!("CARGO_BIN_EXE_sidespan")).config(&config).start().await;
    sidecar.until_ready().await;
    (sidecar, webhook)
}

/// Has the client publish, and returns how the message and each CloudEvent arrived, with what is the
/// same for every broker looked at.
async fn published_there(script: &Script, webhook: &Webhook) -> (Received, Vec<Received>) {
    let count = script.publish().await;
    let arrived = webhook.wait_until("what the client published arrives", |seen| seen.len() >= count).await;
    let (events, mut messages): (Vec<_>, Vec<_>) =
        arrived.into_iter().partition(|request| request.headers.contains_key("ce-id"));
    let message = messages.remove(0);
    assert_eq!(message.text(), "Grüße");
    has(
        &message,
        &[
            ("content-type", "text/plain; charset=utf-8"),
            ("sidespan-correlation-id", "request-1"),
            ("sidespan-key", "customer-7"),
            ("sidespan-header-note", "Zo%C3%AB"),
        ],
    );
    for event in &events {
        has(event, &EVENT);
        has(event, &[("content-type", "application/json")]);
        let data: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(data, json!({"order": 17}));
    }
    assert_eq!(events.len(), count - 1);
    (message, events)
}

/// What a client saw of a message and a CloudEvent that were published here.
struct Seen {
    messages: Vec<Value>,
    /// What the receipts call them.
    ids: Vec<String>,
}

/// Publishes a message and a CloudEvent while the client reads.
async fn published_here(script: &Script, sidecar: &Sidecar) -> Seen {
    let reading = script.read(2).await;
    let url = sidecar.url("/v1/topics/orders/messages");
    let post = |body: &'static str, headers: &[(&str, &str)]| {
        let request = Client::new().post(&url, body);
        headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    let message = post(
        "Grüße",
        &[
            ("content-type", "text/plain; charset=utf-8"),
            ("sidespan-key", "customer-7"),
            ("sidespan-header-note", "Zo%C3%AB"),
            ("sidespan-header-tag", "one"),
            ("sidespan-header-tag", "two"),
        ],
    );
    let event = post(r#"{"order": 17}"#, &EVENT).header("content-type", "application/json");
    let ids = vec![receipt(message).await, receipt(event).await];
    Seen { messages: reading.lines().await, ids }
}

/// Returns what a client read without the one header that keeps for Sidespan what the protocol has no
/// place for, such as the order of headers and their repeats.
fn natural(message: &Value) -> Value {
    let mut message = message.clone();
    message["headers"].as_object_mut().expect("headers").remove("sidespan-headers");
    message
}

/// Publishes, and returns the id in the receipt.
async fn receipt(request: Request) -> String {
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().expect("an id").to_owned()
}

/// The CloudEvent as the SDK reads it.
fn the_event() -> Value {
    json!({
        "attributes": {
            "specversion": "1.0",
            "id": "event-1",
            "source": "/orders",
            "type": "com.example.order.placed",
            "subject": "Zoë",
            "time": "2026-11-20T08:30:00+00:00",
            "partitionkey": "customer-7",
            "datacontenttype": "application/json",
        },
        "data": {"order": 17},
    })
}

/// The same over HTTP.
const EVENT: [(&str, &str); 7] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "event-1"),
    ("ce-source", "/orders"),
    ("ce-type", "com.example.order.placed"),
    ("ce-subject", "Zo%C3%AB"),
    ("ce-time", "2026-11-20T08:30:00Z"),
    ("ce-partitionkey", "customer-7"),
];

#[track_caller]
fn has(received: &Received, headers: &[(&str, &str)]) {
    for (name, value) in headers {
        assert_eq!(received.header(name), *value, "{name} in {:?}", received.headers);
    }
}
