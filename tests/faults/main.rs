//! Faults: what was promised is kept while processes, networks and webhooks fail.
//!
//! Keyed messages are published over HTTP and delivered to a webhook that fails at random, while
//! something is killed, frozen, cut off or stopped. Every publish and every delivery attempt is
//! written down, and at the end the history is checked: nothing that was answered 2xx is lost;
//! nothing is settled without a 2xx of the webhook or a stored dead letter (it would never come
//! again, and so be lost); the order of a key goes back only as a repeat; and repeats are counted.
//!
//! A run takes a seed (`SIDESPAN_SEED`), a length (`SIDESPAN_MESSAGES`) and a broker, which is the last
//! part of a test's name. `SIDESPAN_LONG` makes runs long, and pauses as they are in the wild: see
//! [`scale`]. `tests/run --seed 7 --messages 20000 --broker kafka faults` sets them all.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its words are for the person who reads them"
)]

mod freezes;
mod kills;
mod network;
mod pulls;
mod run;
mod scale;
mod stopping;
mod unroutable;
mod webhooks;

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");
/// Attempts of a run in which nothing is given up.
const NEVER: u32 = 1_000;
