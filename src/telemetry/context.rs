//! Trace context among the headers of a message: W3C's, and B3 turned into it.
//!
//! | read | specification |
//! |---|---|
//! | `traceparent`, `tracestate` | W3C Trace Context, version 00 and what later ones keep of it |
//! | `baggage` | W3C Baggage |
//! | `b3`, or `X-B3-TraceId`, `-SpanId`, `-Sampled`, `-Flags` | B3; becomes a `traceparent` where there is none |
//!
//! Context is of help, and never a reason to refuse a message: what is malformed, or larger than its
//! specification asks anybody to carry, is left out.

mod b3;
mod traceparent;

use bytes::Bytes;
use sidespan_bridge::Header;

pub use traceparent::Traceparent;

use b3::B3;

/// Tells whether a header or metadata of this name, in lower case, is trace context: it goes with the message.
pub fn is_trace(name: &str) -> bool {
    Kind::of(name).is_some()
}

/// Tells the same of the form in which context goes out.
pub fn is_w3c(name: &str) -> bool {
    Kind::of(name).is_some_and(|kind| kind != Kind::B3)
}

/// Returns the context that a message has, if it has a valid one.
pub fn of(headers: &[Header]) -> Option<Traceparent> {
    let mut b3 = None;
    for header in headers {
        match Kind::of(&header.name) {
            Some(Kind::Parent) => return Traceparent::parse(&header.value),
            Some(Kind::B3) => b3.get_or_insert_with(B3::default).add(&header.name, &header.value),
            Some(Kind::Baggage | Kind::State) | None => {}
        }
    }
    b3?.context()
}

/// Leaves only valid context among these headers, in W3C's form.
pub fn tidy(headers: &mut Vec<Header>) {
    if !headers.iter().any(|header| is_trace(&header.name)) {
        return;
    }
    let mut parents = headers.iter().filter(|header| Kind::of(&header.name) == Some(Kind::Parent));
    let parent = parents.next().and_then(|header| Traceparent::parse(&header.value));
    let parent = parent.filter(|_| parents.next().is_none());
    let other = if parent.is_none() { of_b3(headers) } else { None };
    let keeps_state = parent.is_some() && fits(headers, Kind::State, &STATE);
    let keeps_baggage = fits(headers, Kind::Baggage, &BAGGAGE);
    headers.retain(|header| match Kind::of(&header.name) {
        None => true,
        Some(Kind::B3) => false,
        Some(Kind::Baggage) => keeps_baggage,
        Some(Kind::Parent) => parent.is_some(),
        Some(Kind::State) => keeps_state,
    });
    headers.extend(other.map(|context| Header::new(TRACEPARENT, context.to_string())));
}

/// Puts a context into the headers, in the place of the one that they have.
pub(super) fn set(headers: &mut Vec<Header>, context: Traceparent) {
    let value = Bytes::copy_from_slice(&context.text());
    match headers.iter_mut().find(|header| Kind::of(&header.name) == Some(Kind::Parent)) {
        Some(header) => header.value = value,
        None => headers.push(Header { name: TRACEPARENT.into(), value }),
    }
}

/// Returns what vendors have to say of a trace, if they say it as they should.
pub(super) fn state(headers: &[Header]) -> Option<&str> {
    let state = headers.iter().find(|header| Kind::of(&header.name) == Some(Kind::State))?;
    std::str::from_utf8(&state.value).ok()
}

fn of_b3(headers: &[Header]) -> Option<Traceparent> {
    let mut b3 = B3::default();
    headers.iter().for_each(|header| b3.add(&header.name, &header.value));
    b3.context()
}

/// Tells whether the headers of this kind, taken together as HTTP does, are text within bounds.
fn fits(headers: &[Header], kind: Kind, most: &Most) -> bool {
    let (mut bytes, mut members) = (0, 0);
    for header in headers.iter().filter(|header| Kind::of(&header.name) == Some(kind)) {
        if !header.value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            return false;
        }
        bytes += header.value.len();
        members += header.value.split(|byte| *byte == b',').count();
    }
    bytes <= most.bytes && members <= most.members
}

/// What a header says of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    B3,
    Baggage,
    Parent,
    State,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        let is = |known| name.eq_ignore_ascii_case(known);
        // Nearly no header is one, and the length alone tells.
        match name.len() {
            2 if is(b3::SINGLE) => Some(Self::B3),
            7 if is("baggage") => Some(Self::Baggage),
            10 if is("tracestate") => Some(Self::State),
            11 if is(TRACEPARENT) => Some(Self::Parent),
            10..=17 if b3::is_one(name) => Some(Self::B3),
            _ => None,
        }
    }
}

struct Most {
    bytes: usize,
    members: usize,
}

/// What everybody has to carry (W3C Trace Context, 3.3.1.5).
const STATE: Most = Most { bytes: 512, members: 32 };
/// What everybody has to carry (W3C Baggage, 3.3.2).
const BAGGAGE: Most = Most { bytes: 8192, members: 64 };
const TRACEPARENT: &str = "traceparent";

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn tidied(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut read: Vec<Header> =
            headers.iter().map(|(name, value)| Header::new(*name, value.to_string())).collect();
        tidy(&mut read);
        let text =
            |header: Header| (header.name.into_string(), String::from_utf8(header.value.to_vec()).unwrap());
        read.into_iter().map(text).collect()
    }

    fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_valid_stays_as_and_where_it_was() {
        let headers = [
            ("a", "1"),
            ("Traceparent", PARENT),
            ("tracestate", "x=1"),
            ("tracestate", "y=2"),
            ("baggage", "k=v"),
        ];
        assert_eq!(tidied(&headers), pairs(&headers));
    }

    #[test]
    fn a_parent_that_is_none_takes_its_state_with_it() {
        let later = format!("{PARENT}-later");
        for bad in ["", "00", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &later] {
            let read = tidied(&[("traceparent", bad), ("tracestate", "x=1"), ("baggage", "k=v"), ("a", "1")]);
            assert_eq!(read, pairs(&[("baggage", "k=v"), ("a", "1")]), "{bad:?}");
        }
        assert_eq!(
            tidied(&[("traceparent", PARENT), ("traceparent", PARENT), ("a", "1")]),
            pairs(&[("a", "1")])
        );
        assert_eq!(tidied(&[("tracestate", "x=1")]), []);
    }

    #[test]
    fn state_and_baggage_have_bounds() {
        let (long, many) = (format!("x={}", "y".repeat(511)), vec!["x=1"; 33].join(","));
        for state in [&*long, &*many, "x=\u{e9}"] {
            assert_eq!(
                tidied(&[("traceparent", PARENT), ("tracestate", state)]),
                pairs(&[("traceparent", PARENT)])
            );
        }
        assert_eq!(tidied(&[("baggage", &format!("x={}", "y".repeat(8191)))]), []);
        assert_eq!(tidied(&[("baggage", &vec!["x=1"; 65].join(","))]), []);
        assert_eq!(tidied(&[("baggage", &vec!["x=1"; 64].join(","))]).len(), 1);
    }

    #[test]
    fn b3_becomes_a_parent_unless_there_is_one() {
        let single = ("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1");
        assert_eq!(tidied(&[single]), pairs(&[("traceparent", PARENT)]));
        let several = [
            ("X-B3-TraceId", "0AF7651916CD43DD8448EB211C80319C"),
            ("X-B3-SpanId", "b7ad6b7169203331"),
            ("X-B3-ParentSpanId", "0000000000000001"),
            ("X-B3-Sampled", "1"),
            ("a", "1"),
        ];
        assert_eq!(tidied(&several), pairs(&[("a", "1"), ("traceparent", PARENT)]));
        let other = "00-11111111111111111111111111111111-2222222222222222-00";
        assert_eq!(tidied(&[single, ("traceparent", other)]), pairs(&[("traceparent", other)]));
        assert_eq!(tidied(&[("b3", "0")]), []);
        let both = [single, ("X-B3-TraceId", "1111111111111111"), ("X-B3-SpanId", "2222222222222222")];
        assert_eq!(tidied(&both), pairs(&[("traceparent", PARENT)]));
    }

    #[test]
    fn a_message_without_context_is_left_alone() {
        let plain = [("x-tenant-id", "7"), ("content", "x"), ("x-b3-nothing", "1"), ("t1234567890", "1")];
        assert_eq!(tidied(&plain), pairs(&plain));
        assert_eq!(of(&[Header::new("a", "1")]), None);
    }
}
