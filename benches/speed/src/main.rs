//! Measures Sidespan against the brokers' own clients, on this machine. `benches/run` runs it, and
//! `benches/README.md` says what came of it.
//!
//! For each broker and each number of connections three loads take turns: the client library that the
//! bridge stands on (`raw`), a bare server on the same HTTP stack (`echo`), and the same messages over
//! HTTP through a `sidespan` process. Each has so many messages outstanding as there are connections.
//! What sends and what receives are processes of their own ([`part`]); this one only counts.
//!
//! # How to read it
//!
//! Of `grpc`, what is called raw is REST through the same `sidespan`, with a connection for each message
//! on its way; the calls share one. Of `grpc stream` it is the client library, and the stream is one.
//!
//! A `request` goes by HTTP to Sidespan, through core NATS to the same Sidespan, and from there to a service
//! behind HTTP, and its reply comes back the same way. What is called raw is a request by the client library
//! that another process answers by it.
//!
//! Broker, Sidespan and the load share the processors, so the rates say little by themselves, and
//! less on a machine with other work. `L` is what the HTTP stack and the client leave when they share
//! the processors, 1/(1/echo + 1/raw); ratios compare loads that followed one another. Brokers are
//! started as the tests start them: one node, small, and Kafka's Java with its quick compiler only.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are what it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use brokers::{Amqp, Broker, Embedded, Kafka, Kind, Nats};
use report::Report;

mod adding;
mod asking;
mod brokers;
mod delivering;
mod echo;
mod fetching;
mod footprint;
mod grpc;
mod http;
mod latency;
mod load;
mod part;
mod publishing;
mod report;
mod sidecar;
mod sink;
mod soak;
mod sockets;
mod streams;
mod telemetry;
mod usage;

/// Why there are no figures.
pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// Compares publishing through Sidespan with the brokers' own clients, and measures deliveries,
/// latency and what Sidespan takes up.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Options {
    /// Which brokers [default: all]
    #[arg(value_enum)]
    brokers: Vec<Kind>,
    /// What to measure [default: all of it]
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    measure: Vec<Measure>,
    /// Which of the three loads, to profile one of them [default: all]
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',')]
    only: Vec<Way>,
    /// How long each load runs in each round
    #[arg(long, value_name = "N", default_value_t = 3)]
    seconds: u64,
    /// How many loads of each kind take turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Numbers of connections
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,16,64,256")]
    connections: Vec<usize>,
    /// Publish and deliver steadily for so long, and tell how the memory grows: nothing else is measured
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    soak: Option<Duration>,
    /// Write the figures to a file too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The `sidespan` to be measured
    #[arg(long, value_name = "FILE", required = true)]
    program: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<part::Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// One message a request
    Publish,
    /// A hundred messages a request
    Batch,
    /// One message a call of gRPC, and on a stream
    Grpc,
    /// A backlog to a webhook
    Deliver,
    /// A backlog to consumers that pull a hundred messages at a time
    Fetch,
    /// From HTTP to a service behind HTTP and back, through core NATS
    Request,
    /// From publisher to webhook, with nothing else to do
    Latency,
    /// Memory, processor time and start with nothing to do
    Footprint,
    /// Open streams with nothing to do, and streams that take what comes
    Streams,
    /// One subscription more among many that run
    Adding,
    /// Processor time for a message with telemetry off, with metrics, and with one trace in a hundred too
    Telemetry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// The broker's client library
    Raw,
    /// The HTTP stack alone
    Echo,
    /// Both, as Sidespan has them
    Sidespan,
}

/// How a broker is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    program: String,
    measures: Vec<Measure>,
    ways: Vec<Way>,
    connections: Vec<usize>,
    rounds: u32,
    time: Duration,
    soak: Option<Duration>,
}

/// One thread: the load may not take both processors of a small machine.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.part {
        Some(role) => part::play(role).await,
        None => measure(options).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches/run: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: Options) -> Result<(), Failed> {
    let Options { brokers, measure, only, seconds, rounds, connections, soak, json, program, part: _ } =
        options;
    let plan = Plan {
        program: program.ok_or("--program is missing")?.canonicalize()?.to_string_lossy().into_owned(),
        measures: or_all(measure),
        ways: or_all(only),
        connections,
        rounds,
        time: Duration::from_secs(seconds.max(1)),
        soak,
    };
    let mut report = Report::default();
    for broker in or_all(brokers) {
        eprintln!("benches/run: {broker:?}");
        match broker {
            Kind::Embedded => all_of::<Embedded>(&plan, &mut report).await?,
            Kind::Kafka => all_of::<Kafka>(&plan, &mut report).await?,
            Kind::Nats => all_of::<Nats>(&plan, &mut report).await?,
            Kind::Amqp => all_of::<Amqp>(&plan, &mut report).await?,
        }
    }
    println!("{report}");
    match json {
        Some(file) => Ok(std::fs::write(file, serde_json::to_string_pretty(&report)?)?),
        None => Ok(()),
    }
}

async fn all_of<B: Broker>(plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    let broker = B::start().await?;
    if let Some(time) = plan.soak {
        return soak::measure(&broker, plan, time, report).await;
    }
    let wanted = |measure| plan.measures.contains(&measure);
    if wanted(Measure::Publish) {
        publishing::single(&broker, plan, report).await?;
    }
    if wanted(Measure::Batch) {
        publishing::batches(&broker, plan, report).await?;
    }
    if wanted(Measure::Grpc) {
        publishing::calls(&broker, plan, report).await?;
    }
    if wanted(Measure::Deliver) {
        delivering::measure(&broker, plan, report).await?;
    }
    if wanted(Measure::Fetch) {
        fetching::measure(&broker, plan, report).await?;
    }
    if wanted(Measure::Request) {
        asking::measure(&broker, plan, report).await?;
    }
    if wanted(Measure::Latency) {
        latency::measure(&broker, plan, report).await?;
    }
    if wanted(Measure::Footprint) {
        footprint::measure(&broker, plan, report).await?;
    }
    if wanted(Measure::Streams) {
        streams::measure(&broker, plan, report).await?;
    }
    if wanted(Measure::Adding) {
        adding::measure(&broker, plan, report).await?;
    }
    if wanted(Measure::Telemetry) {
        telemetry::measure(&broker, plan, report).await?;
    }
    Ok(())
}

fn or_all<T: ValueEnum + Clone>(chosen: Vec<T>) -> Vec<T> {
    if chosen.is_empty() { T::value_variants().to_vec() } else { chosen }
}
