//! Whoever reads the log may stop reading: nothing else stops for that.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sidespan_test_support::eventually;

use crate::{PATIENCE, SIDESPAN, lines};

/// Far more than a pipe and the queue have room for, at level trace.
const MESSAGES: usize = 6000;

/// A server whose standard error is a pipe. Killed when dropped.
struct Piped {
    child: Child,
    directory: tempfile::TempDir,
}

impl Piped {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = "version: 1\nservice: shop\nlisten: 'unix:s.sock'\nadmin: '127.0.0.1:0'\n\
                      log: {level: trace, format: json, access: 1}\n\
                      bridges: {local: {kind: embedded, dir: data, open: true}}\n";
        std::fs::write(directory.path().join("sidespan.yaml"), config).unwrap();
        let mut command = Command::new(SIDESPAN);
        command.args(["serve", "--config", "sidespan.yaml"]).current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap(), directory }
    }

    /// Publishes and returns the status line of the answer.
    fn publish(&self) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.directory.path().join("s.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"POST /v1/topics/orders/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 1\r\n\r\nx")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }

    fn terminate(&self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    async fn until_it_answers(&self) {
        eventually(PATIENCE, "it answers", async || self.publish().is_ok_and(|line| line.contains(" 200 ")))
            .await;
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    let mut server = Piped::start();
    server.until_it_answers().await;
    for _ in 0..MESSAGES {
        assert!(server.publish().unwrap().contains(" 200 "));
    }
    server.terminate();
    let mut status = None;
    eventually(PATIENCE, "it ends", async || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[tokio::test]
async fn lines_that_were_dropped_are_counted_when_somebody_reads_again() {
    let mut server = Piped::start();
    server.until_it_answers().await;
    for _ in 0..MESSAGES {
        assert!(server.publish().unwrap().contains(" 200 "));
    }
    let mut pipe = server.child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        pipe.read_to_string(&mut said).map(|_| said)
    });
    server.terminate();
    let status = server.child.wait().unwrap();
    let said = reading.join().unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    let log = lines(&said);
    let dropped: u64 = log.iter().filter_map(|line| line["dropped"].as_u64()).sum();
    assert!(dropped > 0, "it was said how many lines were dropped");
    assert!(log.iter().any(|line| line["message"] == "stopped"), "the last line is there");
}
