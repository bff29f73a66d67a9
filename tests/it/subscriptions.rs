//! What the door tells of subscriptions.

mod changing;

use std::time::Duration;

use serde_json::Value;
use sidespan_test_support::{Answer, Webhook, eventually};

use crate::server::Server;

#[tokio::test]
async fn a_subscription_tells_how_it_is_doing_and_whether_this_process_is_active() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let server = Server::with(&subscription("billing", &webhook.url("/events?token=secret"))).await;
    let described = async || server.get("/v1/subscriptions/billing").expect(200).await;
    eventually(PATIENCE, "a subscription that runs", async || described().await["state"] == "running").await;
    server.publish("declared", "x").await;
    eventually(PATIENCE, "a delivery", async || described().await["delivered"] == 1).await;
    let subscription = described().await;
    let field = |name: &str| subscription[name].as_str().unwrap().to_owned();
    assert_eq!(
        ["topic", "bridge", "group", "order", "role", "dead_letters_go_to"].map(field),
        ["declared", "local", "shop.billing", "key", "active", "dead.shop.billing"]
    );
    assert!(!subscription.to_string().contains("secret"), "{subscription}");
}

#[tokio::test]
async fn a_subscription_that_does_not_run_tells_why_and_has_no_role() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let section = subscription("billing", &webhook.url("/")).replace("declared", "missing");
    let server = Server::with(&section).await;
    let described = async || server.get("/v1/subscriptions/billing").expect(200).await;
    eventually(PATIENCE, "a subscription that retries", async || described().await["state"] == "retrying")
        .await;
    let subscription = described().await;
    assert!(subscription["error"].as_str().is_some_and(|error| error.contains("topic")), "{subscription}");
    assert_eq!(subscription["role"], Value::Null);
}

#[tokio::test]
async fn subscriptions_are_listed_a_page_at_a_time() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let all: String = ["b", "a", "c"].map(|name| subscription(name, &webhook.url("/"))).concat();
    let server = Server::with(&format!("subscriptions:\n{}", all.replace("subscriptions:\n", ""))).await;
    let first = server.get("/v1/subscriptions?page_size=2").expect(200).await;
    let token = first["next_page_token"].as_str().unwrap();
    let second = server.get(&format!("/v1/subscriptions?page_size=2&page_token={token}")).expect(200).await;
    let names = |page: &Value| -> Vec<String> {
        let subscriptions = page["subscriptions"].as_array().unwrap().iter();
        subscriptions.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((names(&first), names(&second)), (vec!["a".into(), "b".into()], vec!["c".into()]));
    assert_eq!(second["next_page_token"], Value::Null);
}

#[tokio::test]
async fn an_unknown_subscription_is_a_problem() {
    let server = Server::start().await;
    server.get("/v1/subscriptions/nobody").problem(404, "UNKNOWN_SUBSCRIPTION").await;
    server.get("/v1/subscriptions/%FF").problem(400, "INVALID_REQUEST").await;
    server.get("/v1/subscriptions?sort=name").problem(400, "INVALID_REQUEST").await;
    server.post("/v1/subscriptions/nobody", "").problem(405, "METHOD_NOT_ALLOWED").await;
    assert_eq!(server.get("/v1/subscriptions").expect(200).await["subscriptions"], serde_json::json!([]));
}

/// A section with one subscription to the topic `declared`.
fn subscription(name: &str, url: &str) -> String {
    format!("subscriptions:\n  {name}: {{ topic: declared, order: key, push: {{ url: \"{url}\" }} }}\n")
}

const PATIENCE: Duration = Duration::from_secs(10);
