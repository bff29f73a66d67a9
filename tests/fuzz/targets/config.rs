//! A configuration is understood or refused by name, whatever stands in the file.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sidespan::config::Config;
use sidespan_bridge::Driver;
use sidespan_bridge_embedded::Embedded;
use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));

fuzz_target!(|input: (bool, &str)| {
    let (toml, text) = input;
    let path: PathBuf = DIRECTORY.path().join(if toml { "c.toml" } else { "c.yaml" });
    fs::write(&path, text).expect("writes the file");
    let drivers: [&'static dyn Driver; 1] = [&Embedded];
    if let Err(errors) = Config::load(&path, &drivers) {
        assert!(!errors.to_string().is_empty(), "a refusal says why");
    }
});
