//! Standard output for data, standard error for talk.

use std::fs::File;
use std::future::pending;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::unix::pipe;

use super::failure::Outcome;

/// How data is written.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Output {
    /// How data is written.
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Format::Text)]
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

/// A line that tells how far long work has come, for somebody at a terminal; nobody else sees it.
pub(super) struct Progress {
    next: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// Begins; what is done soon shows nothing.
    pub(super) fn new() -> Self {
        let next = io::stderr().is_terminal().then(|| Instant::now() + NOW_AND_THEN);
        Self { next, shown: false }
    }

    /// Shows a line in the place of the last one, but not all the time.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.next.is_some_and(|next| next <= now) {
            (self.next, self.shown) = (Some(now + NOW_AND_THEN), true);
            self.write(&line());
        }
    }

    /// Takes the line away, so that something else can be said.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.write("");
        }
    }

    fn write(&self, line: &str) {
        let mut out = io::stderr().lock();
        // To the beginning, and nothing behind it: ECMA-48, CR and EL.
        let _ = write!(out, "\r\u{1b}[K{line}").and_then(|()| out.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

const NOW_AND_THEN: Duration = Duration::from_millis(500);

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
