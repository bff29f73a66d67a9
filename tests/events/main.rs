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
use sdk::Sdk;
use sidespan_test_support::{Answer, Client, Kafka, Launch, Nats, Rabbit, Scene, Sidecar, Webhook};

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

/// The SDK publishes each event in these modes; then it reads each in both.
async fn understand(scene: &Scene, sdk: &Sdk, modes: &[&str]) {
    let (sidecar, webhook) = start(scene).await;
    sdk.publish().await;
    let count = modes.len() * events().len();
    let arrived = webhook.wait_until("what the SDK published arrives", |seen| seen.len() >= count).await;
    for expected in events() {
        let same = arrived.iter().map(Event::pushed).filter(|event| event.id() == expected.id());
        let same: Vec<_> = same.collect();
        assert_eq!(same.len(), modes.len(), "{expected:?}");
        for event in same {
            assert_eq!(event, expected);
        }
    }

    let reading = sdk.read(2 * events().len()).await;
    for event in events() {
        for topic in ["orders", "enclosed"] {
            let url = sidecar.url(&format!("/v1/topics/{topic}/messages"));
            let request = Client::new().post(&url, event.json().to_owned());
            let answer = request.header("content-type", "application/cloudevents+json").send().await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    let mut read = reading.events().await;
    for expected in events() {
        for mode in ["binary", "structured"] {
            let found = read.iter().position(|(way, event)| way == mode && event.id() == expected.id());
            let found = found.unwrap_or_else(|| panic!("{mode} {expected:?} in {read:?}"));
            assert_eq!(read.remove(found).1, expected, "{mode}");
        }
    }
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
