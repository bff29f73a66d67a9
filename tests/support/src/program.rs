//! A foreign program that a test runs to its end: a script, a compiler, an installer.

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use crate::process::Process;

/// How a program ended, and all that it said.
#[derive(Clone, Debug)]
pub struct Said {
    /// It ended with 0.
    pub success: bool,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

/// Runs a program to its end. Panics with what it said if it still runs at the deadline.
pub async fn run(name: &str, command: &Command, deadline: Duration) -> Said {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = ["output", "errors"].map(|kind| directory.path().join(kind));
    let [output, errors] = paths.each_ref().map(|path| File::create(path).expect("a file"));
    let mut process =
        Process::start(command, output, errors, directory.path()).expect("a shell to start a program");
    let status = process.wait(deadline).await;
    let [output, errors] = paths.map(|path| {
        let said = fs::read(path).expect("a file that was written");
        String::from_utf8_lossy(&said).into_owned()
    });
    let Some(status) = status else {
        panic!("{name} still runs after {deadline:?}; it said:\n{output}{errors}");
    };
    Said { success: status.success(), output, errors }
}
