//! Owns the real brokers, Sidespan processes and webhook receivers that tests run against.
//!
//! No test starts a process by itself: [`Process`] makes sure that what was started ends with
//! the test run, also when that is interrupted or killed. On it stand the brokers ([`Kafka`],
//! [`Nats`], [`Rabbit`]) and [`Sidecar`]; [`Certificates`] are what brokers show.
//! A [`Proxy`] is a network between the two that fails.
//! [`Webhook`] is the receiving side, in this process and on a real socket, and [`Client`] the
//! publishing side. [`Load`] puts both to work, on a [`Scene`]; [`history`] writes down what happened and
//! checks it. [`Script`] runs programs in other languages. The rest is what tests share: [`bridge`], [`eventually()`], [`free_port`], [`Random`].
//!
//! What fails here fails the test: functions panic with what they saw and where the log is.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a failure here is a failure of the test that called, and its words are for the person who reads the test run"
)]

pub use broker::{Broker, NotOurs};
pub use certificates::{Certificates, Pair};
pub use client::{Client, NoAnswer, Request, Response, Streamed};
pub use eventually::eventually;
pub use ground::{Ground, Own};
pub use kafka::Kafka;
pub use load::{Load, Manner, PUBLISH_DEADLINE};
pub use logs::log_file;
pub use nats::Nats;
pub use port::free_port;
pub use process::{Process, Signal};
pub use program::{Said, run};
pub use proxy::{Cut, Proxy};
pub use rabbit::Rabbit;
pub use random::{Random, unique_name};
pub use scene::{HELD, Scene};
pub use script::Script;
pub use sidecar::{Ended, Launch, Sidecar};
pub use webhook::{Answer, Received, Webhook};

pub mod bridge;
pub mod history;

mod broker;
mod certificates;
mod client;
mod eventually;
mod ground;
mod kafka;
mod load;
mod logs;
mod nats;
mod port;
mod process;
mod program;
mod proxy;
mod rabbit;
mod random;
mod scene;
mod script;
mod sidecar;
mod webhook;
