//! Prometheus, as a process of the test's own, and its tool.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use sidespan_test_support::{Client, Process, Said, eventually, free_port, log_file, run};
use tempfile::TempDir;
use url::form_urlencoded;

use crate::PATIENCE;

/// Prometheus, for which a second is a minute of the rules that it was given.
pub(crate) struct Prometheus {
    port: u16,
    _process: Process,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts it with alert rules. It scrapes `/metrics` of each job's target, `host:port`.
    pub(crate) async fn start(rules: &str, jobs: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config =
            "global: { scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms }\n\
                          rule_files: [rules.yaml]\nscrape_configs:\n"
                .to_owned();
        for (job, target) in jobs {
            config += &format!("  - {{ job_name: {job}, static_configs: [{{ targets: ['{target}'] }}] }}\n");
        }
        fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        fs::write(directory.path().join("rules.yaml"), hastened(rules)).unwrap();
        let port = free_port();
        let mut command = Command::new("prometheus");
        command
            .current_dir(directory.path())
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let log = File::create(log_file("prometheus")).unwrap();
        let process = Process::start(&command, log.try_clone().unwrap(), log, directory.path()).unwrap();
        let prometheus = Self { port, _process: process, _directory: directory };
        eventually(PATIENCE, "Prometheus is ready", async || {
            let ready = format!("http://127.0.0.1:{port}/-/ready");
            Client::new().get(&ready).send().await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        prometheus
    }

    /// Waits until it has scraped so many Sidespans.
    pub(crate) async fn until_seen(&self, number: usize) {
        eventually(PATIENCE, "Prometheus has seen all", async || {
            self.ask("sidespan_build_info").await.len() == number
        })
        .await;
    }

    /// Returns each alert that has fired until now, with its job.
    pub(crate) async fn fired(&self) -> BTreeSet<(String, String)> {
        let fired =
            self.ask("count by (job, alertname) (last_over_time(ALERTS{alertstate=\"firing\"}[1h]))").await;
        let label = |sample: &Value, name: &str| sample["metric"][name].as_str().unwrap().to_owned();
        fired.iter().map(|sample| (label(sample, "job"), label(sample, "alertname"))).collect()
    }

    /// Returns what an expression comes to.
    async fn ask(&self, expression: &str) -> Vec<Value> {
        let query: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let url = format!("http://127.0.0.1:{}/api/v1/query?query={query}", self.port);
        let answer = Client::new().get(&url).send().await.unwrap().json();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

/// Makes a minute of the rules a second.
fn hastened(rules: &str) -> String {
    let mut hastened = String::with_capacity(rules.len());
    for word in rules.split_inclusive(|it: char| !it.is_ascii_alphanumeric()) {
        let (word, end) = word.split_at(word.trim_end_matches(|it: char| !it.is_ascii_alphanumeric()).len());
        match word.split_at_checked(word.len().saturating_sub(1)) {
            Some((number, "m")) if number.parse::<u32>().is_ok() => hastened += &format!("{number}s"),
            Some((number, "h")) if number.parse::<u32>().is_ok() => hastened += &format!("{number}m"),
            Some(_) | None => hastened += word,
        }
        hastened += end;
    }
    hastened
}

/// Runs `promtool`, in a directory.
pub(crate) async fn promtool(directory: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new("promtool");
    command.current_dir(directory).args(arguments);
    run("promtool", &command, PATIENCE).await
}

/// Has `promtool` look at a scrape; returns what it finds fault with.
pub(crate) fn check_metrics(scraped: &str) -> String {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(scraped.as_bytes()).unwrap();
    let said = tool.wait_with_output().unwrap();
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
}
