//! `sidespan` alone, and `sidespan serve`.

use std::path::PathBuf;
use std::thread::available_parallelism;

use clap::Args;

use super::failure::{Failure, Outcome};
use super::{configured, load, no_runtime, output};
use crate::app::{self, Bound};
use crate::bridges::{DRIVERS, QUIET};
use crate::config::{Address, Config, LogFormat, Subscriptions, Target};
use crate::reload::Source;
use crate::telemetry::log;

/// Development mode.
#[derive(Debug, Args)]
#[command(next_help_heading = "Development mode")]
pub(super) struct Development {
    /// Push a topic's messages to a webhook, from the first one stored; repeatable.
    #[arg(long, value_name = "TOPIC=URL", value_parser = push)]
    push: Vec<(String, String)>,
    /// Keep a topic's messages for consumers that fetch them, from the first one stored; repeatable.
    #[arg(long, value_name = "TOPIC")]
    pull: Vec<String>,
    /// Where messages are kept [default: ./sidespan-data]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where services speak to Sidespan, `unix:/path` for a socket [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where operators speak to Sidespan [default: 127.0.0.1:7401]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

impl Development {
    /// Serves until it is told to stop.
    pub(super) fn run(self) -> Outcome {
        let Self { push, pull, dir, listen, admin } = self;
        let subscriptions = Subscriptions { push: &push, pull: &pull };
        let config =
            Config::development(dir.as_deref(), listen.as_deref(), admin.as_deref(), subscriptions, DRIVERS)?;
        serve(config, None)
    }
}

/// Serve by a configuration file.
#[derive(Debug, Args)]
#[command(after_help = "\
A configuration that cannot be read ends it with exit code 78 before anything is bound. SIGTERM and
SIGINT finish what is in flight, within the deadlines of `drain`: exit code 0. What a deadline or a
second signal cuts off comes again after the next start: exit code 1.

Example:
  sidespan serve --config sidespan.yaml")]
pub(super) struct Serve {
    /// The configuration, in YAML or TOML [default: the environment variable SIDESPAN_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Serve {
    /// Serves until it is told to stop.
    pub(super) fn run(self) -> Outcome {
        let Some(path) = self.config.or_else(configured) else {
            let text = "error: say which configuration to serve: --config FILE, or SIDESPAN_CONFIG in the \
                        environment; `sidespan` alone is development mode and needs none";
            return Err(Failure::Usage(text.into()));
        };
        let config = load(&path)?;
        serve(config, Some(Source { path, load }))
    }
}

/// Serves, and says why it did not end as it should: to programs in a line of the log, since each of theirs is JSON.
fn serve(config: Config, source: Option<Source>) -> Outcome {
    let log = log::start(&config.log, QUIET).map_err(no_runtime)?;
    let is_for_programs = config.log.format == LogFormat::Json;
    let outcome = match serve_logged(config, source) {
        Err(Failure::Failed(error)) if is_for_programs => {
            tracing::error!(error, "serving has failed");
            Err(Failure::Found)
        }
        ended => ended,
    };
    // Where nobody reads the log, the exit code alone tells: standard error would be waited for.
    if log.end() { outcome } else { outcome.map_err(|_| Failure::Found) }
}

/// Beside a service and a broker, few processors are better served by one thread: what is ready is
/// handled in one go, which makes larger batches at the broker, and no time goes into waking others.
fn serve_logged(config: Config, source: Option<Source>) -> Outcome {
    // Each connection takes a file, and many systems begin with 1,024.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let mut runtime = match available_parallelism() {
        Ok(processors) if processors.get() > FEW => tokio::runtime::Builder::new_multi_thread(),
        Ok(_) | Err(_) => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build().map_err(no_runtime)?;
    let is_for_programs = config.log.format == LogFormat::Json;
    let ended = runtime.block_on(app::run(config, source, |config, bound| {
        if config.development {
            output::talk(&welcome(config, bound));
        }
    }));
    // Everything that matters has been waited for, by deadlines; a client library's thread may not
    // keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(ended) if ended.is_clean() => Ok(()),
        // The last line of the log has the same.
        Ok(_) if is_for_programs => Err(Failure::Found),
        Ok(app::Ended { attempts_left, connections_cut, .. }) => Err(Failure::Failed(format!(
            "stopped at the deadline: {attempts_left} deliveries were still running and come again, \
             {connections_cut} connections were cut"
        ))),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

/// What somebody who has configured nothing wants to know.
fn welcome(config: &Config, bound: &Bound) -> String {
    let dirs = config.bridges.values().filter_map(|bridge| bridge.settings.keys.get("dir")?.as_str());
    let mut lines = vec![
        format!("sidespan {}, development mode: any topic is taken", env!("CARGO_PKG_VERSION")),
        String::new(),
        format!("  services   {}", bound.services),
        format!("  operators  {}", bound.admin),
    ];
    lines.extend(dirs.map(|dir| format!("  data       {dir}, on this machine only")));
    lines.extend(config.subscriptions.iter().map(|to| match &to.target {
        Target::Pull(_) => format!("  to fetch   {} -> sidespan sub --pull {}", to.topic, to.name),
        Target::Push(push) => format!("  webhook    {} -> {}", to.topic, push.shown()),
    }));
    let (curl, server) = match &bound.services {
        Address::Tcp(address) if address.port() == 7400 => (format!("http://{address}"), String::new()),
        Address::Tcp(address) => (format!("http://{address}"), format!(" --server http://{address}")),
        Address::Unix(path) => {
            let path = path.display();
            (format!("--unix-socket {path} http://localhost"), format!(" --server unix:{path}"))
        }
    };
    lines.push(String::new());
    lines.push("Try it:".to_owned());
    lines.push(format!(
        "  curl -H 'content-type: application/json' -d '{{\"id\": 17}}' {curl}/v1/topics/orders/messages"
    ));
    lines.push(format!("  sidespan sub orders --start begin{server}"));
    lines.push(String::new());
    lines.join("\n")
}

fn push(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((topic, url)) if !topic.is_empty() && !url.is_empty() => Ok((topic.into(), url.into())),
        Some(_) | None => Err("write it as TOPIC=URL, such as orders=http://127.0.0.1:8080/events".into()),
    }
}

/// How many processors one thread serves best.
const FEW: usize = 2;
