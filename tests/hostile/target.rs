//! The server that is attacked, and the honest client beside the attackers.

use std::fs;
use std::sync::Once;

use sidespan_test_support::{Client, Launch, Sidecar};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::PATIENCE;

/// A server under attack.
pub(crate) struct Target {
    sidecar: Sidecar,
    honest: Client,
}

impl Target {
    /// Starts a server with an embedded log and these `limits`.
    pub(crate) async fn start(limits: &str) -> Self {
        static RAISED: Once = Once::new();
        RAISED.call_once(|| {
            rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be read");
        });
        let config = format!(
            "version: 1\nservice: shop\nlimits: {{ {limits} }}\n\
             bridges:\n  local: {{ kind: embedded, dir: data, open: true }}\n"
        );
        let sidecar = Launch::new(env!("CARGO_BIN_EXE_sidespan")).config(&config).start().await;
        sidecar.until_ready().await;
        let target = Self { sidecar, honest: Client::new() };
        target.serves_the_honest().await;
        target
    }

    /// Opens a connection and sends these bytes on it.
    pub(crate) async fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.authority()).await.expect("a connection");
        // What refuses early may have closed already: to see that is for the test.
        let _ = stream.write_all(bytes).await;
        stream
    }

    /// Publishes as a client does that behaves: over a connection that it keeps, and over a new one.
    pub(crate) async fn serves_the_honest(&self) {
        for client in [&self.honest, &Client::new()] {
            let url = self.sidecar.url("/v1/topics/orders/messages");
            let sending = client.post(&url, "an honest order").send();
            let answer = tokio::time::timeout(PATIENCE, sending).await.expect("an answer in time");
            let answer = answer.expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }

    /// Returns a request that publishes, of whose body this is the begin.
    pub(crate) fn post(&self, length: usize, body: &[u8]) -> Vec<u8> {
        let host = self.authority();
        let line = "POST /v1/topics/orders/messages HTTP/1.1";
        let head = format!("{line}\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    }

    /// Returns `host:port`.
    pub(crate) fn authority(&self) -> String {
        self.sidecar.url("").trim_start_matches("http://").to_owned()
    }

    /// Returns how many bytes the process has in memory now.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.sidecar.id())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes << 10
    }
}

/// Returns how many connections a test may open: each takes a file of this process, and one of the server.
pub(crate) fn connections(wanted: usize) -> usize {
    let (limit, _) = rlimit::Resource::NOFILE.get().expect("the limit of open files");
    wanted.min(usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(500))
}
