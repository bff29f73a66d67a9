//! `sidespan sub`: the messages of a topic, or of a subscription, as they come.

mod events;
mod pull;
mod show;
mod stream;
mod tail;

use std::time::Duration;

use clap::Args;
use tokio::signal::ctrl_c;

use super::client::Server;
use super::failure::Outcome;
use super::output::{self, Format, Output};
use super::token::Token;

/// Print the messages of a topic as they come, or take those of a subscription.
#[derive(Debug, Args)]
#[command(after_help = "\
With --tail it has a cursor of its own and settles nothing: no subscription gets less. With --pull
or --stream it is one of the consumers of a subscription that is configured with `pull`: what it
has printed is acknowledged, and nobody else gets it. --pull asks again and again, --stream has
one WebSocket. Each goes on after the server was away, and ends with Ctrl-C.

Examples:
  sidespan sub orders
  sidespan sub orders --start begin -n 10
  sidespan sub 'orders.*' -o json | jq .data
  sidespan sub --pull jobs -o json | while read -r job; do handle \"$job\"; done")]
pub(super) struct Sub {
    /// The topic; with --pull and --stream the subscription.
    #[arg(value_name = "TOPIC|SUBSCRIPTION")]
    name: String,
    /// Follow a topic. This is the default.
    #[arg(long, conflicts_with_all = ["pull", "stream"])]
    tail: bool,
    /// Take the messages of a subscription, and acknowledge what was printed.
    #[arg(long, conflicts_with = "stream")]
    pull: bool,
    /// As --pull, over a WebSocket: messages come as soon as they are there.
    #[arg(long)]
    stream: bool,
    /// Stop after so many messages.
    #[arg(short = 'n', long = "number", value_name = "N")]
    number: Option<u64>,
    /// Where to begin: begin, end, or a position that a receipt or a message gave.
    #[arg(long, default_value = "end", conflicts_with_all = ["pull", "stream"])]
    start: String,
    /// Where Sidespan listens: a URL, or unix:/path.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    server: Server,
    #[command(flatten)]
    token: Token,
    #[command(flatten)]
    output: Output,
}

impl Sub {
    /// Goes on until enough is seen, or somebody interrupts.
    pub(super) async fn run(self) -> Outcome {
        if self.number == Some(0) {
            return Ok(());
        }
        let work = async {
            match (self.pull, self.stream) {
                (true, _) => self.take().await,
                (false, true) => self.stream().await,
                (false, false) => self.follow().await,
            }
        };
        tokio::select! {
            biased;
            _ = ctrl_c() => Ok(()),
            () = output::reader_gone() => Ok(()),
            outcome = work => outcome,
        }
    }

    /// Prints a message object.
    fn show(&self, message: &str) -> Outcome {
        match self.output.format {
            Format::Json => output::print(message),
            Format::Text => output::print(&show::message(message)),
        }
    }
}

/// The first and the longest wait before a server that went away is asked again.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
