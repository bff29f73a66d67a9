//! Thousands of failures are a handful of lines, and a count.

use std::time::Instant;

use serde_json::{Value, json};
use sidespan_test_support::{Answer, Client, Launch, Webhook};

use crate::{SIDESPAN, lines, store};

const MESSAGES: usize = 3000;

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_failures_is_a_bounded_number_of_lines_and_the_exact_count_of_the_rest() {
    let webhook = Webhook::start(|_| Answer::status(500)).await;
    let url = webhook.url("/");
    let config = format!(
        "version: 1\nservice: shop\nlog: {{format: json}}\nbridges: {{local: {{kind: embedded, dir: data}}}}\n\
         topics: {{orders: {{}}, quiet: {{}}, dead: {{}}}}\n\
         subscriptions:\n  billing: {{topic: orders, start: begin, dead_letter: dead, push: {{url: '{url}'}}, \
         retry: {{max_attempts: 2, backoff: {{base: 1ms, cap: 2ms}}}}}}\n\
         \x20 calm: {{topic: quiet, start: begin, dead_letter: dead, push: {{url: '{url}'}}, retry: {{max_attempts: 1}}}}\n"
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    let began = Instant::now();
    let batch: String =
        (0..MESSAGES).map(|number| format!("{}\n", json!({"text": number.to_string()}))).collect();
    let publish = Client::new().post(&sidecar.url("/v1/topics/orders/batches"), batch);
    let answer = publish.header("content-type", "application/x-ndjson").send().await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    webhook.wait_until("every attempt", |received| received.len() == 2 * MESSAGES).await;
    store(&sidecar, "quiet", "one", &[]).await;
    webhook.wait_until("the other one", |received| received.len() == 2 * MESSAGES + 1).await;

    let ended = sidecar.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let log = lines(&ended.stderr);
    // Two places of the program fail here, and each says ten lines a second at most.
    let most = 100 + 30 * usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(log.len() < most, "{} lines", log.len());
    for (message, subscription, happened) in [
        ("an attempt failed; it is made again", "billing", MESSAGES),
        ("stored a dead letter", "billing", MESSAGES),
        ("stored a dead letter", "calm", 1),
    ] {
        let is = |line: &&Value, key: &str| line[key] == message && line["subscription"] == subscription;
        let said = log.iter().filter(|line| is(line, "message")).count();
        let left_out =
            log.iter().filter(|line| is(line, "of")).map(|line| line["suppressed"].as_u64().unwrap());
        let left_out = usize::try_from(left_out.sum::<u64>()).unwrap();
        assert_eq!(
            said + left_out,
            happened,
            "{message} of {subscription}: {said} said, {left_out} left out"
        );
        assert_eq!(left_out > 0, happened > 1, "{message} of {subscription}: {said} said");
    }
    assert_eq!(log.last().unwrap()["message"], "stopped", "the last line is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_told_with_all_that_names_it() {
    let webhook = Webhook::start(|_| Answer::status(500)).await;
    let config = format!(
        "version: 1\nservice: shop\nlog: {{format: json}}\nbridges: {{local: {{kind: embedded, dir: data}}}}\n\
         topics: {{orders: {{}}, dead: {{}}}}\n\
         subscriptions:\n  billing: {{topic: orders, start: begin, dead_letter: dead, push: {{url: '{}'}}, \
         retry: {{max_attempts: 2, backoff: {{base: 5ms, cap: 10ms}}}}}}\n",
        webhook.url("/")
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("traceparent", &*parent)];
    store(&sidecar, "orders", "card 4111", &headers).await;
    webhook.wait_until("both attempts", |received| received.len() == 2).await;
    let received = webhook.received();
    let id = received[0].headers["webhook-id"].to_str().unwrap();

    let ended = sidecar.stop().await;
    let log = lines(&ended.stderr);
    let said = |message: &str| {
        let found = log.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("no line {message:?} in {}", ended.stderr)).clone()
    };
    let (failed, buried) = (said("an attempt failed; it is made again"), said("stored a dead letter"));
    for (line, attempt) in [(&failed, 1), (&buried, 2)] {
        let names =
            ["id", "topic", "subscription", "trace_id"].map(|name| line[name].as_str().unwrap_or_default());
        assert_eq!(names, [id, "orders", "billing", trace], "{line}");
        assert_eq!((&line["status"], &line["attempt"]), (&json!(500), &json!(attempt)), "{line}");
    }
    assert!(failed["retry_in"].is_string(), "{failed}");
    assert_eq!(buried["reason"], "exhausted", "{buried}");
    assert!(!ended.stderr.contains("4111"), "payloads are not said: {}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payload_is_said_however_much_is_asked_for() {
    let webhook =
        Webhook::start(|received| Answer::status(if received.body == "card 4111" { 422 } else { 204 })).await;
    let config = format!(
        "version: 1\nservice: shop\nlog: {{format: json, level: trace, access: 1}}\n\
         bridges: {{local: {{kind: embedded, dir: data}}}}\ntopics: {{orders: {{}}, dead: {{}}}}\n\
         subscriptions:\n  billing: {{topic: orders, start: begin, dead_letter: dead, push: {{url: '{}'}}}}\n",
        webhook.url("/")
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    let headers = [
        ("sidespan-header-tenant", "header-4222"),
        ("sidespan-key", "key-4333"),
        ("idempotency-key", "once-4444"),
    ];
    for body in ["card 4111", "paid 4111"] {
        store(&sidecar, "orders", body, &headers[..2]).await;
    }
    store(&sidecar, "orders", "paid 4111", &headers).await;
    webhook.wait_until("all of them", |received| received.len() == 3).await;
    let ended = sidecar.stop().await;
    let log = lines(&ended.stderr);
    assert!(log.iter().any(|line| line["level"] == "TRACE"), "the log is at its level");
    assert!(log.iter().any(|line| line["message"] == "delivered"), "{}", ended.stderr);
    for hidden in ["4111", "4222", "4333", "4444"] {
        let said = ended.stderr.lines().find(|line| line.contains(hidden));
        assert!(said.is_none(), "{hidden}: {said:?}");
    }
}
