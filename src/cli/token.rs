//! Says who calls, where the server asks.

use std::path::PathBuf;

use clap::Args;
use http::HeaderValue;

use super::failure::Failure;

/// The token that a command shows.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// A file with the token of a caller, where the server's configuration has `auth`.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Token {
    /// Reads the file as it is now, and makes what goes into `Authorization`.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::Failed(format!("cannot read the token in {shown}: {error}")))?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", text.trim())).map_err(|_| {
            Failure::Failed(format!("what is in {shown} is no token: it must be one word of ASCII"))
        })?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}
