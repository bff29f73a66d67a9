//! A foreign program that a test runs to its end: a script, a compiler, an installer.

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use crate::logs::log_file;
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
    let logs = ["output", "errors"].map(|kind| log_file(&format!("{name}-{kind}")));
    let [output, errors] = logs.each_ref().map(|log| File::create(log).expect("a log file"));
    let scratch = tempfile::tempdir().expect("a directory");
    let mut process =
        Process::start(command, output, errors, scratch.path()).expect("a shell to start a program");
    let status = process.wait(deadline).await;
    let [output, errors] = logs.each_ref().map(|log| {
        let said = fs::read(log).expect("a log file");
        String::from_utf8_lossy(&said).into_owned()
    });
    let Some(status) = status else {
        panic!("{name} still runs after {deadline:?}; it said:\n{output}{errors}");
    };
    for log in logs {
        let _ = fs::remove_file(log);
    }
    Said { success: status.success(), output, errors }
}
