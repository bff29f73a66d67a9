use bytes::Bytes;
use sidespan_bridge::{
    AckToken, Delivery, Epoch, Message, Settle, Settled, Settlement, Shard, Topic, Verdict,
};
use tokio::task::JoinHandle;

use super::*;
use crate::delivery::letter::Parcel;
use crate::delivery::meter::Held;

struct Nobody;

impl Settle for Nobody {
    fn settle(self: Box<Self>, _: Verdict) -> Settled {
        Settled::ready(Settlement::Confirmed)
    }
}

const LEASE: Duration = Duration::from_secs(30);
const ALL: Amount = Amount { messages: 100, bytes: 1 << 20 };

struct Play {
    shelf: Arc<Shelf>,
    drain: CancellationToken,
    _sweep: JoinHandle<()>,
}

impl Play {
    fn new() -> Self {
        Self::with(LEASE)
    }

    fn with(lease: Duration) -> Self {
        let drain = CancellationToken::new();
        let shelf = Arc::new(Shelf::new(lease, drain.clone(), None));
        let sweeping = shelf.clone();
        Self { shelf, drain, _sweep: tokio::spawn(async move { sweeping.sweep().await }) }
    }

    /// Puts a message on the shelf, as a courier does.
    async fn put(&self, payload: &'static str) -> JoinHandle<Option<Reply>> {
        let (shelf, letter) = (self.shelf.clone(), letter(payload, &self.drain));
        let before = self.shelf.lock().next;
        let courier = tokio::spawn(async move { shelf.post(&letter, 1, None).await });
        while self.shelf.lock().next == before {
            tokio::task::yield_now().await;
        }
        courier
    }

    async fn fetch(&self, most: Amount) -> Vec<Lease> {
        self.shelf.fetch(most, Instant::now()).await.unwrap()
    }
}

pub(super) fn letter(payload: impl Into<Bytes>, stop: &CancellationToken) -> Arc<Letter> {
    let delivery = Delivery {
        message: Message { payload: Some(payload.into()), ..Message::default() },
        topic: Topic::new("orders"),
        shard: Shard::new("0"),
        epoch: Epoch(1),
        position: None,
        redelivered: None,
        lost: CancellationToken::new(),
        ack: AckToken::new(Nobody),
    };
    Parcel::new("main", delivery, stop.clone(), None, Held::default()).letter
}

fn payloads(leases: &[Lease]) -> Vec<&[u8]> {
    leases.iter().map(|lease| &lease.letter.message.payload.as_ref().unwrap()[..]).collect()
}

#[tokio::test]
async fn the_oldest_are_handed_out_first_and_no_more_than_asked_for() {
    let play = Play::new();
    let mut couriers = Vec::new();
    for payload in ["a", "b", "cccc", "d"] {
        couriers.push(play.put(payload).await);
    }
    assert_eq!(payloads(&play.fetch(Amount { messages: 1, bytes: 100 }).await), [b"a"]);
    assert_eq!(payloads(&play.fetch(Amount { messages: 9, bytes: 4 }).await), [b"b"]);
    assert_eq!(
        payloads(&play.fetch(Amount { messages: 9, bytes: 1 }).await),
        [b"cccc"],
        "a large one comes alone"
    );
    assert_eq!(payloads(&play.fetch(ALL).await), [b"d"]);
    assert!(play.fetch(ALL).await.is_empty());
    assert_eq!(play.shelf.leases(), 4);
}

#[tokio::test]
async fn an_acknowledged_message_is_accepted_once() {
    let play = Play::new();
    let courier = play.put("a").await;
    let number = play.fetch(ALL).await[0].number;
    assert!(play.shelf.ack(number).is_some());
    assert_eq!(courier.await.unwrap(), Some(Reply::Acked));
    assert!(play.shelf.ack(number).is_none());
    assert!(!play.shelf.nack(number, None) && !play.shelf.extend(number, LEASE));
}

#[tokio::test]
async fn a_lease_ends_when_nobody_extends_it() {
    let play = Play::with(Duration::from_millis(100));
    let (first, second) = (play.put("a").await, play.put("b").await);
    let leases = play.fetch(ALL).await;
    assert!(play.shelf.extend(leases[1].number, LEASE));
    assert!(matches!(first.await.unwrap(), Some(Reply::Unanswered(_))));
    assert!(play.shelf.ack(leases[0].number).is_none());
    assert!(play.shelf.ack(leases[1].number).is_some());
    assert_eq!(second.await.unwrap(), Some(Reply::Acked));
}

#[tokio::test]
async fn an_extension_can_shorten_a_lease() {
    let play = Play::new();
    let courier = play.put("a").await;
    let number = play.fetch(ALL).await[0].number;
    let began = Instant::now();
    assert!(play.shelf.extend(number, Duration::from_millis(1)));
    assert!(matches!(courier.await.unwrap(), Some(Reply::Unanswered(_))));
    assert!(began.elapsed() < LEASE);
}

#[tokio::test]
async fn every_consumer_that_waits_gets_something_as_long_as_there_is_something() {
    let play = Play::new();
    let one = Amount { messages: 1, bytes: 100 };
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let shelf = play.shelf.clone();
            tokio::spawn(async move { shelf.fetch(one, Instant::now() + LEASE).await.unwrap() })
        })
        .collect();
    tokio::task::yield_now().await;
    let _couriers = [play.put("a").await, play.put("b").await, play.put("c").await];
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_leases_of_a_consumer_end_with_it_and_no_others() {
    let play = Play::new();
    let (first, second) = (play.put("a").await, play.put("b").await);
    let (gone, stays) = (play.shelf.consumer(), play.shelf.consumer());
    let one = Amount { messages: 1, bytes: 100 };
    gone.fetch(one, Instant::now()).await.unwrap();
    let kept = stays.fetch(one, Instant::now()).await.unwrap();
    drop(gone);
    assert!(matches!(first.await.unwrap(), Some(Reply::Unanswered(_))));
    assert!(play.shelf.ack(kept[0].number).is_some());
    assert_eq!(second.await.unwrap(), Some(Reply::Acked));
}

#[tokio::test]
async fn what_a_courier_gives_up_is_neither_handed_out_nor_acknowledged() {
    let play = Play::new();
    let (leased, waiting) = (play.put("a").await, play.put("b").await);
    let leases = play.fetch(Amount { messages: 1, bytes: 100 }).await;
    leased.abort();
    waiting.abort();
    assert!(leased.await.is_err() && waiting.await.is_err());
    assert!(play.shelf.ack(leases[0].number).is_none());
    assert!(play.fetch(ALL).await.is_empty());
}

#[tokio::test]
async fn a_drain_hands_out_nothing_and_lets_leases_finish() {
    let play = Play::new();
    let (leased, waiting) = (play.put("a").await, play.put("b").await);
    let leases = play.fetch(Amount { messages: 1, bytes: 100 }).await;
    play.drain.cancel();
    assert_eq!(waiting.await.unwrap(), None, "nobody has seen it");
    assert_eq!(play.shelf.fetch(ALL, Instant::now() + LEASE).await.unwrap_err(), Draining);
    assert!(play.shelf.ack(leases[0].number).is_some());
    assert_eq!(leased.await.unwrap(), Some(Reply::Acked));
}

#[tokio::test]
async fn an_end_takes_all_leases_back() {
    let play = Play::new();
    let courier = play.put("a").await;
    let leases = play.fetch(ALL).await;
    play.shelf.end();
    assert_eq!(courier.await.unwrap(), None);
    assert!(play.shelf.ack(leases[0].number).is_none());
}

#[tokio::test]
async fn who_looks_sees_what_comes_and_takes_nothing() {
    let play = Play::new();
    assert!(!play.shelf.look(Instant::now()).await.unwrap());
    let until = Instant::now() + Duration::from_secs(60);
    let looking = (play.shelf.clone(), play.shelf.clone());
    let looks = [looking.0, looking.1].map(|shelf| tokio::spawn(async move { shelf.look(until).await }));
    tokio::task::yield_now().await;
    let _courier = play.put("a").await;
    for look in looks {
        assert!(look.await.unwrap().unwrap());
    }
    assert_eq!(payloads(&play.fetch(ALL).await), [b"a"]);
    assert!(!play.shelf.look(Instant::now()).await.unwrap(), "what is leased is nobody else's");
    play.drain.cancel();
    assert_eq!(play.shelf.look(until).await, Err(Draining));
}

#[tokio::test]
async fn what_is_put_back_waits_in_its_place_as_if_it_had_not_been_taken() {
    let play = Play::new();
    let first = play.put("a").await;
    let _second = play.put("b").await;
    let taken = play.fetch(Amount { messages: 1, bytes: 100 }).await;
    play.shelf.put_back(taken[0].number);
    play.shelf.put_back(taken[0].number);
    let again = play.fetch(ALL).await;
    assert_eq!(payloads(&again), [b"a", b"b"]);
    assert_eq!(again[0].attempt, taken[0].attempt);
    // While draining nothing waits any more: its courier keeps it for the broker.
    play.drain.cancel();
    play.shelf.put_back(again[0].number);
    assert!(first.await.unwrap().is_none());
}

#[tokio::test]
async fn the_leases_of_a_consumer_elsewhere_end_when_it_leaves() {
    let play = Play::new();
    let courier = play.put("a").await;
    let own = play.shelf.consumer();
    assert_eq!(play.shelf.fetch_as(Some(u64::MAX), ALL).await.unwrap().len(), 1);
    drop(own);
    assert_eq!(play.shelf.leases(), 1, "another's");
    play.shelf.leave(u64::MAX);
    assert!(matches!(courier.await.unwrap(), Some(Reply::Unanswered(_))));
}
