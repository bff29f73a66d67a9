//! Consumers fetch instead: their answers get lost, they die with what they fetched, and the sidecar is
//! killed with -9 meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use sidespan_test_support::{Client, Ground, Random, on};
use tokio::time::sleep;

use crate::run::Run;
use crate::{NEVER, scale};

on!(consumers_and_the_sidecar on every broker);

async fn consumers_and_the_sidecar(ground: Ground) {
    let name = format!("{}, fetched, sidecar killed", ground.name());
    let mut run = Run::prepare(&name, &ground.shared().await.fetched(), NEVER).await;
    let (webhook, _) = run.load.webhooks(0);
    for _ in 0..CONSUMERS {
        let consumer = Consumer {
            client: Client::new(),
            subscription: run.sidecar.url("/v1/subscriptions/billing"),
            webhook: webhook.clone(),
            random: run.random.fork(),
        };
        run.load.consume(consumer.work());
    }
    run.publish(scale::messages());
    for progress in run.instants(scale::sidecar_kills()) {
        run.load.until_delivered(progress).await;
        run.kill_sidecar();
        run.sidecar.start_again().await;
    }
    run.finish().await;
}

/// Handles what it fetches by the load's webhook.
struct Consumer {
    client: Client,
    subscription: String,
    webhook: String,
    random: Random,
}

impl Consumer {
    async fn work(mut self) {
        loop {
            let messages = self.pull().await;
            if messages.is_empty() || self.random.chance(3) {
                // It never saw the answer, or dies of it. Its leases end.
                continue;
            }
            let handled = join_all(messages.iter().map(|message| self.handle(message))).await;
            if self.random.chance(3) {
                continue;
            }
            let of = |accepted: bool| -> Vec<&Value> {
                let of = messages.iter().zip(&handled).filter(|(_, handled)| **handled == accepted);
                of.map(|(message, _)| &message["ack_id"]).collect()
            };
            self.say("ack", json!({ "ack_ids": of(true) })).await;
            self.say("nack", json!({ "ack_ids": of(false), "delay": "5ms" })).await;
        }
    }

    /// Fetches; nothing where the sidecar is away.
    async fn pull(&self) -> Vec<Value> {
        let pulled = self.say("pull", json!({ "max_messages": 50, "wait": "1s" })).await;
        match pulled {
            Some(pulled) if pulled["messages"].is_array() => {
                pulled["messages"].as_array().cloned().unwrap_or_default()
            }
            Some(_) | None => {
                sleep(Duration::from_millis(50)).await;
                Vec::new()
            }
        }
    }

    async fn handle(&self, message: &Value) -> bool {
        let body = text(&message["text"]).to_owned();
        let headers = message["headers"].as_array().expect("headers");
        let attempt = headers.iter().find(|header| header[0] == "attempt").expect("the publisher's attempt");
        let post = self.client.post(&self.webhook, body).header("webhook-id", text(&message["id"]));
        let post = post.header("sidespan-header-attempt", text(&attempt[1]));
        post.deadline(HANDLING).send().await.is_ok_and(|answer| answer.status.is_success())
    }

    async fn say(&self, verb: &str, body: Value) -> Option<Value> {
        let call = self.client.post(&format!("{}/{verb}", self.subscription), body.to_string());
        let answer = call.deadline(Duration::from_secs(10)).send().await.ok()?;
        let status = answer.status.as_u16();
        // 421 while the broker has yet to learn that the sidecar before was killed.
        let is_standby = verb == "pull" && status == 421;
        let passes = is_standby || [200, 409, 503, 504].contains(&status);
        assert!(passes, "{verb}: {status} {}", answer.text());
        Some(answer.json())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

const CONSUMERS: usize = 4;
/// How long handling a message may take: half of its lease.
const HANDLING: Duration = Duration::from_millis(500);
