//! Events: official SDKs of CloudEvents and Sidespan understand each other, in every mode, on each broker and over HTTP.
//!
//! `events.json` says what is sent: each SDK publishes those events in binary and in structured mode, and they
//! arrive at a webhook as the same events. Then they are published here, to a topic of each mode, and the SDK
//! reads them from the broker. `tests/events/setup` installs the SDKs.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod event;
mod sdk;

use event::{Event, events};
use sdk::{Reading, Sdk};
use sidespan_test_support::{
    Answer, Client, Kafka, Launch, Nats, Rabbit, Scene, Sidecar, Webhook, free_port,
};

#[tokio::test(flavor = "multi_thread")]
async fn python_over_kafka() {
    let kafka = Kafka::shared().await;
    let scene = Scene::kafka(kafka).await;
    let sdk = Sdk::python(&format!("kafka://{}", kafka.address()), scene.orders()).await;
    understand(&scene, &sdk, &["binary", "structured"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_over_nats() {
    let nats = Nats::shared().await;
    let scene = Scene::nats(nats);
    let sdk = Sdk::python(nats.url(), scene.orders()).await;
    understand(&scene, &sdk, &["binary", "structured"]).await;
}

/// Both bindings that the SDK has: AMQP's own, and its own for RabbitMQ.
#[tokio::test(flavor = "multi_thread")]
async fn python_over_rabbitmq() {
    let rabbit = Rabbit::shared().await;
    let scene = Scene::rabbit(rabbit);
    let sdk = Sdk::python(rabbit.url(), scene.orders()).await;
    understand(&scene, &sdk, &["binary", "structured", "binary", "structured"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_over_kafka() {
    let kafka = Kafka::shared().await;
    let scene = Scene::kafka(kafka).await;
    let sdk = Sdk::go(&format!("kafka://{}", kafka.address()), scene.orders()).await;
    understand(&scene, &sdk, &["binary", "structured"]).await;
}

/// Structured mode comes without a header there, as the binding of 1.0.2 says.
#[tokio::test(flavor = "multi_thread")]
async fn go_over_nats() {
    let nats = Nats::shared().await;
    let scene = Scene::nats(nats);
    let sdk = Sdk::go(nats.url(), scene.orders()).await;
    understand(&scene, &sdk, &["binary", "structured"]).await;
}

/// Binary, JSON and protobuf, each way.
#[tokio::test(flavor = "multi_thread")]
async fn go_over_http() {
    let receiver = format!("http://127.0.0.1:{}", free_port());
    let modes = [("binary", "binary"), ("structured", "structured"), ("protobuf", "structured")];
    let (sidecar, webhook) = door(&receiver, &modes).await;
    Sdk::go(&sidecar.url("/v1/topics/orders/messages"), "-").await.publish().await;
    arrive(&webhook, 3).await;
    let reading = Sdk::go(&receiver, "-").await.read(modes.len() * events().len()).await;
    publish(&sidecar, "given").await;
    are_read(reading, &modes.map(|(_, mode)| mode)).await;
}

/// Binary, structured and in batches; out in the first two.
#[tokio::test(flavor = "multi_thread")]
async fn javascript_over_http() {
    let receiver = format!("http://127.0.0.1:{}", free_port());
    let modes = [("binary", "binary"), ("structured", "structured")];
    let (sidecar, webhook) = door(&receiver, &modes).await;
    Sdk::javascript(&sidecar.url("/v1/topics/orders/messages")).await.publish().await;
    arrive(&webhook, 3).await;
    let reading = Sdk::javascript(&receiver).await.read(modes.len() * events().len()).await;
    publish(&sidecar, "given").await;
    are_read(reading, &modes.map(|(_, mode)| mode)).await;
}

/// The SDK publishes each event in these modes; then it reads each in both.
async fn understand(scene: &Scene, sdk: &Sdk, modes: &[&str]) {
    let (sidecar, webhook) = start(scene).await;
    sdk.publish().await;
    arrive(&webhook, modes.len()).await;
    let reading = sdk.read(2 * events().len()).await;
    publish(&sidecar, "orders").await;
    publish(&sidecar, "enclosed").await;
    are_read(reading, &["binary", "structured"]).await;
}

/// Waits until the webhook has each event so often.
async fn arrive(webhook: &Webhook, times: usize) {
    let count = times * events().len();
    let arrived = webhook.wait_until("what the SDK published arrives", |seen| seen.len() >= count).await;
    for expected in events() {
        let same = arrived.iter().map(Event::pushed).filter(|event| event.id() == expected.id());
        let same: Vec<_> = same.collect();
        assert_eq!(same.len(), times, "{expected:?}");
        for event in same {
            assert_eq!(event, expected);
        }
    }
}

/// Publishes each event here.
async fn publish(sidecar: &Sidecar, topic: &str) {
    let url = sidecar.url(&format!("/v1/topics/{topic}/messages"));
    for event in events() {
        let request = Client::new().post(&url, event.json().to_owned());
        let answer = request.header("content-type", "application/cloudevents+json").send().await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Holds what the SDK read to what was published: each event once in each mode.
async fn are_read(reading: Reading, modes: &[&str]) {
    let mut read = reading.events().await;
    for expected in events() {
        for mode in modes {
            let found = read.iter().position(|(way, event)| way == mode && event.id() == expected.id());
            let found = found.unwrap_or_else(|| panic!("{mode} {expected:?} in {read:?}"));
            assert_eq!(read.remove(found).1, expected, "{mode}");
        }
    }
    assert!(read.is_empty(), "{read:?}");
}

/// Starts a sidecar without a broker, that posts what is published to `orders` to the webhook, and what is published to
/// `given` to the receiver, once in each mode.
async fn door(receiver: &str, modes: &[(&str, &str)]) -> (Sidecar, Webhook) {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let mut config = format!(
        "version: 1\nservice: shop\nbridges: {{ main: {{ kind: embedded, dir: ./data }} }}\n\
         topics: {{ orders: {{}}, given: {{}} }}\nsubscriptions:\n\
         \x20 billing: {{ topic: orders, push: {{ url: '{}' }} }}\n",
        webhook.url("/")
    );
    for (mode, _) in modes {
        let push = format!("{{ url: '{receiver}/', cloudevents: {mode} }}");
        let retry = "{ backoff: { base: 5ms, cap: 100ms } }";
        config += &format!("  {mode}: {{ topic: given, order: topic, retry: {retry}, push: {push} }}\n");
    }
    let sidecar = Launch::new(env!("CARGO_BIN_EXE_sidespan")).config(&config).start().await;
    sidecar.until_ready().await;
    (sidecar, webhook)
}

/// Starts a sidecar with two topics at one address: what is published to `enclosed` is written in structured mode.
async fn start(scene: &Scene) -> (Sidecar, Webhook) {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let enclosed =
        format!("topics:\n  enclosed: {{ address: '{}', cloudevents: structured }}", scene.orders());
    let config = scene.config(&webhook.url("/"), &webhook.url("/dead"), 1).replace("topics:", &enclosed);
    let sidecar = Launch::new(env!("CARGO_BIN_EXE_sidespan")).config(&config).start().await;
    sidecar.until_ready().await;
    (sidecar, webhook)
}
