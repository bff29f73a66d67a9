//! Replicas: three sidecars share a subscription to fetch from, and consumers reach any of them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod answering;
mod changing;
mod cluster;
mod fetching;
mod grpc;
mod leaving;
mod owners;
mod sockets;
mod strangers;
