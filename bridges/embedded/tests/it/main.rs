//! The embedded log through crashes, damage, and a disk that is full.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "this is test code")]

mod damage;
mod directory;
mod disk;
mod errors;
mod kill;
mod life;
mod power;
mod publish;
mod registry;
mod retention;
mod shim;
mod support;
