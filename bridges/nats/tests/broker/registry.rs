//! Buckets that others made, wrote into, or deleted.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use sidespan_bridge::{Change, Fault, Revision};
use sidespan_test_support::{Nats, unique_name};
use tokio::time::timeout;

use super::{Operator, open, open_with, soon};

#[tokio::test]
async fn a_stream_that_is_something_else_is_in_the_way_and_left_alone() {
    let nats = Nats::shared().await;
    let (operator, name) = (Operator::of(nats).await, unique_name("taken"));
    let stream = format!("KV_nats-tests_{name}");
    operator.make(&stream, json!({"subjects": [name]})).await;
    let registry = open(nats).registry(&name).unwrap();
    for error in [
        registry.watch().await.err().unwrap(),
        registry.put("key", Some("1".into()), Revision::NONE, soon()).await.unwrap_err(),
    ] {
        assert_eq!(error.fault, Fault::Conflict);
        assert!(error.to_string().contains(&stream), "{error}");
    }
    let info = operator.ask(&format!("STREAM.INFO.{stream}"), Value::Null).await;
    assert_eq!(info["config"]["subjects"], json!([name]));
}

#[tokio::test]
async fn what_a_stranger_wrote_is_written_over_by_who_expects_nothing() {
    let nats = Nats::shared().await;
    let (operator, name) = (Operator::of(nats).await, unique_name("strange"));
    let registry = open(nats).registry(&name).unwrap();
    let gone = registry.put("key", Some("1".into()), Revision::NONE, soon()).await.unwrap();
    let subject = format!("$KV.nats-tests_{name}.key");
    operator.0.request(subject, "theirs".into()).await.unwrap();
    let old = registry.put("key", Some("2".into()), gone, soon()).await.unwrap_err();
    assert_eq!(old.fault, Fault::Conflict, "what was there is gone");
    let revision = registry.put("key", Some("3".into()), Revision::NONE, soon()).await.unwrap();
    let mut changes = registry.watch().await.unwrap();
    let put = Change::Put { key: "key".into(), value: "3".into(), revision };
    assert_eq!(changes.next().await.unwrap().unwrap(), put);
    assert_eq!(changes.next().await.unwrap().unwrap(), Change::Current);
}

#[tokio::test]
async fn a_bucket_that_is_deleted_ends_the_watch_and_is_made_again() {
    let nats = Nats::shared().await;
    let (operator, name) = (Operator::of(nats).await, unique_name("deleted"));
    let registry = open(nats).registry(&name).unwrap();
    registry.put("key", Some("1".into()), Revision::NONE, soon()).await.unwrap();
    let mut changes = registry.watch().await.unwrap();
    operator.delete(&format!("KV_nats-tests_{name}")).await;
    let end = async { while changes.next().await.unwrap().is_ok() {} };
    timeout(Duration::from_secs(5), end).await.expect("a watch that ends");
    assert!(changes.next().await.is_none(), "an error ends the watch");

    let away = registry.put("key", Some("2".into()), Revision::NONE, soon()).await.unwrap_err();
    assert_eq!(away.fault, Fault::Unavailable);
    registry.put("key", Some("2".into()), Revision::NONE, soon()).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_is_full_says_so() {
    let nats = Nats::shared().await;
    let (operator, name) = (Operator::of(nats).await, unique_name("full"));
    let registry = open_with(nats, json!({})).registry(&name).unwrap();
    let revision = registry.put("key", Some("1".into()), Revision::NONE, soon()).await.unwrap();
    // As if the records had become many.
    let stream = format!("KV_nats-tests_{name}");
    let mut config = operator.ask(&format!("STREAM.INFO.{stream}"), Value::Null).await["config"].take();
    assert_eq!(config["max_bytes"], json!(64 << 20));
    config["max_bytes"] = json!(1024);
    operator.ask(&format!("STREAM.UPDATE.{stream}"), config).await;
    let full =
        registry.put("other", Some("x".repeat(1024).into()), Revision::NONE, soon()).await.unwrap_err();
    assert_eq!(full.fault, Fault::StorageFull, "{full}");
    registry.put("key", None, revision, soon()).await.unwrap();
}
