//! Messages that are handed out, and what became of things, as it is told.

use sidespan_bridge::{Guarantee, Receipt};
use tokio::time::Instant;

use super::Refused;
use crate::cloudevents::written;
use crate::config::CloudEventsMode;
use crate::error::Error;
use crate::grpc::status::code;
use crate::proto::{self, outcome};
use crate::publish::Stored;
use crate::pull::{AckIds, Fetching, Handed};

/// Tells what became of one message.
pub(crate) fn outcome(result: Result<Stored, Refused>) -> proto::Outcome {
    let result = match result {
        Ok(stored) => outcome::Result::Receipt(receipt(stored)),
        Err(Refused { error, .. }) => outcome::Result::Failure(failure(&error)),
    };
    proto::Outcome { result: Some(result) }
}

fn receipt(Stored { id, receipt }: Stored) -> proto::Receipt {
    let Receipt { position, guarantee, duplicate, deduplicated, local } = receipt;
    proto::Receipt {
        id: id.into(),
        position: position.map(|position| position.to_string()).unwrap_or_default(),
        guarantee: match guarantee {
            Guarantee::AtLeastOnce => proto::Guarantee::AtLeastOnce,
            Guarantee::AtMostOnce => proto::Guarantee::AtMostOnce,
        }
        .into(),
        duplicate,
        deduplicated,
        local,
    }
}

/// Tells why one of many was not done.
pub(crate) fn failure(error: &Error) -> proto::Failure {
    let class = error.class();
    let retry_after = class.retry_after.filter(|_| class.retryable);
    proto::Failure {
        status: code(&class) as i32,
        reason: class.code(),
        detail: error.to_string(),
        retryable: class.retryable,
        retry_after: retry_after.and_then(|wait| wait.try_into().ok()),
        outcome_unknown: class.unknown,
    }
}

/// Describes a message that is leased; a CloudEvent is written as was asked for.
pub(crate) fn received(
    fetching: &Fetching,
    Handed { ack_id, letter, attempt, ends }: &Handed,
    mode: CloudEventsMode,
) -> proto::ReceivedMessage {
    let message = written(letter.message(), mode);
    proto::ReceivedMessage {
        message: Some(proto::Message::of(&message, fetching.topic(letter), letter.id())),
        ack_id: ack_id.clone(),
        attempt: *attempt,
        position: letter.position().map(|position| position.to_string()).unwrap_or_default(),
        time: message.time.map(prost_types::Timestamp::from),
        lease: ends.saturating_duration_since(Instant::now()).try_into().ok(),
    }
}

/// Tells what became of the verdict on one message.
pub(crate) fn settled(mut ack_id: String, outcome: &Result<(), Error>) -> proto::Settled {
    if ack_id.len() > AckIds::LONGEST {
        ack_id = ack_id.chars().take(AckIds::LONGEST).collect();
    }
    proto::Settled { ack_id, failure: outcome.as_ref().err().map(failure) }
}
