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

/// Makes a test of a run for each of the brokers.
macro_rules! on {
    ($run:ident: $($broker:ident = $ground:ident),+) => {
        mod $run {
            use crate::ground::Ground;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $broker() {
                    super::$run(Ground::$ground).await;
                }
            )+
        }
    };
    ($run:ident on every broker) => {
        on!($run: embedded = Embedded, kafka = Kafka, jetstream = Jetstream, rabbitmq = Rabbitmq);
    };
    ($run:ident on every server) => {
        on!($run: kafka = Kafka, jetstream = Jetstream, rabbitmq = Rabbitmq);
    };
}

mod freezes;
mod ground;
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
