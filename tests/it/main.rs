//! The doors for services over real sockets: the server in this process, the embedded log behind it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod auth;
mod batch;
mod destinations;
mod document;
mod events;
mod grpc;
mod limits;
mod openapi;
mod pages;
mod publish;
mod pull;
mod replies;
mod requests;
mod rest;
mod server;
mod socket;
mod stream;
mod stream_socket;
mod subscriptions;
mod trouble;
