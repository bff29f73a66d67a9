//! What the broker's and the client's errors mean to callers.

use async_nats::client::{PublishError, PublishErrorKind};
use serde::Deserialize;
use sidespan_bridge::{Error, Fault};

/// JetStream's word for what went wrong.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) err_code: u16,
    #[serde(default)]
    pub(crate) description: String,
}

impl ApiError {
    /// There is no such stream, consumer or message.
    pub(crate) fn is_missing(&self) -> bool {
        self.code == 404
    }

    /// Somebody was faster to make it.
    pub(crate) fn exists(&self) -> bool {
        matches!(self.err_code, CONSUMER_NAME_EXISTS | CONSUMER_EXISTS | CONSUMER_ACTIVE | STREAM_NAME_EXISTS)
    }

    /// Another time there may be another answer.
    pub(crate) fn passes(&self) -> bool {
        matches!(self.fault(), Fault::Overloaded | Fault::Unavailable)
    }

    /// Somebody else has written meanwhile.
    pub(crate) fn is_outdated(&self) -> bool {
        matches!(self.err_code, WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_NOW)
    }

    fn fault(&self) -> Fault {
        match self.err_code {
            STREAM_NOT_FOUND | CONSUMER_NOT_FOUND => Fault::UnknownTopic,
            INSUFFICIENT_RESOURCES | INSUFFICIENT_STORAGE | INSUFFICIENT_MEMORY => Fault::StorageFull,
            // A stream that is full and told to refuse (`discard: new`) says so in words only.
            STORE_FAILED if self.description.contains("maximum") => Fault::StorageFull,
            MESSAGE_TOO_LARGE | HEADER_TOO_LARGE => Fault::TooLarge,
            TOO_MANY_REQUESTS => Fault::Overloaded,
            NOT_ENABLED | NOT_ENABLED_FOR_ACCOUNT | STREAM_OFFLINE | CONSUMER_OFFLINE => Fault::Unavailable,
            CONSUMER_NAME_EXISTS
            | CONSUMER_EXISTS
            | CONSUMER_ACTIVE
            | STREAM_NAME_EXISTS
            | SUBJECT_OVERLAP
            | WORK_QUEUE_UNFILTERED
            | WORK_QUEUE_NOT_UNIQUE
            | WORK_QUEUE_NOT_ALL => Fault::Conflict,
            WORK_QUEUE_ACK | WORK_QUEUE_PULL_ACK => Fault::Unsupported,
            _ if self.code == 404 => Fault::UnknownTopic,
            // What passes by itself, as while servers agree on a leader.
            _ if self.code == 503 => Fault::Unavailable,
            _ => Fault::Rejected,
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.description, self.err_code)
    }
}

impl std::error::Error for ApiError {}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        let fault = error.fault();
        let detail = match error.err_code {
            WORK_QUEUE_NOT_ALL => {
                "a work-queue stream is read from its beginning: use `start: begin`".to_owned()
            }
            WORK_QUEUE_UNFILTERED | WORK_QUEUE_NOT_UNIQUE => {
                "a work-queue stream takes one subscription for each subject, and there is another".to_owned()
            }
            WORK_QUEUE_ACK | WORK_QUEUE_PULL_ACK => {
                "a work-queue stream is read by a group, which settles: it can't be looked at without"
                    .to_owned()
            }
            STREAM_SEALED => "the stream is sealed: it takes no messages and no consumers".to_owned(),
            NO_LEADER => "JetStream has no leader now: do most servers of the cluster run?".to_owned(),
            NOT_ENABLED | NOT_ENABLED_FOR_ACCOUNT => {
                "JetStream is not enabled at the server, or not for this account".to_owned()
            }
            _ => format!("nats: {}", error.description),
        };
        Self::new(fault).detail(detail).because(error)
    }
}

/// Says what it means that the client did not take a message: nothing was handed over.
pub(crate) fn of_handover(error: PublishError) -> Error {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Error::new(Fault::TooLarge)
            .detail("the message is larger than the server's `max_payload`")
            .because(error),
        PublishErrorKind::InvalidSubject => Error::new(Fault::Invalid).because(error),
        PublishErrorKind::Send => Error::new(Fault::Unavailable).because(error),
    }
}

const CONSUMER_ACTIVE: u16 = 10105;
const CONSUMER_EXISTS: u16 = 10148;
const CONSUMER_NAME_EXISTS: u16 = 10013;
const CONSUMER_NOT_FOUND: u16 = 10014;
const CONSUMER_OFFLINE: u16 = 10119;
const HEADER_TOO_LARGE: u16 = 10097;
const INSUFFICIENT_MEMORY: u16 = 10028;
const INSUFFICIENT_RESOURCES: u16 = 10023;
const INSUFFICIENT_STORAGE: u16 = 10047;
const MESSAGE_TOO_LARGE: u16 = 10054;
const NO_LEADER: u16 = 10008;
const NOT_ENABLED: u16 = 10076;
const NOT_ENABLED_FOR_ACCOUNT: u16 = 10039;
const STORE_FAILED: u16 = 10077;
const STREAM_NAME_EXISTS: u16 = 10058;
const STREAM_NOT_FOUND: u16 = 10059;
const STREAM_OFFLINE: u16 = 10118;
const STREAM_SEALED: u16 = 10109;
const SUBJECT_OVERLAP: u16 = 10065;
const TOO_MANY_REQUESTS: u16 = 10167;
const WORK_QUEUE_ACK: u16 = 10098;
const WORK_QUEUE_NOT_ALL: u16 = 10101;
const WORK_QUEUE_NOT_UNIQUE: u16 = 10100;
const WORK_QUEUE_PULL_ACK: u16 = 10084;
const WORK_QUEUE_UNFILTERED: u16 = 10099;
const WRONG_LAST_SEQUENCE: u16 = 10071;
/// The same without the sequence, while another write is under way in a cluster.
const WRONG_LAST_SEQUENCE_NOW: u16 = 10164;

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(err_code: u16, description: &str) -> Fault {
        Error::from(ApiError { code: 400, err_code, description: description.into() }).fault
    }

    #[test]
    fn callers_can_tell_what_a_stream_refuses() {
        assert_eq!(fault(STORE_FAILED, "maximum messages exceeded"), Fault::StorageFull);
        assert_eq!(fault(STORE_FAILED, "disk on fire"), Fault::Rejected);
        assert_eq!(fault(INSUFFICIENT_RESOURCES, ""), Fault::StorageFull);
        assert_eq!(fault(MESSAGE_TOO_LARGE, ""), Fault::TooLarge);
        assert_eq!(fault(STREAM_SEALED, ""), Fault::Rejected);
        assert_eq!(fault(WORK_QUEUE_NOT_ALL, ""), Fault::Conflict);
    }
}
