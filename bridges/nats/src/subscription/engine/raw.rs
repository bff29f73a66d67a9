//! Messages that cannot be delivered.
//!
//! The client library takes a header that is not text for a broken connection, and the broker delivers
//! the message again after each. So when connections end one after the other before anything
//! came, the messages that may be the cause are read in another way, as JSON, and one that the client
//! cannot read is put on the shelf with the bytes that it has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use sidespan_bridge::{Error, Topic};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{CALL, Engine};
use crate::api::Refusal;
use crate::message;
use crate::subscription::received::Received;
use crate::subscription::shelf::Item;

#[derive(Deserialize)]
struct Answer {
    message: Stored,
}

/// A message as it is stored.
#[derive(Deserialize)]
struct Stored {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

impl Engine {
    /// Looks for messages that end the connection, and takes them in another way.
    pub(super) async fn read_what_cannot_be_delivered(&mut self) -> Result<(), Error> {
        let (first, last, delivery) = if self.settles() {
            let info = self.wanted.info(&self.api, &self.place.stream, Instant::now() + CALL).await;
            let Ok(info) = info else { return Ok(()) };
            (info.ack_floor.stream_seq + 1, info.delivered.stream_seq, info.delivered.consumer_seq)
        } else {
            (self.health.next(), self.health.next().saturating_add(LOOKED_AT), 0)
        };
        let mut at = first;
        for _ in 0..LOOKED_AT {
            if at > last {
                break;
            }
            let Some(stored) = self.stored(at).await else { break };
            at = stored.seq.saturating_add(1);
            let known = {
                let state = self.shared.lock();
                state.held.contains_key(&stored.seq) || state.acks.holds(stored.seq)
            };
            if stored.seq > last || known {
                continue;
            }
            if is_readable(&stored.headers()) {
                // A cursor gets what is ahead of the unreadable one in the usual way.
                if !self.settles() {
                    break;
                }
                continue;
            }
            warn!(
                sequence = stored.seq,
                subject = stored.subject,
                "a message's headers are not text: it is read in another way"
            );
            self.take_raw(stored, delivery);
        }
        Ok(())
    }

    fn take_raw(&mut self, stored: Stored, delivery: u64) {
        let sequence = stored.seq;
        let reply = if self.settles() {
            let prefix = self.ack_prefix();
            let reply = Received::reply_for(&prefix, sequence, delivery);
            // From here on the broker need not give it again.
            self.tell(reply.clone(), "+WPI");
            reply
        } else {
            self.health.skip_to(sequence.saturating_add(1));
            String::new()
        };
        let body = Bytes::from(STANDARD.decode(&stored.data).unwrap_or_default());
        let mut message = message::of_block(&stored.headers(), body);
        message.time = stored.time.parse::<jiff::Timestamp>().ok().map(Into::into);
        let topic = Topic::new(stored.subject);
        self.put(sequence, reply, Item { message, topic, redelivered: 0 });
    }

    /// Reads the first message from a sequence on.
    async fn stored(&self, at: u64) -> Option<Stored> {
        let body = json!({"seq": at, "next_by_subj": self.wanted.pattern.as_str()});
        let subject = format!("STREAM.MSG.GET.{}", self.place.stream);
        let answer: Result<Answer, Refusal> = self.api.ask(&subject, body, Instant::now() + CALL).await;
        match answer {
            Ok(answer) => Some(answer.message),
            Err(refusal) => {
                debug!(?refusal, "no message to be read in another way");
                None
            }
        }
    }
}

impl Stored {
    fn headers(&self) -> Vec<u8> {
        STANDARD.decode(&self.hdrs).unwrap_or_default()
    }
}

/// Tells whether the client can read a header block.
fn is_readable(block: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(block) else { return false };
    let legal = |name: &str| name.bytes().all(|byte| byte.is_ascii_graphic());
    let readable = |line: &str| {
        line.is_empty()
            || line.starts_with(char::is_whitespace)
            || line.split_once(':').is_some_and(|(name, _)| legal(name))
    };
    text.lines().skip(1).all(readable)
}

/// How many messages are looked at, at most.
const LOOKED_AT: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_cannot_read_is_told() {
        assert!(is_readable(b""));
        assert!(is_readable("NATS/1.0\r\na: Gr\u{fc}\u{df}e\r\nb:\r\n\r\n".as_bytes()));
        assert!(!is_readable(b"NATS/1.0\r\na: \xff\r\n\r\n"));
        assert!(!is_readable(b"NATS/1.0\r\nno colon\r\n\r\n"));
        assert!(!is_readable("NATS/1.0\r\n\u{fc}: 1\r\n\r\n".as_bytes()));
    }
}
