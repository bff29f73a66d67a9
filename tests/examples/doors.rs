//! Each door in each language.

use serde_json::json;
use sidespan_test_support::{Client, Launch, Sidecar, eventually, free_port};

use crate::workshop::{Example, Workshop};
use crate::{PATIENCE, SECRET, SIDESPAN, root};

/// The folders, and what they have files in.
pub(crate) const DOORS: [(&str, &[&str]); 10] = [
    ("cloudevents", &["py", "sh", "ts"]),
    ("grpc", &["go", "java", "py", "ts"]),
    ("publish", &["go", "java", "py", "sh", "ts"]),
    ("pull", &["go", "java", "py", "sh", "ts"]),
    ("request", &["py", "sh"]),
    ("stream", &["go", "java", "py", "sh", "ts"]),
    ("subscriptions", &["py", "sh", "ts"]),
    ("token", &["py", "sh"]),
    ("webhook", &["go", "java", "py", "sh", "ts"]),
    ("websocket", &["go", "java", "py", "ts"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_examples_publish_is_stored() {
    publish_and_look("publish", r#""topic":"orders""#).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_examples_publish_as_cloud_events_is_stored() {
    publish_and_look("cloudevents", r#""topic":"orders""#).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_examples_publish_by_grpc_is_stored() {
    publish_and_look("grpc", "storedat0-").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_say_why_nothing_is_published() {
    let sidecar = &Launch::new(SIDESPAN)
        .config("{version: 1, service: shop, bridges: {local: {kind: embedded, dir: ./data}}}")
        .start()
        .await;
    let url = sidecar.url("");
    for door in ["cloudevents", "publish", "grpc"] {
        each(door, async |example| {
            let said = Workshop::get().await.run(&example, &[("SIDESPAN_URL", &url)]).await;
            assert!(!said.success, "{example:?}:\n{}", said.output);
            let all = said.output + &said.errors;
            assert!(all.contains("UNKNOWN_TOPIC"), "{example:?}:\n{all}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_with_a_token_publish_what_it_allows() {
    let config = &std::fs::read_to_string(root().join("examples/token/sidespan.yaml")).unwrap();
    let (till, billing) = ("a-token-of-the-till-and-no-other", "a-token-of-the-billing-department");
    let launch = Launch::new(SIDESPAN).config(config).env("TILL_TOKEN", till).env("BILLING_TOKEN", billing);
    let sidecar = launch.start().await;
    sidecar.until_ready().await;
    let (workshop, url) = (Workshop::get().await, &sidecar.url(""));
    each("token", async |example| {
        let run = async |token| {
            let said = workshop.run(&example, &[("SIDESPAN_URL", url), ("SIDESPAN_TOKEN", token)]).await;
            (said.success, said.output + &said.errors)
        };
        let (stored, said) = run(till).await;
        assert!(stored && said.replace(' ', "").contains(r#""topic":"orders""#), "{example:?}:\n{said}");
        for (token, code) in
            [(billing, "PERMISSION_DENIED"), ("a-token-that-nobody-has-been-given", "UNAUTHENTICATED")]
        {
            let (stored, said) = run(token).await;
            assert!(!stored && said.contains(code), "{example:?}:\n{said}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_are_called_and_believe_signatures_only() {
    let commands = Example::of("webhook");
    let deliver = commands.iter().find(|example| example.is("sh")).expect("a command with curl").clone();
    let deliver = &deliver;
    each("webhook", async |example| {
        if example.is("sh") {
            return;
        }
        let workshop = Workshop::get().await;
        let port = free_port().to_string();
        let url = format!("http://127.0.0.1:{port}/events");
        let sidecar = sidecar(&[("SIDESPAN__SUBSCRIPTIONS__FULFILMENT__PUSH__URL", &url)]).await;
        let mut running = workshop.start(&example, &[("WEBHOOK_SECRET", SECRET), ("PORT", &port)]);
        eventually(PATIENCE, &format!("{example:?} answers"), async || {
            Client::new().post(&url, "{}").send().await.is_ok()
        })
        .await;
        let forged = Client::new().post(&url, r#"{"id": "o-99", "item": "tea"}"#).send().await;
        assert_eq!(forged.expect("an answer").status, 401, "{example:?}");

        publish(&sidecar, 1..=3).await;
        running.says(&["o-1 tea".into(), "o-2 tea".into(), "o-3 tea".into()]).await;
        until_delivered(&sidecar, "fulfilment", 3).await;

        let deliver = deliver.with("http://127.0.0.1:8080/events", &url);
        let said = workshop.run(&deliver, &[("WEBHOOK_SECRET", SECRET)]).await;
        assert!(said.success, "{example:?} called by curl:\n{}{}", said.output, said.errors);
        running.says(&["17 tea".into()]).await;
        assert!(!running.said().contains("o-99"), "{example:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_fetch_and_settle() {
    take_and_settle("pull").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_take_from_a_socket_and_settle() {
    take_and_settle("websocket").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_ask_and_are_answered() {
    let workshop = Workshop::get().await;
    let (answer, asking): (Vec<Example>, Vec<Example>) =
        Example::of("request").into_iter().partition(|example| example.runs("request/answer.py"));
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}/prices");
    let _running = workshop.start(&answer[0], &[("PORT", &port)]);
    eventually(PATIENCE, "the service answers", async || {
        Client::new().post(&url, r#"{"item": "tea"}"#).send().await.is_ok()
    })
    .await;
    let sidecar = sidecar(&[("SIDESPAN__SUBSCRIPTIONS__PRICES__PUSH__URL", &url)]).await;
    for example in asking {
        let said = workshop.run(&example, &[("SIDESPAN_URL", &sidecar.url(""))]).await;
        assert!(said.success && said.output.contains("4.5"), "{example:?}:\n{}{}", said.output, said.errors);
        let said = workshop.run(&example.with(" tea", " rum"), &[("SIDESPAN_URL", &sidecar.url(""))]).await;
        let all = said.output + &said.errors;
        assert!(!said.success && all.contains("there is no rum"), "{example:?}:\n{all}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_make_change_and_end_a_subscription() {
    let sidecar = &sidecar(&[]).await;
    publish(sidecar, 1..=2).await;
    let url = sidecar.url("");
    each("subscriptions", async |example| {
        let said = Workshop::get().await.run(&example, &[("SIDESPAN_URL", &url)]).await;
        assert!(said.success, "{example:?}:\n{}{}", said.output, said.errors);
        assert!(said.output.ends_with("ended\n"), "{example:?}:\n{}", said.output);
    })
    .await;
    let left = Client::new().get(&sidecar.url("/v1/subscriptions")).send().await.expect("an answer").json();
    assert_eq!(
        left["subscriptions"].as_array().expect("subscriptions").len(),
        3,
        "those of the file: {left}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_follow_and_go_on_after_a_break() {
    each("stream", async |example| {
        let mut sidecar = sidecar(&[]).await;
        publish(&sidecar, 1..=2).await;
        let mut running = Workshop::get().await.start(&example, &[("SIDESPAN_URL", &sidecar.url(""))]);
        running.says(&["o-1".into(), "o-2".into()]).await;
        publish(&sidecar, 3..=3).await;
        running.says(&["o-3".into()]).await;
        // curl does not come back.
        if !example.is("sh") {
            sidecar.kill();
            sidecar.start_again().await;
            publish(&sidecar, 4..=4).await;
            running.says(&["o-4".into()]).await;
        }
        for seen in ["o-1", "o-2", "o-3"] {
            assert_eq!(running.said().matches(seen).count(), 1, "{example:?}:\n{}", running.said());
        }
    })
    .await;
}

/// Runs what publishes one order, with `receipt` in what it prints, blanks aside.
async fn publish_and_look(door: &str, receipt: &str) {
    each(door, async |example| {
        let workshop = Workshop::get().await;
        let sidecar = sidecar(&[]).await;
        let said = workshop.run(&example, &[("SIDESPAN_URL", &sidecar.url(""))]).await;
        assert!(said.success, "{example:?}:\n{}{}", said.output, said.errors);
        let printed = said.output.replace(' ', "");
        assert!(printed.contains(receipt), "{example:?} prints the receipt: {}", said.output);

        let pull = sidecar.url("/v1/subscriptions/billing/pull");
        let pulled = Client::new().post(&pull, "{}").header("content-type", "application/json").send().await;
        let pulled = pulled.expect("an answer").json();
        let messages = pulled["messages"].as_array().expect("messages");
        assert_eq!(messages.len(), 1, "{example:?}");
        assert_eq!(messages[0]["data"], json!({"id": "17", "item": "tea"}), "{example:?}");
        assert_eq!(messages[0]["key"], "17", "{example:?}");
        let headers = messages[0]["headers"].as_array();
        let is_event = headers.is_some_and(|headers| headers.contains(&json!(["ce-id", "17"])));
        assert_eq!(is_event, door == "cloudevents", "{example:?}");
    })
    .await;
}

async fn take_and_settle(door: &str) {
    each(door, async |example| {
        let sidecar = sidecar(&[]).await;
        publish(&sidecar, 1..=2).await;
        let mut running = Workshop::get().await.start(&example, &[("SIDESPAN_URL", &sidecar.url(""))]);
        running.says(&["o-1 tea".into(), "o-2 tea".into()]).await;
        publish(&sidecar, 3..=4).await;
        running.says(&["o-3 tea".into(), "o-4 tea".into()]).await;
        until_delivered(&sidecar, "billing", 4).await;
    })
    .await;
}

/// Runs a test with each command of a door, at the same time.
async fn each(door: &str, test: impl AsyncFn(Example)) {
    let examples = Example::of(door);
    assert!(examples.len() > 1, "{door}: {examples:?}");
    futures_util::future::join_all(examples.into_iter().map(|example| test(example))).await;
}

/// Starts Sidespan with the configuration of the examples.
async fn sidecar(environment: &[(&str, &str)]) -> Sidecar {
    let config = std::fs::read_to_string(root().join("examples/sidespan.yaml")).unwrap();
    let mut launch = Launch::new(SIDESPAN).config(&config).env("WEBHOOK_SECRET", SECRET);
    for (name, value) in environment {
        launch = launch.env(name, value);
    }
    let sidecar = launch.start().await;
    sidecar.until_ready().await;
    sidecar
}

async fn publish(sidecar: &Sidecar, numbers: impl IntoIterator<Item = u32>) {
    let url = sidecar.url("/v1/topics/orders/messages");
    for number in numbers {
        let order = json!({"id": format!("o-{number}"), "item": "tea"}).to_string();
        let answer = Client::new().post(&url, order).header("content-type", "application/json").send().await;
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

async fn until_delivered(sidecar: &Sidecar, subscription: &str, count: u64) {
    let url = sidecar.url(&format!("/v1/subscriptions/{subscription}"));
    eventually(PATIENCE, &format!("{count} messages are settled"), async || {
        let state = Client::new().get(&url).send().await.expect("an answer").json();
        state["delivered"] == count && state["held"] == 0
    })
    .await;
}
