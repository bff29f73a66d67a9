//! Where the commands of a page run: an empty directory, with the real program on the path.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use sidespan_test_support::{Client, Process, Signal, eventually};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::blocks::{Block, Mark};
use crate::expected::{is_said, is_said_in_json};
use crate::ports::Ports;
use crate::{PATIENCE, SIDESPAN};

pub(crate) struct Sandbox {
    ports: Ports,
    started: BTreeMap<String, Started>,
    /// What the block before said, or who says it.
    last: Last,
    // Last: removed when the processes are gone.
    directory: TempDir,
}

struct Started {
    process: Process,
    output: PathBuf,
}

enum Last {
    Said(String),
    Started(String),
}

impl Sandbox {
    pub(crate) fn new(ports: Ports) -> Self {
        let directory = tempfile::Builder::new().prefix("sidespan-docs-").tempdir().expect("a directory");
        let programs = directory.path().join("bin");
        fs::create_dir_all(directory.path().join("page"))
            .and(fs::create_dir(&programs))
            .expect("directories");
        // Commands that are clients look for the server at its usual port.
        let (listen, admin) = (ports.used("7400"), ports.used("7401"));
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in\n\
             publish | request | reply | sub | subscriptions | topics) set -- \"$@\" --server http://127.0.0.1:{listen} ;;\n\
             drain | log) set -- \"$@\" --admin http://127.0.0.1:{admin} ;;\n\
             esac\nexec '{SIDESPAN}' \"$@\"\n"
        );
        let program = programs.join("sidespan");
        fs::write(&program, script).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a script to run");
        // What a page shows is what curl prints to a person, and an error is one.
        fs::write(directory.path().join(".curlrc"), "silent\nshow-error\nfail-with-body\n").expect("a file");
        Self { ports, started: BTreeMap::new(), last: Last::Said(String::new()), directory }
    }

    /// Does with a block what its mark says.
    pub(crate) async fn play(&mut self, block: &Block) {
        let (place, text) = (&block.place, self.ports.meant(&block.text));
        match &block.mark {
            Mark::Run { exit } => {
                let said = self.run(place, &text, *exit).await;
                self.last = Last::Said(said);
            }
            Mark::Start(name) => {
                self.start(place, name, &text).await;
                self.last = Last::Started(name.clone());
            }
            Mark::Output { of, json } => self.hear(place, of.as_ref(), &text, *json).await,
            Mark::Config(file) => {
                self.save(file, &text);
                self.validate(place, file).await;
            }
            Mark::Part => {
                self.save(PART, &completed(&text));
                self.validate(place, PART).await;
            }
            Mark::File(file) => self.save(file, &text),
            Mark::Manifest | Mark::Picture | Mark::Script => {}
        }
    }

    async fn run(&self, place: &str, text: &str, exit: i32) -> String {
        let output = self.directory.path().join("output");
        let mut process = self.process(&format!("set -euo pipefail\n{text}"), &output);
        let ended = process.wait(PATIENCE).await;
        let said = fs::read_to_string(output).expect("what it said");
        assert_eq!(ended.and_then(|status| status.code()), Some(exit), "{place}: {ended:?}\n{text}\n{said}");
        said
    }

    async fn start(&mut self, place: &str, name: &str, text: &str) {
        if let Some(mut before) = self.started.remove(name) {
            before.process.signal(Signal::Interrupt);
            let ended = before.process.wait(PATIENCE).await;
            let said = fs::read_to_string(before.output).expect("what it said");
            assert!(ended.is_some(), "{place}: what was started before does not end:\n{said}");
        }
        let output = self.directory.path().join(format!("output-of-{name}"));
        let process = self.process(text, &output);
        self.started.insert(name.to_owned(), Started { process, output: output.clone() });
        if name == SERVER {
            let url = format!("http://127.0.0.1:{}/readyz", self.ports.used("7401"));
            let ready =
                async || Client::new().get(&url).send().await.is_ok_and(|answer| answer.status == 200);
            let waited = tokio::time::timeout(PATIENCE, eventually(PATIENCE * 2, "it is ready", ready)).await;
            let said = fs::read_to_string(output).expect("what it said");
            assert!(waited.is_ok(), "{place}: it does not get ready:\n{said}");
        } else {
            self.until_it_listens(place, text).await;
        }
    }

    /// Waits until what runs a file listens where the file says.
    async fn until_it_listens(&self, place: &str, text: &str) {
        for file in fs::read_dir(self.directory.path().join("page")).expect("a directory").flatten() {
            let name = file.file_name().into_string().unwrap_or_default();
            if !text.contains(&name) || !file.path().is_file() {
                continue;
            }
            let saved = fs::read_to_string(file.path()).expect("a file that was saved");
            for port in SERVICES.iter().map(|port| self.ports.used(port)).filter(|port| saved.contains(*port))
            {
                let what = format!("{place}: {name} listens at {port}");
                eventually(PATIENCE, &what, async || {
                    TcpStream::connect(format!("127.0.0.1:{port}")).await.is_ok()
                })
                .await;
            }
        }
    }

    /// Waits until what is expected was said.
    async fn hear(&self, place: &str, of: Option<&String>, text: &str, json: bool) {
        let is_said = if json { is_said_in_json } else { is_said };
        let name = match (of, &self.last) {
            (Some(name), _) | (None, Last::Started(name)) => name,
            (None, Last::Said(said)) => {
                assert!(is_said(text, said), "{place}: expected\n{text}\nsaid\n{}", self.ports.shown(said));
                return;
            }
        };
        let output =
            &self.started.get(name).unwrap_or_else(|| panic!("{place}: no {name} was started")).output;
        let said = || fs::read_to_string(output).expect("what it said");
        let end = tokio::time::Instant::now() + PATIENCE;
        while !is_said(text, &said()) {
            let late = tokio::time::Instant::now() >= end;
            assert!(!late, "{place}: expected\n{text}\nsaid\n{}", self.ports.shown(&said()));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn validate(&self, place: &str, file: &str) {
        self.run(place, &format!("sidespan validate {file}"), 0).await;
    }

    fn save(&self, file: &str, text: &str) {
        fs::write(self.directory.path().join("page").join(file), text).expect("a file");
    }

    fn process(&self, script: &str, output: &PathBuf) -> Process {
        let path = std::env::var("PATH").expect("a path");
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("exec 2>&1\n{script}")).current_dir(self.directory.path().join("page"));
        command.env("PATH", format!("{}:{path}", self.directory.path().join("bin").display()));
        command.env("HOME", self.directory.path()).env_remove("SIDESPAN_CONFIG");
        command.env("SIDESPAN__LISTEN", format!("127.0.0.1:{}", self.ports.used("7400")));
        command.env("SIDESPAN__ADMIN", format!("127.0.0.1:{}", self.ports.used("7401")));
        let file = File::create(output).expect("a file");
        let process =
            Process::start(&command, file.try_clone().expect("a file"), file, self.directory.path());
        process.expect("a shell to start a command")
    }
}

/// Adds what a part of a configuration leaves out.
fn completed(part: &str) -> String {
    let says = |key: &str| part.lines().any(|line| line.starts_with(&format!("{key}:")));
    let missing = REST.iter().filter(|(key, _)| !says(key)).map(|(key, value)| format!("{key}: {value}\n"));
    format!("{}{part}", missing.collect::<String>())
}

/// A configuration without anything special.
const REST: [(&str, &str); 4] = [
    ("version", "1"),
    ("service", "orders-api"),
    ("bridges", "{main: {kind: embedded, dir: ./data, open: true}}"),
    ("topics", "{orders: {}, prices: {}}"),
];
const PART: &str = "part.yaml";
/// Whoever is started by this name is Sidespan, and is ready before the page goes on.
const SERVER: &str = "server";
/// Where services listen that pages start.
const SERVICES: [&str; 3] = ["8080", "8081", "9090"];
