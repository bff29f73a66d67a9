//! The embedded log: here the client is the bridge itself, called in this process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sidespan_bridge::{Bridge, Driver, Message, Publisher, Settings, Topic};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{Broker, TOPIC};
use crate::Failed;
use crate::load::Publish;

pub(crate) struct Embedded {
    bridge: Arc<dyn Bridge>,
    _directory: TempDir,
}

pub(crate) struct Raw {
    publisher: Arc<dyn Publisher>,
    topic: Topic,
    body: Bytes,
}

impl Broker for Embedded {
    const KIND: &'static str = "embedded";
    type Raw = Raw;

    async fn start() -> Result<Self, Failed> {
        let directory = tempfile::Builder::new().prefix("sidespan-speed-").tempdir()?;
        let settings = Settings::new("speed", json!({ "dir": directory.path() }));
        let bridge = sidespan_bridge_embedded::Embedded.open(&settings)?;
        Ok(Self { bridge, _directory: directory })
    }

    fn bridge(&self) -> String {
        "{ kind: embedded, dir: ./sidespan-data }".to_owned()
    }

    async fn publishers(&self, count: usize, body: &[u8]) -> Result<Vec<Raw>, Failed> {
        let raw = || Raw {
            publisher: self.bridge.publisher(),
            topic: Topic::new(TOPIC),
            body: Bytes::copy_from_slice(body),
        };
        Ok(std::iter::repeat_with(raw).take(count).collect())
    }
}

impl Publish for Raw {
    async fn publish(&mut self) -> Result<(), Failed> {
        let message = Message { payload: Some(self.body.clone()), ..Message::default() };
        let outcomes = self.publisher.publish(&self.topic, vec![message], Instant::now() + PATIENCE).await;
        outcomes.into_iter().try_for_each(|outcome| outcome.map(drop)).map_err(Failed::from)
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
