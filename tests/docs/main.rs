//! the README and docs/: every command runs, every configuration is valid, every link leads somewhere
//!
//! A block of a page says behind its language what it is; readers of the page do not see it, but whoever
//! edits does:
//!
//! | block | what is done with it |
//! |---|---|
//! | `bash run` | runs to its end, with exit code 0, or what `exit=` says |
//! | `bash start=NAME` | starts, and goes on; what was started by this name before is interrupted (Ctrl-C) first |
//! | `text output`, `json output` | is what the block before said, or says within some seconds; `output=NAME`: what was started by this name says. `...` is anything, ids and times are alike, and JSON may have more |
//! | `yaml config=FILE` | is saved beside the commands, and `sidespan validate` takes it |
//! | `yaml part` | is taken by `sidespan validate`, with what it leaves out added |
//! | `LANGUAGE file=FILE` | is saved beside the commands |
//! | `bash cluster`, `yaml cluster` | needs a Kubernetes cluster: is only read |
//! | `bash source` | builds, or runs the tests: is only read |
//! | `text picture` | is to be looked at |
//!
//! A page's commands run one after the other, in an empty directory, with the real program and real brokers.
//! What they say of ports is exchanged for ports that are free, and for those of the brokers.

#![cfg(all(feature = "amqp", feature = "kafka", feature = "nats"))]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod blocks;
mod expected;
mod links;
mod metrics;
mod pages;
mod ports;
mod reference;
mod sandbox;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");

/// How long a command may take, and what is expected may be awaited.
const PATIENCE: Duration = Duration::from_secs(30);

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Returns the README and the pages of docs/, by their paths below the root, in order.
fn pages() -> Vec<PathBuf> {
    let mut found = vec!["README.md".into()];
    below(Path::new("docs"), &mut found);
    found.sort();
    found
}

/// Adds the pages of a folder.
fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(folder)).expect("a folder of pages") {
        let path = folder.join(entry.expect("an entry").file_name());
        if root().join(&path).is_dir() {
            below(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
}

fn read(page: &Path) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}
