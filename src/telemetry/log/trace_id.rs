//! The trace that a line belongs to.

use http::HeaderMap;
use sidespan_bridge::Message;

/// Returns the id of the trace that a message belongs to, if it says so.
pub fn trace_id(message: &Message) -> Option<&str> {
    within(message.header(TRACEPARENT)?)
}

/// Returns the id of the trace that a request belongs to, if it says so.
pub fn trace_id_of(headers: &HeaderMap) -> Option<&str> {
    within(headers.get(TRACEPARENT)?.as_bytes())
}

/// Trace Context, 3.2: version, trace id, parent id, flags; only what can be a trace id ends up in the log.
fn within(traceparent: &[u8]) -> Option<&str> {
    let id = traceparent
        .get(3..35)
        .filter(|_| traceparent.get(2) == Some(&b'-') && traceparent.get(35) == Some(&b'-'))?;
    let is_hex = id.iter().all(|letter| matches!(letter, b'0'..=b'9' | b'a'..=b'f'));
    str::from_utf8(id).ok().filter(|id| is_hex && id.bytes().any(|letter| letter != b'0'))
}

const TRACEPARENT: &str = "traceparent";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_id_is_one() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(within(format!("00-{id}-00f067aa0ba902b7-01").as_bytes()), Some(id));
        for odd in [
            "",
            id,
            "00-4bf9-00f067aa0ba902b7-01",
            &format!("00-{}-0-01", "0".repeat(32)),
            &format!("00-{}-0-1", "é".repeat(16)),
        ] {
            assert_eq!(within(odd.as_bytes()), None, "{odd}");
        }
    }
}
