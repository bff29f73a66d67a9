//! A fault of the server itself is a line like all others.

use std::process::Command;

use serde_json::Value;
use sidespan::config::{Level, Log, LogFormat};
use sidespan::telemetry::log;

/// The log is that of a process, so it is another process that panics: this test, told so.
#[test]
fn a_panic_in_a_task_is_a_line_that_says_where() {
    const TOLD: &str = "SIDESPAN_TEST_PANICS";
    if std::env::var_os(TOLD).is_some() {
        return panic_in_a_task();
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "panics::a_panic_in_a_task_is_a_line_that_says_where"]).env(TOLD, "1");
    let ended = again.output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{stderr}");
    let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [line] = &lines[..] else { panic!("one line: {stderr}") };
    assert_eq!(line["level"], "ERROR", "{line}");
    assert_eq!(line["message"], "panicked: please report this as a fault of sidespan", "{line}");
    assert_eq!(line["error"], "no order 17", "{line}");
    assert!(line["location"].as_str().unwrap().contains("tests/logs/panics.rs:"), "{line}");
}

fn panic_in_a_task() {
    let log = Log { format: LogFormat::Json, level: Level::default(), access: 0.0 };
    let running = log::start(&log, "").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let order = 17;
    let ended =
        runtime.block_on(async move { tokio::spawn(async move { panic!("no order {order}") }).await });
    assert!(ended.unwrap_err().is_panic());
    assert!(running.end());
}
