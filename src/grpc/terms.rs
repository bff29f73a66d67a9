//! What the metadata of a call says.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};
use sidespan_bridge::Header;
use tokio::time::Instant;

use crate::config::Limits;
use crate::error::Error;
use crate::publish::fields::timeout;
use crate::security::caller::Caller;
use crate::telemetry::context::{self, is_trace};

/// Who makes a call, and on which terms.
#[derive(Debug)]
pub(super) struct Terms {
    /// Who.
    pub(super) caller: Caller,
    /// When the caller stops waiting, if it says.
    end: Option<Instant>,
    /// How long a message may take.
    timeout: Duration,
    /// The call's trace context, for messages that have none.
    pub(super) context: Vec<Header>,
}

impl Terms {
    /// Reads the metadata.
    ///
    /// # Errors
    ///
    /// `Invalid`: a value that can't be, or a name that means nothing here and would elsewhere.
    pub(super) fn read<B>(request: &Request<B>, limits: &Limits) -> Result<Self, Error> {
        let caller = Caller::of(request.extensions());
        let mut terms = Self { caller, end: None, timeout: limits.timeout, context: Vec::new() };
        let mut asked = None;
        for (name, value) in request.headers() {
            match name.as_str() {
                "grpc-timeout" => {
                    let whole = grpc_timeout(value).ok_or_else(|| {
                        Error::Invalid(
                            "grpc-timeout must be 1 to 8 digits and one of H, M, S, m, u, n".into(),
                        )
                    })?;
                    terms.end = Instant::now().checked_add(whole);
                    // What a caller waits for is what it may take, without a word more.
                    asked.get_or_insert(whole.min(limits.max_timeout));
                }
                "sidespan-timeout" => {
                    asked = Some(timeout(text("sidespan-timeout", value)?, limits.max_timeout)?);
                }
                "idempotency-key" => {
                    return Err(Error::Invalid(
                        "a call takes no idempotency-key: give each message an `id`, which is its idempotency key"
                            .into(),
                    ));
                }
                name if name.starts_with("sidespan-") => {
                    return Err(Error::Invalid(format!(
                        "there is no metadata {name:?}; known is sidespan-timeout, and the rest stands in the message"
                    )));
                }
                name if is_trace(name) => {
                    terms.context.push(Header::new(name, Bytes::copy_from_slice(value.as_bytes())));
                }
                _ => {}
            }
        }
        context::tidy(&mut terms.context);
        terms.timeout = asked.unwrap_or(limits.timeout);
        Ok(terms)
    }

    /// Returns when the outcome of a message that is submitted now is due.
    ///
    /// # Errors
    ///
    /// `RequestTimeout`: nobody waits for it any more.
    pub(super) fn deadline(&self) -> Result<Instant, Error> {
        let now = Instant::now();
        let deadline = now + self.timeout;
        match self.end {
            Some(end) if end <= now => Err(Error::RequestTimeout),
            Some(end) => Ok(deadline.min(end)),
            None => Ok(deadline),
        }
    }

    /// Returns when the caller stops waiting, if it says.
    pub(super) fn end(&self) -> Option<Instant> {
        self.end
    }
}

fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str, Error> {
    let text = std::str::from_utf8(value.as_bytes());
    text.map_err(|_| Error::Invalid(format!("the metadata {name:?} is not UTF-8 text")))
}

/// Reads `grpc-timeout` as gRPC over HTTP/2 defines it.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = value.as_bytes().split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b"H" => Duration::from_secs(count * 3600),
        b"M" => Duration::from_secs(count * 60),
        b"S" => Duration::from_secs(count),
        b"m" => Duration::from_millis(count),
        b"u" => Duration::from_micros(count),
        b"n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_unit_and_at_most_eight_digits() {
        let read = |text| grpc_timeout(&HeaderValue::from_static(text));
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("0n"), Some(Duration::ZERO));
        for bad in ["", "S", "5", "5s", "-5S", "123456789S", "5 S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
