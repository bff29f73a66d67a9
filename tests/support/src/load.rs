//! Load: keyed messages on their way from publishers to a webhook that fails at random, and what
//! became of them.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::history::{Figures, History, Order, Served, Taken};
use crate::random::Random;
use crate::webhook::{Answer, Received, Webhook};

mod publisher;

pub use publisher::DEADLINE as PUBLISH_DEADLINE;

/// A run: its publishers, its webhook, and what has happened.
#[derive(Debug)]
pub struct Load {
    name: String,
    history: Arc<Mutex<History>>,
    receiver: Arc<Mutex<Receiver>>,
    /// `None` while it is down.
    webhook: Option<Webhook>,
    port: u16,
    publishers: Mutex<JoinSet<()>>,
    consumers: Mutex<JoinSet<()>>,
    enough: CancellationToken,
    began: Instant,
}

/// How a webhook answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It fails at random: 5xx, no answer, a cut connection, late.
    Failing,
    /// It is always answered with this status.
    Refusing(u16),
    /// It is well, and one answer in a hundred takes so long.
    Slow(Duration),
    /// It is well.
    Well,
}

/// The service behind the webhook.
#[derive(Debug)]
struct Receiver {
    manner: Manner,
    random: Random,
}

impl Load {
    /// Starts a webhook that fails at random.
    pub async fn start(name: &str, random: &mut Random) -> Self {
        let history = Arc::new(Mutex::new(History::default()));
        let receiver = Arc::new(Mutex::new(Receiver { manner: Manner::Failing, random: random.fork() }));
        let webhook = listen(0, &history, &receiver).await;
        Self {
            name: name.to_owned(),
            history,
            receiver,
            port: webhook.address().port(),
            webhook: Some(webhook),
            publishers: Mutex::default(),
            consumers: Mutex::default(),
            enough: CancellationToken::new(),
            began: Instant::now(),
        }
    }

    /// Returns where one of the sidecars that share the load delivers, and where all bring the dead
    /// letters.
    pub fn webhooks(&self, member: usize) -> (String, String) {
        let url = |path: &str| format!("http://127.0.0.1:{}{path}", self.port);
        (url(&format!("/{member}")), url(DEAD))
    }

    /// Has the webhook answer in another manner from here on.
    pub fn answer(&self, manner: Manner) {
        lock(&self.receiver).manner = manner;
    }

    /// Takes the webhook away: its connections end, and nobody listens on its port.
    pub async fn close_webhook(&mut self) {
        if let Some(webhook) = self.webhook.take() {
            webhook.close().await;
        }
    }

    /// Brings it back.
    pub async fn open_webhook(&mut self) {
        self.webhook = Some(listen(self.port, &self.history, &self.receiver).await);
    }

    /// Publishes so many messages, of each key one by one, each until it is answered 2xx. `doors`
    /// are the URLs to publish at, taken in turn.
    pub fn publish(&mut self, doors: &[String], messages: usize) {
        for key in 0..KEYS {
            let numbers = messages / KEYS + usize::from(key < messages % KEYS);
            let publisher = publisher::Publisher::new(key, doors, &self.history, &self.enough);
            lock(&self.publishers).spawn(publisher.publish(numbers));
        }
    }

    /// Publishes like [`Load::publish`] until [`Load::enough`].
    pub fn publish_on(&mut self, doors: &[String]) {
        self.publish(doors, usize::MAX);
    }

    /// Has a consumer work until the run ends, which fails as soon as this one does.
    pub fn consume(&mut self, consumer: impl Future<Output = ()> + Send + 'static) {
        lock(&self.consumers).spawn(consumer);
    }

    /// Publishes nothing more.
    pub fn enough(&self) {
        self.enough.cancel();
    }

    /// Notes that a sidecar was killed just now.
    pub fn killed(&self) {
        self.history().killed();
    }

    /// Waits until so many different messages are delivered.
    pub async fn until_delivered(&self, count: usize) {
        self.until(&format!("{count} delivered"), |history| history.delivered() >= count).await;
    }

    /// Waits until so many more are delivered than now.
    pub async fn until_delivered_more(&self, count: usize) {
        let now = self.history().delivered();
        self.until_delivered(now + count).await;
    }

    /// Waits until a member serves some keys, and returns them.
    pub async fn until_serves(&self, member: usize) -> Served {
        let what = format!("member {member} serves a key");
        self.until(&what, |history| !history.served_by(member).is_empty()).await;
        self.history().served_by(member)
    }

    /// Waits until other members have gone on with all these keys, and returns since when.
    pub async fn until_taken_over(&self, served: &Served) -> Instant {
        let mut at = None;
        self.until(&format!("others serve {served:?}"), |history| {
            at = history.taken_over(served);
            at.is_some()
        })
        .await;
        at.expect("it waited for that")
    }

    /// Waits until all is published, and every message accepted or a dead letter; checks the history,
    /// prints the figures and returns them.
    pub async fn finish(&mut self, faults: usize) -> Figures {
        self.until("all is published", |_| lock(&self.publishers).is_empty()).await;
        let published = self.history().published();
        let last = Mutex::new((Instant::now(), 0));
        // What is lost never comes: that is for the checker to say, and not to wait for.
        let settled = |history: &History| {
            let mut last = last.lock().expect("nobody panics with it in hand");
            if history.settled() != last.1 {
                *last = (Instant::now(), history.settled());
            }
            history.settled() >= published || last.0.elapsed() > PATIENCE / 2
        };
        self.until("all is settled", settled).await;
        let checked = self.history().check(published, faults);
        match checked {
            Ok(figures) => {
                println!("{}: {figures}; {:.1?}", self.name, self.began.elapsed());
                figures
            }
            Err(broken) => panic!("{}:\n{}", self.name, broken.join("\n")),
        }
    }

    /// Returns what has happened until now.
    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    /// Waits until a condition holds, for as long as something is published or attempted meanwhile,
    /// and no publisher or consumer has given up.
    async fn until(&self, what: &str, mut condition: impl FnMut(&History) -> bool) {
        let (mut last, mut seen) = (Instant::now(), (0, 0));
        loop {
            see(&self.name, "publisher", &self.publishers);
            see(&self.name, "consumer", &self.consumers);
            let now = {
                let history = self.history();
                if condition(&history) {
                    return;
                }
                (history.published(), history.settled())
            };
            if now != seen {
                (last, seen) = (Instant::now(), now);
            }
            assert!(last.elapsed() < PATIENCE, "{}: nothing moves for {PATIENCE:?}: {what}", self.name);
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Fails as one of them did: what it has yet to do would be waited for in vain.
fn see(run: &str, who: &str, tasks: &Mutex<JoinSet<()>>) {
    let mut ended = std::iter::from_fn(|| lock(tasks).try_join_next());
    let Some(error) = ended.find_map(Result::err) else { return };
    let why = error.into_panic();
    let text = why.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| why.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    panic!("{run}: a {who} gave up: {text}");
}

async fn listen(port: u16, history: &Arc<Mutex<History>>, receiver: &Arc<Mutex<Receiver>>) -> Webhook {
    let (history, receiver) = (Arc::clone(history), Arc::clone(receiver));
    Webhook::start_on(port, move |request| lock(&receiver).receive(request, &mut lock(&history))).await
}

impl Receiver {
    fn receive(&mut self, request: &Received, history: &mut History) -> Answer {
        let order = Order::read(request.text());
        if request.path == DEAD {
            let reason = request.header("sidespan-header-sidespan-dead-reason");
            assert!(!reason.is_empty(), "a dead letter says why: {:?}", request.headers);
            history.dead(order);
            return Answer::ok();
        }
        let member = request.path.trim_start_matches('/').parse().expect("the path of a member");
        let (accepted, answer, takes) = match self.manner {
            Manner::Failing => self.fail(),
            Manner::Refusing(status) => (false, Answer::status(status), Duration::ZERO),
            Manner::Slow(slow) if self.random.chance(1) => (true, Answer::ok(), slow),
            Manner::Slow(_) | Manner::Well => (true, Answer::ok(), Duration::ZERO),
        };
        // What was published twice with one idempotency key has one id, also where both are stored.
        let id = format!("{} {}", request.header("webhook-id"), request.header("sidespan-header-attempt"));
        history.attempt(order, &id, member, Taken { accepted, takes });
        answer.after(takes)
    }

    fn fail(&mut self) -> (bool, Answer, Duration) {
        let takes = Duration::from_millis(self.random.below(10));
        match self.random.below(100) {
            0..5 => (false, Answer::status(500), takes),
            5..7 => (false, Answer::cut(), takes),
            7..8 => (false, Answer::hang(), takes),
            8..10 => (false, Answer::status(503), takes),
            _ => (true, Answer::ok(), takes),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics with it in hand")
}

const KEYS: usize = 40;
const DEAD: &str = "/dead";
/// How long a run may go without a message that is published or settled.
const PATIENCE: Duration = Duration::from_secs(90);
