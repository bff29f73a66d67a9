//! Where the logs of started processes are kept.

use std::fs;
use std::path::PathBuf;

/// Returns the path of a log: `<test binary>-<name>.log` in `SIDESPAN_TEST_LOGS`, or in
/// `sidespan-test-logs` under the system's temporary directory.
///
/// A later run of the same test binary writes over it, so that logs don't pile up.
pub fn log_file(name: &str) -> PathBuf {
    let directory = match std::env::var_os("SIDESPAN_TEST_LOGS") {
        Some(directory) => PathBuf::from(directory),
        None => std::env::temp_dir().join("sidespan-test-logs"),
    };
    fs::create_dir_all(&directory).expect("a directory for logs");
    directory.join(format!("{}-{name}.log", test_binary()))
}

/// Returns the name of the running test binary, without Cargo's hash.
fn test_binary() -> String {
    let path = std::env::current_exe().expect("a test binary has a path");
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    match stem.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 => name.to_owned(),
        Some(_) | None => stem,
    }
}
