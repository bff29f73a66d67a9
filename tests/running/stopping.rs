//! Stopping: nothing that was accepted is lost, nothing is cut off without a word, and no deadline
//! is passed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidespan_test_support::{Answer, Client, Launch, Received, Sidecar, Signal, Webhook, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{PATIENCE, SIDESPAN, ended_with, probe, publish, readiness, store};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_under_load_delivers_all_that_it_accepted() {
    let gate = CancellationToken::new();
    let webhook = slow_webhook(&gate).await;
    let mut sidecar = start(&webhook, "").await;
    store(&sidecar, "orders", "slow").await;

    let mut load = Load::start(&sidecar, 8);
    webhook.wait_until("deliveries under load", |received| received.len() >= 200).await;
    sidecar.signal(Signal::Terminate);
    until_draining(&sidecar).await;
    let mut stored = vec!["slow".to_owned()];
    // The service beside us may still have something to say.
    for number in 0..20 {
        let body = format!("late-{number}");
        store(&sidecar, "orders", &body).await;
        stored.push(body);
    }
    gate.cancel();
    let ended = sidecar.ended().await;
    ended_with(&ended, 0);
    let (answered, unanswered) = load.stop().await;
    stored.extend(answered);
    let said = last_line(&ended.stderr);
    assert_eq!((&said["message"], &said["attempts_left"]), (&json!("stopped"), &json!(0)), "{said}");
    assert_eq!(said["connections_cut"], 0, "{said}");
    let before = accepted(&webhook.received());
    assert!(before.keys().all(|body| !body.starts_with("late")), "a drain starts no new deliveries");
    let left = stored.iter().filter(|body| !before.contains_key(*body)).count();
    println!(
        "stopped under load: {} stored, {left} of them not delivered yet, {unanswered} publishes refused",
        stored.len()
    );

    sidecar.start_again().await;
    webhook
        .wait_until("all that was stored", |received| {
            let accepted = accepted(received);
            stored.iter().all(|body| accepted.contains_key(body))
        })
        .await;
    let twice: Vec<_> = accepted(&webhook.received()).into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(twice.is_empty(), "a polite stop repeats nothing: {twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_hangs_keeps_no_server_and_buries_no_message() {
    let webhook = Webhook::start(|_| Answer::hang()).await;
    // One attempt is all that a message has: a stop must not use it up.
    let more = "    retry: {max_attempts: 1}\n    order: ORDER\ndrain: {deliveries: 1s, shutdown: 1s}\n";
    for order in ["none", "key", "topic"] {
        webhook.follow(|_| Answer::hang());
        let mut sidecar = start(&webhook, &more.replace("ORDER", order)).await;
        let seen = webhook.received().len();
        // Messages without a key have no place in a key's order.
        let running = if order == "topic" { 1 } else { 3 };
        for number in 0..3 {
            store(&sidecar, "orders", &format!("{order}-{number}")).await;
        }
        webhook.wait_until("attempts that hang", |received| received.len() == seen + running).await;

        let began = Instant::now();
        let ended = sidecar.stop().await;
        let took = began.elapsed();
        ended_with(&ended, 1);
        assert!(took >= Duration::from_secs(1), "it gave what runs its time: {took:?}");
        assert!(took < Duration::from_secs(4), "it went by its deadlines: {took:?}");
        let said = last_line(&ended.stderr);
        assert_eq!((&said["message"], &said["level"]), (&json!("stopped"), &json!("WARN")), "{said}");
        assert_eq!((&said["attempts_left"], &said["held"]), (&json!(running), &json!(3)), "{said}");

        webhook.follow(|_| Answer::ok());
        sidecar.start_again().await;
        webhook
            .wait_until("the messages come again", |received| {
                let accepted = accepted(received);
                (0..3).all(|number| accepted.contains_key(&format!("{order}-{number}")))
            })
            .await;
        let (_, said) = readiness(&sidecar).await;
        assert_eq!(said["subscriptions"][0]["dead_lettered"], 0, "{said}");
        assert_eq!(first_dead_letter(&sidecar).await, "none before this");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let webhook = Webhook::start(|_| Answer::hang()).await;
    for (first, second) in [(Signal::Terminate, Signal::Interrupt), (Signal::Interrupt, Signal::Terminate)] {
        webhook.follow(|_| Answer::hang());
        let seen = webhook.received().len();
        let mut sidecar = start(&webhook, "").await;
        store(&sidecar, "orders", "x").await;
        webhook.wait_until("an attempt that hangs", |received| received.len() > seen).await;
        sidecar.signal(first);
        until_draining(&sidecar).await;
        let began = Instant::now();
        sidecar.signal(second);
        let ended = sidecar.ended().await;
        ended_with(&ended, 1);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let said = last_line(&ended.stderr);
        assert!(said["error"].as_str().unwrap().contains("second signal"), "{said}");

        webhook.follow(|_| Answer::ok());
        sidecar.start_again().await;
        let again = |received: &[Received]| received.iter().skip(seen).any(|r| r.answered.is_some());
        webhook.wait_until("the message comes again", again).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_deliveries_and_leaves_the_publish_door_open() {
    let gate = CancellationToken::new();
    let webhook = slow_webhook(&gate).await;
    let mut sidecar = start(&webhook, "").await;
    store(&sidecar, "orders", "slow").await;
    webhook.wait_until("an attempt that is slow", |received| received.len() == 1).await;

    let url = sidecar.admin_url("/drain");
    let (client, other) = (Client::new(), Client::new());
    let mut drains = JoinSet::new();
    for client in [client.clone(), other] {
        let request = client.post(&url, "");
        drains.spawn(request.send());
    }
    until_draining(&sidecar).await;
    for number in 0..5 {
        store(&sidecar, "orders", &format!("late-{number}")).await;
    }
    assert!(drains.try_join_next().is_none(), "a drain waits for what runs");
    gate.cancel();
    for drained in drains.join_all().await {
        let drained = drained.unwrap();
        assert_eq!((drained.status.as_u16(), drained.json()), (200, json!({"attempts": 0})));
    }

    // Again, and as a preStop hook does it: the same answer, at once.
    let again = client.post(&url, "").send().await.unwrap();
    assert_eq!((again.status.as_u16(), again.json()), (200, json!({"attempts": 0})));
    let admin = sidecar.admin_url("");
    let hook = Launch::new(SIDESPAN).arguments(&["drain", "--admin", &admin]).run_to_end().await;
    ended_with(&hook, 0);
    assert_eq!(hook.stdout, "drained\n");
    let (status, said) = readiness(&sidecar).await;
    assert_eq!((status, &said["draining"]), (503, &json!(true)), "{said}");
    assert_eq!(said["subscriptions"][0]["state"], "drained", "{said}");
    for path in ["/livez", "/startupz", "/readyz/listeners", "/readyz/publish"] {
        let (status, said) = probe(&sidecar, path).await;
        assert_eq!(status, 200, "{path}: nobody may restart what drains, and it takes messages: {said}");
    }
    store(&sidecar, "orders", "later").await;

    let ended = sidecar.stop().await;
    ended_with(&ended, 0);
    assert_eq!(webhook.received().len(), 1, "no delivery began after the drain");
    sidecar.start_again().await;
    let got = webhook.wait_until("the rest", |received| accepted(received).len() == 7).await;
    assert_eq!(got.len(), 7, "nothing came twice");
}

/// Starts a server with one subscription of `orders`, whose section `more` goes on.
async fn start(webhook: &Webhook, more: &str) -> Sidecar {
    let config = format!(
        "version: 1\nservice: shop\nbridges:\n  local: {{kind: embedded, dir: data}}\n\
         topics: {{orders: {{}}, dead: {{}}}}\n\
         subscriptions:\n  billing:\n    topic: orders\n    start: begin\n    dead_letter: dead\n    \
         push: {{url: '{}', timeout: 60s}}\n{more}",
        webhook.url("/")
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    sidecar
}

/// A webhook that takes what is `slow` once the gate opens.
async fn slow_webhook(gate: &CancellationToken) -> Webhook {
    let gate = gate.clone();
    Webhook::start(move |request| match request.text() {
        "slow" => Answer::ok().once(&gate),
        _ => Answer::ok(),
    })
    .await
}

async fn until_draining(sidecar: &Sidecar) {
    eventually(PATIENCE, "it says that it drains", async || {
        let (status, said) = readiness(sidecar).await;
        status == 503 && said["draining"] == true
    })
    .await;
}

/// Publishers that go on until the server is gone.
struct Load {
    stopped: Arc<AtomicBool>,
    publishers: JoinSet<(Vec<String>, usize)>,
}

impl Load {
    fn start(sidecar: &Sidecar, publishers: usize) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let mut running = JoinSet::new();
        for publisher in 0..publishers {
            let (url, stopped) = (sidecar.url("/v1/topics/orders/messages"), stopped.clone());
            running.spawn(async move {
                let client = Client::new();
                let (mut stored, mut refused) = (Vec::new(), 0);
                for number in 0.. {
                    if stopped.load(Ordering::Relaxed) {
                        break;
                    }
                    let body = format!("{publisher}-{number}");
                    match client.post(&url, body.clone()).send().await {
                        Ok(answer) if answer.status == 200 => stored.push(body),
                        Ok(answer) if answer.status == 503 => refused += 1,
                        Ok(answer) => panic!("{body}: {} {}", answer.status, answer.text()),
                        Err(_) => {
                            refused += 1;
                            break;
                        }
                    }
                }
                (stored, refused)
            });
        }
        Self { stopped, publishers: running }
    }

    /// Ends it; returns what was stored, and how many publishes were not.
    async fn stop(&mut self) -> (Vec<String>, usize) {
        self.stopped.store(true, Ordering::Relaxed);
        let mut all = (Vec::new(), 0);
        while let Some(publisher) = self.publishers.join_next().await {
            let (stored, refused) = publisher.unwrap();
            all.0.extend(stored);
            all.1 += refused;
        }
        all
    }
}

/// Returns how often each body was answered 200.
fn accepted(received: &[Received]) -> BTreeMap<String, usize> {
    let mut bodies = BTreeMap::new();
    for request in received.iter().filter(|r| r.answered.is_some_and(|status| status == 200)) {
        *bodies.entry(request.text().to_owned()).or_default() += 1;
    }
    bodies
}

fn last_line(stderr: &str) -> Value {
    let line = stderr.lines().last().expect("it said something");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Publishes a marker to the place of dead letters and returns the first message that is there.
async fn first_dead_letter(sidecar: &Sidecar) -> String {
    assert_eq!(publish(sidecar, "dead", "none before this").await.status, 200);
    let url = sidecar.url("/v1/topics/dead/stream?start=begin");
    let mut stream = Client::new().get(&url).open().await.unwrap();
    let mut text = String::new();
    let first = async {
        while let Some(piece) = stream.next().await {
            text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            let data = text.lines().find_map(|line| line.strip_prefix("data:"));
            if let Some(message) = data.and_then(|data| serde_json::from_str::<Value>(data).ok()) {
                return message["text"].as_str().unwrap().to_owned();
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(PATIENCE, first).await.expect("a dead letter or the marker")
}
