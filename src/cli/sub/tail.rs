//! Follows a topic, over the stream of server-sent events: the cursor is its own, nothing is settled.

use bytes::Bytes;
use http::Request;
use http::header::ACCEPT;
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{sleep, timeout};

use super::events::Events;
use super::{FIRST_WAIT, LONGEST_WAIT, Sub};
use crate::cli::client::{Answer, topic_path};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;

impl Sub {
    /// Follows until enough is seen.
    pub(super) async fn follow(&self) -> Outcome {
        let mut progress = Progress { last_id: None, seen: 0 };
        let mut wait = FIRST_WAIT;
        let mut first = true;
        loop {
            let start = progress.start(&self.start);
            let lost = match self.connect(start, progress.last_id.as_deref()).await {
                Ok(answer) => {
                    if first {
                        self.introduce(&answer);
                    } else if progress.last_id.is_some() || start != "end" {
                        output::talk("connected again");
                    } else {
                        output::talk("connected again; what was published in between is not shown");
                    }
                    first = false;
                    let before = progress.seen;
                    match self.read(answer, &mut progress).await? {
                        Ended::Enough => return Ok(()),
                        Ended::Lost(reason) => {
                            // A server that hangs up at once, again and again, gets its pauses.
                            if progress.seen > before {
                                wait = FIRST_WAIT;
                            }
                            reason
                        }
                    }
                }
                Err(Failure::Later(text)) if !first => text,
                Err(failure) => return Err(failure),
            };
            output::talk(&format!("{lost}; trying again in {wait:?}"));
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn connect(&self, start: &str, last_id: Option<&str>) -> Result<Answer, Failure> {
        let start = utf8_percent_encode(start, NON_ALPHANUMERIC);
        let path = format!("{}?start={start}", topic_path(&self.name, "stream"));
        let mut request = Request::get(path).header(ACCEPT, "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let request = request
            .body(Full::new(Bytes::new()))
            .map_err(|error| Failure::Usage(format!("error: this cannot be asked: {error}")))?;
        let answer = self.server.send(request, &self.token, ANSWER).await?;
        if answer.head().status().is_success() {
            return Ok(answer);
        }
        // A body with such a status is a problem, and its words are the failure.
        match answer.body().await {
            Ok(_) => Err(Failure::Failed("the server did not answer with a stream".into())),
            Err(failure) => Err(failure),
        }
    }

    fn introduce(&self, answer: &Answer) {
        let topic = output::visible(&self.name);
        let earlier = answer.head().headers().get("sidespan-stored-earlier");
        let earlier = earlier.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
        let hint = match earlier {
            Some(0) | None => String::new(),
            Some(1) => "; 1 message is stored earlier (--start begin shows it)".to_owned(),
            Some(count) => format!("; {count} messages are stored earlier (--start begin shows them)"),
        };
        output::talk(&format!("following {topic} from {}{hint}", output::visible(&self.start)));
    }

    async fn read(&self, mut answer: Answer, progress: &mut Progress) -> Result<Ended, Failure> {
        let mut events = Events::default();
        loop {
            // Comments keep an idle stream alive; without any, the connection is dead.
            let piece = match timeout(SILENCE, answer.piece()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(_))) => return Ok(Ended::Lost("the connection was lost".into())),
                Ok(None) => return Ok(Ended::Lost("the server ended the stream".into())),
                Err(_) => return Ok(Ended::Lost(format!("nothing was heard for {SILENCE:?}"))),
            };
            events.push(&piece).map_err(|error| Failure::Failed(error.to_string()))?;
            while let Some(event) = events.next() {
                progress.last_id = event.id;
                let Some(data) = event.data else { continue };
                if event.name == "error" {
                    return failed(&data);
                }
                self.show(&data)?;
                progress.seen += 1;
                if self.number.is_some_and(|number| progress.seen >= number) {
                    return Ok(Ended::Enough);
                }
            }
        }
    }
}

struct Progress {
    last_id: Option<String>,
    seen: u64,
}

impl Progress {
    /// Without an id, where the broker has no positions, there is no going on: what was shown is not
    /// shown again, at the price of a gap.
    fn start<'a>(&self, asked: &'a str) -> &'a str {
        if self.seen > 0 && self.last_id.is_none() { "end" } else { asked }
    }
}

/// Reads why the server ended a stream.
fn failed(data: &str) -> Result<Ended, Failure> {
    let told: StreamError = serde_json::from_str(data).unwrap_or_default();
    let detail = output::visible(told.detail.as_deref().unwrap_or("the server ended the stream"));
    if told.retryable { Ok(Ended::Lost(detail)) } else { Err(Failure::Failed(detail)) }
}

/// What is read of an `error` event.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamError {
    detail: Option<String>,
    retryable: bool,
}

enum Ended {
    Enough,
    Lost(String),
}

const ANSWER: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(60);
