//! Whether the reference of the configuration is what the program says.

use std::path::Path;
use std::process::Command;

use crate::{SIDESPAN, read};

#[test]
fn the_reference_of_the_configuration_is_the_programs_own() {
    let said = Command::new(SIDESPAN).args(["config", "reference"]).output().expect("the program");
    let said = String::from_utf8(said.stdout).expect("text");
    let same = said == read(Path::new("docs/configuration.md"));
    assert!(same, "write it anew: cargo run -- config reference > docs/configuration.md");
}
