//! `sidespan topics`: which topics there are, and what holds on one.

use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::client::{Server, topic_path};
use super::failure::{Failure, Outcome};
use super::output::{self, Format, Output, visible};
use super::token::Token;

/// List topics, or show one.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  sidespan topics
  sidespan topics 'orders.*'
  sidespan topics -o json | jq -r .name
  sidespan topics get orders"
)]
pub(super) struct Topics {
    #[command(subcommand)]
    one: Option<One>,
    /// Only names that match: `*` is one token between dots, a last `>` one or more.
    pattern: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Subcommand)]
enum One {
    /// Show one topic: its size, who reads it, and what holds there.
    Get {
        /// The topic.
        topic: String,
        #[command(flatten)]
        ask: Ask,
    },
}

#[derive(Debug, Args)]
struct Ask {
    /// Where Sidespan listens: a URL, or unix:/path.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    server: Server,
    #[command(flatten)]
    token: Token,
    #[command(flatten)]
    output: Output,
}

/// What is read of a page.
#[derive(Deserialize)]
struct Page {
    topics: Vec<Value>,
    next_page_token: Option<String>,
    #[serde(default)]
    silent: Vec<Silent>,
    #[serde(default)]
    truncated: Vec<String>,
}

#[derive(Deserialize)]
struct Silent {
    bridge: String,
    detail: String,
}

impl Topics {
    /// Prints what the server knows.
    pub(super) async fn run(self) -> Outcome {
        match self.one {
            Some(One::Get { topic, ask }) => {
                let path = topic_path(&topic, "");
                let topic: Value = ask.get(path.trim_end_matches('/')).await?;
                ask.show(&topic, one)
            }
            None => self.ask.list(self.pattern.as_deref()).await,
        }
    }
}

impl Ask {
    async fn list(&self, pattern: Option<&str>) -> Outcome {
        let mut token: Option<String> = None;
        loop {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("page_size", "1000");
            query.extend_pairs(pattern.map(|pattern| ("pattern", pattern)));
            query.extend_pairs(token.as_deref().map(|token| ("page_token", token)));
            let page: Page = self.get(&format!("/v1/topics?{}", query.finish())).await?;
            for topic in &page.topics {
                self.show(topic, line)?;
            }
            token = page.next_page_token;
            if token.is_none() {
                // Each page says the same of the bridges.
                for Silent { bridge, detail } in page.silent {
                    output::talk(&format!("{bridge} could not be asked, and may have more: {detail}"));
                }
                for bridge in page.truncated {
                    output::talk(&format!("{bridge} has more topics than are listed: ask with a pattern"));
                }
                return Ok(());
            }
        }
    }

    async fn get<T: for<'a> Deserialize<'a>>(&self, path: &str) -> Result<T, Failure> {
        let request = Request::get(path).body(Full::<Bytes>::default());
        let request = request.map_err(|error| Failure::Failed(format!("cannot ask for this: {error}")))?;
        let answer = self.server.send(request, &self.token, PATIENCE).await?.body().await?;
        serde_json::from_slice(&answer).map_err(|error| {
            Failure::Failed(format!("the answer cannot be read ({error}): is this Sidespan?"))
        })
    }

    fn show(&self, topic: &Value, text: impl Fn(&Value) -> String) -> Outcome {
        match self.output.format {
            Format::Json => output::print(&topic.to_string()),
            Format::Text => output::print(&visible(&text(topic))),
        }
    }
}

/// Writes a topic as a line: name, bridge, and how much there is.
fn line(topic: &Value) -> String {
    let mut words = vec![word(&topic["name"]), word(&topic["bridge"])];
    if topic["exists"] == false {
        words.push("(not there yet)".to_owned());
    }
    for key in ["messages", "bytes"] {
        words.extend(topic.get(key).map(|count| format!("{} {key}", word(count))));
    }
    words.join("  ")
}

/// Writes all that is known of a topic, a line each.
fn one(topic: &Value) -> String {
    let mut lines = Vec::new();
    for (key, value) in topic.as_object().into_iter().flatten() {
        match value {
            Value::Object(holds) => {
                lines.extend(holds.iter().map(|(key, value)| format!("{key}: {}", word(value))));
            }
            Value::Array(names) => {
                lines.push(format!("{key}: {}", names.iter().map(word).collect::<Vec<_>>().join(", ")));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                lines.push(format!("{key}: {}", word(value)));
            }
        }
    }
    lines.join("\n")
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// How long the server may take; it gives brokers less.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_topic_is_a_line_in_a_list_and_several_by_itself() {
        let topic = json!({"name": "orders", "bridge": "main", "exists": true, "messages": 42, "bytes": 900,
            "guarantees": {"delivery": "at-least-once", "ordered": true}, "subscriptions": ["audit", "billing"]});
        assert_eq!(line(&topic), "orders  main  42 messages  900 bytes");
        let text = one(&topic);
        assert!(text.contains("delivery: at-least-once\nordered: true"), "{text}");
        assert!(text.contains("subscriptions: audit, billing"), "{text}");
        assert_eq!(
            line(&json!({"name": "new", "bridge": "main", "exists": false})),
            "new  main  (not there yet)"
        );
    }
}
