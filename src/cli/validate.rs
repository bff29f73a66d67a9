//! `sidespan validate`: what a configuration means, without connecting to anything.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use sidespan_bridge::{Guarantee, Order, Pattern, Start};

use super::failure::Outcome;
use super::load;
use super::output::{self, Format, Output};
use crate::config::{Address, Config, Subscription, Target, Token, TopicConfig};

/// Check a configuration file, without connecting to anything, and say what it means.
#[derive(Debug, Args)]
#[command(after_help = "\
The environment (SIDESPAN__...) goes over the file, as it does in `serve`.

Example:
  sidespan validate sidespan.yaml")]
pub(super) struct Validate {
    /// The configuration, in YAML or TOML.
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

impl Validate {
    /// Prints what the configuration means.
    pub(super) fn run(self) -> Outcome {
        let config = load(&self.file)?;
        match self.output.format {
            Format::Json => output::print(&as_json(&config).to_string()),
            Format::Text => output::print(&as_text(&config)),
        }
    }
}

fn as_text(config: &Config) -> String {
    let mut lines = vec![format!("service       {}", config.service)];
    lines.push(format!("listens       {} for services", config.listen));
    lines.push(format!("              http://{} for operators", config.admin));
    if let Some(health) = config.health {
        lines.push(format!("              http://{health} for the kubelet"));
    }
    let tokens = config.auth.iter().flat_map(|auth| &auth.tokens);
    lines.extend(tokens.map(|token| format!("caller        {}: {}", token.name, rights(token))));
    for (name, bridge) in &config.bridges {
        let default = if config.default_bridge.as_ref() == Some(name) { ", default" } else { "" };
        let open = if bridge.open { ", open to any topic" } else { "" };
        lines.push(format!("bridge        {name}: {}{default}{open}", bridge.driver.name()));
    }
    for (name, topic) in &config.topics {
        lines.push(format!("topic         {name} -> {}", place(topic)));
    }
    for subscription in &config.subscriptions {
        let Subscription { name, bridge, pattern, group, target, .. } = subscription;
        lines.push(format!("subscription  {name}: {pattern} on {bridge} -> {}", destination(target)));
        lines.push(format!("              group {group}, {}", manner(subscription)));
        lines.push(match &subscription.dead_letter {
            Some(dead) => format!("              dead letters -> {}", place(dead)),
            None => "              no dead letters: what is not accepted is held and tried again".to_owned(),
        });
    }
    lines.join("\n")
}

fn destination(target: &Target) -> String {
    match target {
        Target::Pull(pull) => {
            format!("consumers that fetch, for {} each", humantime::format_duration(pull.lease))
        }
        Target::Push(push) => push.shown().to_string(),
    }
}

fn rights(token: &Token) -> String {
    let listed = |verb: &str, patterns: &[Pattern]| {
        let patterns: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
        (!patterns.is_empty()).then(|| format!("{verb} {}", patterns.join(", ")))
    };
    let manages = token.manage.then(|| "manages the server".to_owned());
    let rights = [listed("publishes to", &token.publish), listed("reads", &token.subscribe), manages];
    rights.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn place(topic: &TopicConfig) -> String {
    format!("{} on {}", topic.address, topic.bridge)
}

fn manner(subscription: &Subscription) -> String {
    let order = match subscription.order {
        Order::Key => "in order by key",
        Order::None => "in no order",
        Order::Topic => "in strict order",
    };
    let start = match subscription.start {
        Start::Begin => "the beginning",
        Start::End => "what is published after its first start",
        Start::Time(_) => "a time",
        Start::Position(_) | Start::Resume { .. } => "a position",
    };
    format!("{}, {order}, from {start}", guarantee(subscription.guarantee))
}

fn guarantee(guarantee: Guarantee) -> &'static str {
    match guarantee {
        Guarantee::AtLeastOnce => "at-least-once",
        Guarantee::AtMostOnce => "at-most-once",
    }
}

fn as_json(config: &Config) -> Value {
    let place =
        |topic: &TopicConfig| json!({"bridge": topic.bridge.as_str(), "address": topic.address.as_str()});
    let listen = match &config.listen {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => format!("unix:{}", path.display()),
    };
    let bridges = config.bridges.iter().map(|(name, bridge)| {
        json!({
            "name": name.as_str(),
            "kind": bridge.driver.name(),
            "open": bridge.open,
            "default": config.default_bridge.as_ref() == Some(name),
        })
    });
    let topics = config.topics.iter().map(|(name, topic)| {
        json!({"name": name.as_str(), "bridge": topic.bridge.as_str(), "address": topic.address.as_str()})
    });
    let subscriptions = config.subscriptions.iter().map(|subscription| {
        json!({
            "name": subscription.name.as_str(),
            "bridge": subscription.bridge.as_str(),
            "pattern": subscription.pattern.as_str(),
            "group": subscription.group,
            "guarantee": guarantee(subscription.guarantee),
            "push": subscription.target.push().map(|push| push.shown().to_string()),
            "pull": subscription.target.push().is_none(),
            "dead_letter": subscription.dead_letter.as_ref().map(place),
        })
    });
    let callers = config.auth.as_ref().map(|auth| {
        let described = auth.tokens.iter().map(|token| {
            let texts = |patterns: &[Pattern]| patterns.iter().map(Pattern::to_string).collect::<Vec<_>>();
            json!({
                "name": token.name.as_str(),
                "publish": texts(&token.publish),
                "subscribe": texts(&token.subscribe),
                "manage": token.manage,
            })
        });
        described.collect::<Vec<_>>()
    });
    json!({
        "service": config.service.as_str(),
        "listen": listen,
        "admin": config.admin.to_string(),
        "health": config.health.map(|health| health.to_string()),
        "callers": callers,
        "bridges": bridges.collect::<Vec<_>>(),
        "topics": topics.collect::<Vec<_>>(),
        "subscriptions": subscriptions.collect::<Vec<_>>(),
    })
}
