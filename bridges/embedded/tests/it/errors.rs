//! Calls of the system that fail with an I/O error.

use std::fs;

use crate::life::{Said, command, live, store};
use crate::shim::Shim;

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_write_is_refused_and_all_goes_on_afterwards() {
    fail("write", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_flush_is_refused_and_all_goes_on_afterwards() {
    fail("sync", 0).await;
}

/// What was stored before is not in memory: it has to be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_read_is_refused_and_all_goes_on_afterwards() {
    fail("read", 20_000).await;
}

/// Has a process publish, and read what was stored before, lets its disk fail for a while and work again,
/// twice, and kills it.
async fn fail(call: &str, before: u64) {
    let Some(shim) = Shim::compile() else { return };
    let dir = tempfile::TempDir::new().unwrap();
    let mut all = store(dir.path(), before).await;
    let mut process = command(dir.path(), before);
    shim.stand_between(&mut process, dir.path());
    let error = shim.path("error");
    process.env("SHIM_ERROR", &error);
    let call = call.to_owned();
    // How many receipts and refusals there must be before the next turn. What was stored before must not
    // have been read by the first.
    let (mut receipts, mut refusals, mut turn) = (if before > 0 { 1 } else { 50 }, 0, 0);
    let is_over = move |said: &Said| {
        if said.receipts.len() < receipts || said.refused.len() < refusals {
            return false;
        }
        turn += 1;
        match turn {
            1 | 3 => {
                fs::write(&error, &call).unwrap();
                refusals = said.refused.len() + 20;
            }
            2 | 4 => {
                fs::remove_file(&error).unwrap();
                receipts = said.receipts.len() + 50;
            }
            _ => return true,
        }
        false
    };
    let said = live(process, is_over).await;
    println!(
        "{} receipts, {} refused, {} confirmed",
        said.receipts.len(),
        said.refused.len(),
        said.confirmed.len()
    );
    all.go_on(said);
    all.check(dir.path()).await;
}
