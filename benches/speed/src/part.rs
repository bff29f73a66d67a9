//! The processes that a measurement is made of.
//!
//! Each is this program in another role. It says what it has to say in lines of JSON: first that it
//! is there, then one answer for each line that it is told. It ends when nobody speaks to it any more.

use std::process::Stdio;

use clap::Subcommand;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::brokers::{self, Kind};
use crate::{Failed, adding, asking, echo, fetching, grpc, http, load, sink, sockets};

/// What a process does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Role {
    /// Publishes by the client library
    #[command(hide = true)]
    Raw(load::Target),
    /// Publishes by HTTP
    #[command(hide = true)]
    Http(load::Target),
    /// Publishes by calls of gRPC
    #[command(hide = true)]
    Grpc(load::Target),
    /// Publishes by a stream of gRPC
    #[command(hide = true)]
    GrpcStream(load::Target),
    /// Answers everything
    #[command(hide = true)]
    Echo,
    /// Takes what comes over WebSockets
    #[command(hide = true)]
    Sockets(sockets::Which),
    /// Takes what comes by a stream of gRPC, and acknowledges
    #[command(hide = true)]
    Subscriber(grpc::subscriber::Which),
    /// Is a webhook
    #[command(hide = true)]
    Sink,
    /// Fetches by HTTP, and acknowledges
    #[command(hide = true)]
    Fetch(fetching::Target),
    /// Is a webhook of many subscriptions, and tells how long each waits for its next message
    #[command(hide = true)]
    Watch,
    /// Is a service behind HTTP that gives back what it is asked
    #[command(hide = true)]
    Service,
    /// Gives back by the client library of NATS what it is asked
    #[command(hide = true)]
    Respond {
        /// Where
        #[arg(long)]
        at: String,
        /// On what subject
        #[arg(long)]
        subject: String,
    },
    /// Consumes by the client library, and acknowledges
    #[command(hide = true)]
    Take {
        /// Which broker
        #[arg(long, value_enum)]
        kind: Kind,
        /// Where
        #[arg(long)]
        at: String,
    },
    /// Consumes by the client library
    #[command(hide = true)]
    Tail {
        /// Which broker
        #[arg(long, value_enum)]
        kind: Kind,
        /// Where
        #[arg(long)]
        at: String,
    },
}

/// Plays a role, until nobody speaks to this process any more.
pub(crate) async fn play(role: Role) -> Result<(), Failed> {
    match role {
        Role::Raw(target) => brokers::publish(target).await,
        Role::Http(target) => http::publish(target).await,
        Role::Grpc(target) => grpc::publish(target).await,
        Role::GrpcStream(target) => grpc::stream(target).await,
        Role::Echo => echo::serve().await,
        Role::Sockets(which) => sockets::take(which).await,
        Role::Subscriber(which) => grpc::subscriber::take(which).await,
        Role::Sink => sink::serve().await,
        Role::Fetch(target) => fetching::fetch(target).await,
        Role::Watch => adding::watch().await,
        Role::Service => asking::serve().await,
        Role::Respond { at, subject } => brokers::nats::respond(&at, subject).await,
        Role::Take { kind, at } => brokers::take(kind, &at).await,
        Role::Tail { kind, at } => brokers::tail(kind, &at).await,
    }
}

/// A process in a role. Dropping it ends it.
pub(crate) struct Part {
    _child: Child,
    told: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Part {
    /// Starts one; returns what it says of itself.
    pub(crate) async fn start<T: DeserializeOwned>(arguments: &[&str]) -> Result<(Self, T), Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let told = child.stdin.take().ok_or("a part has no input")?;
        let said = BufReader::new(child.stdout.take().ok_or("a part has no output")?).lines();
        let mut part = Self { _child: child, told, said };
        let first = part.answer().await?;
        Ok((part, first))
    }

    /// Tells it something, and waits for its answer.
    pub(crate) async fn ask<T: DeserializeOwned>(&mut self, what: &impl Serialize) -> Result<T, Failed> {
        self.tell(what).await?;
        self.answer().await
    }

    /// Tells it something.
    pub(crate) async fn tell(&mut self, what: &impl Serialize) -> Result<(), Failed> {
        let line = serde_json::to_string(what)? + "\n";
        Ok(self.told.write_all(line.as_bytes()).await?)
    }

    /// Waits for what it says next.
    pub(crate) async fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Failed> {
        let line = self.said.next_line().await?.ok_or("a part of the measurement ended")?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// What a part is told, line by line.
pub(crate) struct Orders(Lines<BufReader<tokio::io::Stdin>>);

impl Orders {
    pub(crate) fn new() -> Self {
        Self(BufReader::new(tokio::io::stdin()).lines())
    }

    /// Waits for the next; `None` when there will be none.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failed> {
        match self.0.next_line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }
}

/// Says something to who started this part.
pub(crate) fn say(what: &impl Serialize) -> Result<(), Failed> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}
