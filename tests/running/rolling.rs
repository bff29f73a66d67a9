//! Two sidecars that share a subscription are restarted one after the other, as a deployment does.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sidespan_test_support::history::{History, Order};
use sidespan_test_support::{Answer, Client, Kafka, Launch, Random, Webhook, eventually, unique_name};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{SIDESPAN, ended_with};

const KEYS: usize = 40;
/// How many messages publishers may be ahead, so that members leave and join under load.
const LEAD: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing_and_keeps_keys_in_order() {
    let kafka = Kafka::shared().await;
    let (orders, dead) = (unique_name("orders"), unique_name("dead"));
    kafka.create_topic(&orders, 6).await;
    kafka.create_topic(&dead, 1).await;
    let history = Arc::new(Mutex::new(History::default()));
    let (seen, mut random) = (history.clone(), Random::from_env());
    let webhook = Webhook::start(move |request| {
        let accepted = !random.chance(2);
        lock(&seen).attempt(Order::read(request.text()), 0, accepted);
        let answer = if accepted { Answer::ok() } else { Answer::status(500) };
        answer.after(Duration::from_millis(random.below(60)))
    })
    .await;
    let config = format!(
        "version: 1\nservice: {}\nbridges:\n  main: {{kind: kafka, brokers: ['{}']}}\n\
         topics: {{orders: {{address: {orders}}}, dead: {{address: {dead}}}}}\n\
         subscriptions:\n  billing:\n    topic: orders\n    start: begin\n    order: key\n    \
         dead_letter: dead\n    push: {{url: '{}'}}\n    \
         retry: {{max_attempts: 1000, backoff: {{base: 5ms, cap: 100ms}}}}\n",
        unique_name("rolling"),
        kafka.address(),
        webhook.url("/")
    );
    let mut members = [
        Launch::new(SIDESPAN).config(&config).start().await,
        Launch::new(SIDESPAN).config(&config).start().await,
    ];
    for member in &members {
        member.until_ready().await;
    }
    let began = Instant::now();
    let urls = members.each_ref().map(|member| member.url("/v1/topics/orders/messages"));
    let (mut publishers, rolled) = (JoinSet::new(), CancellationToken::new());
    for key in 0..KEYS {
        publishers.spawn(publish_until(rolled.clone(), key, urls.clone(), history.clone()));
    }
    for (turn, member) in members.iter_mut().enumerate() {
        until_delivered(&history, 200 + turn * 800).await;
        let asked = Instant::now();
        ended_with(&member.stop().await, 0);
        let stopped = asked.elapsed();
        // The other one goes on alone.
        let delivered = lock(&history).delivered();
        until_delivered(&history, delivered + 200).await;
        member.start_again().await;
        member.until_ready().await;
        println!("rolling: member {turn} stopped in {stopped:.1?}, ready {:.1?} after that", asked.elapsed());
    }
    rolled.cancel();
    let all = tokio::time::timeout(PATIENCE, publishers.join_all()).await;
    assert!(all.is_ok(), "publishers still try after {PATIENCE:?}");
    let published = lock(&history).published();
    until_delivered(&history, published).await;
    for member in &mut members {
        ended_with(&member.stop().await, 0);
    }
    match lock(&history).check(published, 0) {
        Ok(figures) => println!("rolling: {figures}; {:.1?}", began.elapsed()),
        Err(broken) => panic!("{}", broken.join("\n")),
    }
}

/// Publishes messages of a key one by one, to one member or the other, each until it is stored.
async fn publish_until(
    rolled: CancellationToken,
    key: usize,
    urls: [String; 2],
    history: Arc<Mutex<History>>,
) {
    let client = Client::new();
    let mut turn = key;
    for number in 0.. {
        while lock(&history).lead() >= LEAD && !rolled.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if rolled.is_cancelled() {
            return;
        }
        let order = Order { key, number };
        loop {
            turn += 1;
            let request = client
                .post(&urls[turn % 2], order.to_string())
                .header("content-type", "text/plain")
                .header("sidespan-key", key.to_string());
            match request.send().await {
                Ok(answer) if answer.status == 200 => break,
                Ok(answer) if answer.status.is_server_error() => {}
                Ok(answer) => panic!("{order} was refused: {} {}", answer.status, answer.text()),
                Err(_) => {}
            }
            lock(&history).publish_failed();
        }
        lock(&history).stored(order);
    }
}

async fn until_delivered(history: &Mutex<History>, count: usize) {
    let what = format!("{count} delivered");
    eventually(PATIENCE, &what, async || lock(history).delivered() >= count).await;
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().expect("no test panics with the history in hand")
}
