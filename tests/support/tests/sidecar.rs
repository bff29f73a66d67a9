//! A sidecar is started, killed and stopped. Others stand in for `sidespan`, whose binary only its own
//! package's tests have: here it is enough that they listen, speak and end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use sidespan_test_support::{Answer, Client, Launch, Webhook};
use tokio::signal::unix::{SignalKind, signal};

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
    let stand_in = std::env::current_exe().unwrap();
    let arguments = ["--exact", "the_stand_in", "--ignored", "--nocapture"];
    let mut sidecar = Launch::new(stand_in.to_str().unwrap()).arguments(&arguments).start().await;
    sidecar.until_ready().await;
    let url = sidecar.url("/");
    let get = async || Client::new().get(&url).send().await;
    assert_eq!(get().await.unwrap().text(), "run 1");
    sidecar.kill();
    get().await.unwrap_err();
    sidecar.start_again().await;
    assert_eq!(get().await.unwrap().text(), "run 2");
    let ended = sidecar.stop().await;
    assert_eq!(ended.status.code(), Some(3));
    assert!(ended.stdout.contains("run 1\n") && ended.stdout.contains("run 2\n"), "{ended:?}");
}

/// Not a test: counts its runs in its directory, answers with that on both listeners, and ends with
/// 3 on SIGTERM.
#[tokio::test]
#[ignore = "another test starts it"]
async fn the_stand_in() {
    let (Some(listen), Some(admin)) = (port("SIDESPAN__LISTEN"), port("SIDESPAN__ADMIN")) else { return };
    let mut terminated = signal(SignalKind::terminate()).unwrap();
    let runs = std::fs::read_to_string("runs").unwrap_or_default() + "x";
    std::fs::write("runs", &runs).unwrap();
    let run = format!("run {}", runs.len());
    println!("{run}");
    let words = run.clone();
    let _listen = Webhook::start_on(listen, move |_| Answer::ok().body(words.clone())).await;
    let _admin = Webhook::start_on(admin, move |_| Answer::ok().body(run.clone())).await;
    terminated.recv().await;
    std::process::exit(3);
}

fn port(variable: &str) -> Option<u16> {
    let address = std::env::var(variable).ok()?;
    address.rsplit_once(':')?.1.parse().ok()
}
