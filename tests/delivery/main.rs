//! The delivery engine over the real embedded log, to real webhooks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bench;
mod dead_letters;
mod failures;
mod order;
mod receiver;
mod roster;
mod stopping;
mod wire;
