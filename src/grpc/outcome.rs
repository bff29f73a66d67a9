//! What became of messages, as it is told here.

use sidespan_bridge::{Guarantee, Receipt};

use super::message::Refused;
use super::status::code;
use crate::error::Error;
use crate::proto::{self, outcome};
use crate::publish::Stored;

/// Tells what became of one message.
pub(super) fn outcome(result: Result<Stored, Refused>) -> proto::Outcome {
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
pub(super) fn failure(error: &Error) -> proto::Failure {
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
