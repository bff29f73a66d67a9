//! What a server says of itself from its start on.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use sidespan_test_support::{Answer, Client, Launch, Webhook, free_port};

use crate::{SIDESPAN, readiness, store};

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_at_once_and_readiness_names_each_part() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let health = free_port();
    let config = format!(
        "version: 1\nservice: shop\nhealth: 127.0.0.1:{health}\n\
         bridges:\n  local: {{kind: embedded, dir: data}}\n\
         topics: {{orders: {{}}}}\n\
         subscriptions:\n  billing: {{topic: orders, start: begin, push: {{url: '{}'}}}}\n",
        webhook.url("/")
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    let client = Client::new();
    let kubelet = |path: &str| format!("http://127.0.0.1:{health}{path}");
    for path in ["/livez", "/startupz"] {
        for url in [sidecar.admin_url(path), kubelet(path)] {
            let answer = client.get(&url).send().await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"ok": true})), "{url}");
        }
    }

    sidecar.until_ready().await;
    store(&sidecar, "orders", "17").await;
    webhook.wait_until("the message", |received| received.iter().any(|r| r.answered.is_some())).await;
    let (status, said) = readiness(&sidecar).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!((&said["ready"], &said["draining"]), (&json!(true), &json!(false)));
    assert_eq!(said["bridges"], json!([{"name": "local", "ready": true}]));
    let billing = &said["subscriptions"][0];
    assert_eq!((&billing["name"], &billing["state"]), (&json!("billing"), &json!("running")));
    for path in ["/readyz", "/readyz/publish", "/readyz/listeners"] {
        for url in [sidecar.admin_url(path), kubelet(path)] {
            let answer = client.get(&url).send().await.unwrap();
            let said = json!({"ready": true, "draining": false});
            assert_eq!((answer.status.as_u16(), answer.json()), (200, said), "{url}: it names nothing");
        }
    }

    let drain = client.post(&kubelet("/drain"), "").send().await.unwrap();
    assert_eq!(drain.status, 404, "the kubelet's door changes nothing");
    assert_eq!(readiness(&sidecar).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_topics_and_subscriptions_don_t_slow_the_start() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let mut config = "version: 1\nservice: shop\nbridges: {local: {kind: embedded, dir: data}}\n".to_owned();
    config.push_str("topics:\n");
    for topic in 0..500 {
        writeln!(config, "  topic-{topic}: {{}}").unwrap();
    }
    config.push_str("subscriptions:\n");
    for subscription in 0..20 {
        let url = webhook.url(&format!("/{subscription}"));
        writeln!(config, "  s{subscription}: {{topic: topic-{subscription}, push: {{url: '{url}'}}}}")
            .unwrap();
    }
    let launch = Launch::new(SIDESPAN).config(&config);
    let began = Instant::now();
    let mut sidecar = launch.start().await;
    let answers = began.elapsed();
    sidecar.until_ready().await;
    println!(
        "500 topics, 20 subscriptions: answers after {answers:.0?}, ready after {:.0?}",
        began.elapsed()
    );
    assert!(began.elapsed() < Duration::from_secs(10));
    sidecar.stop().await;

    let began = Instant::now();
    sidecar.start_again().await;
    let answers = began.elapsed();
    sidecar.until_ready().await;
    println!("and again: answers after {answers:.0?}, ready after {:.0?}", began.elapsed());
    for topic in 0..20 {
        store(&sidecar, &format!("topic-{topic}"), "x").await;
    }
    webhook.wait_until("a message for each subscription", |received| received.len() == 20).await;
}
