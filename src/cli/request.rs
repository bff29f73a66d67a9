//! `sidespan request`: ask, and print the reply.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::CONTENT_TYPE;
use http::{HeaderName, Request};
use http_body_util::Full;
use percent_encoding::percent_encode;
use tokio::io::AsyncReadExt;

use super::client::{Server, problem, topic_path};
use super::failure::{Failure, Outcome};
use super::publish::{GRACE, MOST_PAYLOAD, VALUE, header, media_type};
use super::token::Token;
use super::{output, patience};

/// Ask whoever answers at a topic, and print the reply.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the body of the reply. Exit codes:
  0   it says success
  1   it does not, or nobody listens
  75  there was none in time, or the server or the broker cannot be reached

Examples:
  sidespan request prices '{\"item\": 7}'
  sidespan request prices - --timeout 2s < question.json")]
pub(super) struct Ask {
    /// The topic.
    topic: String,
    /// What to ask; `-` reads it from standard input.
    #[arg(default_value = "")]
    data: String,
    /// A header of the request; repeatable.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(HeaderName, String)>,
    /// The media type [default: application/json if it is JSON, else text/plain or
    /// application/octet-stream]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// How long to wait for the reply.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = patience)]
    timeout: Duration,
    /// Where Sidespan listens: a URL, or unix:/path.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    server: Server,
    #[command(flatten)]
    token: Token,
}

impl Ask {
    /// Asks, and prints what is answered.
    pub(super) async fn run(self) -> Outcome {
        let payload = match self.data.as_str() {
            "-" => {
                let mut payload = Vec::new();
                let read = tokio::io::stdin().take(MOST_PAYLOAD).read_to_end(&mut payload).await;
                read.map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
                payload
            }
            data => data.as_bytes().to_vec(),
        };
        let answer = self.server.send(self.request(payload)?, &self.token, self.timeout + GRACE).await?;
        let is_reply = answer.head().headers().contains_key("sidespan-reply");
        let (status, body) = answer.read().await?;
        if !is_reply {
            return Err(problem(status, &body));
        }
        output::print_bytes(&body)?;
        match status.is_success() {
            true => Ok(()),
            false => Err(Failure::Failed(format!("the reply says {status}"))),
        }
    }

    fn request(&self, payload: Vec<u8>) -> Result<Request<Full<Bytes>>, Failure> {
        let content_type = self.content_type.clone().unwrap_or_else(|| media_type(&payload).to_owned());
        let mut request = Request::post(topic_path(&self.topic, "requests"))
            .header("sidespan-timeout", format!("{}ms", self.timeout.as_millis()))
            .header(CONTENT_TYPE, content_type);
        for (name, value) in &self.headers {
            let name = format!("sidespan-header-{name}");
            request = request.header(name, percent_encode(value.as_bytes(), VALUE).to_string());
        }
        let request = request.body(Full::new(Bytes::from(payload)));
        request.map_err(|error| Failure::Usage(format!("error: this cannot be sent: {error}")))
    }
}
