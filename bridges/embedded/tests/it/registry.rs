//! A registry is bounded, and so is what is kept for who watches it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use sidespan_bridge::{Change, Error, Fault, MOST_RECORDS, Registry, Revision};
use tempfile::TempDir;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_full_says_so_until_something_goes() {
    let dir = TempDir::new().unwrap();
    let bridge = open(dir.path());
    let registry = bridge.registry("full").unwrap();
    let names: Vec<String> = (0..=MOST_RECORDS).map(|n| n.to_string()).collect();
    let outcomes = join_all(names.iter().map(|name| put(&registry, name, Some("x"), Revision::NONE))).await;
    let (kept, refused): (Vec<_>, Vec<_>) =
        names.iter().zip(outcomes).partition(|(_, outcome)| outcome.is_ok());
    let faults: Vec<Fault> =
        refused.iter().filter_map(|(_, outcome)| Some(outcome.as_ref().err()?.fault)).collect();
    assert_eq!(faults, [Fault::StorageFull], "one too many was refused");

    let (changed, revision) = (kept[0].0, *kept[0].1.as_ref().unwrap());
    let revision = put(&registry, changed, Some("y"), revision).await.unwrap();
    put(&registry, changed, None, revision).await.unwrap();
    put(&registry, refused[0].0, Some("x"), Revision::NONE).await.unwrap();
    bridge.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_is_too_slow_is_told_to_begin_again() {
    let dir = TempDir::new().unwrap();
    let bridge = open(dir.path());
    let registry = bridge.registry("busy").unwrap();
    let mut slow = registry.watch().await.unwrap();
    let mut revision = Revision::NONE;
    for _ in 0..1000 {
        revision = put(&registry, "key", Some("x"), revision).await.unwrap();
    }
    assert_eq!(slow.next().await.unwrap().unwrap(), Change::Current);
    assert_eq!(slow.next().await.unwrap().unwrap_err().fault, Fault::Unavailable);
    assert!(slow.next().await.is_none(), "an error ends the watch");

    let mut again = registry.watch().await.unwrap();
    let value = Bytes::from_static(b"x");
    assert_eq!(again.next().await.unwrap().unwrap(), Change::Put { key: "key".into(), value, revision });
    bridge.close(soon()).await;
    assert_eq!(again.next().await.unwrap().unwrap(), Change::Current);
    assert!(again.next().await.unwrap().is_err(), "a log that is closed ends the watch");
    assert_eq!(registry.watch().await.err().unwrap().fault, Fault::Unavailable);
}

async fn put(
    registry: &Arc<dyn Registry>,
    key: &str,
    value: Option<&'static str>,
    expected: Revision,
) -> Result<Revision, Error> {
    registry.put(key, value.map(Bytes::from), expected, soon()).await
}
