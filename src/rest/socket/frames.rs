//! What is said over a socket, whatever it is written in.

mod json;
mod proto;

use bytes::Bytes;
use sidespan_bridge::Message;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;

use crate::error::Error;
use crate::publish::Stored;
use crate::pull::{Fetching, Handed, Settle};
use crate::telemetry::counts::Door;

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rest) enum Codec {
    /// `sidespan.v1.json`: JSON in text frames; in binary ones it is read too.
    Json,
    /// `sidespan.v1.proto`: protobuf (`proto/sidespan/v1/socket.proto`) in binary frames.
    Proto,
}

/// The subprotocols, the first of which is spoken with clients that name none.
pub(super) const SUBPROTOCOLS: [(&str, Codec); 2] = [JSON, (PROTO, Codec::Proto)];
/// The one that every socket has.
pub(in crate::rest) const JSON: (&str, Codec) = ("sidespan.v1.json", Codec::Json);

/// What a client says.
#[derive(Debug)]
pub(super) enum Asked {
    /// It takes so many more messages; and so many more bytes of them, if it counts those.
    Credit { messages: u64, bytes: Option<u64> },
    /// It wants to know whether we are there.
    Ping { seq: u64 },
    /// It publishes a message, which may be none that can be.
    Publish { seq: u64, topic: String, message: Result<Message, Error> },
    /// It answers a request, by a reply and the status that this says, which may be none that can be.
    Reply { seq: Option<u64>, ack_id: String, reply: Result<(u16, Message), Error> },
    /// What it says of messages that it was handed. With `seq` it wants to be told of all, else of failures.
    Verdict { seq: Option<u64>, ack_ids: Vec<String>, verdict: Settle },
}

/// What a client is told.
#[derive(Debug)]
pub(in crate::rest) enum Told<'a> {
    /// Nothing more is handed out.
    Draining { detail: &'static str },
    /// Why the socket is closed.
    Error(&'a Error),
    /// We are there.
    Pong { seq: u64 },
    /// What became of a message that it published.
    Published { seq: u64, outcome: Result<Stored, Error> },
    /// What became of its verdicts, by ack id.
    Settled { seq: Option<u64>, outcomes: Vec<(String, Result<(), Error>)> },
}

impl Told<'_> {
    /// Returns what is refused.
    fn refusals(&self) -> impl Iterator<Item = &Error> {
        let (one, several) = match self {
            Self::Error(error) => (Some(*error), &[][..]),
            Self::Published { outcome, .. } => (outcome.as_ref().err(), &[][..]),
            Self::Settled { outcomes, .. } => (None, &outcomes[..]),
            Self::Draining { .. } | Self::Pong { .. } => (None, &[][..]),
        };
        one.into_iter().chain(several.iter().filter_map(|(_, outcome)| outcome.as_ref().err()))
    }
}

impl Codec {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// `Invalid`: it is none that a client may send.
    pub(super) fn read(self, frame: Frame) -> Result<Asked, Error> {
        Door::Socket.asked();
        match (self, frame) {
            (Self::Json, Frame::Text(text)) => json::read(&Bytes::from(text)),
            (Self::Json, Frame::Binary(bytes)) => json::read(&bytes),
            (Self::Proto, Frame::Binary(bytes)) => proto::read(bytes),
            (Self::Proto, _) => Err(Error::Invalid(format!("{PROTO} has binary frames only"))),
            // Not passed on by the wire.
            (Self::Json, Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) | Frame::Frame(_)) => {
                Err(Error::Internal)
            }
        }
    }

    /// Writes what a client is told.
    pub(in crate::rest) fn write(self, told: Told<'_>) -> Frame {
        told.refusals().for_each(|error| Door::Socket.refused(error.class().slug));
        match self {
            Self::Json => json::write(told),
            Self::Proto => proto::write(told),
        }
    }

    /// Writes a message that is handed out; `weight` is what it takes of the client's credit.
    pub(super) fn message(self, fetching: &Fetching, handed: &Handed, weight: usize) -> Frame {
        match self {
            Self::Json => json::message(fetching, handed, weight),
            Self::Proto => proto::message(fetching, handed, weight),
        }
    }
}

const PROTO: &str = "sidespan.v1.proto";
