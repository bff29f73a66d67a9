//! Lines of standard input, published in batches.
//!
//! A batch is what has come while the last one was stored, or within a moment: a slow writer's
//! lines are not kept waiting, and a fast one's share their round trips. Batches go one after the
//! other, so that lines keep their order.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::time::{Instant, timeout_at};

use super::{GRACE, Publish};
use crate::cli::client::{problem, topic_path};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format, Progress};

/// Publishes until the input ends, or a batch is not wholly stored.
pub(super) async fn publish(publish: &Publish) -> Outcome {
    let mut input = Input { read: BufReader::new(tokio::io::stdin()), part: Vec::new(), ended: false };
    let mut stored = 0;
    let mut progress = Progress::new();
    loop {
        let batch = input.batch().await?;
        if batch.is_empty() {
            break;
        }
        let request =
            Request::post(topic_path(&publish.topic, "batches")).header(CONTENT_TYPE, "application/x-ndjson");
        let request = publish.timeout(request).body(Full::new(Bytes::from(batch)));
        let request =
            request.map_err(|error| Failure::Usage(format!("error: this cannot be sent: {error}")))?;
        let answer = publish.server.send(request, &publish.token, publish.timeout + GRACE).await;
        let told = match answer {
            Ok(answer) => answer.read().await,
            Err(failure) => Err(failure),
        };
        progress.clear();
        let told = told.and_then(|(status, body)| tell(status, &body, stored, publish.output.format));
        stored += told.inspect_err(|_| {
            if stored > 0 {
                output::talk(&format!("stored from earlier batches: {stored}"));
            }
        })?;
        progress.show(|| format!("{stored} messages are stored so far"));
    }
    drop(progress);
    match publish.output.format {
        Format::Json => Ok(()),
        Format::Text => {
            output::print(&format!("stored {stored} messages in {}", output::visible(&publish.topic)))
        }
    }
}

/// What is read of the answer to a batch, wholly stored or not.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    stored: usize,
    outcomes: Vec<Map<String, Value>>,
}

/// Prints what became of each message, and returns how many are stored if all are. `before` is how
/// many earlier batches had: messages are counted from the first line of the input, from 0.
fn tell(status: StatusCode, body: &[u8], before: usize, format: Format) -> Result<usize, Failure> {
    let told = match serde_json::from_slice(body) {
        Ok(told) => told,
        Err(error) if status.is_success() => {
            return Err(Failure::Failed(format!("the server's answer cannot be read: {error}")));
        }
        // What there is to say of it is said below.
        Err(_) => Told::default(),
    };
    let Told { stored, outcomes } = told;
    for (index, mut outcome) in (before..).zip(outcomes) {
        match format {
            Format::Json => {
                outcome.insert("index".into(), index.into());
                output::print(&Value::from(outcome).to_string())?;
            }
            Format::Text => {
                if let Some(detail) = outcome.get("detail").and_then(Value::as_str) {
                    let unknown = outcome.get("outcome").is_some_and(|outcome| outcome == "unknown");
                    let what = if unknown { "may be stored" } else { "not stored" };
                    output::talk(&format!("message {index} {what}: {}", output::visible(detail)));
                }
            }
        }
    }
    if status.is_success() { Ok(stored) } else { Err(problem(status, body)) }
}

struct Input<R> {
    read: R,
    /// What has come of a line that has not ended.
    part: Vec<u8>,
    ended: bool,
}

impl<R: AsyncBufRead + Unpin> Input<R> {
    /// Waits for a line, and takes those that follow within a moment; nothing is the end.
    async fn batch(&mut self) -> Result<Vec<u8>, Failure> {
        let mut batch = Vec::new();
        let mut lines = 0;
        let mut end: Option<Instant> = None;
        while !self.ended && lines < MOST_LINES && batch.len() < MOST_BYTES {
            // Cancel-safe, as what was read of a line stays in `part`.
            let next = self.read.read_until(b'\n', &mut self.part);
            let read = match end {
                None => next.await,
                Some(end) => match timeout_at(end, next).await {
                    Ok(read) => read,
                    Err(_) => break,
                },
            };
            read.map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
            self.ended = self.part.last() != Some(&b'\n');
            let line = std::mem::take(&mut self.part);
            if !line.trim_ascii().is_empty() {
                batch.extend_from_slice(line.trim_ascii_end());
                batch.push(b'\n');
                lines += 1;
                end.get_or_insert_with(|| Instant::now() + MOMENT);
            }
        }
        Ok(batch)
    }
}

const MOST_LINES: usize = 1000;
const MOST_BYTES: usize = 8 << 20;
const MOMENT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    async fn batches(input: &[u8]) -> Vec<Vec<u8>> {
        let mut input = Input { read: input, part: Vec::new(), ended: false };
        let mut batches = Vec::new();
        loop {
            match input.batch().await.expect("a slice can be read") {
                batch if batch.is_empty() => return batches,
                batch => batches.push(batch),
            }
        }
    }

    #[tokio::test]
    async fn blank_lines_and_a_missing_last_break_do_not_matter() {
        assert_eq!(batches(b"{}\r\n\n  \n{\"a\":1}").await, [b"{}\n{\"a\":1}\n".to_vec()]);
        assert!(batches(b"").await.is_empty());
    }

    #[tokio::test]
    async fn many_lines_are_several_batches() {
        let input = b"{}\n".repeat(MOST_LINES + 1);
        let batches = batches(&input).await;
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[1], b"{}\n");
    }
}
