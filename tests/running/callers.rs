//! What callers are told of what is not theirs.

use serde_json::Value;
use sidespan_test_support::{Client, Launch, Sidecar};

use crate::SIDESPAN;

/// The broker of the bridge `gone` is not there, and nothing answers at the open one either.
const CONFIG: &str = "
version: 1
service: shop
bridges:
  gone: { kind: amqp, url: 'amqp://127.0.0.1:1/' }
  open: { kind: nats, servers: ['nats://127.0.0.1:1'], open: true }
  local: { kind: embedded, dir: ./data }
default_bridge: open
topics:
  offline: { bridge: gone }
  orders: { bridge: local }
auth:
  tokens:
    - { name: all, secret: all-5b0c1b0a7f6e4d3c2b1a0f9e, publish: ['>'] }
    - { name: till, secret: till-9d8e7f6a5b4c3d2e1f0a9b8c, publish: [orders] }
    - { name: post, secret: post-1a2b3c4d5e6f7a8b9c0d1e2f, subscribe: [offline] }
    - { name: guest, secret: guest-3d2c1b0a9f8e7d6c5b4a3f2e, subscribe: ['guest.*'] }
    - { name: operator, secret: operator-7a6b5c4d3e2f1a0b, manage: true }
";

#[tokio::test(flavor = "multi_thread")]
async fn bridges_that_cannot_be_asked_are_named_to_those_who_may_use_them() {
    let sidecar = Launch::new(SIDESPAN).config(CONFIG).start().await;
    for (token, named) in [
        ("all-5b0c1b0a7f6e4d3c2b1a0f9e", &["gone", "open"][..]),
        ("till-9d8e7f6a5b4c3d2e1f0a9b8c", &[]),
        ("post-1a2b3c4d5e6f7a8b9c0d1e2f", &["gone"]),
        ("guest-3d2c1b0a9f8e7d6c5b4a3f2e", &["open"]),
        ("operator-7a6b5c4d3e2f1a0b", &[]),
    ] {
        assert_eq!(silent(&sidecar, token).await, named, "to {token}");
    }
}

async fn silent(sidecar: &Sidecar, token: &str) -> Vec<String> {
    let ask = Client::new().get(&sidecar.url("/v1/topics")).header("sidespan-timeout", "2s");
    let told = ask.header("authorization", format!("Bearer {token}")).send().await.expect("an answer").json();
    assert!(told["topics"].is_array(), "{told}");
    let silent: &[Value] = told["silent"].as_array().map_or(&[], Vec::as_slice);
    silent.iter().map(|one| one["bridge"].as_str().expect("a name").to_owned()).collect()
}
