//! `sidespan reply`: a command answers the requests of a subscription.

mod asked;
mod command;

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::asked::Asked;
use self::command::{Command, Said};
use super::client::{Server, json_request, problem, subscription_path};
use super::failure::{Failure, Outcome};
use super::publish::media_type;
use super::token::Token;
use super::{output, patience};

/// Answer the requests of a subscription with what a command prints.
#[derive(Debug, Args)]
#[command(after_help = "\
The command is a line of shell, run once a request. The request is its standard input; what it
prints is the reply, with status 200. Any other exit code than 0 is a reply with status 500, of
what it says on standard error, and one that takes too long is stopped, with all that it started:
504. Its environment has SIDESPAN_TOPIC, SIDESPAN_ID, SIDESPAN_KEY (or SIDESPAN_KEY_BASE64),
SIDESPAN_CONTENT_TYPE, SIDESPAN_ATTEMPT, SIDESPAN_REPLY_TO, SIDESPAN_CORRELATION_ID, and the
headers as SIDESPAN_HEADER_<NAME>.

A message that awaits no reply is acknowledged after exit code 0, else given back. A request whose
reply could not be sent comes again. Ctrl-C takes no more requests and finishes those that run; a
second one stops at once.

Examples:
  sidespan --pull prices                           a server, with a subscription to fetch from
  sidespan reply --subscription prices --exec 'jq .item'     answer what is asked at prices
  sidespan request prices '{\"item\": 7}'            ask
  sidespan reply --subscription prices --exec ./price.py --max-in-flight 8 --timeout 5s")]
pub(super) struct Responder {
    /// The subscription, one that is configured with `pull`.
    #[arg(long, value_name = "NAME")]
    subscription: String,
    /// What answers a request, as a line of shell.
    #[arg(long, value_name = "COMMAND")]
    exec: String,
    /// The media type of replies [default: application/json if one is JSON, else text/plain or
    /// application/octet-stream]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// How long the command may take, at most 9m.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = time_to_answer)]
    timeout: Duration,
    /// How many requests are answered at a time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    max_in_flight: u16,
    /// The largest reply, in bytes; a larger one is 502 instead.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    max_reply: u32,
    /// Where Sidespan listens: a URL, or unix:/path.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    server: Server,
    #[command(flatten)]
    token: Token,
}

impl Responder {
    /// Answers until somebody interrupts.
    pub(super) async fn run(self) -> Outcome {
        let (stop, reached) = (CancellationToken::new(), Cell::new(false));
        let work = try_join_all((0..self.max_in_flight).map(|_| self.work(&stop, &reached)));
        let interrupted = async {
            told_to_stop().await;
            output::talk("finishing what runs");
            stop.cancel();
            told_to_stop().await;
        };
        tokio::select! {
            ended = work => ended.map(drop),
            () = interrupted => Ok(()),
        }
    }

    /// Answers one request after the other.
    async fn work(&self, stop: &CancellationToken, reached: &Cell<bool>) -> Outcome {
        let mut wait = FIRST_WAIT;
        loop {
            let asked = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                asked = self.pull() => asked,
            };
            match asked {
                Ok(asked) => {
                    if !reached.replace(true) {
                        output::talk(&format!("answering from {}", output::visible(&self.subscription)));
                    }
                    wait = FIRST_WAIT;
                    for asked in asked {
                        self.handle(&asked).await;
                    }
                }
                Err(Failure::Later(text)) if reached.get() => {
                    output::talk(&format!("{text}; trying again in {wait:?}"));
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Fetches a request, if there is one in time.
    async fn pull(&self) -> Result<Vec<Asked>, Failure> {
        let wish = json!({ "max_messages": 1, "wait": format!("{}s", WAIT.as_secs()) });
        let body = self.post("pull", &wish).await?;
        let pulled: Pulled = serde_json::from_slice(&body)
            .map_err(|error| Failure::Failed(format!("the server's answer cannot be read: {error}")))?;
        Ok(pulled.messages)
    }

    /// Runs the command and says what came of it. Where that fails, the message comes again.
    async fn handle(&self, asked: &Asked) {
        if let Err(failure) = self.try_to_handle(asked).await {
            let text = failure.text().unwrap_or_default();
            output::talk(&format!("{text}\n{} may come again", output::visible(asked.id())));
        }
    }

    async fn try_to_handle(&self, asked: &Asked) -> Outcome {
        // The lease may be shorter than the command takes.
        let lease = format!("{}s", (self.timeout + GRACE).as_secs());
        let ack_ids = json!([asked.ack_id]);
        self.post("extend", &json!({ "ack_ids": ack_ids, "lease": lease })).await?;
        let command = Command { line: &self.exec, timeout: self.timeout, most: self.max_reply as usize };
        let said = command.run(asked.environment(), &asked.payload()?).await;
        if !said.complaint.is_empty() {
            output::talk(output::visible(&said.complaint).trim_end());
        }
        if asked.reply_to.is_none() {
            let verb = if said.status == 200 { "ack" } else { "nack" };
            return self.post(verb, &json!({ "ack_ids": ack_ids })).await.map(drop);
        }
        self.reply(asked, &said).await
    }

    async fn reply(&self, asked: &Asked, said: &Said) -> Outcome {
        let content_type = match &self.content_type {
            Some(content_type) if said.status == 200 => content_type,
            Some(_) | None => media_type(&said.reply),
        };
        let message = match std::str::from_utf8(&said.reply) {
            Ok(text) => json!({ "content_type": content_type, "text": text }),
            Err(_) => json!({ "content_type": content_type, "data_base64": asked::base64(&said.reply) }),
        };
        let given = json!({ "ack_id": asked.ack_id, "status": said.status, "message": message });
        match self.send("reply", &given).await? {
            (http::StatusCode::PAYLOAD_TOO_LARGE, _) => {
                let message = json!({ "text": "the reply is larger than the server takes" });
                let given = json!({ "ack_id": asked.ack_id, "status": 502, "message": message });
                self.post("reply", &given).await.map(drop)
            }
            (status, _) if status.is_success() => Ok(()),
            (status, body) => Err(problem(status, &body)),
        }
    }

    async fn post(&self, verb: &str, body: &Value) -> Result<Bytes, Failure> {
        let (status, body) = self.send(verb, body).await?;
        if status.is_success() { Ok(body) } else { Err(problem(status, &body)) }
    }

    async fn send(&self, verb: &str, body: &Value) -> Result<(http::StatusCode, Bytes), Failure> {
        let request = json_request(&subscription_path(&self.subscription, verb), body.to_string())?;
        self.server.send(request, &self.token, WAIT + ANSWER).await?.read().await
    }
}

#[derive(Deserialize)]
struct Pulled {
    messages: Vec<Asked>,
}

/// Waits until the process is asked to stop.
async fn told_to_stop() {
    // Where a signal cannot be waited for, it ends the process as ever.
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = ctrl_c() => {}
    }
}

/// Leases can be extended by 10 minutes, and the reply takes some of it.
fn time_to_answer(text: &str) -> Result<Duration, String> {
    let time = patience(text)?;
    if time <= LONGEST { Ok(time) } else { Err("must be at most 9m".into()) }
}

const LONGEST: Duration = Duration::from_secs(9 * 60);
/// What the lease has beyond the command's time, for the reply.
const GRACE: Duration = Duration::from_secs(20);
/// How long the server waits for a request.
const WAIT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(15);
/// The first and the longest wait before a server that went away is asked again.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
