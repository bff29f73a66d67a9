//! The consumer at the broker that stands behind a subscription.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sidespan_bridge::{Error, Fault, Order, Pattern, Position, Start, Subscribe};
use tokio::time::Instant;
use tracing::info;

use crate::api::{Api, Refusal};
use crate::settings::NatsSettings;

/// What a consumer is to be like.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) pattern: Pattern,
    pub(super) ack_wait: Duration,
    pub(super) durability: Durability,
}

/// What outlives a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Nothing.
    Cursor,
    /// A group with one active member, which may hold so many messages and be silent so long.
    Ordered { window: usize, timeout: Duration },
    /// A group.
    Shared,
}

/// What the broker says of a consumer.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Info {
    pub(super) delivered: Pair,
    pub(super) ack_floor: Pair,
    pub(super) num_ack_pending: u64,
    #[serde(default)]
    pub(super) num_pending: u64,
    /// When it was made: one that is made anew has another time.
    #[serde(default)]
    pub(super) created: String,
    #[serde(default)]
    pub(super) config: Map<String, Value>,
    /// Requests for messages that wait.
    #[serde(default)]
    num_waiting: u64,
    #[serde(default)]
    priority_groups: Option<Vec<Pinned>>,
}

/// A number among deliveries, and one in the stream.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Pair {
    pub(super) consumer_seq: u64,
    pub(super) stream_seq: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Pinned {
    #[serde(default)]
    pinned_client_id: String,
}

/// Where a consumer that is made anew begins.
#[derive(Clone, Debug)]
pub(super) enum From {
    /// Where the subscription says.
    Start(Start),
    /// At a sequence of the stream.
    Sequence(u64),
}

impl Info {
    /// Returns the member that gets the messages of an ordered subscription.
    pub(super) fn pinned(&self) -> Option<&str> {
        let first = self.priority_groups.as_ref()?.first()?;
        Some(first.pinned_client_id.as_str()).filter(|id| !id.is_empty())
    }

    /// Tells whether there are members, as far as the broker knows.
    pub(super) fn has_members(&self) -> bool {
        self.num_waiting > 0 || self.pinned().is_some()
    }

    /// Returns the first sequence that was not delivered.
    pub(super) fn next(&self) -> u64 {
        self.delivered.stream_seq.saturating_add(1)
    }
}

impl Wanted {
    /// Says what a subscription wants.
    pub(super) fn of(to: &Subscribe, settings: &NatsSettings, name: String) -> Self {
        let durability = match (&to.group, to.order) {
            (None, _) => Durability::Cursor,
            (Some(_), Order::None) => Durability::Shared,
            (Some(_), Order::Key | Order::Topic) => {
                Durability::Ordered { window: to.window.messages, timeout: settings.priority_timeout.0 }
            }
        };
        Self { name, pattern: to.pattern.clone(), ack_wait: settings.ack_wait.0, durability }
    }

    /// Finds the durable of a group, or makes it.
    pub(super) async fn attach(
        &self,
        api: &Api,
        stream: &str,
        from: &From,
        deadline: Instant,
    ) -> Result<Info, Error> {
        if self.durability != Durability::Cursor {
            match self.info(api, stream, deadline).await {
                Ok(found) => return self.adapt(api, stream, found, deadline).await,
                Err(refusal) if refusal.is_missing() => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        let body = json!({"stream_name": stream, "config": self.config(from)?, "action": "create"});
        let created: Result<Info, Refusal> = api.ask(&self.create(stream), body, deadline).await;
        match created {
            Ok(created) => {
                info!(stream, consumer = %self.name, pattern = %self.pattern, "made a consumer");
                Ok(created)
            }
            Err(refusal) if refusal.exists() => {
                let found = self.info(api, stream, deadline).await?;
                self.adapt(api, stream, found, deadline).await
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Asks about it.
    pub(super) async fn info(&self, api: &Api, stream: &str, deadline: Instant) -> Result<Info, Refusal> {
        api.ask(&format!("CONSUMER.INFO.{stream}.{}", self.name), Value::Null, deadline).await
    }

    /// Deletes it.
    pub(super) async fn delete(&self, api: &Api, stream: &str, deadline: Instant) {
        // One that stays goes by itself after a while.
        let gone: Result<Value, Refusal> =
            api.ask(&format!("CONSUMER.DELETE.{stream}.{}", self.name), Value::Null, deadline).await;
        drop(gone);
    }

    /// Lets another member take over at once.
    pub(super) async fn unpin(&self, api: &Api, stream: &str, deadline: Instant) {
        // If it fails, another one takes over when this one has been silent for long enough.
        let body = json!({"group": GROUP});
        let gone: Result<Value, Refusal> =
            api.ask(&format!("CONSUMER.UNPIN.{stream}.{}", self.name), body, deadline).await;
        drop(gone);
    }

    pub(super) fn create(&self, stream: &str) -> String {
        format!("CONSUMER.CREATE.{stream}.{}", self.name)
    }

    fn config(&self, from: &From) -> Result<Map<String, Value>, Error> {
        let mut config = policy(from)?;
        let mut set = |key: &str, value: Value| config.insert(key.to_owned(), value);
        set("name", json!(self.name));
        set("filter_subject", json!(self.pattern.as_str()));
        set("replay_policy", json!("instant"));
        if self.durability == Durability::Cursor {
            set("ack_policy", json!("none"));
            set("inactive_threshold", json!(nanos(INACTIVE)));
            set("mem_storage", json!(true));
            set("num_replicas", json!(1));
            return Ok(config);
        }
        set("durable_name", json!(self.name));
        set("ack_policy", json!("explicit"));
        set("metadata", json!({VERSION_KEY: VERSION}));
        config.extend(self.adaptable());
        if let Durability::Ordered { .. } = self.durability {
            config.insert("priority_groups".to_owned(), json!([GROUP]));
            config.insert("priority_policy".to_owned(), json!(PINNED));
        }
        Ok(config)
    }

    /// What can be changed under the members' feet.
    fn adaptable(&self) -> Map<String, Value> {
        let mut config = Map::new();
        config.insert("ack_wait".to_owned(), json!(nanos(self.ack_wait)));
        config.insert("max_deliver".to_owned(), json!(-1));
        let pending = match self.durability {
            // The one active member holds no more: what it gathers when it takes over is bounded.
            Durability::Ordered { window, timeout } => {
                config.insert("priority_timeout".to_owned(), json!(nanos(timeout)));
                u64::try_from(window.max(1)).unwrap_or(u64::MAX)
            }
            Durability::Cursor | Durability::Shared => PENDING,
        };
        config.insert("max_ack_pending".to_owned(), json!(pending));
        config
    }

    /// Adapts one that is there as far as that is safe.
    pub(super) async fn adapt(
        &self,
        api: &Api,
        stream: &str,
        found: Info,
        deadline: Instant,
    ) -> Result<Info, Error> {
        self.check(&found.config)?;
        let mut config = found.config.clone();
        let mut differs = config.remove("backoff").is_some();
        differs |= config.remove("inactive_threshold").is_some();
        for (key, value) in self.adaptable() {
            differs |= config.get(&key) != Some(&value);
            config.insert(key, value);
        }
        if !differs {
            return Ok(found);
        }
        let body = json!({"stream_name": stream, "config": config, "action": "update"});
        let updated = api.ask(&self.create(stream), body, deadline).await?;
        info!(stream, consumer = %self.name, "adapted a consumer to the settings");
        Ok(updated)
    }

    /// Refuses one that cannot be adapted, or that only a later release understands.
    fn check(&self, config: &Map<String, Value>) -> Result<(), Error> {
        let version = config.get("metadata").and_then(|metadata| metadata.get(VERSION_KEY));
        // One that an operator made, or a release before the first version, has none.
        if let Some(version) = version.filter(|version| **version != VERSION) {
            return Err(Error::new(Fault::Conflict).detail(format!(
                "the consumer {} is of version {version}, and this release knows {VERSION:?}: use a later \
                 release, or another name for the subscription",
                self.name
            )));
        }
        let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let many = config.get("filter_subjects").and_then(Value::as_array);
        let filter = match many.map(Vec::as_slice) {
            Some([only]) => only.as_str().unwrap_or_default().to_owned(),
            Some(many) if !many.is_empty() => format!("{many:?}"),
            Some(_) | None => text("filter_subject"),
        };
        let policy = Some(text("priority_policy")).filter(|it| it != "none").unwrap_or_default();
        let ordered = matches!(self.durability, Durability::Ordered { .. });
        let pinned = if ordered { PINNED } else { "" };
        let deliver = text("deliver_subject");
        let pairs = [
            ("ack_policy", text("ack_policy"), "explicit"),
            ("filter_subject", filter, self.pattern.as_str()),
            ("deliver_subject", deliver, ""),
            ("priority_policy (order)", policy, pinned),
        ];
        for (key, is, wants) in pairs {
            if is != wants {
                return Err(Error::new(Fault::Conflict).detail(format!(
                    "the consumer {} exists with {key} {is:?}, and the settings want {wants:?}: use another \
                     name for the subscription, or delete the consumer",
                    self.name
                )));
            }
        }
        let groups = config.get("priority_groups").and_then(Value::as_array);
        if ordered && groups.is_none_or(|groups| groups.as_slice() != [json!(GROUP)]) {
            return Err(Error::new(Fault::Conflict).detail(format!(
                "the consumer {} exists with priority_groups {groups:?}, and order wants [{GROUP:?}]",
                self.name
            )));
        }
        Ok(())
    }
}

/// Returns how the broker is told where to begin.
pub(super) fn policy(from: &From) -> Result<Map<String, Value>, Error> {
    let time = |time: std::time::SystemTime| match jiff::Timestamp::try_from(time) {
        Ok(time) => Ok(json!({"deliver_policy": "by_start_time", "opt_start_time": time.to_string()})),
        Err(error) => {
            Err(Error::new(Fault::Invalid).detail("a start at a time that no calendar has").because(error))
        }
    };
    let sequence =
        |sequence: u64| json!({"deliver_policy": "by_start_sequence", "opt_start_seq": sequence.max(1)});
    let last = |positions: &mut dyn Iterator<Item = &Position>| positions.map(|it| it.sequence).max();
    let policy = match from {
        From::Sequence(at) => sequence(*at),
        From::Start(Start::Begin) => json!({"deliver_policy": "all"}),
        From::Start(Start::End) => json!({"deliver_policy": "new"}),
        From::Start(Start::Time(at)) => time(*at)?,
        From::Start(Start::Position(positions)) => match last(&mut positions.iter()) {
            Some(at) => sequence(at),
            None => json!({"deliver_policy": "all"}),
        },
        // Sequences run through all topics of a stream, so the latest stands for all.
        From::Start(Start::Resume { from, since }) => match last(&mut from.iter().map(|(_, at)| at)) {
            Some(at) => sequence(at),
            None => time(*since)?,
        },
    };
    match policy {
        Value::Object(policy) => Ok(policy),
        _ => Ok(Map::new()),
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The priority group of ordered subscriptions; the broker allows 16 characters.
pub(super) const GROUP: &str = "sidespan";
const PINNED: &str = "pinned_client";
/// Where a consumer says in which way it is used.
const VERSION_KEY: &str = "sidespan.version";
const VERSION: &str = "1";
/// How much all members of a group may hold, and have released for later.
const PENDING: u64 = 65_536;
/// How long the broker keeps a cursor that nobody reads.
const INACTIVE: Duration = Duration::from_secs(60);
