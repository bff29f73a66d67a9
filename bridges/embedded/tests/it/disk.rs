//! A disk without space.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

use sidespan_bridge::{Fault, Start, Verdict};
use tokio::time::{Instant, sleep};

use crate::support::*;

/// A small file system of its own, unmounted at the end.
pub(crate) struct Mount(tempfile::TempDir);

impl Mount {
    /// Mounts one; `None`, and said, where that is not permitted.
    pub(crate) fn tmpfs(size: &str) -> Option<Self> {
        let dir = tempfile::TempDir::new().unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            println!("skipped: mounting a tmpfs is not permitted here");
            return None;
        }
        Some(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let done = Command::new("mount").args(["-o", &options]).arg(self.path()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.path()).status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_loses_nothing_and_goes_on_when_there_is_space() {
    listen();
    let Some(mount) = Mount::tmpfs("3m") else { return };
    let bridge = open(mount.path());
    let mut inbox = subscribe(&*bridge, "a", Some("g"), Start::Begin).await;
    let mut stored = Vec::new();
    let refused = loop {
        let body = format!("{} {}", stored.len(), "x".repeat(20_000));
        match publish(&*bridge, "a", text(&body)).await {
            Ok(_) => stored.push(body),
            Err(error) => break error,
        }
        assert!(stored.len() < 1000, "the disk is never full");
    };
    assert_eq!(refused.fault, Fault::StorageFull);
    assert!(refused.to_string().contains(mount.path().to_str().unwrap()), "{refused}");
    let probe = bridge.probe(soon()).await.unwrap_err();
    assert_eq!(probe.fault, Fault::StorageFull);
    assert!(stored.len() > 10, "{}", stored.len());

    // Reading goes on meanwhile.
    let first = next(&mut *inbox).await;
    assert_eq!(body(&first), stored[0]);
    let settled = first.ack.settle(Verdict::Accept);

    mount.remount("size=64m");
    let until = Instant::now() + PATIENCE;
    while let Err(error) = publish(&*bridge, "a", text("after")).await {
        assert!(Instant::now() < until, "it does not go on by itself: {error}");
        sleep(std::time::Duration::from_millis(20)).await;
    }
    bridge.probe(soon()).await.unwrap();
    assert_eq!(settled.await, sidespan_bridge::Settlement::Confirmed);
    stored.push("after".to_owned());
    assert_eq!(everything(&*bridge, "a", "a").await, stored);

    let lines = said(&[mount.path().to_str().unwrap()]);
    assert!(lines.iter().any(|line| line.contains("can be written again")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("ERROR")).count(), 1, "it is said once: {lines:?}");
    bridge.close(soon()).await;
    let bridge = open(mount.path());
    let mut inbox = subscribe(&*bridge, "a", Some("g"), Start::Begin).await;
    assert_eq!(body(&next(&mut *inbox).await), stored[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_opened_and_read_on_a_disk_without_space() {
    let Some(mount) = Mount::tmpfs("4m") else { return };
    let bridge = open(mount.path());
    for n in 0..20 {
        publish(&*bridge, "a", text(&n.to_string())).await.unwrap();
    }
    bridge.close(soon()).await;
    let ballast = mount.path().join("ballast");
    let filled = io::copy(&mut io::repeat(1), &mut fs::File::create(&ballast).unwrap());
    assert_eq!(filled.unwrap_err().kind(), io::ErrorKind::StorageFull);

    let bridge = open(mount.path());
    let mut inbox = subscribe(&*bridge, "a", None, Start::Begin).await;
    for n in 0..20 {
        assert_eq!(body(&next(&mut *inbox).await), n.to_string());
    }
    fs::remove_file(ballast).unwrap();
    let until = Instant::now() + PATIENCE;
    while let Err(error) = publish(&*bridge, "a", text("after")).await {
        assert!(Instant::now() < until, "it does not go on by itself: {error}");
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_directory_on_a_full_disk_is_named() {
    let Some(mount) = Mount::tmpfs("64k") else { return };
    let filled = io::copy(&mut io::repeat(1), &mut fs::File::create(mount.path().join("ballast")).unwrap());
    assert_eq!(filled.unwrap_err().kind(), io::ErrorKind::StorageFull);
    let error = try_open(&mount.path().join("log"), serde_json::json!({})).err().unwrap();
    assert_eq!(error.fault, Fault::StorageFull);
    assert!(error.to_string().contains(mount.path().to_str().unwrap()), "{error}");
}
