//! Names in paths: `/v1/topics/{topic}/...`, `/v1/subscriptions/{subscription}`.

use std::borrow::Cow;

use http::Uri;
use percent_encoding::percent_decode_str;

use crate::error::Error;

/// Tells whether this is `/v1/topics/{topic}/messages`.
pub(super) fn is_messages(uri: &Uri) -> bool {
    let topic = uri.path().strip_prefix("/v1/topics/").and_then(|rest| rest.strip_suffix("/messages"));
    topic.is_some_and(|topic| !topic.is_empty() && !topic.contains('/'))
}

/// Reads the name behind `/v1/topics/` or `/v1/subscriptions/`. A slash within it is `%2F`.
pub(super) fn name(uri: &Uri) -> Result<Cow<'_, str>, Error> {
    let segment = uri.path().split('/').nth(3).unwrap_or("");
    // The decoder leaves a stray `%` as it is, and two callers would mean two topics by one name.
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if segment.split('%').skip(1).all(is_escape)
        && let Ok(name) = percent_decode_str(segment).decode_utf8()
    {
        return Ok(name);
    }
    Err(Error::Invalid(
        "the name in the path is not UTF-8, percent-encoded: `%` itself is written %25".into(),
    ))
}
