//! What the client library's errors mean to callers.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use sidespan_bridge::{Error, Fault};

/// Says what an error of a call that stores nothing means.
pub(crate) fn of_call(error: KafkaError) -> Error {
    let fault = error.rdkafka_error_code().map_or(Fault::Rejected, of_code);
    Error::new(fault).because(error)
}

/// Says what it means that no client can be made: its settings are checked, so it is about secrets.
pub(crate) fn of_making(error: KafkaError) -> Error {
    let made = Error::new(Fault::Unavailable).detail(
        "no kafka client can be made: are the secrets in `tls` and `sasl` right, certificates in PEM?",
    );
    match error {
        KafkaError::ClientCreation(_) => made.because(error),
        // The others hold the value that was refused, which may be a secret.
        _ => made,
    }
}

/// Says what it means that a message was handed over and came back with an error.
///
/// The client does not tell whether it had been sent, so whatever could have happened after sending
/// is a timeout: the message may be stored.
pub(crate) fn of_delivery(error: KafkaError) -> Error {
    let fault = match error.rdkafka_error_code() {
        None => Fault::Timeout,
        Some(code) => match of_code(code) {
            Fault::Unavailable => Fault::Timeout,
            Fault::Rejected if !is_refusal(code) => Fault::Timeout,
            fault => fault,
        },
    };
    Error::new(fault).because(error)
}

/// Says what it means that the client did not take a message.
pub(crate) fn of_handover(error: KafkaError) -> Error {
    let fault = match error.rdkafka_error_code() {
        Some(code) => of_code(code),
        None => Fault::Invalid,
    };
    // It was not taken, so the outcome is known.
    let fault = if fault == Fault::Timeout { Fault::Unavailable } else { fault };
    Error::new(fault).because(error)
}

/// Tells whether a broker says so of what it has looked at and not stored. Of others nobody knows: an
/// answer that can't be read, a broker that failed half-way, a sequence that it has seen before.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidRecord
            | Code::InvalidRequiredAcks
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::UnsupportedCompressionType
            | Code::UnsupportedForMessageFormat
    )
}

fn of_code(code: Code) -> Fault {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => Fault::TooLarge,
        Code::UnknownTopic | Code::UnknownTopicOrPartition => Fault::UnknownTopic,
        Code::UnknownPartition | Code::InvalidTopic | Code::InvalidArgument => Fault::Invalid,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::Authentication
        | Code::SaslAuthenticationFailed => Fault::Denied,
        Code::QueueFull => Fault::Overloaded,
        Code::InconsistentGroupProtocol => Fault::Conflict,
        Code::NotImplemented | Code::UnsupportedFeature | Code::UnsupportedVersion => Fault::Unsupported,
        Code::MessageTimedOut
        | Code::PurgeInflight
        | Code::RequestTimedOut
        | Code::NotEnoughReplicasAfterAppend => Fault::Timeout,
        Code::AllBrokersDown
        | Code::BrokerDestroy
        | Code::BrokerNotAvailable
        | Code::BrokerTransportFailure
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::Fatal
        | Code::FencedLeaderEpoch
        | Code::LeaderNotAvailable
        | Code::NetworkException
        | Code::NotCoordinator
        | Code::NotEnoughReplicas
        | Code::NotLeaderForPartition
        | Code::OffsetNotAvailable
        | Code::OperationTimedOut
        | Code::PurgeQueue
        | Code::RebalanceInProgress
        | Code::Resolve
        | Code::SSL
        | Code::TimedOutQueue
        | Code::UnknownLeaderEpoch
        | Code::UnstableOffsetCommit
        | Code::WaitingForCoordinator => Fault::Unavailable,
        _ => Fault::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_sent_is_never_called_not_stored() {
        for code in [
            Code::MessageTimedOut,
            Code::BrokerTransportFailure,
            Code::RequestTimedOut,
            Code::PurgeInflight,
            // Sent, unanswered, and queued to be sent again.
            Code::PurgeQueue,
            Code::Fatal,
            Code::NotEnoughReplicasAfterAppend,
            Code::BadMessage,
            Code::DuplicateSequenceNumber,
            Code::OutOfOrderSequenceNumber,
            Code::Unknown,
        ] {
            assert_eq!(of_delivery(KafkaError::MessageProduction(code)).fault, Fault::Timeout, "{code:?}");
        }
    }

    #[test]
    fn brokers_that_have_yet_to_agree_are_no_refusal() {
        // A broker says the first of a topic that was made a moment ago.
        for code in [Code::UnknownLeaderEpoch, Code::FencedLeaderEpoch, Code::OffsetNotAvailable] {
            assert_eq!(of_call(KafkaError::OffsetFetch(code)).fault, Fault::Unavailable, "{code:?}");
        }
    }

    #[test]
    fn callers_can_tell_what_they_did_wrong() {
        let fault = |code| of_delivery(KafkaError::MessageProduction(code)).fault;
        assert_eq!(fault(Code::MessageSizeTooLarge), Fault::TooLarge);
        assert_eq!(fault(Code::UnknownTopicOrPartition), Fault::UnknownTopic);
        assert_eq!(fault(Code::TopicAuthorizationFailed), Fault::Denied);
        assert_eq!(fault(Code::UnknownPartition), Fault::Invalid);
        assert_eq!(fault(Code::PolicyViolation), Fault::Rejected);
    }
}
