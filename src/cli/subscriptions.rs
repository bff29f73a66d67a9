//! `sidespan subscriptions`: looks at subscriptions, and changes them at run time.

mod spec;

use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::header::{ACCEPT, CONTENT_TYPE, IF_MATCH};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::spec::Spec;
use super::client::{Server, subscription_path};
use super::failure::{Failure, Outcome};
use super::output::{self, Format, Output};
use super::patience;
use super::token::Token;

/// Look at subscriptions, and change them at run time.
#[derive(Debug, Args)]
#[command(after_help = "\
Changes are kept in the registry that the server's configuration names (`registry`), and are done
on every replica within some seconds. Where callers have tokens, they take `manage: true`.

Examples:
  sidespan subscriptions ls
  sidespan subscriptions put billing --topic orders --push http://127.0.0.1:8080/events
  sidespan subscriptions put billing --file billing.yaml
  sidespan subscriptions pause billing
  sidespan subscriptions seek billing --to 2026-01-31T12:00:00Z")]
pub(super) struct Subscriptions {
    #[command(subcommand)]
    what: What,
    /// Where Sidespan listens for services.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    server: Server,
    /// How long to wait for an answer.
    #[arg(long, global = true, value_name = "DURATION", default_value = "40s", value_parser = patience)]
    timeout: Duration,
    #[command(flatten)]
    token: Token,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List all, by name.
    Ls,
    /// Show one.
    Get {
        /// Its name.
        name: String,
    },
    /// Make one, or replace one that was made at run time.
    Put {
        /// Its name.
        name: String,
        #[command(flatten)]
        spec: Box<Spec>,
        #[command(flatten)]
        version: Version,
    },
    /// End one that was made at run time; its group stays at the broker.
    Rm {
        /// Its name.
        name: String,
        #[command(flatten)]
        version: Version,
    },
    /// Have every replica leave the group; messages stay with the broker.
    Pause {
        /// Its name.
        name: String,
    },
    /// Have every replica go on where it was.
    Resume {
        /// Its name.
        name: String,
    },
    /// Move one: what lies behind comes again, what lies before is skipped.
    Seek {
        /// Its name.
        name: String,
        /// `begin`, `end`, a time as RFC 3339 has it, or the position of a message.
        #[arg(long, value_name = "PLACE")]
        to: String,
    },
    /// Count what one has yet to deliver.
    Lag {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
struct Version {
    /// Only if it has this revision, as `get` shows it.
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
}

impl Subscriptions {
    /// Asks the server, and prints what it says.
    pub(super) async fn run(self) -> Outcome {
        match &self.what {
            What::Ls => self.list().await,
            What::Get { name } => self.show(&self.ask(Method::GET, name, "", None, None).await?),
            What::Put { name, spec, version } => {
                let spec = spec.read()?;
                self.show(&self.ask(Method::PUT, name, "", Some(spec), version.if_revision).await?)
            }
            What::Rm { name, version } => {
                self.ask(Method::DELETE, name, "", None, version.if_revision).await?;
                match self.output.format {
                    Format::Json => output::print(&json!({"name": name, "removed": true}).to_string()),
                    Format::Text => output::print(&format!("{name} has ended")),
                }
            }
            What::Pause { name } => self.show(&self.ask(Method::POST, name, "pause", None, None).await?),
            What::Resume { name } => self.show(&self.ask(Method::POST, name, "resume", None, None).await?),
            What::Seek { name, to } => {
                let to = json!({"to": place(to)});
                self.show(&self.ask(Method::POST, name, "seek", Some(to), None).await?)
            }
            What::Lag { name } => {
                let lag = self.ask(Method::GET, name, "lag", None, None).await?;
                match self.output.format {
                    Format::Json => output::print(&lag.to_string()),
                    Format::Text => output::print(&left(&lag)),
                }
            }
        }
    }

    async fn list(&self) -> Outcome {
        let mut token = String::new();
        loop {
            let page = self.send(Method::GET, &format!("/v1/subscriptions{token}"), None, None).await?;
            for one in page["subscriptions"].as_array().into_iter().flatten() {
                self.show(one)?;
            }
            match page["next_page_token"].as_str() {
                // Letters that need no escape in a query.
                Some(next) => token = format!("?page_token={next}"),
                None => return Ok(()),
            }
        }
    }

    async fn ask(
        &self,
        method: Method,
        name: &str,
        verb: &str,
        body: Option<Value>,
        revision: Option<u64>,
    ) -> Result<Value, Failure> {
        let path = subscription_path(name, verb);
        self.send(method, path.trim_end_matches('/'), body, revision).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        revision: Option<u64>,
    ) -> Result<Value, Failure> {
        let mut request = Request::builder().method(method).uri(path).header(ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(revision) = revision {
            request = request.header(IF_MATCH, format!("\"{revision}\""));
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(body));
        let request = request.map_err(|error| Failure::Failed(format!("this cannot be asked: {error}")))?;
        let answer = self.server.send(request, &self.token, self.timeout).await?.body().await?;
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    fn show(&self, one: &Value) -> Outcome {
        match self.output.format {
            Format::Json => output::print(&one.to_string()),
            Format::Text => output::print(&line(one)),
        }
    }
}

/// One subscription, for people.
fn line(one: &Value) -> String {
    let text = |key: &str| one[key].as_str().unwrap_or_default();
    let target = one["push"].as_str().unwrap_or("consumers that fetch");
    let mut line = format!("{}: {}, {} -> {target}", text("name"), text("state"), text("topic"));
    if let Some(role) = one["role"].as_str() {
        line.push_str(&format!(", {role}"));
    }
    line.push_str(match (one["origin"].as_str(), one["is_paused"].as_bool()) {
        (Some("registry"), Some(true)) => ", made at run time, paused",
        (Some("registry"), _) => ", made at run time",
        (_, Some(true)) => ", paused",
        (_, _) => "",
    });
    if let Some(revision) = one["revision"].as_str() {
        line.push_str(&format!(", revision {revision}"));
    }
    if let Some(error) = one["error"].as_str() {
        line.push_str(&format!("\n  {error}"));
    }
    output::visible(&line)
}

/// Writes a lag for people.
fn left(lag: &Value) -> String {
    let count = match &lag["messages"] {
        one if *one == 1 => "1 message".to_owned(),
        many => format!("{many} messages"),
    };
    match lag["oldest_seconds"].as_f64() {
        Some(oldest) => format!("{count}, the oldest {oldest:.1} s old"),
        None => count,
    }
}

/// Reads a place in a topic.
fn place(text: &str) -> Value {
    match text {
        "begin" | "end" => text.into(),
        time if time.parse::<Timestamp>().is_ok() => json!({"time": time}),
        position => json!({"position": position}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_so_many_messages() {
        assert_eq!(left(&json!({"messages": 0})), "0 messages");
        assert_eq!(left(&json!({"messages": 1})), "1 message");
        assert_eq!(left(&json!({"messages": 2, "oldest_seconds": 1.25})), "2 messages, the oldest 1.2 s old");
    }

    #[test]
    fn a_place_is_an_end_a_time_or_a_position() {
        assert_eq!(place("begin"), json!("begin"));
        assert_eq!(place("2026-01-31T12:00:00Z"), json!({"time": "2026-01-31T12:00:00Z"}));
        assert_eq!(place("0-41"), json!({"position": "0-41"}));
    }
}
