//! the Helm charts: rendered, compared, and held against Kubernetes, restricted Pod Security and Sidespan itself
//!
//! `SIDESPAN_RENEW=1 tests/run helm` writes what is kept of them anew: manifests, schemas and READMEs.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod cluster;
mod configuration;
mod documents;
mod embedding;
mod golden;
mod injecting;
mod manifests;
mod meshes;
mod monitoring;
mod pods;
mod refusals;
mod schema;
mod security;
mod stopping;
mod tools;

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");
