//! Reads what a request asks for, as JSON in its body.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use tokio::time::Instant;

use super::Door;
use super::body::{Incoming, Limit};
use super::upload::Upload;
use crate::error::Error;

/// Reads a body; an absent one asks for nothing special.
pub(super) async fn read<T: for<'de> Deserialize<'de>>(
    door: &Door,
    headers: &HeaderMap,
    body: Upload,
) -> Result<T, Error> {
    let deadline = Instant::now() + door.limits.timeout;
    let limit = Limit { name: "limits.max_message", most: door.limits.max_message };
    let mut body = Incoming::new(headers, body, limit, door.limits.read_timeout, deadline)?;
    let mut json = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        json.extend_from_slice(&chunk);
    }
    let json = if json.is_empty() { b"{}" } else { &json[..] };
    serde_json::from_slice(json).map_err(|error| {
        let told: String = error.to_string().chars().take(MOST_TOLD).collect();
        Error::Invalid(format!("the body is not what is asked for here: {told}"))
    })
}

/// Checks that a body is in one of these media types; one that does not say is taken for the first.
pub(super) fn media_type(headers: &HeaderMap, known: &[&str]) -> Result<(), Error> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = given.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    if known.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    Err(Error::UnsupportedMediaType(format!(
        "the body must be {}: say so in Content-Type",
        known.join(" or ")
    )))
}

/// A caller's own text need not come back whole.
const MOST_TOLD: usize = 300;
