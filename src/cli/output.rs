//! Standard output for data, standard error for talk.

use std::fs::File;
use std::future::pending;
use std::io::{self, Write};
use std::os::fd::AsFd;

use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::unix::pipe;

use super::failure::Outcome;

/// How data is written.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Output {
    /// How data is written.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

/// A way to write data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Prints a line.
pub(super) fn print(line: &str) -> Outcome {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Prints bytes as they are.
pub(super) fn print_bytes(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Prints JSON on many lines.
pub(super) fn print_pretty(value: &Value) -> Outcome {
    print(&format!("{value:#}"))
}

/// Returns once nobody reads standard output any more, where the system tells: a file never says so.
pub(super) async fn reader_gone() {
    // Only watched, so that it need not be, and is not made, non-blocking: the terminal shares it.
    let watched = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    match watched.and_then(pipe::Sender::from_file_unchecked) {
        Ok(out) => drop(out.ready(Interest::ERROR).await),
        Err(_) => pending().await,
    }
}

/// Says something to the person at the terminal.
pub(super) fn talk(text: &str) {
    // There is nobody to tell if the terminal is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Makes text safe to show: a message may hold what steers a terminal.
pub(super) fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_not_done() {
        assert_eq!(visible("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\r\n");
    }
}
