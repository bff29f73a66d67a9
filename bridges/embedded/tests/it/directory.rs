//! Directories that cannot be used, and who owns one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

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

/// Returns all files of a directory, what they hold, and when they were changed.
fn contents(dir: &Path) -> BTreeMap<OsString, (Vec<u8>, SystemTime)> {
    let files = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let content =
        |file: fs::DirEntry| (fs::read(file.path()).unwrap(), file.metadata().unwrap().modified().unwrap());
    files.map(|file| (file.file_name(), content(file))).collect()
}

#[tokio::test]
async fn a_format_of_another_version_is_refused_and_not_touched() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = open(dir.path());
    publish(&*bridge, "a", text("x")).await.unwrap();
    bridge.close(soon()).await;
    let format = dir.path().join("format");
    let cases: [(Option<&[u8]>, &str); 5] = [
        (Some(b"2\n"), "has format \"2\""),
        (Some(b""), "has format \"\""),
        (Some(b"10"), "has format \"10\""),
        (Some(b"\xff\xfe"), "is no text"),
        (None, "lacks its file \"format\""),
    ];
    for (version, said) in cases {
        match version {
            Some(version) => fs::write(&format, version).unwrap(),
            None => fs::remove_file(&format).unwrap(),
        }
        let before = contents(dir.path());
        let error = try_open(dir.path(), json!({})).err().unwrap();
        assert_eq!(error.fault, Fault::Conflict);
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
        assert!(contents(dir.path()) == before, "something was touched for {version:?}");
    }
    // Whoever wrote it still reads it.
    fs::write(&format, "1\n").unwrap();
    assert_eq!(everything(&*open(dir.path()), "a", "a").await, ["x"]);
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
