//! A child process that ends when the test run does.
//!
//! # Why a guard stands beside it
//!
//! Dropping a [`Process`] kills it, but nothing is dropped when a test run is interrupted or killed,
//! and a static never is. So beside each process waits a small shell, reading a pipe whose other end
//! only this test binary holds. However the binary ends, the kernel closes that end, the guard reads
//! the end of file, kills the process group and removes its directory. Linux's parent-death signal
//! would not do: it fires when the *thread* that started the child ends, and every test has its own.
//!
//! The process itself begins as a shell that waits for one line, which it gets once the guard
//! stands: there is no instant at which the process runs unguarded. Then it becomes (`exec`) the
//! program, so its pid, exit code and signals are the program's own. Both have a process group of
//! their own: Ctrl-C reaches the test binary, and these by way of the guard.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::eventually::PAUSE;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    guard: Child,
    guard_line: ChildStdin,
}

/// What can be sent to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Goes on after [`Signal::Stop`].
    Continue,
    /// Interrupts, as Ctrl-C does.
    Interrupt,
    /// Ends it at once.
    Kill,
    /// Freezes it: it keeps its sockets, and answers nothing.
    Stop,
    /// Asks it to end.
    Terminate,
}

impl Process {
    /// Starts `command` (program, arguments, environment and directory are taken from it) with its
    /// output in two files, which may be the same. `scratch` is removed if this test binary ends
    /// without dropping the process.
    pub fn start(command: &Command, stdout: File, stderr: File, scratch: &Path) -> io::Result<Self> {
        let mut waiting = shell(AWAIT_THEN_BECOME);
        waiting.arg(command.get_program()).args(command.get_args());
        waiting.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
        if let Some(directory) = command.get_current_dir() {
            waiting.current_dir(directory);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => waiting.env(name, value),
                None => waiting.env_remove(name),
            };
        }
        let mut child = waiting.spawn()?;

        let mut watching = shell(GUARD);
        watching.arg("guard").arg(child.id().to_string()).arg(scratch);
        watching.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = watching.spawn()?;

        let guard_line = guard.stdin.take().expect("the guard's input is a pipe");
        let mut go = child.stdin.take().expect("the child's input is a pipe");
        go.write_all(b"go\n")?;
        Ok(Self { child, guard, guard_line })
    }

    /// Returns the process id, which is the program's own.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        // Until it is reaped, nothing else gets its pid.
        if self.exit_status().is_none() {
            let target = format!("-{}", self.id());
            let sent = shell("kill -s \"$0\" -- \"$1\"").arg(signal.name()).arg(target).status();
            sent.expect("a shell to send a signal");
            if signal == Signal::Stop {
                self.until_stopped();
            }
        }
    }

    /// Waits until every thread has stopped: one that runs a moment longer may still answer.
    fn until_stopped(&self) {
        let runs = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state stands behind the name, which may hold anything.
            stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['T', 'Z', 'X']))
        };
        let tasks = format!("/proc/{}/task", self.id());
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while fs::read_dir(&tasks).is_ok_and(|tasks| tasks.flatten().any(runs)) {
            assert!(std::time::Instant::now() < end, "the process does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns how the process ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for the end of the process; `None` if it still runs at the deadline.
    pub async fn wait(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            let status = self.exit_status();
            if status.is_some() || Instant::now() >= end {
                return status;
            }
            sleep(PAUSE).await;
        }
    }

    /// Kills the process as `kill -9` does, and returns when it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::Kill);
        self.child.wait().expect("a killed child ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // A guard that has gone away needs no telling.
        let _ = self.guard_line.write_all(b"done\n");
        let _ = self.guard.wait();
    }
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Continue => "CONT",
            Self::Interrupt => "INT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Terminate => "TERM",
        }
    }
}

fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).process_group(0);
    shell
}

/// Without the line (this test binary died) the program never runs.
const AWAIT_THEN_BECOME: &str = r#"read -r go && exec "$0" "$@" </dev/null"#;

/// A line means that all is well; the end of file, that nobody is left to clean up. A process that
/// dies may still be writing while its directory is removed: hence the second attempt.
const GUARD: &str =
    r#"read -r done || { kill -s KILL -- "-$1"; rm -rf -- "$2" || { sleep 1; rm -rf -- "$2"; }; }"#;
