//! A message as every broker carries it, and the receipt for one.

use std::time::SystemTime;

use bytes::Bytes;

use crate::Position;

/// Prefix of the headers that hold CloudEvents context attributes inside Sidespan.
///
/// Their values are the attributes' canonical strings in UTF-8, not percent-encoded. A bridge
/// writes them as its broker's protocol binding says (Kafka `ce_`, AMQP `cloudEvents_`, NATS
/// `ce-`) and gives them this name again on receipt. `datacontenttype` is the content type.
pub const CE_PREFIX: &str = "ce-";
/// The header by which a reply says its status, as HTTP counts.
pub const REPLY_STATUS: &str = "sidespan-status";

/// One message, to be published or received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The body; `None` is a tombstone, which is not the same as an empty body.
    pub payload: Option<Bytes>,
    /// Headers in order, repeats kept.
    pub headers: Vec<Header>,
    /// What keeps messages together and in order.
    pub key: Option<Bytes>,
    /// The partition asked for; on receipt, where the message was found.
    pub partition: Option<u32>,
    /// Names the message. It does not deduplicate: see `deduplication`.
    pub id: Option<Box<str>>,
    /// Media type of the payload.
    pub content_type: Option<Box<str>>,
    /// Where a reply is awaited.
    pub reply_to: Option<Box<str>>,
    /// Which request a reply belongs to.
    pub correlation: Option<Box<str>>,
    /// When the broker took it; set on receipt where the broker tells.
    pub time: Option<SystemTime>,
    /// Deduplication id for the broker's own window, unique to caller and topic.
    ///
    /// Never copied from a received message: a bridge leaves it `None` on receipt.
    pub deduplication: Option<Box<str>>,
}

impl Message {
    /// Returns the value of the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| &header.value)
    }

    /// Returns how many bytes the message counts for in windows and budgets.
    pub fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|h| h.name.len() + h.value.len()).sum();
        self.payload.as_ref().map_or(0, Bytes::len) + self.key.as_ref().map_or(0, Bytes::len) + headers
    }

    /// Tells whether the message is a CloudEvent in binary form (CloudEvents 1.0.2, required
    /// attributes).
    pub fn is_cloud_event(&self) -> bool {
        ["ce-specversion", "ce-id", "ce-source", "ce-type"].iter().all(|name| self.header(name).is_some())
    }
}

/// A name and a value; brokers allow bytes that are not text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name, in the case it was given in.
    pub name: Box<str>,
    /// The value.
    pub value: Bytes,
}

impl Header {
    /// Makes a header.
    pub fn new(name: impl Into<Box<str>>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Tells whether a header name belongs to Sidespan or steers a broker, so that publishers may not
/// set it.
pub fn is_reserved(name: &str) -> bool {
    const PREFIXES: [&str; 2] = ["nats-", "sidespan-"];
    let lower = name.to_ascii_lowercase();
    lower == "x-death" || PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}

/// What a broker's acknowledgement of one message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where the message is, where the broker tells.
    pub position: Option<Position>,
    /// What the acknowledgement is worth.
    pub guarantee: Guarantee,
    /// The broker already had a message of this deduplication id; this one was not stored again.
    pub duplicate: bool,
    /// The broker's window was asked to deduplicate this message.
    pub deduplicated: bool,
    /// Stored on this machine only.
    pub local: bool,
}

/// What was promised about one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// The broker has stored it.
    AtLeastOnce,
    /// The broker has seen it; nobody stored it.
    AtMostOnce,
}
