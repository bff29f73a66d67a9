//! A message on its way to a target.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sidespan_bridge::{AckToken, Delivery, Epoch, Message, Position, Shard, Topic, Verdict};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::meter::Held;
use super::settling::Settling;
use crate::cloudevents::opened;
use crate::security::fingerprint::fingerprint;
use crate::telemetry::metrics::TraceId;

/// What a target gets to see of a delivery.
#[derive(Debug)]
pub struct Letter {
    pub(super) id: Box<str>,
    pub(super) message: Message,
    /// As it came, where it is a CloudEvent that came in another form than events are shown in.
    pub(super) original: Option<Message>,
    pub(super) topic: Topic,
    pub(super) position: Option<Position>,
    pub(super) shard: Shard,
    pub(super) epoch: Epoch,
    /// Cancelled by the bridge: nothing may be done with this delivery any more.
    pub(super) lost: CancellationToken,
    /// Cancelled by the pump: what runs may finish, nothing new may begin.
    pub(super) stop: CancellationToken,
    /// Who wants to know that the broker has the settlement.
    pub(super) witness: Witness,
    /// What another process can accept the message by.
    pub(super) receipt: Option<Box<str>>,
}

impl Letter {
    /// Describes a message that another process has: it is settled there, and nothing can be done with it
    /// here.
    pub fn elsewhere(id: Box<str>, message: Message, topic: Topic, position: Option<Position>) -> Self {
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let (shard, epoch) = (Shard::new(""), Epoch::default());
        let witness = Witness::default();
        let (original, receipt) = (None, None);
        Self { id, message, original, topic, position, shard, epoch, lost, stop, witness, receipt }
    }

    /// Returns what names the message to its receiver: the same in every attempt; letters, digits, `-`
    /// and `_`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Returns the message as it came from the broker.
    pub(super) fn original(&self) -> &Message {
        self.original.as_ref().unwrap_or(&self.message)
    }

    /// Returns the address that the message was found at.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Returns what another process can accept the message by, once this one is gone.
    pub(crate) fn receipt(&self) -> Option<&str> {
        self.receipt.as_deref()
    }

    /// Returns where the message stands there, if the broker has positions.
    pub fn position(&self) -> Option<Position> {
        self.position
    }
}

/// A place for one who waits for the settlement.
#[derive(Debug, Default)]
pub(super) struct Witness(Mutex<Option<oneshot::Sender<Settling>>>);

impl Witness {
    /// Asks to be told. Nothing comes if the letter is not accepted after all.
    pub(super) fn ask(&self) -> oneshot::Receiver<Settling> {
        let (sender, receiver) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Returns who has asked, if somebody has.
    fn asked(&self) -> Option<oneshot::Sender<Settling>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A letter and the duty to settle it.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) letter: Arc<Letter>,
    pub(super) ack: AckToken,
    #[expect(dead_code, reason = "it is there to be dropped")]
    held: Held,
}

impl Parcel {
    pub(super) fn new(
        bridge: &str,
        mut delivery: Delivery,
        stop: CancellationToken,
        receipt: Option<Box<str>>,
        held: Held,
    ) -> Self {
        let original = opened(&delivery.message).map(|event| std::mem::replace(&mut delivery.message, event));
        let id = id(bridge, &delivery);
        let Delivery { message, topic, shard, epoch, position, redelivered: _, lost, ack } = delivery;
        let witness = Witness::default();
        let letter =
            Letter { id, message, original, topic, position, shard, epoch, lost, stop, witness, receipt };
        Self { letter: Arc::new(letter), ack, held }
    }

    /// Settles the message as handled, and passes that on to who has asked. Where nobody has, nobody waits: at some
    /// brokers waiting costs.
    pub(super) fn accept(self) {
        let Some(asked) = self.letter.witness.asked() else { return drop(self.ack.settle(Verdict::Accept)) };
        let (began, trace) = (Instant::now(), TraceId::sampled(&self.letter.message));
        let settling = Settling { settled: self.ack.settle(Verdict::Accept), began, trace };
        // Who asked and left does not need it; the broker gets it all the same.
        let _ = asked.send(settling);
    }
}

/// A message's own id where that is unique by itself; else a hash of what names the message at its
/// origin, partition included, since receivers drop what has an id that they have seen. What the broker gives no name at all gets one that lasts as
/// long as we hold it.
fn id(bridge: &str, delivery: &Delivery) -> Box<str> {
    let Delivery { message, topic, position, .. } = delivery;
    if message.is_cloud_event() {
        let attribute = |name| message.header(name).map_or(&b""[..], |value| value);
        return fingerprint([b"event", attribute("ce-source"), attribute("ce-id")]);
    }
    match (&message.id, position) {
        (Some(id), _) if is_unique(id) => id.clone(),
        (Some(id), _) => fingerprint([b"id", bridge.as_bytes(), topic.as_str().as_bytes(), id.as_bytes()]),
        (None, Some(position)) => fingerprint([
            b"position",
            bridge.as_bytes(),
            topic.as_str().as_bytes(),
            &position.partition.to_be_bytes(),
            &position.sequence.to_be_bytes(),
        ]),
        (None, None) => Uuid::now_v7().to_string().into(),
    }
}

/// Sidespan's own ids are, and so are callers' UUIDs; a `17` names a message only within its topic.
fn is_unique(id: &str) -> bool {
    Uuid::try_parse(id).is_ok() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use sidespan_bridge::{Header, Settle, Settled, Settlement, Verdict};

    use super::*;

    struct Nobody;

    impl Settle for Nobody {
        fn settle(self: Box<Self>, _: Verdict) -> Settled {
            Settled::ready(Settlement::Confirmed)
        }
    }

    fn id_of(message: Message, partition: u32) -> Box<str> {
        let delivery = Delivery {
            message,
            topic: Topic::new("orders"),
            shard: Shard::new("0"),
            epoch: Epoch(1),
            position: Some(Position { partition, sequence: 7 }),
            redelivered: None,
            lost: CancellationToken::new(),
            ack: AckToken::new(Nobody),
        };
        id("main", &delivery)
    }

    fn named(id: &str) -> Message {
        Message { id: Some(id.into()), ..Message::default() }
    }

    fn event(source: &'static str) -> Message {
        let header = |name, value: &'static str| Header::new(name, value);
        let headers = vec![
            header("ce-specversion", "1.0"),
            header("ce-id", "1"),
            header("ce-source", source),
            header("ce-type", "t"),
        ];
        Message { headers, ..named("same") }
    }

    #[test]
    fn an_id_that_is_unique_is_kept_and_any_other_is_hashed_with_its_topic() {
        let own = "01a1f96b-e812-718a-83fa-390940893943";
        assert_eq!(&*id_of(named(own), 0), own);
        for odd in ["17", "a-b_C9", "a.b", "", "ü", "a b", "{01a1f96b-e812-718a-83fa-390940893943}"] {
            let id = id_of(named(odd), 0);
            assert!(is_unique(&id) && *id != *odd, "{odd}");
        }
    }

    #[test]
    fn the_same_place_has_the_same_id_and_another_partition_another() {
        assert_eq!(id_of(Message::default(), 1), id_of(Message::default(), 1));
        assert_ne!(id_of(Message::default(), 1), id_of(Message::default(), 2));
    }

    #[test]
    fn events_of_the_same_id_and_another_source_are_other_events() {
        assert_eq!(id_of(event("/a"), 0), id_of(event("/a"), 1));
        assert_ne!(id_of(event("/a"), 0), id_of(event("/b"), 0));
    }
}
