//! CloudEvents without a header.
//!
//! The binding of CloudEvents 1.0.2 for NATS knows no headers: the payload is the event in JSON, and nothing
//! says so. The Go SDK publishes that. What has the four attributes that every event has is taken for one.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Tells whether a payload of which no header tells anything is a CloudEvent in JSON.
pub(super) fn is_event(payload: &[u8]) -> bool {
    // Most JSON is none, and need not be parsed to know it.
    payload.trim_ascii_start().first() == Some(&b'{')
        && memmem::find(payload, b"\"specversion\"").is_some()
        && serde_json::from_slice::<Event<'_>>(payload).is_ok_and(|event| event.specversion == "1.0")
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "of most it is enough that they are there")]
struct Event<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    id: IgnoredAny,
    source: IgnoredAny,
    r#type: IgnoredAny,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_known_by_what_every_event_has() {
        assert!(is_event(br#" {"type":"t","specversion":"1.0","id":"1","source":"/s","data":[1]}"#));
        for other in [
            &b""[..],
            b"{}",
            b"\"specversion\"",
            br#"{"specversion":"1.0","id":"1","source":"/s"}"#,
            br#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#,
            br#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#,
            br#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"}]"#,
            b"{\"specversion\xff",
        ] {
            assert!(!is_event(other), "{}", other.escape_ascii());
        }
    }
}
