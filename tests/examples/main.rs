//! the examples: configurations load, services publish and are called, and each door is shown to work
//!
//! Each runs as its reader would run it, against the real program: the commands are those of the READMEs.
//! What the languages need is installed by `tests/examples/setup`: what is missing fails, as nothing here is
//! worth skipping silently.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod doors;
mod orders;
mod workshop;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use sidespan::bridges::DRIVERS;
use sidespan::config::Config;

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");
const SECRET: &str = "whsec_c2lkZXNwYW4tZXhhbXBsZS1zZWNyZXQtb2YtMzItYnk=";

#[test]
fn every_example_configuration_loads() {
    let mut found = Vec::new();
    for folder in ["examples", "examples/orders", "examples/token"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "yaml" || ending == "toml") {
                let config = Config::load(&path, DRIVERS).unwrap_or_else(|errors| panic!("{errors}"));
                assert!(!config.subscriptions.is_empty(), "{} shows a subscription", path.display());
                found.push(path);
            }
        }
    }
    assert!(found.len() > DRIVERS.len(), "one for each kind of bridge, and one beside a service: {found:?}");
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

const PATIENCE: Duration = Duration::from_secs(60);
const INSTALLING: Duration = Duration::from_secs(300);
