//! Frames in protobuf: a `ConsumerFrame` or `ConsumerAnswer` each.

use bytes::Bytes;
use prost::Message as _;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;

use super::{Asked, PROTO, Told};
use crate::config::CloudEventsMode;
use crate::error::Error;
use crate::grpc::message::crowd::{CROWDED, messages, reply};
use crate::grpc::message::{self, Refused, failure, outcome, received, settled};
use crate::proto::consumer_answer::{Answer, Draining, Handed as Message, Pong, Verdicts};
use crate::proto::consumer_frame::Frame as Said;
use crate::proto::{self, ConsumerAnswer, ConsumerFrame};
use crate::pull::{Fetching, Handed, Settle};

/// Reads a frame.
pub(super) fn read(frame: Bytes) -> Result<Asked, Error> {
    if !messages::<PUBLISH>(&frame) || !reply(&frame, &REPLY) {
        return Err(Error::Invalid(CROWDED.into()));
    }
    let ConsumerFrame { sequence: seq, frame } = ConsumerFrame::decode(frame)
        .map_err(|error| Error::Invalid(format!("this is no frame that is known here: {error}")))?;
    let verdict = match frame {
        Some(Said::Credit(credit)) => {
            let bytes = Some(credit.bytes).filter(|bytes| *bytes > 0);
            return Ok(Asked::Credit { messages: credit.messages.into(), bytes });
        }
        Some(Said::Publish(mut publish)) => {
            let (seq, topic) = (required(seq)?, std::mem::take(&mut publish.topic));
            // How large it may be is looked at with the others.
            let message = message::read(publish, &[], usize::MAX).map_err(|refused| refused.error);
            return Ok(Asked::Publish { seq, topic, message });
        }
        Some(Said::Reply(proto::Answer { ack_id, reply })) => {
            let reply = message::reply(reply, usize::MAX).map_err(|refused| refused.error);
            return Ok(Asked::Reply { seq, ack_id, reply });
        }
        Some(Said::Ping(_)) => return Ok(Asked::Ping { seq: required(seq)? }),
        Some(Said::Acknowledge(acknowledge)) => Ok((acknowledge.ack_ids, Settle::Ack)),
        Some(Said::Nack(nack)) => message::nack(nack),
        Some(Said::Extend(extend)) => message::extend(extend),
        None => {
            let unknown = format!("the frame says nothing that is known in {PROTO}");
            return Err(Error::Invalid(unknown));
        }
    };
    let (ack_ids, verdict) = verdict.map_err(|Refused { error, .. }| error)?;
    Ok(Asked::Verdict { seq, ack_ids, verdict })
}

/// Writes what a client is told.
pub(super) fn write(told: Told<'_>) -> Frame {
    let (sequence, answer) = match told {
        Told::Draining { detail } => (None, Answer::Draining(Draining { detail: detail.to_owned() })),
        Told::Error(error) => (None, Answer::Error(failure(error))),
        Told::Pong { seq } => (Some(seq), Answer::Pong(Pong {})),
        Told::Published { seq, outcome: result } => {
            (Some(seq), Answer::Published(outcome(result.map_err(Refused::from))))
        }
        Told::Settled { seq, outcomes } => {
            let outcomes = outcomes.into_iter().map(|(ack_id, outcome)| settled(ack_id, &outcome));
            (seq, Answer::Settled(Verdicts { outcomes: outcomes.collect() }))
        }
    };
    binary(sequence, answer)
}

/// Writes a message that is handed out.
pub(super) fn message(fetching: &Fetching, handed: &Handed, weight: usize) -> Frame {
    let message =
        Message { message: Some(received(fetching, handed, CloudEventsMode::Binary)), bytes: weight as u64 };
    binary(None, Answer::Message(message))
}

fn binary(sequence: Option<u64>, answer: Answer) -> Frame {
    Frame::binary(ConsumerAnswer { sequence, answer: Some(answer) }.encode_to_vec())
}

fn required(sequence: Option<u64>) -> Result<u64, Error> {
    sequence.ok_or_else(|| Error::Invalid("a publish and a ping must have a `sequence`".into()))
}

/// `ConsumerFrame.publish`, a message as those of a batch are.
const PUBLISH: u32 = 6;
/// `ConsumerFrame.reply`, and `Answer.reply` in it.
const REPLY: [u32; 2] = [8, 2];
