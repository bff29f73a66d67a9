//! Publishers, the webhook, and how far they are.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sidespan_test_support::history::{History, Order};
use sidespan_test_support::{Answer, Client, Random, Webhook, eventually};
use tokio::task::JoinSet;

use crate::dead_letters;

const KEYS: usize = 40;
/// How many messages publishers may be ahead of the deliveries, so that what is killed is killed
/// while both go on.
const LEAD: usize = 1000;
/// How long a run may go without an end.
const PATIENCE: Duration = Duration::from_secs(240);

/// One run: its webhook, and what has happened.
pub(crate) struct Run {
    name: &'static str,
    messages: usize,
    history: Arc<Mutex<History>>,
    webhook: Webhook,
    began: Instant,
}

impl Run {
    /// Starts a webhook that fails at random: 5xx, no answer, a cut connection.
    pub(crate) async fn start(name: &'static str, random: &mut Random) -> Self {
        let history = Arc::new(Mutex::new(History::default()));
        let seen = history.clone();
        let mut random = random.fork();
        let webhook = Webhook::start(move |request| {
            let order = Order::read(request.text());
            let (accepted, answer) = match random.below(100) {
                0..5 => (false, Answer::status(500)),
                5..7 => (false, Answer::cut()),
                7..8 => (false, Answer::hang()),
                8..10 => (false, Answer::status(503)),
                _ => (true, Answer::ok()),
            };
            lock(&seen).attempt(order, accepted);
            answer
        })
        .await;
        Self { name, messages: messages(), history, webhook, began: Instant::now() }
    }

    /// Returns where the webhook is.
    pub(crate) fn webhook_url(&self) -> String {
        self.webhook.url("/")
    }

    /// Publishes all messages, each until it is answered 2xx, the messages of a key one by one.
    pub(crate) fn publish_to(&self, url: &str) -> JoinSet<()> {
        let mut publishers = JoinSet::new();
        for key in 0..KEYS {
            let (url, history, client) = (url.to_owned(), self.history.clone(), Client::new());
            let messages = (self.messages + KEYS - 1 - key) / KEYS;
            publishers.spawn(async move {
                for number in 0..messages {
                    while lock(&history).lead() >= LEAD {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    publish(&client, &url, Order { key, number }, &history).await;
                }
            });
        }
        publishers
    }

    /// Waits until so many different messages are delivered.
    pub(crate) async fn until_delivered(&self, count: usize) {
        let what = format!("{}: {count} of {} delivered", self.name, self.messages);
        eventually(PATIENCE, &what, async || lock(&self.history).delivered() >= count).await;
    }

    /// Waits until every message is accepted or a dead letter, checks the history and prints the
    /// figures. `dead_letters` is where a stream of the dead letters is to be had.
    pub(crate) async fn finish(&self, publishers: JoinSet<()>, dead_letters: &str, kills: usize) {
        let all = tokio::time::timeout(PATIENCE, publishers.join_all()).await;
        assert!(all.is_ok(), "{}: publishers still try after {PATIENCE:?}", self.name);
        let what = format!("{}: all {} delivered or dead letters", self.name, self.messages);
        eventually(PATIENCE, &what, async || {
            let dead = dead_letters::read(dead_letters).await;
            let mut history = lock(&self.history);
            history.dead(dead);
            history.settled() >= self.messages
        })
        .await;
        let took = self.began.elapsed();
        match lock(&self.history).check(self.messages, kills) {
            Ok(figures) => println!("{}: {figures}; {took:.1?}", self.name),
            Err(broken) => panic!("{}:\n{}", self.name, broken.join("\n")),
        }
    }
}

async fn publish(client: &Client, url: &str, order: Order, history: &Mutex<History>) {
    loop {
        let request = client
            .post(url, order.to_string())
            .header("content-type", "text/plain")
            .header("sidespan-key", order.key.to_string())
            .header("idempotency-key", format!("{}-{}", order.key, order.number));
        match request.send().await {
            Ok(answer) if answer.status.is_success() => return lock(history).stored(order),
            Ok(answer) if answer.status.is_server_error() || answer.status == 429 => {}
            Ok(answer) => panic!("{order} was refused: {} {}", answer.status, answer.text()),
            Err(_) => {}
        }
        lock(history).publish_failed();
        // As a client would that was told to try again.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns at how many delivered messages to kill, ascending, spread at random over the run.
pub(crate) fn kills(random: &mut Random, count: usize) -> Vec<usize> {
    let part = messages() / (count + 1);
    (0..count).map(|kill| part / 2 + kill * part + random.below(part as u64) as usize).collect()
}

fn messages() -> usize {
    std::env::var("SIDESPAN_MESSAGES")
        .map_or(5_000, |count| count.parse().expect("SIDESPAN_MESSAGES is a number"))
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().expect("no test panics with the history in hand")
}
