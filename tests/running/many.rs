//! Many subscriptions that are made at run time, and more that are asked for.

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sidespan_test_support::{Client, Launch, Response, Sidecar, eventually};

use crate::{PATIENCE, SIDESPAN, store};

/// Only so many are made, whatever is asked for at the same time; the others cost nothing, and disturb nobody.
#[tokio::test(flavor = "multi_thread")]
async fn of_those_that_are_asked_for_only_so_many_are_made() {
    let asked = if std::env::var_os("SIDESPAN_LONG").is_some() { 100_000 } else { 5_000 };
    let sidecar = start(&embedded(), &format!("max_subscriptions: {FEW}")).await;
    let first = put(&sidecar, 0..asked / 5).await;
    let before = sidecar.resident();
    let rest = put(&sidecar, asked / 5..asked).await;
    let grown = sidecar.resident().saturating_sub(before);
    println!("{asked} subscriptions asked for and {FEW} made: the last four in five took {grown} bytes");
    let (made, refused): (Vec<_>, Vec<_>) = first.into_iter().chain(rest).partition(|one| one.status == 201);
    assert_eq!((made.len(), refused.len()), (FEW, asked - FEW));
    for refusal in refused {
        assert_eq!((refusal.status.as_u16(), &refusal.json()["code"]), (429, &json!("LIMITED")));
        assert!(refusal.text().contains("registry.max_subscriptions"), "{}", refusal.text());
        assert_eq!(refusal.header("retry-after"), "1");
    }
    assert!(grown < 32 << 20, "{grown} bytes for what was refused");
    // Those of the file, and those that were made.
    run(&sidecar, FEW + 1).await;
    all_get_one(&sidecar, FEW + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_run_at_once_on_the_embedded_log() {
    two_thousand_run(&embedded()).await;
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_run_at_once_on_jetstream() {
    let nats = sidespan_test_support::Nats::shared().await;
    two_thousand_run(&format!("{{ kind: nats, servers: ['{}'], create_streams: {{}} }}", nats.url())).await;
}

async fn two_thousand_run(bridge: &str) {
    let sidecar = start(bridge, "max_subscriptions: 2000").await;
    let before = sidecar.resident();
    for answer in put(&sidecar, 0..MANY).await {
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    run(&sidecar, MANY + 1).await;
    let idle = sidecar.resident().saturating_sub(before) / MANY as u64;
    println!("{MANY} idle subscriptions: {idle} bytes each");
    all_get_one(&sidecar, MANY + 1).await;
}

fn embedded() -> String {
    "{ kind: embedded, dir: ./data }".to_owned()
}

async fn start(bridge: &str, registry: &str) -> Sidecar {
    let service = sidespan_test_support::unique_name("many");
    let topics =
        TOPICS.map(|topic| format!("{topic}: {{ address: {} }}", sidespan_test_support::unique_name(topic)));
    let config = format!(
        "version: 1\nservice: {service}\nbridges: {{ main: {bridge} }}\ntopics: {{ {} }}\n\
         registry: {{ bridge: main, {registry} }}\n\
         subscriptions: {{ billing: {{ topic: a, dead_letter: false, pull: {{}} }} }}\n",
        topics.join(", ")
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    run(&sidecar, 1).await;
    sidecar
}

/// Asks for subscriptions by number, many at a time.
async fn put(sidecar: &Sidecar, numbers: std::ops::Range<usize>) -> Vec<Response> {
    let client = Client::new();
    let asking = numbers.map(|number| {
        let topic = TOPICS[number % TOPICS.len()];
        let spec = json!({ "topic": topic, "dead_letter": false, "pull": {} }).to_string();
        let url = sidecar.url(&format!("/v1/subscriptions/made-{number}"));
        let put = client.request(http::Method::PUT, &url).header("content-type", "application/json");
        let put = put.body(spec).send();
        async move { put.await.expect("an answer") }
    });
    stream::iter(asking).buffer_unordered(AT_ONCE).collect().await
}

/// Waits until so many subscriptions run.
async fn run(sidecar: &Sidecar, count: usize) {
    eventually(PATIENCE * 6, "all run", async || {
        let all = list(sidecar).await;
        all.len() == count && all.iter().all(|one| one["state"] == "running")
    })
    .await;
}

/// Publishes a message to each topic, and waits until every subscription has one.
async fn all_get_one(sidecar: &Sidecar, count: usize) {
    for topic in TOPICS {
        store(sidecar, topic, "x").await;
    }
    eventually(PATIENCE * 3, "each has the message", async || {
        let all = list(sidecar).await;
        all.len() == count && all.iter().all(|one| one["held"] == 1)
    })
    .await;
}

async fn list(sidecar: &Sidecar) -> Vec<Value> {
    let (client, mut all, mut token) = (Client::new(), Vec::new(), String::new());
    loop {
        let url = sidecar.url(&format!("/v1/subscriptions?page_size=1000{token}"));
        let page = client.get(&url).send().await.expect("an answer").json();
        all.extend(page["subscriptions"].as_array().expect("a page").iter().cloned());
        match page["next_page_token"].as_str() {
            Some(next) => token = format!("&page_token={next}"),
            None => return all,
        }
    }
}

/// On JetStream each is a stream of its own, of which NATS lets none have more than a thousand consumers.
const TOPICS: [&str; 4] = ["a", "b", "c", "d"];
/// As many as may be made where many more are asked for.
const FEW: usize = 200;
const MANY: usize = 2_000;
const AT_ONCE: usize = 32;
