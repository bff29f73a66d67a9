//! Sidespan: publish and subscribe over plain HTTP, beside your service, to any broker.
//!
//! # The two data paths
//!
//! A publish goes through three files, and so does a delivery:
//!
//! ```text
//! POST -> rest/publish.rs -> publish.rs -> bridges/X/publisher.rs -> broker
//! broker -> bridges/X/subscription.rs -> delivery/pump.rs -> delivery/courier.rs -> webhook
//! ```
//!
//! Where consumers fetch instead, the courier's target is a shelf, and `pull.rs` takes from it, or from
//! that of another replica.
//!
//! # The layers, low to high
//!
//! `error proto` · `config` · `cloudevents headers security telemetry` · `publish delivery request` ·
//! `catalogue drain health paging prepare pull reload scrape subscriptions` · `listen replicas rest grpc admin` ·
//! `bridges app cli`. A module uses only lower ones; `tests/layers.rs` keeps it so. Doors never name a broker, use
//! cases never name axum or tonic, and what a broker is like stays in its bridge.

pub mod admin;
pub mod app;
pub mod bridges;
pub mod catalogue;
pub mod cli;
pub mod cloudevents;
pub mod config;
pub mod delivery;
pub mod drain;
pub mod error;
pub mod grpc;
pub mod headers;
pub mod health;
pub mod listen;
pub mod paging;
pub mod prepare;
pub mod proto;
pub mod publish;
pub mod pull;
pub mod reload;
pub mod replicas;
pub mod request;
pub mod rest;
pub mod scrape;
pub mod security;
pub mod subscriptions;
pub mod telemetry;
