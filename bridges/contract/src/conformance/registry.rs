//! Registries: records that all members see alike, and of which nobody overwrites what they have not seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use super::Harness;
use super::inbox::{unique, within};
use crate::{Bridge, Change, Error, Fault, LARGEST_RECORD, Registry, Revision};

/// What is there comes first, then `Current`, then every change, one after the other.
pub async fn a_watcher_is_told_what_is_there_and_then_what_changes(harness: &dyn Harness) {
    let (_member, registry) = fresh(harness).await;
    let mut early = Watcher::open(harness, &registry).await;
    assert_eq!(early.current().await, Records::new(), "what a new registry holds");
    let one = put(harness, &registry, "a.one", Some("1"), Revision::NONE).await;
    let two = put(harness, &registry, "b-two", Some("2"), Revision::NONE).await;
    let three = put(harness, &registry, "C_3", Some("3"), Revision::NONE).await;

    let mut late = Watcher::open(harness, &registry).await;
    let expected = [("a.one", "1", one), ("b-two", "2", two), ("C_3", "3", three)];
    assert_eq!(late.current().await, records(expected), "what is told before `Current`");

    let again = put(harness, &registry, "a.one", Some(""), one).await;
    put(harness, &registry, "b-two", None, two).await;
    let changes = [changed("a.one", "", again), Change::Removed { key: "b-two".into() }];
    let made = [("a.one", "1", one), ("b-two", "2", two), ("C_3", "3", three)];
    for (key, value, revision) in made {
        assert_eq!(early.next().await, changed(key, value, revision), "what was made");
    }
    for change in changes {
        assert_eq!(early.next().await, change, "to one who has watched from the start");
        assert_eq!(late.next().await, change, "to one who came later");
    }
}

/// Of those who expect the same revision one succeeds; the others are told `Conflict`, and change nothing.
pub async fn of_those_who_expect_one_revision_one_succeeds(harness: &dyn Harness) {
    let (_member, registry) = fresh(harness).await;
    let mut revision = Revision::NONE;
    for round in 0..3 {
        let names: Vec<String> = (0..8).map(|n| format!("{round} {n}")).collect();
        let attempts = names.iter().map(|name| attempt(harness, &registry, "key", Some(name), revision));
        let outcomes = join_all(attempts).await;
        let mut won = Vec::new();
        for (name, outcome) in names.iter().zip(outcomes) {
            match outcome {
                Ok(revision) => won.push((name, revision)),
                Err(error) => assert_eq!(error.fault, Fault::Conflict, "the others: {error:?}"),
            }
        }
        assert_eq!(won.len(), 1, "one of eight was to succeed: {won:?}");
        let (name, new) = won[0];
        assert!(new > revision, "{new:?} after {revision:?}");
        let mut watcher = Watcher::open(harness, &registry).await;
        assert_eq!(watcher.current().await, records([("key", name.as_str(), new)]), "what stands there");
        revision = new;
    }
    for (value, expected) in [(Some("new"), Revision::NONE), (None, Revision(revision.0 + 1))] {
        let refused = attempt(harness, &registry, "key", value, expected).await;
        let fault = refused.map_err(|error| error.fault);
        assert_eq!(fault, Err(Fault::Conflict), "{value:?} over {expected:?}, where {revision:?} is");
    }
    let absent = attempt(harness, &registry, "absent", Some("new"), revision).await;
    let fault = absent.map_err(|error| error.fault);
    assert_eq!(fault, Err(Fault::Conflict), "a record that is not there has no revision");
}

/// Who knew a record before it was removed and made again does not pass for one who knows the new one.
pub async fn a_record_made_again_has_a_greater_revision(harness: &dyn Harness) {
    let (_member, registry) = fresh(harness).await;
    let first = put(harness, &registry, "key", Some("first"), Revision::NONE).await;
    put(harness, &registry, "key", None, first).await;
    let gone = attempt(harness, &registry, "key", Some("late"), first).await;
    assert_eq!(gone.map_err(|error| error.fault), Err(Fault::Conflict), "what was removed is gone");
    let second = put(harness, &registry, "key", Some("second"), Revision::NONE).await;
    assert!(second > first, "{second:?} after {first:?}");
    let late = attempt(harness, &registry, "key", Some("late"), first).await;
    assert_eq!(late.map_err(|error| error.fault), Err(Fault::Conflict), "it is another record now");
    let mut watcher = Watcher::open(harness, &registry).await;
    assert_eq!(watcher.current().await, records([("key", "second", second)]), "what stands there");
}

/// Another member sees every change, in the order in which they were made, within five seconds.
pub async fn members_see_changes_in_order_and_soon(harness: &dyn Harness) {
    let (_writer, registry) = fresh(harness).await;
    let member = harness.open().await;
    let other = member.registry(registry.name()).expect("a registry");
    let other = Named { name: registry.name.clone(), registry: other };
    let mut watcher = Watcher::open(harness, &other).await;
    watcher.current().await;
    let mut revisions = [Revision::NONE; 3];
    for n in 0..12 {
        let (key, value) = (n % 3, n.to_string());
        let name = key.to_string();
        revisions[key] = put(harness, &registry, &name, Some(&value), revisions[key]).await;
        let change = within(Duration::from_secs(5), "a change at another member", watcher.next()).await;
        assert_eq!(change, changed(&name, &value, revisions[key]), "change {n}");
    }
    // What one member has seen, another may build on.
    put(harness, &other, "0", None, revisions[0]).await;
    let mut back = Watcher::open(harness, &registry).await;
    let left = [("1", "10", revisions[1]), ("2", "11", revisions[2])];
    assert_eq!(back.current().await, records(left), "what the other has removed");
}

/// Nothing goes with the members, politely or not.
pub async fn a_registry_outlives_its_members(harness: &dyn Harness) {
    let (member, registry) = fresh(harness).await;
    let kept = put(harness, &registry, "kept", Some("1"), Revision::NONE).await;
    let gone = put(harness, &registry, "gone", Some("2"), Revision::NONE).await;
    let name = registry.name.clone();
    put(harness, &registry, "gone", None, gone).await;
    drop(registry);
    harness.close(member).await;

    let member = harness.open().await;
    let registry = Named::open(&member, &name);
    let mut watcher = Watcher::open(harness, &registry).await;
    assert_eq!(watcher.current().await, records([("kept", "1", kept)]), "what is there after a close");
    drop(watcher);
    let changed = put(harness, &registry, "kept", Some("3"), kept).await;
    drop(registry);
    harness.kill(member).await;

    let member = harness.open().await;
    let registry = Named::open(&member, &name);
    let mut watcher = Watcher::open(harness, &registry).await;
    assert_eq!(watcher.current().await, records([("kept", "3", changed)]), "what is there after a kill");
    put(harness, &registry, "kept", None, changed).await;
}

/// Registries of other names share nothing.
pub async fn registries_are_apart(harness: &dyn Harness) {
    let (member, one) = fresh(harness).await;
    let other = Named::open(&member, &unique());
    put(harness, &one, "key", Some("one"), Revision::NONE).await;
    let revision = put(harness, &other, "key", Some("other"), Revision::NONE).await;
    let mut watcher = Watcher::open(harness, &other).await;
    assert_eq!(watcher.current().await, records([("key", "other", revision)]), "what the other holds");
}

/// What somebody else wrote there is skipped, and neither hides nor changes a record.
pub async fn what_strangers_wrote_harms_nothing(harness: &dyn Harness) {
    let (_member, registry) = fresh(harness).await;
    let mut watcher = Watcher::open(harness, &registry).await;
    watcher.current().await;
    let before = put(harness, &registry, "before", Some("1"), Revision::NONE).await;
    harness.litter(registry.name(), "before").await;
    let after = put(harness, &registry, "after", Some("2"), Revision::NONE).await;
    assert_eq!(watcher.next().await, changed("before", "1", before), "ahead of what is not ours");
    assert_eq!(watcher.next().await, changed("after", "2", after), "behind what is not ours");
    let mut late = Watcher::open(harness, &registry).await;
    let expected = records([("before", "1", before), ("after", "2", after)]);
    assert_eq!(late.current().await, expected, "what is ours, told to who comes later");
    put(harness, &registry, "after", Some("3"), after).await;
}

/// A record that is too large, or whose name no registry takes, is refused, and nothing is written.
pub async fn what_a_registry_cannot_take_it_refuses(harness: &dyn Harness) {
    let (_member, registry) = fresh(harness).await;
    let large = "x".repeat(LARGEST_RECORD);
    let revision = put(harness, &registry, "large", Some(&large), Revision::NONE).await;
    let larger = attempt(harness, &registry, "large", Some(&format!("{large}x")), revision).await;
    assert_eq!(larger.map_err(|error| error.fault), Err(Fault::TooLarge), "a record that is too large");
    for key in ["", "a b", "a..b", ".a", "a.", "*", ">", "ä", &"k".repeat(256)] {
        let illegal = attempt(harness, &registry, key, Some("1"), Revision::NONE).await;
        assert_eq!(illegal.map_err(|error| error.fault), Err(Fault::Invalid), "a record named {key:?}");
    }
    let mut watcher = Watcher::open(harness, &registry).await;
    assert_eq!(watcher.current().await, records([("large", large.as_str(), revision)]), "what stands there");
}

/// A broker that was away takes nothing from a registry; who watches again is told everything again.
pub async fn a_registry_outlives_its_broker(harness: &dyn Harness) {
    let broker = harness.broker().expect("a broker of our own");
    let (_member, registry) = fresh(harness).await;
    let before = put(harness, &registry, "before", Some("1"), Revision::NONE).await;
    let mut watcher = Watcher::open(harness, &registry).await;
    watcher.current().await;
    broker.kill().await;
    let begin = Instant::now();
    let away =
        registry.registry.put("away", Some(Bytes::new()), Revision::NONE, begin + Duration::from_secs(2));
    let fault = away.await.map_err(|error| error.fault);
    assert!(matches!(fault, Err(Fault::Unavailable | Fault::Timeout)), "while the broker is away: {fault:?}");
    assert!(begin.elapsed() < Duration::from_secs(3), "said after {:?}", begin.elapsed());
    broker.start().await;

    let written = async {
        loop {
            match attempt(harness, &registry, "after", Some("2"), Revision::NONE).await {
                Ok(revision) => return revision,
                Err(error) => assert!(
                    matches!(error.fault, Fault::Unavailable | Fault::Timeout),
                    "once the broker is back: {error:?}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let after = within(harness.patience() * 2, "a registry that can be written again", written).await;
    // Either the watch has gone on, or it has ended and is made again: both tell the same.
    let seen = async {
        loop {
            match watcher.changes.next().await {
                Some(Ok(change)) if change == changed("after", "2", after) => return,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => watcher = Watcher::open(harness, &registry).await,
            }
        }
    };
    within(harness.patience() * 2, "what was written after the broker came back", seen).await;
    let mut late = Watcher::open(harness, &registry).await;
    let mut told = late.current().await;
    // Nobody knows whether this one was written.
    told.remove("away");
    assert_eq!(told, records([("before", "1", before), ("after", "2", after)]), "what is there now");
}

/// Values and revisions by name.
type Records = BTreeMap<String, (String, Revision)>;

fn records<'a>(records: impl IntoIterator<Item = (&'a str, &'a str, Revision)>) -> Records {
    records.into_iter().map(|(key, value, revision)| (key.to_owned(), (value.to_owned(), revision))).collect()
}

fn changed(key: &str, value: &str, revision: Revision) -> Change {
    Change::Put { key: key.into(), value: value.to_owned().into(), revision }
}

/// A registry, and how others find it.
struct Named {
    name: String,
    registry: Arc<dyn Registry>,
}

impl Named {
    fn open(member: &Arc<dyn Bridge>, name: &str) -> Self {
        Self { name: name.to_owned(), registry: member.registry(name).expect("a registry") }
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// Opens a registry that nobody used before.
async fn fresh(harness: &dyn Harness) -> (Arc<dyn Bridge>, Named) {
    let member = harness.open().await;
    let registry = Named::open(&member, &unique());
    (member, registry)
}

async fn attempt(
    harness: &dyn Harness,
    registry: &Named,
    key: &str,
    value: Option<&str>,
    expected: Revision,
) -> Result<Revision, Error> {
    let value = value.map(|value| Bytes::from(value.to_owned()));
    let deadline = Instant::now() + harness.patience();
    let wait = harness.patience() + Duration::from_secs(1);
    within(wait, "a record's fate by its deadline", registry.registry.put(key, value, expected, deadline))
        .await
}

/// Writes a record; tries again, as callers do, while the broker cannot be reached.
async fn put(
    harness: &dyn Harness,
    registry: &Named,
    key: &str,
    value: Option<&str>,
    expected: Revision,
) -> Revision {
    let stored = async {
        loop {
            match attempt(harness, registry, key, value, expected).await {
                Ok(revision) => return revision,
                Err(error) if error.fault == Fault::Unavailable => {}
                Err(error) => panic!("{key:?} was to be written over {expected:?}: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(harness.patience(), "a record that is stored", stored).await
}

/// A watch that is read with patience.
struct Watcher {
    changes: BoxStream<'static, Result<Change, Error>>,
    patience: Duration,
}

impl Watcher {
    /// Watches; tries again, as callers do, while the broker cannot be reached.
    async fn open(harness: &dyn Harness, registry: &Named) -> Self {
        let patience = harness.patience();
        let watch = async {
            loop {
                match registry.registry.watch().await {
                    Ok(changes) => return Self { changes, patience },
                    Err(error) if matches!(error.fault, Fault::Unavailable | Fault::Timeout) => {}
                    Err(error) => panic!("the registry was to be watched: {error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(patience, "a registry that can be watched", watch).await
    }

    async fn next(&mut self) -> Change {
        match within(self.patience, "a change", self.changes.next()).await {
            Some(Ok(change)) => change,
            Some(Err(error)) => panic!("the watch failed: {error:?}"),
            None => panic!("the watch ended"),
        }
    }

    /// Reads up to `Current`: each record is told once.
    async fn current(&mut self) -> Records {
        let mut records = Records::new();
        loop {
            match self.next().await {
                Change::Current => return records,
                Change::Put { key, value, revision } => {
                    let value = String::from_utf8_lossy(&value).into_owned();
                    let old = records.insert(key.to_string(), (value, revision));
                    assert_eq!(old, None, "{key} is told once");
                }
                Change::Removed { key } => panic!("{key} was told to be gone, and nobody knew of it"),
            }
        }
    }
}
