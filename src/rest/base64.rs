//! Bytes in text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::error::Error;

/// Reads standard base64 with padding.
pub(super) fn base64(what: &str, text: &[u8]) -> Result<Bytes, Error> {
    STANDARD
        .decode(text)
        .map(Bytes::from)
        .map_err(|_| Error::Invalid(format!("{what} is not base64 (the standard alphabet, with padding)")))
}
