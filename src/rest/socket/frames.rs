//! What is said over a socket, whatever it is written in.

mod json;

use bytes::Bytes;
use serde::Serialize;
use sidespan_bridge::Message;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;

use crate::error::Error;
use crate::publish::Stored;
use crate::pull::{Fetching, Handed, Settle};
use crate::rest::tally::Told as Published;
use crate::rest::verdicts::Verdict;

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rest) enum Codec {
    /// `sidespan.v1.json`: JSON in text frames; in binary ones it is read too.
    Json,
}

/// The subprotocols, the first of which is spoken with clients that name none.
pub(in crate::rest) const SUBPROTOCOLS: [(&str, Codec); 1] = [("sidespan.v1.json", Codec::Json)];

/// What a client says.
#[derive(Debug)]
pub(super) enum Asked {
    /// It takes so many more messages; and so many more bytes of them, if it counts those.
    Credit { messages: u64, bytes: Option<u64> },
    /// It wants to know whether we are there.
    Ping { seq: u64 },
    /// It publishes a message, which may be none that can be.
    Publish { seq: u64, topic: String, message: Result<Message, Error> },
    /// What it says of messages that it was handed. With `seq` it wants to be told of all, else of failures.
    Verdict { seq: Option<u64>, ack_ids: Vec<String>, verdict: Settle },
}

/// What a client is told.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in crate::rest) enum Told {
    /// Nothing more is handed out.
    Draining { detail: &'static str },
    /// Why the socket is closed.
    Error { code: String, retryable: bool, detail: String },
    /// We are there.
    Pong { seq: u64 },
    /// What became of a message that it published.
    Published {
        seq: u64,
        status: u16,
        #[serde(flatten)]
        outcome: Published,
    },
    /// What became of its verdicts.
    Settled {
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        outcomes: Vec<Verdict>,
    },
}

impl Told {
    /// Tells of a message that was published.
    pub(super) fn published(seq: u64, outcome: Result<Stored, Error>) -> Self {
        let outcome = Published::from(outcome);
        Self::Published { seq, status: outcome.status(), outcome }
    }

    /// Tells why the socket is closed.
    pub(in crate::rest) fn error(error: &Error) -> Self {
        let class = error.class();
        Self::Error { code: class.code(), retryable: class.retryable, detail: error.to_string() }
    }
}

impl Codec {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// `Invalid`: it is none that a client may send.
    pub(super) fn read(self, frame: Frame) -> Result<Asked, Error> {
        let bytes = match frame {
            Frame::Text(text) => Bytes::from(text),
            Frame::Binary(bytes) => bytes,
            // Not passed on by the wire.
            Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) | Frame::Frame(_) => Bytes::new(),
        };
        match self {
            Self::Json => json::read(&bytes),
        }
    }

    /// Writes what a client is told.
    pub(in crate::rest) fn write(self, told: &Told) -> Frame {
        match self {
            Self::Json => json::write(told),
        }
    }

    /// Writes a message that is handed out; `weight` is what it takes of the client's credit.
    pub(super) fn message(self, fetching: &Fetching, handed: &Handed, weight: usize) -> Frame {
        match self {
            Self::Json => json::message(fetching, handed, weight),
        }
    }
}
