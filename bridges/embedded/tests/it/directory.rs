//! Directories that cannot be used, and who owns one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use sidespan_bridge::{Driver, Fault, Pattern, Settings, Start};
use sidespan_bridge_embedded::Embedded;

use crate::disk::Mount;
use crate::support::*;

#[tokio::test]
async fn a_directory_in_use_names_its_owner_and_is_free_after_close() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = open(dir.path());
    let error = try_open(dir.path(), json!({})).err().unwrap();
    assert_eq!(error.fault, Fault::Unavailable);
    let text = error.to_string();
    assert!(text.contains(&format!("process {} since 2", std::process::id())), "{text}");
    assert!(text.contains(dir.path().to_str().unwrap()), "{text}");

    bridge.close(soon()).await;
    let again = open(dir.path());
    let refused = publish(&*bridge, "a", crate::support::text("x")).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Unavailable);
    assert_eq!(bridge.probe(soon()).await.unwrap_err().fault, Fault::Unavailable);
    assert!(bridge.topics(&Pattern::parse(">").unwrap(), soon()).await.is_err());
    assert!(bridge.subscribe(wish("a", None, Start::Begin)).await.is_err());
    again.probe(soon()).await.unwrap();
    drop(again);
    open(dir.path()).probe(soon()).await.unwrap();
}

#[tokio::test]
async fn a_format_of_another_version_is_refused_and_not_touched() {
    let dir = tempfile::TempDir::new().unwrap();
    open(dir.path()).close(soon()).await;
    fs::write(dir.path().join("format"), "2\n").unwrap();
    fs::remove_file(dir.path().join("lock")).unwrap();
    let before = fs::read(dir.path().join("log.redb")).unwrap();

    let error = try_open(dir.path(), json!({})).err().unwrap();
    assert_eq!(error.fault, Fault::Conflict);
    assert!(error.to_string().contains("has format \"2\""), "{error}");
    assert_eq!(fs::read(dir.path().join("log.redb")).unwrap(), before);
    assert!(!dir.path().join("lock").exists());

    fs::remove_file(dir.path().join("format")).unwrap();
    let error = try_open(dir.path(), json!({})).err().unwrap();
    assert!(error.to_string().contains("lacks its file \"format\""), "{error}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let parent = tempfile::TempDir::new().unwrap();
    fs::write(parent.path().join("file"), "").unwrap();
    let error = try_open(&parent.path().join("file"), json!({})).err().unwrap();
    assert!(error.to_string().contains("is not a usable directory"), "{error}");

    let Some(mount) = Mount::tmpfs("1m") else { return };
    open(mount.path()).close(soon()).await;
    mount.remount("ro");
    let error = try_open(mount.path(), json!({})).err().unwrap();
    assert_eq!(error.fault, Fault::Denied);
    assert!(error.to_string().contains("make it writable"), "{error}");
    assert!(error.to_string().contains(mount.path().to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn permissions_are_respected_where_we_are_not_root() {
    let dir = tempfile::TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(dir.path().join("probe"), "").is_ok() {
        println!("skipped: this user may write everywhere");
        return;
    }
    let error = try_open(dir.path(), json!({})).err().unwrap();
    assert_eq!(error.fault, Fault::Denied);
}

#[tokio::test]
async fn topics_are_made_only_where_the_settings_say_so() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = open(dir.path());
    bridge.ensure(&topic("old"), soon()).await.unwrap();
    bridge.close(soon()).await;

    let bridge = try_open(dir.path(), json!({"create_topics": false})).unwrap();
    publish(&*bridge, "old", text("x")).await.unwrap();
    assert_eq!(publish(&*bridge, "new", text("x")).await.unwrap_err().fault, Fault::UnknownTopic);
    assert_eq!(bridge.ensure(&topic("new"), soon()).await.unwrap_err().fault, Fault::UnknownTopic);
    for group in [None, Some("g")] {
        let error = bridge.subscribe(wish("new", group, Start::Begin)).await.err().unwrap();
        assert_eq!(error.fault, Fault::UnknownTopic);
    }
    assert_eq!(publish(&*bridge, "a.*", text("x")).await.unwrap_err().fault, Fault::Invalid);
    let topics = bridge.topics(&Pattern::parse(">").unwrap(), soon()).await.unwrap();
    assert_eq!(
        topics.iter().map(|info| (info.topic.as_str(), info.messages)).collect::<Vec<_>>(),
        [("old", Some(1))]
    );
}

#[test]
fn the_schema_names_every_setting() {
    let schema = serde_json::to_value(Embedded.schema()).unwrap();
    for key in ["dir", "create_topics", "max_message", "retention", "deduplication"] {
        assert!(schema["properties"][key].is_object(), "{key} in {schema}");
    }
    assert!(Embedded.check(&Settings::new("s", json!({"dir": "x"}))).is_ok());
    assert_eq!(Embedded.check(&Settings::new("s", json!({"dir": ""}))).unwrap_err().key, "dir");
}
