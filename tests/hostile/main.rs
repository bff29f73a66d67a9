//! Hostile clients: connections and bodies meant to exhaust the server, beside an honest client.
//!
//! The program is real and so are the sockets. What is held is its memory, and that a client who
//! behaves is served meanwhile.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and its figures are for the person who reads them"
)]

mod bodies;
mod connections;
mod target;

use std::time::Duration;

/// How long an honest client waits for an answer at most.
const PATIENCE: Duration = Duration::from_secs(10);
