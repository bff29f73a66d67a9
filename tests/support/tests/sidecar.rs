//! A sidecar is started, killed and stopped. A shell stands in for `sidespan`, whose binary only its
//! own package's tests have: here it is enough that it listens, speaks and ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use sidespan_test_support::{Client, Launch};

#[tokio::test]
async fn a_command_runs_to_its_end() {
    let launch =
        Launch::new("sh").arguments(&["-c", "echo $GREETING; pwd >&2; exit 78"]).env("GREETING", "hello");
    let directory = launch.directory().canonicalize().unwrap();
    let ended = launch.run_to_end().await;
    assert_eq!(ended.status.code(), Some(78));
    assert_eq!((ended.stdout.trim(), ended.stderr.trim()), ("hello", directory.to_str().unwrap()));
}

#[tokio::test]
#[should_panic(expected = "no such topic")]
async fn one_that_ends_instead_of_listening_fails_the_test_with_its_words() {
    Launch::new("sh").arguments(&["-c", "echo no such topic >&2"]).start().await;
}

#[tokio::test]
async fn it_is_killed_and_comes_back_at_the_same_place() {
    let mut sidecar = Launch::new("python3").arguments(&["-c", SERVER]).start().await;
    sidecar.until_ready().await;
    let url = sidecar.url("/");
    let get = async || Client::new().get(&url).send().await;
    assert_eq!(get().await.unwrap().text(), "run 1");
    sidecar.kill();
    get().await.unwrap_err();
    sidecar.start_again().await;
    assert_eq!(get().await.unwrap().text(), "run 2");
    let ended = sidecar.stop().await;
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(ended.stdout, "run 1\nrun 2\n");
}

/// Counts its runs in its directory, answers with that on both listeners, and ends with 0 on SIGTERM.
const SERVER: &str = r#"
import http.server, os, signal, sys, threading
open("runs", "a").write("x")
run = f"run {os.path.getsize('runs')}"
print(run, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(len(run)))
        self.end_headers()
        self.wfile.write(run.encode())
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
for name in ["SIDESPAN__LISTEN", "SIDESPAN__ADMIN"]:
    host, port = os.environ[name].split(":")
    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
    threading.Thread(target=server.serve_forever).start()
"#;
