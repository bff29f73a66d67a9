//! `traceparent`, as W3C Trace Context writes it.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A span of somebody's, and whether its trace is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl Traceparent {
    /// Makes one of its parts; none where an id is all zeros.
    pub(crate) fn new(trace: TraceId, span: SpanId, sampled: bool) -> Option<Self> {
        let is_valid = trace != TraceId::INVALID && span != SpanId::INVALID;
        is_valid.then(|| Self { trace, span, flags: TraceFlags::default().with_sampled(sampled) })
    }

    /// Reads one. Of a later version than 00 it takes what this one has.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (known, later) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let version = lower_hex(parts.next()?, 2)?;
        let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let is_later = version > 0 && version < 0xff && (later.is_empty() || later.starts_with('-'));
        if parts.next().is_some() || !(is_later || (version == 0 && later.is_empty())) {
            return None;
        }
        let trace = TraceId::from(lower_hex(trace, 32)?);
        let span = SpanId::from(u64::try_from(lower_hex(span, 16)?).ok()?);
        let flags = TraceFlags::new(u8::try_from(lower_hex(flags, 2)?).ok()?);
        Some(Self { flags, ..Self::new(trace, span, false)? })
    }

    /// Returns the context of a span.
    pub(crate) fn of(span: &SpanContext) -> Option<Self> {
        Some(Self { flags: span.trace_flags(), ..Self::new(span.trace_id(), span.span_id(), false)? })
    }

    /// Tells whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }

    /// Returns the id of the trace.
    pub fn trace_id(&self) -> TraceId {
        self.trace
    }

    /// Writes it: each message that is traced has it, so without the machinery of formatting.
    pub(crate) fn text(&self) -> [u8; LENGTH] {
        let mut text = *b"00-                                -                -  ";
        let (trace, span, flags) = (self.trace.to_bytes(), self.span.to_bytes(), [self.flags.to_u8()]);
        for (bytes, begin) in [(&trace[..], 3), (&span, 36), (&flags, 53)] {
            let places = text.iter_mut().skip(begin);
            let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            places.zip(digits).for_each(|(place, digit)| *place = hex(digit));
        }
        text
    }

    /// Returns it as a span of another process.
    pub(crate) fn remote(&self, state: TraceState) -> SpanContext {
        SpanContext::new(self.trace, self.span, self.flags, true, state)
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digits and hyphens.
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

/// The digit of a number below 16.
fn hex(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }
}

/// The specification knows no upper case here.
fn lower_hex(text: &str, length: usize) -> Option<u128> {
    let is_hex = text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { u128::from_str_radix(text, 16).ok() } else { None }
}

/// Of version 00, in bytes.
const LENGTH: usize = 55;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        for text in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000001-0000000000000001-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
        ] {
            assert_eq!(Traceparent::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        let later = Traceparent::parse(b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what");
        assert!(later.unwrap().is_sampled());
    }

    #[test]
    fn what_the_specification_does_not_know_is_none() {
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
            "00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331-01--",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331\u{20ac}1",
        ] {
            assert_eq!(Traceparent::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Traceparent::parse(b"\xff"), None);
    }
}
