//! Says who calls, where the server asks.

use std::path::PathBuf;

use clap::Args;
use http::HeaderValue;
use sidespan_bridge::Secret;

use super::failure::Failure;

/// The token that a command shows.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// A file with the token of a caller, where the server's configuration has `auth`.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[arg(skip)]
    secret: Option<Secret>,
}

impl Token {
    /// Reads the file as it is now, and makes what goes into `Authorization`.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>, Failure> {
        if let Some(file) = &self.token_file {
            let shown = file.display();
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::Failed(format!("cannot read the token in {shown}: {error}")))?;
            return bearer(&text, &format!("in {shown}")).map(Some);
        }
        let Some(secret) = &self.secret else { return Ok(None) };
        let text = secret.reveal().map_err(|error| {
            Failure::Failed(format!("cannot read the token of the configuration: {error}"))
        })?;
        bearer(&text, "in the configuration").map(Some)
    }

    /// Shows this where no file was named.
    pub(super) fn or(self, secret: Option<Secret>) -> Self {
        Self { secret, ..self }
    }
}

fn bearer(text: &str, place: &str) -> Result<HeaderValue, Failure> {
    let header = HeaderValue::from_str(&format!("Bearer {}", text.trim()));
    let mut header = header
        .map_err(|_| Failure::Failed(format!("what is {place} is no token: it must be one word of ASCII")))?;
    header.set_sensitive(true);
    Ok(header)
}
