//! B3, in one header or in several (<https://github.com/openzipkin/b3-propagation>).

use opentelemetry::trace::{SpanId, TraceId};

use super::Traceparent;

/// What B3 headers say, as far as it can be read. The single header goes before the others.
#[derive(Debug, Default)]
pub(super) struct B3 {
    single: Option<Traceparent>,
    trace: Option<TraceId>,
    span: Option<SpanId>,
    sampled: bool,
}

impl B3 {
    /// Takes a header, if it is one of these.
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        let Ok(value) = std::str::from_utf8(value) else { return };
        if name.eq_ignore_ascii_case(SINGLE) {
            self.single = self.single.or_else(|| single(value));
        } else if name.eq_ignore_ascii_case(TRACE_ID) {
            self.trace = trace(value);
        } else if name.eq_ignore_ascii_case(SPAN_ID) {
            self.span = span(value);
        } else if name.eq_ignore_ascii_case(SAMPLED) {
            self.sampled |= matches!(value, "1" | "true");
        } else if name.eq_ignore_ascii_case(FLAGS) {
            // To debug is to record.
            self.sampled |= value == "1";
        }
    }

    /// Returns what they say together. Who leaves the decision to us has made none that could be passed on, so
    /// its trace is not recorded.
    pub(super) fn context(self) -> Option<Traceparent> {
        let several = || Traceparent::new(self.trace?, self.span?, self.sampled);
        self.single.or_else(several)
    }
}

/// Tells whether this is one of several.
pub(super) fn is_one(name: &str) -> bool {
    [TRACE_ID, SPAN_ID, PARENT_SPAN_ID, SAMPLED, FLAGS].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// `trace-span`, `trace-span-state` or `trace-span-state-parent`; a decision alone is no context.
fn single(text: &str) -> Option<Traceparent> {
    let mut parts = text.split('-');
    let (trace, span) = (trace(parts.next()?)?, span(parts.next()?)?);
    let sampled = match parts.next() {
        None | Some("0") => false,
        Some("1" | "d") => true,
        Some(_) => return None,
    };
    Traceparent::new(trace, span, sampled)
}

/// 16 or 32 digits.
fn trace(text: &str) -> Option<TraceId> {
    if text.len() != 32 && text.len() != 16 {
        return None;
    }
    hex(text).map(TraceId::from)
}

fn span(text: &str) -> Option<SpanId> {
    let id = hex(text).filter(|_| text.len() == 16)?;
    u64::try_from(id).ok().map(SpanId::from)
}

fn hex(text: &str) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { u128::from_str_radix(text, 16).ok() } else { None }
}

pub(super) const SINGLE: &str = "b3";
const FLAGS: &str = "x-b3-flags";
const PARENT_SPAN_ID: &str = "x-b3-parentspanid";
const SAMPLED: &str = "x-b3-sampled";
const SPAN_ID: &str = "x-b3-spanid";
const TRACE_ID: &str = "x-b3-traceid";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Option<String> {
        let mut b3 = B3::default();
        headers.iter().for_each(|(name, value)| b3.add(name, value.as_bytes()));
        b3.context().map(|context| context.to_string())
    }

    #[test]
    fn one_header_says_it_all() {
        let of = |text| read(&[("b3", text)]);
        let expected = |flags| Some(format!("00-0000000000000000463ac35c9f6413ad-a2fb4a1d1a96d312-{flags}"));
        assert_eq!(of("463ac35c9f6413ad-a2fb4a1d1a96d312-1"), expected("01"));
        assert_eq!(of("463ac35c9f6413ad-a2fb4a1d1a96d312-d"), expected("01"));
        assert_eq!(of("463ac35c9f6413ad-a2fb4a1d1a96d312-1-0020000000000001"), expected("01"));
        assert_eq!(of("463ac35c9f6413ad-a2fb4a1d1a96d312-0"), expected("00"));
        assert_eq!(of("463ac35c9f6413ad-a2fb4a1d1a96d312"), expected("00"));
        for bad in [
            "",
            "0",
            "1",
            "463ac35c9f6413ad",
            "463ac35c9f6413ad-a2fb4a1d1a96d312-x",
            "463ac35c9f6413a-a2fb4a1d1a96d312-1",
            "0000000000000000-a2fb4a1d1a96d312-1",
            "463ac35c9f6413ad-a2fb4a1d1a96d31-1",
            "+63ac35c9f6413ad-a2fb4a1d1a96d312-1",
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn several_headers_say_it_together() {
        let ids = [("X-B3-TraceId", "463ac35c9f6413ad"), ("x-b3-spanid", "a2fb4a1d1a96d312")];
        let with = |name, value| read(&[ids[0], ids[1], (name, value)]);
        let expected = |flags| Some(format!("00-0000000000000000463ac35c9f6413ad-a2fb4a1d1a96d312-{flags}"));
        assert_eq!(with("X-B3-Sampled", "1"), expected("01"));
        assert_eq!(with("X-B3-Sampled", "0"), expected("00"));
        assert_eq!(with("X-B3-Flags", "1"), expected("01"));
        assert_eq!(with("X-B3-ParentSpanId", "0020000000000001"), expected("00"));
        assert_eq!(read(&ids[..1]), None);
    }
}
