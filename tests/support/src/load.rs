//! Load: keyed messages on their way from publishers to a webhook that fails at random, and what
//! became of them.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::eventually::eventually;
use crate::history::{History, Order, Served};
use crate::random::Random;
use crate::webhook::{Answer, Received, Webhook};

mod publisher;

/// A run: its publishers, its webhook, and what has happened.
#[derive(Debug)]
pub struct Load {
    name: &'static str,
    history: Arc<Mutex<History>>,
    webhook: Webhook,
    publishers: JoinSet<()>,
    enough: CancellationToken,
    began: Instant,
}

impl Load {
    /// Starts a webhook that fails at random: 5xx, no answer, a cut connection, late.
    pub async fn start(name: &'static str, random: &mut Random) -> Self {
        let history = Arc::new(Mutex::new(History::default()));
        let (seen, mut random) = (Arc::clone(&history), random.fork());
        let webhook = Webhook::start(move |request| receive(request, &mut lock(&seen), &mut random)).await;
        Self {
            name,
            history,
            webhook,
            publishers: JoinSet::new(),
            enough: CancellationToken::new(),
            began: Instant::now(),
        }
    }

    /// Returns where one of the sidecars that share the load delivers, and where all bring the dead
    /// letters.
    pub fn webhooks(&self, member: usize) -> (String, String) {
        (self.webhook.url(&format!("/{member}")), self.webhook.url(DEAD))
    }

    /// Publishes so many messages, of each key one by one, each until it is answered 2xx. `doors`
    /// are the URLs to publish at, taken in turn.
    pub fn publish(&mut self, doors: &[String], messages: usize) {
        for key in 0..KEYS {
            let numbers = messages / KEYS + usize::from(key < messages % KEYS);
            let publisher = publisher::Publisher::new(key, doors, &self.history, &self.enough);
            self.publishers.spawn(publisher.publish(numbers));
        }
    }

    /// Publishes like [`Load::publish`] until [`Load::enough`].
    pub fn publish_on(&mut self, doors: &[String]) {
        self.publish(doors, usize::MAX);
    }

    /// Publishes nothing more.
    pub fn enough(&self) {
        self.enough.cancel();
    }

    /// Waits until so many different messages are delivered.
    pub async fn until_delivered(&self, count: usize) {
        let what = format!("{}: {count} delivered", self.name);
        eventually(PATIENCE, &what, async || self.history().delivered() >= count).await;
    }

    /// Waits until so many more are delivered than now.
    pub async fn until_delivered_more(&self, count: usize) {
        let now = self.history().delivered();
        self.until_delivered(now + count).await;
    }

    /// Waits until a member serves some keys, and returns them.
    pub async fn until_serves(&self, member: usize) -> Served {
        let what = format!("{}: member {member} serves a key", self.name);
        eventually(PATIENCE, &what, async || !self.history().served_by(member).is_empty()).await;
        self.history().served_by(member)
    }

    /// Waits until other members have gone on with all these keys, and returns since when.
    pub async fn until_taken_over(&self, served: &Served) -> Instant {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.history().taken_over(served) {
                return at;
            }
            assert!(Instant::now() < end, "{}: after {PATIENCE:?} nobody serves {served:?}", self.name);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until all is published, and every message accepted or a dead letter; checks the history
    /// and prints the figures.
    pub async fn finish(&mut self, faults: usize) {
        let publishers = std::mem::take(&mut self.publishers);
        let all = tokio::time::timeout(PATIENCE, publishers.join_all()).await;
        assert!(all.is_ok(), "{}: publishers still try after {PATIENCE:?}", self.name);
        let published = self.history().published();
        let end = Instant::now() + PATIENCE;
        while self.history().settled() < published && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
        match self.history().check(published, faults) {
            Ok(figures) => println!("{}: {figures}; {:.1?}", self.name, self.began.elapsed()),
            Err(broken) => panic!("{}:\n{}", self.name, broken.join("\n")),
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }
}

fn receive(request: &Received, history: &mut History, random: &mut Random) -> Answer {
    let order = Order::read(request.text());
    if request.path == DEAD {
        let reason = request.header("sidespan-header-sidespan-dead-reason");
        assert!(!reason.is_empty(), "a dead letter says why: {:?}", request.headers);
        history.dead(order);
        return Answer::ok();
    }
    let member = request.path.trim_start_matches('/').parse().expect("the path of a member");
    let (accepted, answer) = match random.below(100) {
        0..5 => (false, Answer::status(500)),
        5..7 => (false, Answer::cut()),
        7..8 => (false, Answer::hang()),
        8..10 => (false, Answer::status(503)),
        _ => (true, Answer::ok()),
    };
    history.attempt(order, member, accepted);
    answer.after(Duration::from_millis(random.below(10)))
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().expect("no test panics with the history in hand")
}

const KEYS: usize = 40;
const DEAD: &str = "/dead";
/// How long a run may go without an end.
const PATIENCE: Duration = Duration::from_secs(90);
