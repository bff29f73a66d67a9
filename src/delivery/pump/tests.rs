//! What the embedded log never does: it revokes nothing, and our own code does not panic.

use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use sidespan_bridge::{
    AckToken, Guarantee, Lag, Message, Pattern, Role, Settle, Settled, Settlement, Start, Topic, Verdict,
    Window,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::config::{self, CloudEventsMode, Name, Push, PushProtocol, Retry};
use crate::delivery::letter::Letter;
use crate::delivery::status::Board;
use crate::delivery::target::{Answer, Reply, Target};

mod stories;

#[tokio::test]
async fn what_is_lost_is_dropped_and_what_runs_may_finish() {
    let mut play = Play::start(Order::Key, 1, Guarantee::AtLeastOnce);
    play.deliver("running", "a", 1);
    let running = play.attempt("running").await;
    play.deliver("queued behind it", "a", 1);
    play.deliver("queued for a slot", "b", 1);
    play.lose(1);
    assert!(play.settled_are(&["queued behind it", "queued for a slot"], RELEASED).await);
    running.answer(200);
    assert_eq!(play.settled().await, ("running".into(), Verdict::Accept));
    play.deliver("of the next epoch", "a", 2);
    play.attempt("of the next epoch").await.answer(200);
    assert_eq!(play.settled().await, ("of the next epoch".into(), Verdict::Accept));
}

#[tokio::test]
async fn a_lane_stays_busy_until_the_attempt_of_the_lost_epoch_has_ended() {
    let mut play = Play::start(Order::Key, 4, Guarantee::AtLeastOnce);
    play.deliver("old", "a", 1);
    let old = play.attempt("old").await;
    play.lose(1);
    play.deliver("new", "a", 2);
    play.deliver("another key", "b", 2);
    play.attempt("another key").await.answer(200);
    assert_eq!(play.settled().await.0, "another key");
    old.answer(500);
    assert_eq!(play.settled().await, ("old".into(), RELEASED), "a failed attempt is not followed by another");
    play.attempt("new").await;
}

#[tokio::test]
async fn a_message_that_waits_for_its_next_attempt_is_lost_too() {
    let mut play = Play::start(Order::None, 1, Guarantee::AtLeastOnce);
    play.deliver("failing", "a", 1);
    play.attempt("failing").await.answer(500);
    // Its wait is an hour.
    play.deliver("next", "a", 1);
    let next = play.attempt("next").await;
    play.lose(1);
    assert_eq!(play.settled().await, ("failing".into(), RELEASED));
    next.answer(200);
    assert_eq!(play.settled().await, ("next".into(), Verdict::Accept));
}

#[tokio::test]
async fn a_slot_that_lost_messages_waited_for_is_free_for_others() {
    let mut play = Play::start(Order::None, 1, Guarantee::AtLeastOnce);
    play.base(Duration::from_millis(1));
    play.deliver_to("other", "failing", "a", 1);
    let failing = play.attempt("failing").await;
    play.deliver("lost", "a", 1);
    play.lose(1);
    assert_eq!(play.settled().await, ("lost".into(), RELEASED));
    failing.answer(500);
    play.attempt("failing").await.answer(200);
    assert_eq!(play.settled().await, ("failing".into(), Verdict::Accept));
}

#[tokio::test]
async fn an_attempt_is_cut_off_when_its_delivery_is_no_longer_ours() {
    let mut play = Play::start(Order::Key, 1, Guarantee::AtLeastOnce);
    let lost = play.deliver("cut off", "a", 1);
    let attempt = play.attempt("cut off").await;
    lost.cancel();
    assert_eq!(play.settled().await, ("cut off".into(), RELEASED));
    assert!(attempt.reply.is_closed());
}

#[tokio::test]
async fn a_panic_releases_one_message_and_stops_no_other() {
    let mut play = Play::start(Order::None, 2, Guarantee::AtLeastOnce);
    play.deliver("panics", "a", 1);
    play.attempt("panics").await.panic();
    assert_eq!(play.settled().await, ("panics".into(), RELEASED));
    play.deliver("next", "a", 1);
    play.attempt("next").await.answer(200);
    assert_eq!(play.settled().await, ("next".into(), Verdict::Accept));
}

#[tokio::test]
async fn a_panic_where_order_matters_begins_the_subscription_again() {
    let mut play = Play::start(Order::Key, 2, Guarantee::AtLeastOnce);
    play.deliver("panics", "a", 1);
    play.deliver("behind it", "a", 1);
    play.deliver("another key", "b", 1);
    let panics = play.attempt("panics").await;
    let other = play.attempt("another key").await;
    panics.panic();
    assert_eq!(play.settled().await, ("panics".into(), RELEASED));
    other.answer(200);
    assert_eq!(play.settled().await, ("another key".into(), Verdict::Accept), "what runs is finished");
    assert_eq!(play.settled().await, ("behind it".into(), RELEASED), "after the group was left");
    assert!(matches!(play.ended().await, Err(Broken::Courier)));
}

#[tokio::test]
async fn a_broken_subscription_is_left_only_when_its_attempts_have_ended() {
    let mut play = Play::start(Order::Key, 2, Guarantee::AtLeastOnce);
    play.deliver("running", "a", 1);
    let running = play.attempt("running").await;
    play.break_off();
    tokio::task::yield_now().await;
    assert!(!play.task.is_finished());
    running.answer(200);
    assert_eq!(play.settled().await, ("running".into(), Verdict::Accept));
    assert!(matches!(play.ended().await, Err(Broken::Bridge(_))));
}

#[tokio::test]
async fn at_most_once_delivers_only_what_the_broker_confirmed() {
    let mut play = Play::start(Order::None, 2, Guarantee::AtMostOnce);
    play.settlement = Settlement::Stale;
    play.deliver("unconfirmed", "a", 1);
    assert_eq!(play.settled().await, ("unconfirmed".into(), Verdict::Accept));
    play.settlement = Settlement::Confirmed;
    play.deliver("confirmed", "a", 1);
    assert_eq!(play.settled().await, ("confirmed".into(), Verdict::Accept));
    play.attempt("confirmed").await.answer(500);
    play.deliver("last", "a", 1);
    assert_eq!(play.settled().await.0, "last");
    play.attempt("last").await;
}

const RELEASED: Verdict = Verdict::Release { after: Duration::ZERO };

/// A pump between a broker and a target that do what the test says.
struct Play {
    events: Option<mpsc::UnboundedSender<Result<Event, Error>>>,
    attempts: mpsc::UnboundedReceiver<Attempt>,
    settle: mpsc::UnboundedSender<(String, Verdict)>,
    settled: mpsc::UnboundedReceiver<(String, Verdict)>,
    settlement: Settlement,
    task: JoinHandle<Result<(), Broken>>,
    parts: Option<(config::Subscription, Orders, Script, Arc<dyn Target>)>,
    _close: watch::Sender<Option<Instant>>,
}

impl Play {
    fn start(order: Order, max_in_flight: usize, guarantee: Guarantee) -> Self {
        let (events, script) = mpsc::unbounded_channel();
        let (post, attempts) = mpsc::unbounded_channel();
        let (settle, settled) = mpsc::unbounded_channel();
        let (close, closed) = watch::channel(None);
        let wish = subscription(order, max_in_flight, guarantee);
        let orders = Orders { drain: CancellationToken::new(), close: closed };
        let parts = Some((wish, orders, Script(script), Arc::new(Posts(post)) as Arc<dyn Target>));
        let task = tokio::spawn(async { Ok(()) });
        let settlement = Settlement::Confirmed;
        Self { events: Some(events), attempts, settle, settled, settlement, task, parts, _close: close }
    }

    /// Sets the first wait; before anything is delivered.
    fn base(&mut self, base: Duration) {
        if let Some((wish, ..)) = &mut self.parts {
            wish.retry.base = base;
        }
    }

    /// Sets all waits; before anything is delivered.
    fn waits(&mut self, wait: Duration) {
        if let Some((wish, ..)) = &mut self.parts {
            (wish.retry.base, wish.retry.cap) = (wait, wait);
        }
    }

    fn run(&mut self) {
        if let Some((wish, orders, script, target)) = self.parts.take() {
            let desk = Arc::new(Desk::new(wish, target, None, None, Arc::new(Board::new(None)), None));
            self.task = tokio::spawn(async move { run(&desk, Box::new(script), orders).await });
        }
    }

    fn send(&mut self, event: Result<Event, Error>) {
        self.run();
        self.events.as_ref().unwrap().send(event).unwrap();
    }

    fn deliver(&mut self, body: &str, key: &str, epoch: u64) -> CancellationToken {
        self.deliver_to("shard", body, key, epoch)
    }

    fn deliver_to(&mut self, shard: &str, body: &str, key: &str, epoch: u64) -> CancellationToken {
        let lost = CancellationToken::new();
        let message = Message {
            payload: Some(body.to_owned().into()),
            key: Some(key.to_owned().into()),
            ..Message::default()
        };
        let delivery = Delivery {
            message,
            topic: Topic::new("orders"),
            shard: Shard::new(shard),
            epoch: Epoch(epoch),
            position: None,
            redelivered: None,
            lost: lost.clone(),
            ack: AckToken::new(Ack {
                body: body.to_owned(),
                settle: self.settle.clone(),
                settlement: self.settlement,
            }),
        };
        self.send(Ok(Event::Delivery(delivery)));
        lost
    }

    fn lose(&mut self, epoch: u64) {
        self.lose_of("shard", epoch);
    }

    fn lose_of(&mut self, shard: &str, epoch: u64) {
        let finish_by = Instant::now() + PATIENCE;
        self.send(Ok(Event::Lost { shard: Shard::new(shard), epoch: Epoch(epoch), finish_by }));
    }

    fn break_off(&mut self) {
        self.send(Err(sidespan_bridge::Fault::Unavailable.into()));
    }

    /// Waits for the next attempt, which must be of this message.
    async fn attempt(&mut self, body: &str) -> Attempt {
        let attempt = timeout(PATIENCE, self.attempts.recv()).await.expect("an attempt").unwrap();
        assert_eq!(attempt.body, body);
        attempt
    }

    async fn settled(&mut self) -> (String, Verdict) {
        timeout(PATIENCE, self.settled.recv()).await.expect("a settlement").unwrap()
    }

    async fn settled_are(&mut self, bodies: &[&str], verdict: Verdict) -> bool {
        let mut all = Vec::new();
        for _ in bodies {
            let (body, found) = self.settled().await;
            assert_eq!(found, verdict);
            all.push(body);
        }
        bodies.iter().all(|body| all.iter().any(|found| found == body))
    }

    async fn ended(&mut self) -> Result<(), Broken> {
        timeout(PATIENCE, &mut self.task).await.expect("an end").unwrap()
    }
}

struct Script(mpsc::UnboundedReceiver<Result<Event, Error>>);

#[async_trait]
impl Subscription for Script {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.0.recv().await
    }

    fn control(&self) -> Arc<dyn Control> {
        Arc::new(Steering)
    }
}

struct Steering;

#[async_trait]
impl Control for Steering {
    fn stop_intake(&self) {}

    fn role(&self) -> Role {
        Role::Active
    }

    async fn lag(&self) -> Result<Lag, Error> {
        Ok(Lag::default())
    }

    async fn close(&self, _: Instant) -> Result<(), Error> {
        Ok(())
    }
}

struct Ack {
    body: String,
    settle: mpsc::UnboundedSender<(String, Verdict)>,
    settlement: Settlement,
}

impl Settle for Ack {
    fn settle(self: Box<Self>, verdict: Verdict) -> Settled {
        // At the end of a test nobody listens any more.
        let _ = self.settle.send((self.body, verdict));
        Settled::ready(self.settlement)
    }
}

struct Posts(mpsc::UnboundedSender<Attempt>);

struct Attempt {
    body: String,
    reply: oneshot::Sender<Option<Reply>>,
}

impl Attempt {
    fn answer(self, status: u16) {
        self.reply.send(Some(Reply::Answered(Answer { status, ..Answer::default() }))).unwrap();
    }

    fn panic(self) {
        self.reply.send(None).unwrap();
    }
}

#[async_trait]
impl Target for Posts {
    async fn post(&self, letter: &Arc<Letter>, _: u32, _: Option<HeaderValue>) -> Option<Reply> {
        let (reply, replied) = oneshot::channel();
        let body = String::from_utf8(letter.message.payload.clone().unwrap().to_vec()).unwrap();
        self.0.send(Attempt { body, reply }).unwrap();
        match replied.await {
            Ok(reply) => Some(reply.expect("a panic that the test asked for")),
            Err(_) => std::future::pending().await,
        }
    }
}

fn subscription(order: Order, max_in_flight: usize, guarantee: Guarantee) -> config::Subscription {
    let hour = Duration::from_secs(3600);
    config::Subscription {
        name: Name::parse("billing").unwrap(),
        bridge: Name::parse("main").unwrap(),
        topic: "orders".into(),
        pattern: Pattern::parse("orders").unwrap(),
        group: "test.billing".into(),
        start: Start::Begin,
        order,
        guarantee,
        max_in_flight,
        max_held: Window::default(),
        target: config::Target::Push(Push {
            url: "http://127.0.0.1/".parse().unwrap(),
            timeout: hour,
            secrets: Vec::new(),
            headers: Vec::new(),
            protocol: PushProtocol::Http1,
            cloudevents: CloudEventsMode::Binary,
            reach: Default::default(),
            reply: None,
        }),
        retry: Retry {
            max_attempts: 20,
            base: hour,
            cap: hour,
            unavailable: Vec::new(),
            failed: Vec::new(),
            refused: Vec::new(),
        },
        dead_letter: None,
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
