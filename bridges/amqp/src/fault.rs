//! What the client library's errors mean to callers.

use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Error as ClientError, ErrorKind};
use sidespan_bridge::{Error, Fault};

/// Says what an error of a call that stores nothing means.
pub(crate) fn of_call(error: ClientError) -> Error {
    let fault = of_kind(error.kind());
    let said = Error::new(fault);
    let said = match text(&error) {
        Some(text) => said.detail(format!("rabbitmq: {text}")),
        None => said,
    };
    said.because(error)
}

/// Says what it means that a message was handed over and no answer came.
///
/// The client does not tell how far the message got, and so it may be stored.
pub(crate) fn of_silence(error: ClientError) -> Error {
    Error::new(Fault::Timeout).because(error)
}

/// Says what it means that a message was not written to the broker in full.
pub(crate) fn of_handover(error: ClientError) -> Error {
    Error::new(Fault::Unavailable).because(error)
}

/// Returns what the broker said, if it was the broker who failed a call. It likes to end with the name of
/// the user, which is as secret as the settings say.
pub(crate) fn text(error: &ClientError) -> Option<&str> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().as_str().split(USER).next(),
        _ => None,
    }
}

/// Says what it means that the broker closed a channel over the exchange of one message.
pub(crate) fn of_exchange(exchange: &str, error: ClientError) -> Error {
    if is_not_found(&error) {
        return no_exchange(exchange).because(error);
    }
    of_call(error)
}

/// Says that an exchange does not exist, and what to do.
pub(crate) fn no_exchange(exchange: &str) -> Error {
    Error::new(Fault::UnknownTopic).detail(format!(
        "rabbitmq has no exchange {exchange:?}: make it, or list `exchanges` under `create` of the bridge"
    ))
}

/// Says that a queue does not exist, and what to do.
pub(crate) fn no_queue(queue: &str) -> Error {
    Error::new(Fault::UnknownTopic).detail(format!(
        "rabbitmq has no queue {queue:?}: make it, or list `queues` under `create` of the bridge"
    ))
}

/// Tells whether the broker does not have what was named, or does not allow it.
pub(crate) fn is_refusal(error: &ClientError) -> bool {
    matches!(of_kind(error.kind()), Fault::UnknownTopic | Fault::Denied)
}

/// Tells whether the broker does not have what was named.
pub(crate) fn is_not_found(error: &ClientError) -> bool {
    of_kind(error.kind()) == Fault::UnknownTopic
}

/// Tells whether the connection ended because something that came on it could not be read.
pub(crate) fn is_unreadable(error: &ClientError) -> bool {
    matches!(error.kind(), ErrorKind::ParsingError(_))
}

/// Returns the broker's own `consumer_timeout`, where it has closed a channel over it. Only its text tells.
pub(crate) fn consumer_timeout(error: &ClientError) -> Option<Duration> {
    let (_, told) = text(error)?.split_once("Timeout value used: ")?;
    let (millis, _) = told.split_once(" ms")?;
    millis.parse().ok().map(Duration::from_millis)
}

fn of_kind(kind: &ErrorKind) -> Fault {
    match kind {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => of_soft(soft),
            AMQPErrorKind::Hard(hard) => of_hard(hard),
        },
        ErrorKind::AuthProviderError(_) => Fault::Denied,
        ErrorKind::SerialisationError(_) => Fault::Invalid,
        _ => Fault::Unavailable,
    }
}

fn of_soft(error: &AMQPSoftError) -> Fault {
    match error {
        AMQPSoftError::ACCESSREFUSED => Fault::Denied,
        AMQPSoftError::CONTENTTOOLARGE => Fault::TooLarge,
        AMQPSoftError::NOCONSUMERS | AMQPSoftError::NOROUTE => Fault::Unroutable,
        AMQPSoftError::NOTFOUND => Fault::UnknownTopic,
        AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::RESOURCELOCKED => Fault::Conflict,
    }
}

fn of_hard(error: &AMQPHardError) -> Fault {
    match error {
        AMQPHardError::INVALIDPATH | AMQPHardError::NOTALLOWED => Fault::Denied,
        AMQPHardError::NOTIMPLEMENTED => Fault::Unsupported,
        AMQPHardError::CHANNELERROR
        | AMQPHardError::COMMANDINVALID
        | AMQPHardError::CONNECTIONFORCED
        | AMQPHardError::FRAMEERROR
        | AMQPHardError::INTERNALERROR
        | AMQPHardError::RESOURCEERROR
        | AMQPHardError::SYNTAXERROR
        | AMQPHardError::UNEXPECTEDFRAME => Fault::Unavailable,
    }
}

/// What comes before the name of a user.
const USER: &str = " for user '";

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    fn said_by_the_broker(kind: impl Into<AMQPErrorKind>) -> ClientError {
        says(kind, "the reason")
    }

    fn says(kind: impl Into<AMQPErrorKind>, text: &str) -> ClientError {
        ErrorKind::ProtocolError(AMQPError::new(kind.into(), text.into())).into()
    }

    #[test]
    fn the_brokers_own_timeout_is_read() {
        let read = |text| consumer_timeout(&says(AMQPSoftError::PRECONDITIONFAILED, text));
        let text = "PRECONDITION_FAILED - delivery acknowledgement on channel 2 timed out. Timeout value \
                    used: 3000 ms. This timeout value can be configured, see consumers doc guide to learn more";
        assert_eq!(read(text), Some(Duration::from_secs(3)));
        assert_eq!(read("PRECONDITION_FAILED - unknown delivery tag 7"), None);
    }

    #[test]
    fn callers_can_tell_what_they_did_wrong() {
        let fault = |kind| of_call(said_by_the_broker(kind)).fault;
        assert_eq!(fault(AMQPSoftError::NOTFOUND), Fault::UnknownTopic);
        assert_eq!(fault(AMQPSoftError::PRECONDITIONFAILED), Fault::Conflict);
        assert_eq!(fault(AMQPSoftError::ACCESSREFUSED), Fault::Denied);
    }

    #[test]
    fn what_the_broker_says_is_passed_on() {
        let error = of_call(said_by_the_broker(AMQPSoftError::PRECONDITIONFAILED));
        assert_eq!(error.to_string(), "rabbitmq: the reason");
    }

    #[test]
    fn the_user_is_not_named() {
        let text = "ACCESS_REFUSED - access to queue 'a' in vhost '/' refused for user 'hidden'";
        let error = of_call(says(AMQPSoftError::ACCESSREFUSED, text));
        let expected = "rabbitmq: ACCESS_REFUSED - access to queue 'a' in vhost '/' refused";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_was_handed_over_is_never_called_not_stored() {
        assert_eq!(of_silence(said_by_the_broker(AMQPHardError::INTERNALERROR)).fault, Fault::Timeout);
    }
}
