//! Commands that say who calls, where the server asks.

use std::fs;

use sidespan_test_support::{Launch, Sidecar};

use crate::{SIDESPAN, ended, sidespan};

const TILL: &str = "till-till-till-till-till-till";
const OPERATOR: &str = "operator-operator-operator";

/// A server with two callers, and their tokens in files beside it.
async fn server() -> Sidecar {
    let launch = Launch::new(SIDESPAN).config(
        "version: 1\nservice: s\nbridges: {b: {kind: embedded, dir: d, open: true}}\nauth:\n  tokens:\n\
         \x20 - {name: till, secret: {file: till}, publish: [orders], subscribe: [orders]}\n\
         \x20 - {name: operator, secret: {file: operator}, manage: true}\n",
    );
    for (name, token) in [("till", TILL), ("operator", OPERATOR)] {
        fs::write(launch.directory().join(name), format!("{token}\n")).unwrap();
    }
    let sidecar = launch.start().await;
    sidecar.until_ready().await;
    sidecar
}

fn file(sidecar: &Sidecar, name: &str) -> String {
    sidecar.directory().join(name).display().to_string()
}

#[tokio::test]
async fn a_command_shows_the_token_in_a_file() {
    let sidecar = server().await;
    let (url, till) = (sidecar.url(""), file(&sidecar, "till"));
    let shown = ["--server", url.as_str(), "--token-file", till.as_str()];
    let with = async |arguments: &[&str]| sidespan(&[arguments, &shown].concat()).await;
    ended(&with(&["publish", "orders", "x"]).await, 0);
    let seen = with(&["sub", "orders", "-n", "1", "--start", "begin", "-o", "json"]).await;
    ended(&seen, 0);
    assert!(seen.stdout.contains("\"text\":\"x\""), "{}", seen.stdout);

    let denied = with(&["publish", "payments", "x"]).await;
    ended(&denied, 1);
    assert!(denied.stderr.contains("(403)") && denied.stderr.contains("`publish`"), "{}", denied.stderr);
    for arguments in [&["publish", "orders", "x"][..], &["sub", "orders"]] {
        let stranger = sidespan(&[arguments, &["--server", &url]].concat()).await;
        ended(&stranger, 1);
        let said = &stranger.stderr;
        assert!(said.contains("(401)") && said.contains("--token-file"), "{said}");
    }
}

#[tokio::test]
async fn drain_takes_the_token_of_an_operator() {
    let sidecar = server().await;
    let admin = sidecar.admin_url("");
    let drain = async |token: &str| {
        sidespan(&["drain", "--admin", &admin, "--token-file", &file(&sidecar, token)]).await
    };
    ended(&sidespan(&["drain", "--admin", &admin]).await, 1);
    let denied = drain("till").await;
    ended(&denied, 1);
    assert!(denied.stderr.contains("`manage: true`"), "{}", denied.stderr);
    ended(&drain("operator").await, 0);
}

#[tokio::test]
async fn a_file_that_holds_no_token_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let shown = path.display().to_string();
    let publish = async || sidespan(&["publish", "t", "x", "--token-file", &shown]).await;
    let absent = publish().await;
    ended(&absent, 1);
    assert!(absent.stderr.contains(&shown), "{}", absent.stderr);
    fs::write(&path, "hunter2\nhunter3").unwrap();
    let wrong = publish().await;
    ended(&wrong, 1);
    assert!(wrong.stderr.contains(&shown) && !wrong.stderr.contains("hunter"), "{}", wrong.stderr);
}
