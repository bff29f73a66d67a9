//! The command line: arguments in, exit code out.
//!
//! Each command is one file that holds its arguments and what it does. Data goes to standard
//! output, talk to standard error, and a reader that goes away (`| head`) ends a command quietly.

mod check;
mod client;
mod drain;
mod failure;
mod inject;
mod log_level;
mod manual;
mod operating;
mod output;
mod publish;
mod reply;
mod request;
mod serve;
mod stat;
mod sub;
mod subscriptions;
mod token;
mod topics;
mod validate;

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use sidespan_bridge::Span;

use self::failure::{Failure, Outcome};
use crate::bridges::DRIVERS;
use crate::config::{self, ConfigError, ConfigErrors, bounded};
use crate::security::caller::{self, TokenError};
use crate::security::{destination, signature};

/// Reads the arguments and does what they say.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match CommandLine::try_parse_from(arguments) {
        Ok(line) => dispatch(line),
        Err(error) => {
            // There is nobody left to tell if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                output::talk(&text);
            }
            ExitCode::from(failure.code())
        }
    }
}

/// Publish and subscribe over plain HTTP, beside your service, to any broker.
///
/// Without a command: development mode. Messages are kept in one local directory, any topic name
/// is taken, and nothing needs to be configured.
#[derive(Debug, Parser)]
#[command(name = "sidespan", version, args_conflicts_with_subcommands = true, after_help = HELP)]
struct CommandLine {
    #[command(flatten)]
    development: serve::Development,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve by a configuration file.
    Serve(serve::Serve),
    /// Check a configuration file, without connecting to anything, and say what it means.
    Validate(validate::Validate),
    /// Check a configuration file, and connect to everything that it names.
    Check(check::Check),
    /// Publish a message, or one a line.
    Publish(publish::Publish),
    /// Ask whoever answers at a topic, and print the reply.
    Request(request::Ask),
    /// Answer the requests of a subscription with what a command prints.
    Reply(reply::Responder),
    /// Print the messages of a topic as they come.
    Sub(sub::Sub),
    /// Look at subscriptions, and change them at run time.
    Subscriptions(subscriptions::Subscriptions),
    /// List topics, or show one.
    Topics(topics::Topics),
    /// Show how fast and how well messages are published and delivered.
    Stat(stat::Stat),
    /// Finish deliveries and start no new ones, before the server is stopped.
    Drain(drain::Drain),
    /// Tell the level of the log, or change it while the server runs.
    LogLevel(log_level::LogLevel),
    /// Add the sidecar to Kubernetes manifests.
    Inject(inject::Inject),
    /// Print what helps to write a configuration.
    #[command(subcommand)]
    Config(Config),
    /// Print the completion script of a shell.
    #[command(after_help = "Example:\n  sidespan completion bash > /etc/bash_completion.d/sidespan")]
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write one for each command.
    Man(manual::Manual),
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Print all keys of configuration files with their types, defaults and meanings, in Markdown.
    Reference,
    /// Print the JSON Schema of configuration files, for editors.
    Schema,
}

fn dispatch(line: CommandLine) -> Outcome {
    match line.command {
        None => line.development.run(),
        Some(Command::Serve(serve)) => serve.run(),
        Some(Command::Validate(validate)) => validate.run(),
        Some(Command::Check(check)) => on_one_thread(check.run()),
        Some(Command::Publish(publish)) => on_one_thread(publish.run()),
        Some(Command::Request(ask)) => on_one_thread(ask.run()),
        Some(Command::Reply(responder)) => on_one_thread(responder.run()),
        Some(Command::Sub(sub)) => on_one_thread(sub.run()),
        Some(Command::Subscriptions(subscriptions)) => on_one_thread(subscriptions.run()),
        Some(Command::Topics(topics)) => on_one_thread(topics.run()),
        Some(Command::Stat(stat)) => on_one_thread(stat.run()),
        Some(Command::Drain(drain)) => on_one_thread(drain.run()),
        Some(Command::LogLevel(log_level)) => on_one_thread(log_level.run()),
        Some(Command::Inject(inject)) => inject.run(),
        Some(Command::Config(Config::Reference)) => {
            output::print_bytes(config::reference(DRIVERS).as_bytes())
        }
        Some(Command::Config(Config::Schema)) => output::print_pretty(&config::schema(DRIVERS)),
        Some(Command::Completion { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "sidespan", &mut script);
            output::print_bytes(&script)
        }
        Some(Command::Man(manual)) => manual.run(CommandLine::command()),
    }
}

/// Runs a command that is a client: it does little, and one thread will do.
fn on_one_thread(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    let outcome = runtime.block_on(command);
    // A thread may be reading from a terminal, and would be waited for.
    runtime.shutdown_background();
    outcome
}

/// Reads a configuration, and refuses what would never work. A secret that is there and cannot be used is an error of it: webhooks would
/// wait for it for ever, and callers be refused. One that is not there may still come.
fn load(path: &Path) -> Result<config::Config, ConfigErrors> {
    let config = config::Config::load(path, DRIVERS)?;
    let mut errors = Vec::new();
    for (index, checked) in config.auth.iter().flat_map(caller::check).enumerate() {
        let Err(error @ (TokenError::Letters | TokenError::Shared { .. } | TokenError::Short { .. })) =
            checked
        else {
            continue;
        };
        errors.push(ConfigError {
            origin: path.display().to_string(),
            key: format!("auth.tokens.{index}.secret"),
            reason: error.to_string(),
        });
    }
    for subscription in &config.subscriptions {
        let Some(push) = subscription.target.push() else { continue };
        let key = |key: &str| format!("subscriptions.{}.push.{key}", subscription.name);
        let revealed = push.secrets.iter().filter_map(|secret| secret.reveal().ok());
        errors.extend(revealed.filter_map(|text| signature::check(&text).err()).map(|error| ConfigError {
            origin: path.display().to_string(),
            key: key("secrets"),
            reason: error.to_string(),
        }));
        errors.extend(destination::check_literal(&push.url).err().map(|error| ConfigError {
            origin: path.display().to_string(),
            key: key("url"),
            reason: error.to_string(),
        }));
    }
    if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
}

/// Returns the configuration that the environment names.
fn configured() -> Option<PathBuf> {
    std::env::var_os("SIDESPAN_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Reads how long to wait for something.
fn patience(text: &str) -> Result<Duration, String> {
    let span = Span::parse(text).map_err(|error| error.to_string())?;
    bounded(span).map_err(str::to_owned)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn no_runtime(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot start: {error}"))
}

const HELP: &str = "\
Examples:
  sidespan                                            development mode on 127.0.0.1:7400
  sidespan --push orders=http://127.0.0.1:8080/events and push a topic to a webhook
  sidespan publish orders '{\"id\": 17}'                publish a message
  sidespan request prices '{\"item\": 7}'              ask, and print the reply
  sidespan reply --subscription prices --exec ./price  answer what is asked, by a command
  sidespan sub orders                                 see messages as they come
  sidespan serve --config sidespan.yaml               serve by a configuration
  sidespan subscriptions ls                           what is subscribed to, and how it is doing
  sidespan stat                                       rates, success and latency, as they are now

Environment:
  SIDESPAN_CONFIG         the configuration of `serve`, `drain`, `stat` and `log-level`, where --config is not given
  SIDESPAN__<KEY>__<KEY>  goes over the configuration, as in SIDESPAN__LIMITS__TIMEOUT=5s

Exit codes:
  0   done
  1   failed: refused, or something found to be wrong
  2   the command line cannot be understood
  75  failed for now: the server or its broker cannot be reached or is overloaded; or the outcome
      is unknown
  78  the configuration cannot be used";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_fit_together() {
        CommandLine::command().debug_assert();
    }
}
