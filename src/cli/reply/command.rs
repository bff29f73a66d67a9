//! Runs a line of shell on an input, bounded in time and output.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{self, Child};
use tokio::time::timeout;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command<'a> {
    /// A line of shell.
    pub(super) line: &'a str,
    /// How long it may take.
    pub(super) timeout: Duration,
    /// How many bytes it may print.
    pub(super) most: usize,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// As HTTP counts: 200 for exit code 0.
    pub(super) status: u16,
    /// What is replied.
    pub(super) reply: Vec<u8>,
    /// The beginning of what it said on standard error.
    pub(super) complaint: String,
}

impl Command<'_> {
    /// Runs it. When the future is dropped, all that it started is killed.
    pub(super) async fn run(&self, environment: Vec<(String, String)>, input: &[u8]) -> Said {
        match timeout(self.timeout, self.try_to_run(environment, input)).await {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => failed(500, format!("the command cannot be run: {error}")),
            Err(_) => failed(504, format!("the command did not end in {:?}", self.timeout)),
        }
    }

    async fn try_to_run(&self, environment: Vec<(String, String)>, input: &[u8]) -> io::Result<Said> {
        let mut shell = process::Command::new("/bin/sh");
        shell.args(["-c", self.line]).envs(environment).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Group(child) = &mut Group(shell.spawn()?);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            // A command need not read it all.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(input).await;
            }
            Ok(())
        };
        let print = async {
            let mut printed = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(self.most as u64 + 1).read_to_end(&mut printed).await?;
            }
            if printed.len() > self.most { Err(Unread::TooMuch) } else { Ok(printed) }
        };
        let complain = async { Ok(beginning(stderr).await?) };
        let (reply, complaint) = match tokio::try_join!(feed, print, complain) {
            Ok(((), reply, complaint)) => (reply, complaint),
            Err(Unread::TooMuch) => {
                return Ok(failed(502, format!("the command prints more than {} bytes", self.most)));
            }
            Err(Unread::Broken(error)) => return Err(error),
        };
        let complaint = String::from_utf8_lossy(&complaint).into_owned();
        let exit = child.wait().await?;
        Ok(match exit.success() {
            true => Said { status: 200, reply, complaint },
            false if complaint.trim().is_empty() => failed(500, format!("the command ended with {exit}")),
            false => Said { status: 500, reply: complaint.clone().into_bytes(), complaint },
        })
    }
}

/// Why output was not read to its end.
enum Unread {
    Broken(io::Error),
    TooMuch,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// A shell and what it started. Dropped before its end, all of it is killed.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever has not been waited for keeps its number.
        let group = self.0.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(group) = group {
            // It may be ending just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads to the end, and keeps the beginning.
async fn beginning(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    let Some(mut stream) = stream else { return Ok(kept) };
    loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(kept);
        }
        let room = MOST_COMPLAINT - kept.len();
        kept.extend(piece.iter().take(read.min(room)));
    }
}

fn failed(status: u16, why: String) -> Said {
    Said { status, reply: why.clone().into_bytes(), complaint: why }
}

const MOST_COMPLAINT: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn run(line: &str, input: &[u8]) -> Said {
        let command = Command { line, timeout: Duration::from_secs(10), most: 1000 };
        command.run(vec![("SIDESPAN_TOPIC".into(), "t".into())], input).await
    }

    #[tokio::test]
    async fn what_is_printed_is_the_reply() {
        let said = run("cat; printf ' to %s' $SIDESPAN_TOPIC; echo aside >&2", b"\xffhello").await;
        assert_eq!(
            said,
            Said { status: 200, reply: b"\xffhello to t".to_vec(), complaint: "aside\n".into() }
        );
        assert_eq!(run("echo x", &[b'x'; 1 << 20]).await.reply, b"x\n", "the input is not read");
    }

    #[tokio::test]
    async fn an_error_is_told_by_its_beginning() {
        let said = run("echo half; echo no such item >&2; exit 3", b"").await;
        assert_eq!((said.status, &*said.reply), (500, &b"no such item\n"[..]));
        assert_eq!(run("exit 3", b"").await.reply, b"the command ended with exit status: 3");
        let said = run("head -c 100000 /dev/zero | tr '\\0' e >&2; exit 1", b"").await;
        assert_eq!((said.status, said.reply.len()), (500, MOST_COMPLAINT));
    }

    #[tokio::test]
    async fn too_much_is_cut_off() {
        let said = run("head -c 1000 /dev/zero", b"").await;
        assert_eq!((said.status, said.reply.len()), (200, 1000));
        assert_eq!(run("cat /dev/zero", b"").await.status, 502);
    }

    /// The end of the queue comes when nobody is left who could write to it.
    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let queue = directory.path().join("queue");
        assert_eq!(run(&format!("mkfifo {}", queue.display()), b"").await.status, 200);
        let line = format!("sleep 60 > {} | cat", queue.display());
        let command = Command { line: &line, timeout: Duration::from_millis(500), most: 1000 };
        let ended = tokio::task::spawn_blocking(move || std::fs::read(queue));
        let (began, said) = (Instant::now(), command.run(Vec::new(), b"").await);
        assert_eq!(said.status, 504);
        assert!(ended.await.unwrap().unwrap().is_empty());
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}
