//! The real `sidespan` program, as an operator starts it.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::eventually::PAUSE;
use crate::logs::log_file;
use crate::port::free_port;
use crate::process::{Process, Signal};

/// How a `sidespan` is started.
#[derive(Debug)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: TempDir,
    listen: u16,
    admin: u16,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A running `sidespan`, in a temporary directory of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Sidecar {
    process: Process,
    launch: Launch,
}

/// How a `sidespan` ended, and all that it said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// The standard output of all its runs.
    pub stdout: String,
    /// The standard error of all its runs.
    pub stderr: String,
}

impl Launch {
    /// Begins with `sidespan` alone: development mode. `program` is
    /// `env!("CARGO_BIN_EXE_sidespan")`, which only the integration tests of its package have.
    pub fn new(program: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: tempfile::Builder::new().prefix("sidespan-").tempdir().expect("a directory"),
            listen: free_port(),
            admin: free_port(),
            stdout: log_file(&format!("sidecar-{count}-stdout")),
            stderr: log_file(&format!("sidecar-{count}-stderr")),
        }
    }

    /// Serves by a configuration in YAML. Its relative paths are in [`Launch::directory`]; where it
    /// listens is set by the environment, so it need not say.
    pub fn config(self, yaml: &str) -> Self {
        fs::write(self.directory.path().join("sidespan.yaml"), yaml).expect("a configuration file");
        self.arguments(&["serve", "--config", "sidespan.yaml"])
    }

    /// Sets the arguments, instead of those set before.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the working directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns where services will reach it: `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.listen)
    }

    /// Starts it, and waits until it answers on its listeners. It need not be ready: its broker
    /// may be down.
    pub async fn start(self) -> Sidecar {
        File::create(&self.stdout).and(File::create(&self.stderr)).expect("log files");
        let process = self.run();
        let mut sidecar = Sidecar { process, launch: self };
        sidecar.until_it_answers().await;
        sidecar
    }

    /// Starts it, and waits for its end: for commands, and for what must not start.
    pub async fn run_to_end(self) -> Ended {
        File::create(&self.stdout).and(File::create(&self.stderr)).expect("log files");
        let mut sidecar = Sidecar { process: self.run(), launch: self };
        sidecar.ended().await
    }

    fn run(&self) -> Process {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(self.directory.path());
        command.env_remove("SIDESPAN_CONFIG");
        command.env("SIDESPAN__LISTEN", format!("127.0.0.1:{}", self.listen));
        command.env("SIDESPAN__ADMIN", format!("127.0.0.1:{}", self.admin));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::start(&command, append(&self.stdout), append(&self.stderr), self.directory.path())
            .expect("a shell to start sidespan")
    }
}

impl Sidecar {
    /// Returns the URL of a path on the services' listener, such as `/v1/topics/orders/messages`.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.launch.listen)
    }

    /// Returns the URL of a path on the operators' listener, such as `/readyz`.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.launch.admin)
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns how many bytes of memory it has, by the kernel's count.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        kilobytes.and_then(|text| text.trim().parse::<u64>().ok()).expect("a process that runs") * 1024
    }

    /// Returns the working directory.
    pub fn directory(&self) -> &Path {
        self.launch.directory()
    }

    /// Waits until `/readyz` says 200. Panics with what it says instead.
    pub async fn until_ready(&self) {
        let (client, url) = (Client::new(), self.admin_url("/readyz?verbose"));
        let end = Instant::now() + READY;
        loop {
            let said = match client.get(&url).send().await {
                Ok(answer) if answer.status == 200 => return,
                Ok(answer) => answer.text().to_owned(),
                Err(error) => error.to_string(),
            };
            let log = self.launch.stderr.display();
            assert!(Instant::now() < end, "sidespan is not ready after {READY:?}, see {log}: {said}");
            sleep(PAUSE).await;
        }
    }

    /// Kills it as `kill -9` does, and returns when it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends SIGTERM, and waits for its end.
    pub async fn stop(&mut self) -> Ended {
        self.process.signal(Signal::Terminate);
        self.ended().await
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Ended {
        match self.ended_within(END).await {
            Some(ended) => ended,
            None => panic!("sidespan still runs after {END:?}; it said:\n{}", self.stderr()),
        }
    }

    /// Waits for its end; `None` if it still runs at the deadline.
    pub async fn ended_within(&mut self, deadline: Duration) -> Option<Ended> {
        let status = self.process.wait(deadline).await?;
        Some(Ended { status, stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Starts it again after its end, with the same configuration, ports and directory, and waits
    /// until it answers.
    pub async fn start_again(&mut self) {
        assert!(self.process.exit_status().is_some(), "sidespan still runs");
        self.process = self.launch.run();
        self.until_it_answers().await;
    }

    /// Returns the standard output until now, of all its runs.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.launch.stdout).unwrap_or_default()
    }

    /// Returns the standard error until now, of all its runs.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.launch.stderr).unwrap_or_default()
    }

    async fn until_it_answers(&mut self) {
        let client = Client::new();
        let end = Instant::now() + READY;
        // Any status will do: what they mean is for tests to say.
        for url in [self.admin_url("/livez"), self.url("/")] {
            while client.get(&url).send().await.is_err() {
                if let Some(status) = self.process.exit_status() {
                    panic!("sidespan ended with {status}; it said:\n{}", self.stderr());
                }
                assert!(Instant::now() < end, "no answer from {url}; sidespan said:\n{}", self.stderr());
                sleep(PAUSE).await;
            }
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        for log in [&self.launch.stdout, &self.launch.stderr] {
            if std::thread::panicking() {
                eprintln!("a log of sidespan is {}", log.display());
            } else {
                let _ = fs::remove_file(log);
            }
        }
    }
}

fn append(log: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(log).expect("a log file")
}

/// How long it may take to answer, and to be ready.
const READY: Duration = Duration::from_secs(60);
/// How long it may take to end: more than any drain deadline that tests set.
const END: Duration = Duration::from_secs(60);
