//! A Kafka that is away, frozen, or asked for what it has not, seen through the whole server.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sidespan_test_support::{
    Answer, Client, Kafka, Launch, NoAnswer, Received, Response, Sidecar, Webhook, eventually, unique_name,
};
use tokio::task::JoinSet;

use crate::{PATIENCE, SIDESPAN, ended_with, publish, readiness, store};

/// How soon something is said that is known.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_delays_readiness_and_not_the_start() {
    let mut kafka = match Kafka::start().await {
        Ok(kafka) => kafka,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    kafka.create_topic("orders", 2).await;
    kafka.create_topic("dead", 1).await;
    kafka.kill();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let began = Instant::now();
    let mut sidecar = start(&kafka, &webhook).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    // Nobody has told yet that the broker is away: the first publish finds out.
    let first = timed(&sidecar, "first", None).await;
    is_unavailable(&first.0.unwrap());
    println!("down at start: the first publish is refused after {:.0?}", first.1);
    eventually(PATIENCE, "it says what is wrong", async || {
        let (status, said) = readiness(&sidecar).await;
        let error = said["bridges"][0]["error"].as_str().unwrap_or_default();
        status == 503
            && said["bridges"][0]["name"] == "main"
            && error.contains(kafka.address())
            && error.contains("is it running")
            && said["subscriptions"][0]["state"] == "retrying"
    })
    .await;
    println!("down at start: {}", readiness(&sidecar).await.1);
    for _ in 0..20 {
        let (answer, took) = timed(&sidecar, "refused", None).await;
        is_unavailable(&answer.unwrap());
        assert!(took < AT_ONCE, "{took:?}");
    }

    kafka.start_again().await;
    let began = Instant::now();
    sidecar.until_ready().await;
    println!("ready {:.1?} after the broker answers", began.elapsed());
    store(&sidecar, "orders", "stored").await;
    webhook.wait_until("the message", |received| has(received, "stored")).await;
    assert_eq!(bodies(&webhook.received()), ["stored".to_owned()].into(), "what was refused never appears");
    ended_with(&sidecar.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_broker_never_came_stops_by_its_deadlines() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let down = format!("127.0.0.1:{}", sidespan_test_support::free_port());
    let mut sidecar = Launch::new(SIDESPAN).config(&config(&down, &webhook, "orders")).start().await;
    let began = Instant::now();
    ended_with(&sidecar.stop().await, 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_readiness_finds_declared_topics_made() {
    let kafka = Kafka::shared().await;
    let topics: Vec<String> = (0..20).map(|_| unique_name("made")).collect();
    let config = format!(
        "version: 1\nservice: {}\nbridges:\n  main: {{kind: kafka, brokers: ['{}'], create_topics: {{partitions: 1, \
         replication_factor: 1}}}}\ntopics: {{{}: {{}}}}\n",
        unique_name("shop"),
        kafka.address(),
        topics.join(": {}, "),
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    for topic in &topics {
        store(&sidecar, topic, "at once").await;
    }
    ended_with(&sidecar.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_topic_is_said_at_once_and_not_made() {
    let kafka = Kafka::shared().await;
    let config = format!(
        "version: 1\nservice: {}\nbridges:\n  main: {{kind: kafka, brokers: ['{}'], open: true}}\n",
        unique_name("shop"),
        kafka.address()
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    let topic = unique_name("unknown");
    for attempt in 0..3 {
        let began = Instant::now();
        let answer = publish(&sidecar, &topic, "x").await;
        let took = began.elapsed();
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (404, Some("UNKNOWN_TOPIC")));
        assert_eq!(answer.json()["outcome"], "not_stored");
        assert!(took < AT_ONCE, "attempt {attempt}: {took:?}");
        let stream = Client::new().get(&sidecar.url(&format!("/v1/topics/{topic}/stream"))).open().await;
        assert_eq!(stream.unwrap().status, 404);
    }
    assert_eq!(kafka.partitions(&topic).await, 0, "asking made the topic");

    // Once somebody makes it, it is there.
    kafka.create_topic(&topic, 1).await;
    eventually(PATIENCE, "the new topic is known", async || {
        publish(&sidecar, &topic, "y").await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_told_apart_from_one_that_stores() {
    let mut kafka = match Kafka::start().await {
        Ok(kafka) => kafka,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    // One partition and strict order: what comes later comes after.
    kafka.create_topic("orders", 1).await;
    kafka.create_topic("dead", 1).await;
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let mut sidecar = start(&kafka, &webhook).await;
    sidecar.until_ready().await;
    store(&sidecar, "orders", "before").await;
    webhook.wait_until("a delivery", |received| has(received, "before")).await;

    kafka.freeze();
    let began = Instant::now();
    let (mut refused, mut unknown, mut number) = (BTreeSet::new(), BTreeSet::new(), 0);
    let mut slowest = Duration::ZERO;
    while refused.len() < 20 {
        assert!(began.elapsed() < Duration::from_secs(15), "{} are unknown, none refused", unknown.len());
        let mut wave = JoinSet::new();
        for _ in 0..10 {
            let (url, body) = (sidecar.url("/v1/topics/orders/messages"), format!("frozen-{number}"));
            wave.spawn(async move { (timed_at(&url, &body, Some("1s")).await, body) });
            number += 1;
        }
        for ((answer, took), body) in wave.join_all().await {
            let answer = answer.unwrap();
            slowest = slowest.max(took);
            assert!(took < Duration::from_millis(1500), "{} after {took:?}", answer.status);
            match answer.status.as_u16() {
                503 => {
                    is_unavailable(&answer);
                    refused.insert(body);
                }
                504 => {
                    assert_eq!(answer.json()["outcome"], "unknown");
                    unknown.insert(body);
                }
                status => panic!("{body} was answered {status}: {}", answer.text()),
            }
        }
    }
    let known = began.elapsed();
    eventually(PATIENCE, "readiness says so", async || readiness(&sidecar).await.0 == 503).await;

    kafka.thaw();
    let thawed = Instant::now();
    sidecar.until_ready().await;
    let ready = thawed.elapsed();
    eventually(PATIENCE, "it stores again", async || {
        publish(&sidecar, "orders", "after").await.status == 200
    })
    .await;
    let received = webhook.wait_until("a delivery after it", |received| has(received, "after")).await;
    let delivered = bodies(&received);
    let wrong: Vec<_> = refused.intersection(&delivered).collect();
    assert!(wrong.is_empty(), "answered 503, and delivered: {wrong:?}");
    println!(
        "frozen: {} refused, {} unknown of which {} came; slowest answer {slowest:.1?}; refused at once \
         after {known:.1?}; ready {ready:.1?} after the thaw",
        refused.len(),
        unknown.len(),
        unknown.intersection(&delivered).count(),
    );
    ended_with(&sidecar.stop().await, 0);
}

async fn start(kafka: &Kafka, webhook: &Webhook) -> Sidecar {
    Launch::new(SIDESPAN).config(&config(kafka.address(), webhook, "orders")).start().await
}

fn config(brokers: &str, webhook: &Webhook, topic: &str) -> String {
    format!(
        "version: 1\nservice: shop\nbridges:\n  main: {{kind: kafka, brokers: ['{brokers}']}}\n\
         topics: {{orders: {{address: {topic}}}, dead: {{}}}}\n\
         subscriptions:\n  billing: {{topic: orders, start: begin, order: topic, dead_letter: dead, \
         push: {{url: '{}'}}}}\n",
        webhook.url("/")
    )
}

/// Publishes with a deadline of the caller's and tells how long it took.
async fn timed(
    sidecar: &Sidecar,
    body: &str,
    deadline: Option<&str>,
) -> (Result<Response, NoAnswer>, Duration) {
    timed_at(&sidecar.url("/v1/topics/orders/messages"), body, deadline).await
}

async fn timed_at(url: &str, body: &str, deadline: Option<&str>) -> (Result<Response, NoAnswer>, Duration) {
    let mut request = Client::new().post(url, body.to_owned());
    if let Some(deadline) = deadline {
        request = request.header("sidespan-timeout", deadline);
    }
    let began = Instant::now();
    (request.send().await, began.elapsed())
}

#[track_caller]
fn is_unavailable(answer: &Response) {
    let said = answer.json();
    assert_eq!((answer.status.as_u16(), &said["code"]), (503, &"UNAVAILABLE".into()), "{said}");
    assert_eq!((&said["outcome"], &said["retryable"]), (&"not_stored".into(), &true.into()), "{said}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{:?}", answer.headers);
}

fn has(received: &[Received], body: &str) -> bool {
    received.iter().any(|request| request.text() == body)
}

fn bodies(received: &[Received]) -> BTreeSet<String> {
    received.iter().map(|request| request.text().to_owned()).collect()
}
