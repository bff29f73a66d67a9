//! `sidespan check`: connects to everything that a configuration names.
//!
//! It does what the server does at its start, in the same order, and says of each thing whether it
//! is well, or what is wrong with it and what to do. Nothing waits longer than its deadline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use sidespan_bridge::{Bridge, Fault, Pattern, Topic};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::failure::{Failure, Outcome};
use super::output::{self, Format, Output};
use super::patience;
use crate::bridges::DRIVERS;
use crate::config::{Auth, Config, Name, Push, Replicas, Subscription, TopicConfig, TopicName};
use crate::security::{caller, destination, seal, signature};

/// Check a configuration file, and connect to everything that it names.
#[derive(Debug, Args)]
#[command(after_help = "\
Topics and places for dead letters that do not exist are made where the bridge's settings say so, as
they would be at the start. An embedded log cannot be opened while a server has it.

Exit code 1 means that something is wrong; each line says ok, or what is wrong and what to do.

Example:
  sidespan check sidespan.yaml")]
pub(super) struct Check {
    /// The configuration, in YAML or TOML.
    file: PathBuf,
    /// How long each thing may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = patience)]
    timeout: Duration,
    #[command(flatten)]
    output: Output,
}

impl Check {
    /// Checks one thing after the other and prints a line for each.
    pub(super) async fn run(self) -> Outcome {
        let config = Config::load(&self.file, DRIVERS)?;
        let mut report = Report { timeout: self.timeout, format: self.output.format, wrong: 0 };
        if let Some(auth) = &config.auth {
            report.callers(auth)?;
        }
        if let Some(replicas) = &config.replicas {
            report.replicas(replicas)?;
        }
        let bridges = report.bridges(&config).await?;
        for (name, topic) in &config.topics {
            report.topic(name, topic, &bridges).await?;
        }
        for subscription in &config.subscriptions {
            report.subscription(subscription, &bridges).await?;
        }
        for bridge in bridges.values() {
            bridge.close(report.deadline()).await;
        }
        if report.wrong == 0 { Ok(()) } else { Err(Failure::Found) }
    }
}

type Bridges = BTreeMap<Name, Arc<dyn Bridge>>;

struct Report {
    timeout: Duration,
    format: Format,
    wrong: usize,
}

impl Report {
    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    fn say(&mut self, what: &str, found: Result<String, String>) -> Outcome {
        let ok = found.is_ok();
        let (Ok(detail) | Err(detail)) = found;
        self.wrong += usize::from(!ok);
        let word = if ok { "ok   " } else { "WRONG" };
        match self.format {
            Format::Json => output::print(&json!({"what": what, "ok": ok, "detail": detail}).to_string()),
            Format::Text => output::print(&format!("{word}  {what}: {detail}")),
        }
    }

    fn callers(&mut self, auth: &Auth) -> Outcome {
        for (token, found) in auth.tokens.iter().zip(caller::check(auth)) {
            let found = found.map(|()| "can call".to_owned()).map_err(|error| error.to_string());
            self.say(&format!("caller {}", token.name), found)?;
        }
        Ok(())
    }

    fn replicas(&mut self, replicas: &Replicas) -> Outcome {
        for (index, secret) in replicas.secrets.iter().enumerate() {
            let found = seal::reveal(secret).map(|_| "can be shared".to_owned());
            self.say(&format!("replicas, secret {}", index + 1), found.map_err(|error| error.to_string()))?;
        }
        Ok(())
    }

    /// Opens and asks every bridge; those that cannot be opened are not among what is returned.
    async fn bridges(&mut self, config: &Config) -> Result<Bridges, Failure> {
        let mut bridges = BTreeMap::new();
        for (name, bridge) in &config.bridges {
            let what = format!("bridge {name}");
            let opened = match bridge.driver.open(&bridge.settings) {
                Ok(opened) => opened,
                Err(error) => {
                    self.say(&what, Err(error.to_string()))?;
                    continue;
                }
            };
            let deadline = self.deadline();
            let answered = timeout_at(deadline, opened.probe(deadline)).await;
            let found = match answered {
                Ok(Ok(())) => Ok(format!("{} answers", bridge.driver.name())),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {:?}: is it running there?", self.timeout)),
            };
            let reachable = found.is_ok();
            self.say(&what, found)?;
            if reachable {
                bridges.insert(name.clone(), opened);
            } else {
                opened.close(self.deadline()).await;
            }
        }
        Ok(bridges)
    }

    async fn topic(&mut self, name: &TopicName, topic: &TopicConfig, bridges: &Bridges) -> Outcome {
        let what = format!("topic {name} ({} on {})", topic.address, topic.bridge);
        match bridges.get(&topic.bridge) {
            Some(bridge) => {
                let found = exists(bridge.as_ref(), &topic.address, self.deadline()).await;
                self.say(&what, found)
            }
            None => self.say(&what, Err(unknown(&topic.bridge))),
        }
    }

    async fn dead_letters(&mut self, what: &str, place: &TopicConfig, bridges: &Bridges) -> Outcome {
        let what = format!("{what}, dead letters ({} on {})", place.address, place.bridge);
        match bridges.get(&place.bridge) {
            Some(bridge) => {
                let found = kept(bridge.as_ref(), &place.address, self.deadline()).await;
                self.say(&what, found)
            }
            None => self.say(&what, Err(unknown(&place.bridge))),
        }
    }

    async fn subscription(&mut self, subscription: &Subscription, bridges: &Bridges) -> Outcome {
        let what = format!("subscription {}", subscription.name);
        let source = format!("{what} ({} on {})", subscription.pattern, subscription.bridge);
        match bridges.get(&subscription.bridge) {
            Some(bridge) => {
                let found = readable(bridge.as_ref(), subscription, self.deadline()).await;
                self.say(&source, found)?;
            }
            None => self.say(&source, Err(unknown(&subscription.bridge)))?,
        }
        if let Some(place) = &subscription.dead_letter {
            self.dead_letters(&what, place, bridges).await?;
        }
        let Some(push) = subscription.target.push() else { return Ok(()) };
        for (index, secret) in push.secrets.iter().enumerate() {
            let found = match secret.reveal() {
                Ok(text) => signature::check(&text).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let found = found.map(|()| "can sign".to_owned());
            self.say(&format!("{what}, secret {}", index + 1), found)?;
        }
        let found = reachable(push, self.deadline()).await;
        self.say(&format!("{what}, webhook {}", push.shown()), found)
    }
}

async fn exists(bridge: &dyn Bridge, topic: &Topic, deadline: Instant) -> Result<String, String> {
    let look = async {
        match bridge.topics(&Pattern::exactly(topic), deadline).await {
            Ok(known) if !known.is_empty() => Ok("exists".to_owned()),
            Ok(_) => bridge
                .ensure(topic, deadline)
                .await
                .map(|()| "is made".to_owned())
                .map_err(|error| missing(&error)),
            // Then nobody can tell whether it was there before.
            Err(error) if error.fault == Fault::Unsupported => bridge
                .ensure(topic, deadline)
                .await
                .map(|()| "can be used".to_owned())
                .map_err(|error| missing(&error)),
            Err(error) => Err(error.to_string()),
        }
    };
    timeout_at(deadline, look).await.unwrap_or_else(|_| Err(LATE.to_owned()))
}

async fn kept(bridge: &dyn Bridge, topic: &Topic, deadline: Instant) -> Result<String, String> {
    let known = exists(bridge, topic, deadline).await?;
    match timeout_at(deadline, bridge.ensure_kept(topic, deadline)).await {
        Ok(Ok(())) => Ok(format!("{known}, and keeps what it is given")),
        Ok(Err(error)) => Err(missing(&error)),
        Err(_) => Err(LATE.to_owned()),
    }
}

fn missing(error: &sidespan_bridge::Error) -> String {
    // A bridge that says more than the fault's name says what to do, too.
    if error.fault == Fault::UnknownTopic && error.to_string() == Fault::UnknownTopic.to_string() {
        format!("{error}: make it at the broker, or let the bridge's settings allow to")
    } else {
        error.to_string()
    }
}

async fn readable(
    bridge: &dyn Bridge,
    subscription: &Subscription,
    deadline: Instant,
) -> Result<String, String> {
    match subscription.pattern.literal() {
        Some(topic) => exists(bridge, &topic, deadline).await,
        None => {
            let asked = timeout_at(deadline, bridge.topics(&subscription.pattern, deadline)).await;
            match asked.map_err(|_| LATE.to_owned())? {
                Ok(found) => Ok(format!("stands for {} topics now", found.len())),
                Err(error) if error.fault == Fault::Unsupported => Ok("is a pattern".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        }
    }
}

/// Only connects: what a webhook would make of an empty request is its own matter.
async fn reachable(push: &Push, deadline: Instant) -> Result<String, String> {
    let host = push.url.host_str().unwrap_or_default();
    let port = push.url.port_or_known_default().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let connect = async {
        let permitted = destination::permitted(lookup_host((bare, port)).await?, &push.reach)?;
        TcpStream::connect(&*permitted).await
    };
    match timeout_at(deadline, connect).await {
        Ok(Ok(_)) => Ok("can be reached".to_owned()),
        Ok(Err(error)) => Err(format!("{error}: is the consumer running there? Messages wait until it is")),
        Err(_) => Err(format!("{LATE}: is there a firewall between?")),
    }
}

fn unknown(bridge: &Name) -> String {
    format!("not known: bridge {bridge} cannot be used")
}

const LATE: &str = "no answer in time";
