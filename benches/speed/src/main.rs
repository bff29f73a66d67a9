//! Measures Sidespan against the brokers' own clients, on this machine. `benches/run` runs it.
//!
//! For each broker and each number of connections two loads take turns: the client library that the
//! bridge stands on, called in this process, and the same messages over HTTP through a `sidespan`
//! process. Each has so many messages outstanding as there are connections. Then stored messages
//! are delivered to a webhook, 64 at a time.
//!
//! # How to read it
//!
//! Broker, Sidespan and the load share the processors, so the rates say little by themselves, and
//! less on a machine with other work. The ratio compares two loads that followed one another, and
//! the processor time of a message hardly depends on what else runs. Brokers are started as the tests
//! start them: one node, small, and Kafka's Java with its quick compiler only.
//!
//! It is no test. It only insists that every message was stored.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are what it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use brokers::{Amqp, Broker, Embedded, Kafka, Nats};

mod brokers;
mod delivering;
mod load;
mod publishing;
mod sidecar;
mod sink;
mod table;
mod usage;
mod wire;

/// Why there are no figures.
pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// Compares publishing through Sidespan with the brokers' own clients, and measures deliveries.
#[derive(Debug, Parser)]
struct Options {
    /// Which brokers [default: all]
    #[arg(value_enum)]
    brokers: Vec<Kind>,
    /// How long each load runs in each round
    #[arg(long, value_name = "N", default_value_t = 3)]
    seconds: u64,
    /// How many loads of each kind take turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Numbers of connections
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,16,64")]
    connections: Vec<usize>,
    /// The `sidespan` to be measured
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Embedded,
    Kafka,
    Nats,
    Amqp,
}

/// How a broker is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    program: String,
    connections: Vec<usize>,
    rounds: u32,
    time: Duration,
}

/// One thread: the load may not take both processors of a small machine.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match measure(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches/run: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: Options) -> Result<(), Failed> {
    let Options { mut brokers, seconds, rounds, connections, program } = options;
    if brokers.is_empty() {
        brokers = Kind::value_variants().to_vec();
    }
    let program = program.canonicalize()?.to_string_lossy().into_owned();
    let plan = Plan { program, connections, rounds, time: Duration::from_secs(seconds.max(1)) };
    table::head();
    for broker in brokers {
        match broker {
            Kind::Embedded => all_of::<Embedded>(&plan).await?,
            Kind::Kafka => all_of::<Kafka>(&plan).await?,
            Kind::Nats => all_of::<Nats>(&plan).await?,
            Kind::Amqp => all_of::<Amqp>(&plan).await?,
        }
    }
    Ok(())
}

async fn all_of<B: Broker>(plan: &Plan) -> Result<(), Failed> {
    let broker = B::start().await?;
    publishing::measure(&broker, plan).await?;
    delivering::measure(&broker, plan).await
}
