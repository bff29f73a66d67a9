//! What the build is given, by `.dockerignore`, is enough for Cargo to plan it.

use std::fs;
use std::path::Path;

use crate::{PATIENCE, ROOT, done};

/// Copies what `.dockerignore` lets through.
pub(crate) async fn context(to: &Path) {
    let rules = fs::read_to_string(format!("{ROOT}/.dockerignore")).unwrap();
    let mut rules = rules.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "everything else stays out");
    for rule in rules {
        let path = rule.strip_prefix('!').expect("what is let through");
        let parent = to.join(path).parent().unwrap().to_owned();
        fs::create_dir_all(&parent).unwrap();
        done("cp", &["-a", path, parent.to_str().unwrap()], &[], PATIENCE).await;
    }
}

#[tokio::test]
async fn the_build_is_given_all_that_the_workspace_consists_of() {
    let directory = tempfile::tempdir().unwrap();
    context(directory.path()).await;
    let manifest = directory.path().join("Cargo.toml");
    let manifest = manifest.to_str().unwrap();
    let plan = [
        "metadata",
        "--locked",
        "--offline",
        "--no-deps",
        "--format-version",
        "1",
        "--manifest-path",
        manifest,
    ];
    done("cargo", &plan, &[], PATIENCE).await;
    for script in ["compile", "materials", "stage", "tools"] {
        assert!(directory.path().join(".ci").join(script).exists(), ".ci/{script} is missing");
    }
}
