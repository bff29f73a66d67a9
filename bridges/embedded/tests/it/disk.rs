//! A disk without space.

use std::path::Path;
use std::process::Command;
use std::{fs, io};

use sidespan_bridge::{Fault, Start, Verdict};
use sidespan_test_support::eventually;
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
async fn a_full_disk_is_said_for_as_long_as_it_is_full_though_small_messages_fit() {
    let Some(mount) = Mount::tmpfs("3m") else { return };
    let bridge = open(mount.path());
    let mut stored = 0;
    while publish(&*bridge, "a", text(&"x".repeat(200_000))).await.is_ok() {
        stored += 1;
        assert!(stored < 100, "the disk is never full");
    }
    // The log opens itself anew, and what is small finds room on pages that the large one had taken.
    eventually(PATIENCE, "a small message is taken", async || {
        publish(&*bridge, "a", text("small")).await.is_ok()
    })
    .await;
    for _ in 0..3 {
        let said = bridge.probe(soon()).await.unwrap_err();
        assert_eq!(said.fault, Fault::StorageFull);
        assert!(said.to_string().contains("free some"), "{said}");
    }
    mount.remount("size=64m");
    // Nobody publishes meanwhile.
    eventually(PATIENCE, "it is ready again", async || bridge.probe(soon()).await.is_ok()).await;
    let files = fs::read_dir(mount.path()).unwrap().map(|file| file.unwrap().file_name());
    assert_eq!(files.count(), 3, "format, lock and log are there, and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_disk_ends_every_outcome_is_true() {
    let mut outcomes = (0, 0, 0);
    for round in 0_usize..16 {
        let Some(mount) = Mount::tmpfs(&format!("{}k", 1700 + round * 52)) else { return };
        let bridge = open(mount.path());
        let (mut stored, mut refused) = (Vec::new(), Vec::new());
        // Several at once, so that a commit that fails has failed for many.
        for call in 0..400 {
            let bodies: Vec<_> = (0..4)
                .map(|n| format!("{call}-{n} {}", "x".repeat(500 + (call * 7919 + n * 104_729) % 9000)))
                .collect();
            let calls: Vec<_> = bodies
                .iter()
                .map(|body| bridge.publisher().publish(&topic("a"), vec![text(body)], soon()))
                .collect();
            for (body, call) in bodies.into_iter().zip(calls) {
                match call.await.remove(0) {
                    Ok(_) => stored.push(body),
                    Err(error) if error.fault == Fault::Timeout => outcomes.2 += 1,
                    Err(_) => refused.push(body),
                }
            }
            if refused.len() > 8 {
                break;
            }
        }
        assert!(!refused.is_empty(), "the disk is never full");
        mount.remount("size=64m");
        let until = Instant::now() + PATIENCE;
        while publish(&*bridge, "b", text("after")).await.is_err() {
            assert!(Instant::now() < until, "it does not go on by itself");
            sleep(std::time::Duration::from_millis(20)).await;
        }
        bridge.close(soon()).await;
        let there = everything(&*open(mount.path()), "a", "a").await;
        assert!(stored.iter().all(|body| there.contains(body)), "what was said to be stored is gone");
        assert!(!refused.iter().any(|body| there.contains(body)), "what was said to be refused is there");
        outcomes.0 += stored.len();
        outcomes.1 += refused.len();
    }
    println!("{} stored, {} refused, {} unknown", outcomes.0, outcomes.1, outcomes.2);
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
