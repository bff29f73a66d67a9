//! A registry: a bucket of JetStream's key-value store, which other clients can look at.
//!
//! The server compares: a record is written where the last message of its subject still has the sequence that its
//! writer expects, and that sequence is its revision. What was removed leaves a marker behind, and is made again
//! over that one. A record of ours says so in a header; whatever else stands under its name is skipped, and may be
//! written over by who expects nothing there.

mod bucket;
mod watch;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use sidespan_bridge::{Change, Error, Registry, Revision, check_record, outdated};
use tokio::time::{Duration, Instant};

use crate::api::Api;
use bucket::Bucket;

/// One registry of a cluster.
pub(crate) struct NatsRegistry {
    bucket: Bucket,
}

impl NatsRegistry {
    /// Names a registry.
    pub(crate) fn new(api: Api, service: &str, name: &str, replicas: u8) -> Self {
        Self { bucket: Bucket::new(api, service, name, replicas) }
    }
}

#[async_trait]
impl Registry for NatsRegistry {
    async fn watch(&self) -> Result<BoxStream<'static, Result<Change, Error>>, Error> {
        Ok(watch::open(&self.bucket, Instant::now() + CALL).await?.boxed())
    }

    async fn put(
        &self,
        key: &str,
        value: Option<Bytes>,
        expected: Revision,
        deadline: Instant,
    ) -> Result<Revision, Error> {
        check_record(key, value.as_ref())?;
        let refusal = match self.bucket.write(key, value.clone(), expected.0, deadline).await {
            Ok(sequence) => return Ok(Revision(sequence)),
            Err(refusal) => refusal,
        };
        if !refusal.is_outdated() {
            return Err(refusal.into());
        }
        let behind = match expected {
            Revision::NONE => self.bucket.leftover(key, deadline).await?,
            Revision(_) => None,
        };
        let Some(behind) = behind else { return Err(outdated(key)) };
        match self.bucket.write(key, value, behind, deadline).await {
            Ok(sequence) => Ok(Revision(sequence)),
            Err(refusal) if refusal.is_outdated() => Err(outdated(key)),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// How long a watch may take to begin.
const CALL: Duration = Duration::from_secs(5);
