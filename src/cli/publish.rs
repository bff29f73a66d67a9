//! `sidespan publish`: one message, or one a line.

mod lines;

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use http::header::CONTENT_TYPE;
use http::request::Builder;
use http::{HeaderName, Request};
use http_body_util::Full;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::client::{Server, topic_path};
use super::failure::{Failure, Outcome};
use super::output::{self, Format, Output};
use super::patience;
use super::token::Token;

/// Publish a message, or one a line.
#[derive(Debug, Args)]
#[command(override_usage = "sidespan publish [OPTIONS] <TOPIC> <DATA|--file <FILE>|--ndjson|--tombstone>")]
#[command(after_help = "\
Prints the receipt. Exit code 0 means that the broker has the message, 1 that it was refused, 75
that the server or the broker cannot be reached or is overloaded, or that the outcome is unknown.

With --ndjson each line of standard input is one message object:
  {\"key\": \"k\", \"data\": {\"id\": 17}, \"headers\": [[\"source\", \"till-3\"]]}

Examples:
  sidespan publish orders '{\"id\": 17}' --key customer-7
  sidespan publish orders --file order.pdf --content-type application/pdf
  date | sidespan publish ticks -
  sidespan publish orders --ndjson < orders.ndjson")]
pub(super) struct Publish {
    /// The topic.
    topic: String,
    #[command(flatten)]
    payload: Payload,
    /// What keeps messages together and in order.
    #[arg(long, conflicts_with = "ndjson")]
    key: Option<String>,
    /// A header of the message; repeatable.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header, conflicts_with = "ndjson")]
    headers: Vec<(HeaderName, String)>,
    /// The media type [default: application/json if it is JSON, else text/plain or
    /// application/octet-stream]
    #[arg(long, value_name = "TYPE", conflicts_with = "ndjson")]
    content_type: Option<String>,
    /// Store it once, however often it is sent with this key, where the broker deduplicates.
    #[arg(long, value_name = "KEY", value_parser = idempotency_key, conflicts_with = "ndjson")]
    idempotency_key: Option<String>,
    /// How long the broker may take.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = patience)]
    timeout: Duration,
    /// Where Sidespan listens: a URL, or unix:/path.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    server: Server,
    #[command(flatten)]
    token: Token,
    #[command(flatten)]
    output: Output,
}

/// Where the payload comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Payload {
    /// The payload; `-` reads it from standard input.
    data: Option<String>,
    /// A file that holds the payload; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Publish each line of standard input, a message object, in batches as they come.
    #[arg(long)]
    ndjson: bool,
    /// Publish a tombstone, which says that a key is gone.
    #[arg(long)]
    tombstone: bool,
}

impl Publish {
    /// Publishes, and prints receipts.
    pub(super) async fn run(self) -> Outcome {
        if self.payload.ndjson {
            return lines::publish(&self).await;
        }
        let payload = self.payload.read().await?;
        let request = self.request(payload)?;
        let answer = self.server.send(request, &self.token, self.timeout + GRACE).await?;
        let body = answer.body().await?;
        match self.output.format {
            Format::Json => output::print(String::from_utf8_lossy(&body).trim_end()),
            Format::Text => output::print(&Receipt::read(&body)?.as_text()),
        }
    }

    fn request(&self, payload: Option<Vec<u8>>) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::post(topic_path(&self.topic, "messages"));
        request = self.timeout(request);
        if let Some(key) = &self.key {
            let plain =
                !key.is_empty() && key.trim() == key && key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            request = match plain {
                true => request.header("sidespan-key", key),
                false => request.header("sidespan-key-base64", STANDARD.encode(key)),
            };
        }
        for (name, value) in &self.headers {
            let name = format!("sidespan-header-{name}");
            request = request.header(name, percent_encode(value.as_bytes(), VALUE).to_string());
        }
        if let Some(key) = &self.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let payload = match payload {
            Some(payload) => {
                let guessed = || media_type(&payload).to_owned();
                request = request.header(CONTENT_TYPE, self.content_type.clone().unwrap_or_else(guessed));
                payload
            }
            None => {
                request = request.header("sidespan-tombstone", "true");
                Vec::new()
            }
        };
        let request = request.body(Full::new(Bytes::from(payload)));
        request.map_err(|error| Failure::Usage(format!("error: this cannot be sent: {error}")))
    }

    fn timeout(&self, request: Builder) -> Builder {
        request.header("sidespan-timeout", format!("{}ms", self.timeout.as_millis()))
    }
}

impl Payload {
    /// Reads the payload; `None` is a tombstone.
    async fn read(&self) -> Result<Option<Vec<u8>>, Failure> {
        let unreadable = |what: &str, error| Failure::Failed(format!("cannot read {what}: {error}"));
        let from_stdin = self.data.as_deref() == Some("-")
            || self.file.as_deref().is_some_and(|file| file.as_os_str() == "-");
        if from_stdin {
            let mut payload = Vec::new();
            let read = tokio::io::stdin().take(MOST_PAYLOAD).read_to_end(&mut payload).await;
            read.map_err(|error| unreadable("standard input", error))?;
            return Ok(Some(payload));
        }
        match (&self.data, &self.file) {
            (Some(data), _) => Ok(Some(data.clone().into_bytes())),
            (None, Some(file)) => match tokio::fs::read(file).await {
                Ok(payload) => Ok(Some(payload)),
                Err(error) => Err(unreadable(&file.display().to_string(), error)),
            },
            (None, None) => Ok(None),
        }
    }
}

/// What is read of a receipt.
#[derive(Debug, Deserialize)]
struct Receipt {
    id: String,
    topic: Option<String>,
    position: Option<String>,
    guarantee: Option<String>,
    durability: Option<String>,
    #[serde(default)]
    duplicate: bool,
}

impl Receipt {
    fn read(body: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body)
            .map_err(|error| Failure::Failed(format!("the server's receipt cannot be read: {error}")))
    }

    fn as_text(&self) -> String {
        let mut text = if self.duplicate { "stored before" } else { "stored" }.to_owned();
        if let Some(topic) = &self.topic {
            text.push_str(&format!(" in {}", output::visible(topic)));
        }
        if let Some(position) = &self.position {
            text.push_str(&format!(" at {position}"));
        }
        text.push_str(&format!(", id {}", output::visible(&self.id)));
        for word in [&self.guarantee, &self.durability].into_iter().flatten() {
            text.push_str(&format!(", {word}"));
        }
        text
    }
}

pub(super) fn media_type(payload: &[u8]) -> &'static str {
    if serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok() {
        "application/json"
    } else if std::str::from_utf8(payload).is_ok() {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    }
}

pub(super) fn header(text: &str) -> Result<(HeaderName, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let parsed = name.parse().map_err(|_| format!("{name:?} is no header name"))?;
    Ok((parsed, value.to_owned()))
}

/// The header is a string of RFC 8941: printable ASCII, in quotes.
fn idempotency_key(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("must be printable ASCII".into());
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// What a header's value cannot hold as it is; the edges would lose their blanks.
pub(super) const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"');
/// How much longer the server may take than the broker.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// The server's own bound is lower; this only keeps an endless input from filling memory.
pub(super) const MOST_PAYLOAD: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_is_what_the_payload_looks_like() {
        assert_eq!(media_type(b"{\"id\": 1}"), "application/json");
        assert_eq!(media_type(b"hello"), "text/plain; charset=utf-8");
        assert_eq!(media_type(b"\xff"), "application/octet-stream");
    }

    #[test]
    fn an_idempotency_key_is_quoted() {
        assert_eq!(idempotency_key(r#"a"b\c"#).unwrap(), r#""a\"b\\c""#);
        assert!(idempotency_key("é").is_err());
    }

    #[test]
    fn a_receipt_says_what_was_stored_where() {
        let receipt = br#"{"id": "x", "topic": "orders", "position": "0-7", "guarantee": "at-least-once", "durability": "local"}"#;
        let text = Receipt::read(receipt).unwrap().as_text();
        assert_eq!(text, "stored in orders at 0-7, id x, at-least-once, local");
    }
}
