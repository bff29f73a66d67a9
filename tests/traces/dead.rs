//! A collector that is not there, or does not answer, costs nobody anything.

use std::time::{Duration, Instant};

use sidespan_test_support::{Answer, Client, Scene, Webhook, free_port};
use tokio::net::TcpListener;

use crate::collector::section;
use crate::{RECORDED, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_is_missed_by_nobody() {
    nobody_misses(&format!("http://127.0.0.1:{}", free_port())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_is_missed_by_nobody() {
    // It takes connections, as far as the kernel does so for it.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    nobody_misses(&format!("http://{}", silent.local_addr().unwrap())).await;
}

/// More messages than the queue of spans has room for, each with four spans.
const MESSAGES: usize = 4000;
/// What a queue of spans may take, and what a server takes by itself under such a load.
const GROWTH: u64 = 48 << 20;

async fn nobody_misses(collector: &str) {
    let webhook = Webhook::start(|_| Answer::status(200)).await;
    let telemetry = section(collector, 1.0, "timeout: 1s");
    let mut sidecar = start(&Scene::embedded().unordered(), &webhook.url("/"), &telemetry).await;
    let (before, client) = (sidecar.resident(), Client::new());
    let url = sidecar.url("/v1/topics/orders/messages");
    let publishers = (0..16).map(|_| {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move {
            for _ in 0..MESSAGES / 16 {
                let request = client.post(&url, "x").header("content-type", "text/plain");
                let began = Instant::now();
                let answer = request.header("traceparent", RECORDED).send().await.unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    let patience = Duration::from_secs(60);
    webhook.wait_until_within(patience, "all messages", |received| received.len() >= MESSAGES).await;
    let grown = sidecar.resident().saturating_sub(before);
    println!("grown by {} KiB", grown >> 10);
    assert!(grown < GROWTH, "grown by {grown} bytes");

    let began = Instant::now();
    let ended = sidecar.stop().await;
    let took = began.elapsed();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(took < Duration::from_secs(8), "the end took {took:?}");
    assert!(ended.stderr.matches("takes no spans").count() <= 1, "said once:\n{}", ended.stderr);
}
