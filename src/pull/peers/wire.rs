//! What replicas say to each other, in JSON. Both sides are of one release or its neighbours: fields may
//! be added, and what is not known is passed over.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sidespan_bridge::{Header, Message, Topic};
use tokio::time::Instant;

use crate::delivery::{Amount, Letter};
use crate::pull::{Handed, Settle};

/// What one replica asks of another.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ask {
    /// The subscription.
    pub subscription: Box<str>,
    /// What of it.
    pub what: What,
}

/// What is asked of a subscription.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// End the leases of a consumer that went away.
    Leave {
        /// As it was named in `Take`.
        consumer: u64,
    },
    /// Wait for a message that nobody has, and don't take it.
    Look {
        /// How long.
        wait: Duration,
    },
    /// Undo leases: their messages did not reach a consumer.
    PutBack {
        /// The leases.
        ack_ids: Vec<String>,
    },
    /// Answer a request, and settle it.
    Reply {
        /// The lease, of the replica that is asked.
        ack_id: String,
        /// The reply.
        reply: Replied,
        /// How long the answer is waited for.
        wait: Duration,
    },
    /// Settle messages.
    Settle {
        /// The leases, all of the replica that is asked.
        ack_ids: Vec<String>,
        /// What is said of them.
        verdict: Settle,
        /// How long the answer is waited for.
        wait: Duration,
    },
    /// Take what is there, and don't wait.
    Take {
        /// How much.
        most: Amount,
        /// For whom, if leases are to end with somebody.
        consumer: Option<u64>,
    },
}

/// What a replica is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// It is done.
    Done,
    /// The replica is stopping.
    Draining,
    /// Nobody fetches from a subscription of this name there.
    Nothing,
    /// What a look has shown.
    Seen {
        /// A message waits to be taken.
        waits: bool,
        /// The replica gets messages of the subscription, or may get some.
        owns: bool,
    },
    /// One outcome a lease, in order.
    Settled(Vec<Outcome>),
    /// Messages that were taken.
    Taken(Vec<Taken>),
}

/// What became of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The broker has it.
    Done,
    /// The lease is over.
    Ended,
    /// No lease of this process, nor of any that is there now.
    Gone,
    /// It was a reply, and the message awaits none.
    NotAwaited,
    /// The broker did not say in time.
    Unconfirmed,
}

/// A message that was taken.
#[derive(Debug, Serialize, Deserialize)]
pub struct Taken {
    pub(in crate::pull) ack_id: String,
    attempt: u32,
    /// How long the lease lasts from when it was asked for.
    lease: Duration,
    id: Box<str>,
    topic: Box<str>,
    position: Option<String>,
    payload: Option<Base64>,
    headers: Vec<(Box<str>, Base64)>,
    key: Option<Base64>,
    partition: Option<u32>,
    name: Option<Box<str>>,
    content_type: Option<Box<str>>,
    reply_to: Option<Box<str>>,
    correlation: Option<Box<str>>,
    time: Option<SystemTime>,
}

impl Taken {
    /// Describes a message that is handed out.
    pub(in crate::pull) fn of(handed: &Handed) -> Self {
        let Handed { ack_id, letter, attempt, ends } = handed;
        let message = letter.message();
        Self {
            ack_id: ack_id.clone(),
            attempt: *attempt,
            lease: ends.saturating_duration_since(Instant::now()),
            id: letter.id().into(),
            topic: letter.topic().as_str().into(),
            position: letter.position().map(|position| position.to_string()),
            payload: message.payload.clone().map(Base64),
            headers: message
                .headers
                .iter()
                .map(|header| ((&*header.name).into(), Base64(header.value.clone())))
                .collect(),
            key: message.key.clone().map(Base64),
            partition: message.partition,
            name: message.id.clone(),
            content_type: message.content_type.clone(),
            reply_to: message.reply_to.clone(),
            correlation: message.correlation.clone(),
            time: message.time,
        }
    }

    /// Returns the message as it is handed on. It was asked for at `asked`.
    pub(in crate::pull) fn into_handed(self, asked: Instant) -> Handed {
        let headers = self.headers.into_iter();
        let message = Message {
            payload: self.payload.map(|Base64(bytes)| bytes),
            headers: headers.map(|(name, Base64(value))| Header::new(name, value)).collect(),
            key: self.key.map(|Base64(bytes)| bytes),
            partition: self.partition,
            id: self.name,
            content_type: self.content_type,
            reply_to: self.reply_to,
            correlation: self.correlation,
            time: self.time,
            deduplication: None,
        };
        let position = self.position.and_then(|position| position.parse().ok());
        let letter = Letter::elsewhere(self.id, message, Topic::new(self.topic), position);
        // The lease began after that, and lasts no longer than it may.
        let ends = asked + self.lease.min(LONGEST);
        Handed { ack_id: self.ack_id, letter: letter.into(), attempt: self.attempt, ends }
    }
}

/// A reply to a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Replied {
    payload: Option<Base64>,
    headers: Vec<(Box<str>, Base64)>,
    name: Option<Box<str>>,
    content_type: Option<Box<str>>,
}

impl Replied {
    /// Describes a reply.
    pub(in crate::pull) fn of(reply: &Message) -> Self {
        let headers = reply.headers.iter().map(|header| (header.name.clone(), Base64(header.value.clone())));
        Self {
            payload: reply.payload.clone().map(Base64),
            headers: headers.collect(),
            name: reply.id.clone(),
            content_type: reply.content_type.clone(),
        }
    }

    /// Returns the reply.
    pub(in crate::pull) fn into_message(self) -> Message {
        let headers = self.headers.into_iter();
        Message {
            payload: self.payload.map(|Base64(bytes)| bytes),
            headers: headers.map(|(name, Base64(value))| Header::new(name, value)).collect(),
            id: self.name,
            content_type: self.content_type,
            ..Message::default()
        }
    }
}

#[derive(Debug)]
struct Base64(Bytes);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(|bytes| Self(bytes.into())).map_err(de::Error::custom)
    }
}

/// Far times cannot be added to the clock.
const LONGEST: Duration = crate::config::Pull::LONGEST;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sidespan_bridge::Position;

    use super::*;

    #[test]
    fn a_reply_arrives_as_it_left() {
        let reply = Message {
            payload: Some(Bytes::from_static(b"\xff\x00 payload")),
            headers: vec![Header::new("sidespan-status", "201"), Header::new("a", &b"\xff"[..])],
            id: Some("17".into()),
            content_type: Some("text/plain".into()),
            ..Message::default()
        };
        for reply in [reply, Message::default()] {
            let json = serde_json::to_vec(&Replied::of(&reply)).unwrap();
            assert_eq!(serde_json::from_slice::<Replied>(&json).unwrap().into_message(), reply);
        }
    }

    #[tokio::test]
    async fn a_message_arrives_as_it_left() {
        let message = Message {
            payload: Some(Bytes::from_static(b"\xff\x00 payload")),
            headers: vec![Header::new("a", "é"), Header::new("a", &b"\xff"[..])],
            key: Some(Bytes::from_static(b"k")),
            partition: Some(3),
            id: Some("17".into()),
            content_type: Some("text/plain".into()),
            reply_to: Some("answers".into()),
            correlation: Some("c".into()),
            time: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)),
            deduplication: None,
        };
        let position = Some(Position { partition: 3, sequence: 41 });
        for message in [message, Message::default()] {
            let letter = Letter::elsewhere("id".into(), message.clone(), Topic::new("orders"), position);
            let now = Instant::now();
            let ends = now + Duration::from_secs(30);
            let handed = Handed { ack_id: "ack".into(), letter: Arc::new(letter), attempt: 2, ends };
            let json = serde_json::to_vec(&Taken::of(&handed)).unwrap();
            let arrived = serde_json::from_slice::<Taken>(&json).unwrap().into_handed(now);
            assert_eq!(arrived.letter.message(), &message);
            assert_eq!((arrived.letter.id(), arrived.letter.topic().as_str()), ("id", "orders"));
            assert_eq!((arrived.letter.position(), arrived.attempt), (position, 2));
            assert_eq!(arrived.ack_id, "ack");
            assert!(arrived.ends <= ends, "a lease is not taken to last longer than it does");
        }
    }
}
