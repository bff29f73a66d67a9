//! The bucket that a registry is kept in: a stream with one message for each name.

use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::client::RequestErrorKind;
use async_nats::{HeaderMap, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use sidespan_bridge::{Error, Fault};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::api::{Api, Refusal};
use crate::link::Denied;
use crate::subject::plain_name;

/// A stream, and the subjects of its records.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) api: Api,
    pub(super) stream: String,
    /// What stands before a record's name.
    pub(super) prefix: String,
    replicas: u8,
    ready: std::sync::Arc<AtomicBool>,
}

/// What the broker says of the last message of a subject.
#[derive(Deserialize)]
struct Last {
    message: Stored,
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
    #[serde(default)]
    hdrs: Option<String>,
}

/// What the broker says of what it has stored.
#[derive(Deserialize)]
struct Ack {
    seq: u64,
}

impl Bucket {
    pub(super) fn new(api: Api, service: &str, name: &str, replicas: u8) -> Self {
        let bucket = plain_name(&format!("{service}.{name}"));
        let (stream, prefix) = (format!("KV_{bucket}"), format!("$KV.{bucket}."));
        Self { api, stream, prefix, replicas, ready: std::sync::Arc::default() }
    }

    /// Makes sure that it is there, and is what it should be.
    pub(super) async fn prepare(&self, deadline: Instant) -> Result<(), Error> {
        let (info, subjects) = (format!("STREAM.INFO.{}", self.stream), json!([format!("{}>", self.prefix)]));
        let mut found: Result<Value, Refusal> = self.api.ask(&info, Value::Null, deadline).await;
        if found.as_ref().is_err_and(Refusal::is_missing) {
            let create = format!("STREAM.CREATE.{}", self.stream);
            found = self.api.ask(&create, self.config(&subjects), deadline).await;
            match &found {
                Ok(_) => info!(stream = self.stream, "made a bucket for a registry"),
                Err(refusal) if refusal.exists() => found = self.api.ask(&info, Value::Null, deadline).await,
                Err(_) => {}
            }
        }
        let found = found?;
        let is = found.pointer("/config/subjects").cloned().unwrap_or_default();
        if is != subjects {
            return Err(Error::new(Fault::Conflict).detail(format!(
                "the stream {} exists with subjects {is}, and a registry wants {subjects}: it is something else, \
                 and in the way",
                self.stream
            )));
        }
        self.adapt(found, deadline).await;
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Asks for as many copies as the settings say; a cluster that cannot have them keeps what there is.
    async fn adapt(&self, mut found: Value, deadline: Instant) {
        let Some(config) = found.get_mut("config").map(Value::take) else { return };
        let Value::Object(mut config) = config else { return };
        let wants = json!(self.replicas);
        let is = config.insert("num_replicas".to_owned(), wants.clone());
        if is.as_ref() == Some(&wants) {
            return;
        }
        let update = format!("STREAM.UPDATE.{}", self.stream);
        let updated: Result<Value, Refusal> = self.api.ask(&update, Value::Object(config), deadline).await;
        match updated.map_err(Error::from) {
            Ok(_) => {
                info!(stream = self.stream, replicas = self.replicas, "adapted a registry to the settings")
            }
            Err(error) => warn!(
                %error,
                stream = self.stream,
                replicas = self.replicas,
                "a registry cannot have as many copies as the settings want, and keeps those it has"
            ),
        }
    }

    /// Writes over the message of this sequence, 0 for none; returns the sequence of what was written.
    pub(super) async fn write(
        &self,
        key: &str,
        value: Option<Bytes>,
        expected: u64,
        deadline: Instant,
    ) -> Result<u64, Refusal> {
        if !self.ready.load(Ordering::Acquire) {
            self.prepare(deadline).await.map_err(Refusal::Other)?;
        }
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED, expected.to_string().as_str());
        match value {
            Some(_) => headers.insert(MARK, VERSION),
            None => headers.insert(OPERATION, REMOVED),
        }
        self.api.link.until_up(deadline).await.map_err(Refusal::Other)?;
        let request = Request::new().headers(headers).payload(value.unwrap_or_default()).timeout(None);
        let subject = format!("{}{key}", self.prefix);
        let denied = self.api.link.denial_of(Denied::Publish(subject.clone()));
        let unknown = || Error::new(Fault::Timeout).detail("JetStream did not confirm the record in time");
        let answer = tokio::select! {
            asked = self.api.client.send_request(subject, request) => asked.map_err(|error| {
                match error.kind() {
                    RequestErrorKind::NoResponders => {
                        self.ready.store(false, Ordering::Release);
                        let detail = "JetStream does not take the record: try again";
                        Error::new(Fault::Unavailable).detail(detail)
                    }
                    RequestErrorKind::InvalidSubject => Fault::Invalid.into(),
                    RequestErrorKind::MaxPayloadExceeded => Fault::TooLarge.into(),
                    // It was handed over.
                    RequestErrorKind::TimedOut | RequestErrorKind::Other => unknown(),
                }
                .because(error)
            }),
            error = denied => Err(error),
            () = sleep_until(deadline) => Err(unknown()),
        };
        let ack: Ack = Refusal::read(&answer.map_err(Refusal::Other)?.payload)?;
        Ok(ack.seq)
    }

    /// Returns the sequence of what stands under a name without being a record, if something does.
    pub(super) async fn leftover(&self, key: &str, deadline: Instant) -> Result<Option<u64>, Error> {
        let body = json!({"last_by_subj": format!("{}{key}", self.prefix)});
        let last: Result<Last, Refusal> =
            self.api.ask(&format!("STREAM.MSG.GET.{}", self.stream), body, deadline).await;
        match last {
            Ok(Last { message }) => Ok((!message.is_record()).then_some(message.seq)),
            Err(refusal) if refusal.is_missing() => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    fn config(&self, subjects: &Value) -> Value {
        json!({
            "name": self.stream,
            "description": "kept by Sidespan",
            "subjects": subjects,
            "num_replicas": self.replicas,
            "retention": "limits",
            "storage": "file",
            "max_msgs_per_subject": 1,
            "max_bytes": MOST_BYTES,
            "max_msgs": -1,
            "max_age": 0,
            "max_consumers": -1,
            "discard": "new",
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "allow_direct": true,
        })
    }
}

impl Stored {
    /// Reads the headers as they came over the wire.
    fn is_record(&self) -> bool {
        let headers = self.hdrs.as_deref().and_then(|headers| STANDARD.decode(headers).ok());
        let headers = headers.and_then(|headers| String::from_utf8(headers).ok()).unwrap_or_default();
        headers.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| (name, value.trim()) == (MARK, VERSION))
        })
    }
}

/// What stands in the headers of a record of ours, and which layout it has.
pub(super) const MARK: &str = "Sidespan-Registry";
pub(super) const VERSION: &str = "1";
/// What stands in the headers of a marker.
pub(super) const OPERATION: &str = "KV-Operation";
const REMOVED: &str = "DEL";
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// Bytes of a whole registry.
const MOST_BYTES: u64 = 64 << 20;
