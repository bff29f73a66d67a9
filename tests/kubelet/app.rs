//! The service beside the sidecar: a process of its own that takes what is pushed to it, and publishes until it ends.
//!
//! What it saw is said line by line on its standard output, which a kill does not take back.

use std::fs::{self, File};
use std::ops::Range;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use sidespan_test_support::history::{History, Order, Taken};
use sidespan_test_support::{Answer, Client, Process, Signal, Webhook, eventually, free_port};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::PATIENCE;

/// A running app. Dropping it kills it.
pub(crate) struct App {
    process: Process,
    directory: TempDir,
}

/// How an app behaves.
#[derive(Clone, Debug)]
pub(crate) struct Character {
    /// The keys that it publishes messages of.
    pub(crate) keys: Range<usize>,
    /// How long it goes on after SIGTERM.
    pub(crate) farewell: Duration,
    /// It never answers what is pushed to it, and does not hear SIGTERM.
    pub(crate) stuck: bool,
}

impl Character {
    /// Publishes, and goes on for a second after SIGTERM.
    pub(crate) fn busy() -> Self {
        Self { keys: 0..KEYS, farewell: Duration::from_secs(1), stuck: false }
    }

    /// Publishes nothing.
    pub(crate) fn quiet() -> Self {
        Self { keys: 0..0, farewell: Duration::ZERO, stuck: false }
    }
}

impl App {
    /// Starts it on a port, beside a sidecar that takes messages at `door`, and waits until it listens.
    pub(crate) async fn start(port: u16, door: &str, character: &Character) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "app::the_container", "--ignored", "--nocapture"]);
        command.env("APP_PORT", port.to_string()).env("APP_DOOR", door);
        command.env("APP_KEYS", format!("{} {}", character.keys.start, character.keys.end));
        command.env("APP_FAREWELL", character.farewell.as_millis().to_string());
        command.env("APP_STUCK", character.stuck.to_string());
        let [output, errors] =
            ["output", "errors"].map(|name| File::create(directory.path().join(name)).unwrap());
        let process = Process::start(&command, output, errors, directory.path()).unwrap();
        let app = Self { process, directory };
        eventually(PATIENCE, "the app listens", async || app.said().iter().any(|line| line == "listens"))
            .await;
        app
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&mut self) {
        self.process.signal(Signal::Terminate);
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.process.kill()
    }

    /// Waits for its end; `None` if it still runs at the deadline.
    pub(crate) async fn ended_within(&mut self, deadline: Duration) -> Option<ExitStatus> {
        self.process.wait(deadline).await
    }

    /// Returns what it said until now.
    pub(crate) fn said(&self) -> Vec<String> {
        let output = fs::read_to_string(self.directory.path().join("output")).unwrap();
        let whole = output.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole.filter_map(|line| line.split_once("app: ")).map(|(_, said)| said.to_owned()).collect()
    }

    /// Returns how many lines it said that begin so.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.said().iter().filter(|line| line.starts_with(what)).count()
    }
}

/// Puts together what apps saw that ran one after the other.
pub(crate) fn history<'a>(apps: impl IntoIterator<Item = &'a App>) -> History {
    let mut history = History::default();
    for line in apps.into_iter().flat_map(App::said) {
        let (what, rest) = line.split_once(": ").unwrap_or((&line, ""));
        match what {
            "stored" => history.stored(Order::read(rest)),
            "got" => {
                let (id, body) = rest.split_once(' ').unwrap();
                let taken = Taken { accepted: true, takes: Duration::ZERO };
                history.attempt(Order::read(body), id, 0, taken);
            }
            "dead" => history.dead(Order::read(rest)),
            _ => {}
        }
    }
    history
}

/// Not a test: a pod starts it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a pod starts it"]
async fn the_container() {
    let Ok(port) = std::env::var("APP_PORT") else { return };
    let told = |name: &str| std::env::var(name).unwrap();
    let (keys, door, is_stuck) = (told("APP_KEYS"), told("APP_DOOR"), told("APP_STUCK") == "true");
    let (first, end) = keys.split_once(' ').unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let _webhook = Webhook::start_on(port.parse().unwrap(), move |request| {
        if request.path == "/dead" {
            say(&format!("dead: {}", request.text()));
            return Answer::ok();
        }
        if is_stuck {
            say("hangs");
            return Answer::hang();
        }
        say(&format!("got: {} {}", request.header("webhook-id"), request.text()));
        // Some are still being worked on whenever the end comes.
        let takes = if request.number.is_multiple_of(50) { SLOW } else { QUICK };
        Answer::ok().after(takes)
    })
    .await;
    say("listens");
    let enough = CancellationToken::new();
    let mut publishers = JoinSet::new();
    for key in first.parse::<usize>().unwrap()..end.parse().unwrap() {
        publishers.spawn(publish(key, door.clone(), enough.clone()));
    }
    terminate.recv().await;
    say("terminated");
    if is_stuck {
        std::future::pending::<()>().await;
    }
    sleep(Duration::from_millis(told("APP_FAREWELL").parse().unwrap())).await;
    enough.cancel();
    while publishers.join_next().await.is_some() {}
    say("ends");
}

/// Publishes the messages of a key one by one, each until it is answered 2xx.
async fn publish(key: usize, door: String, enough: CancellationToken) {
    let client = Client::new();
    let mut number = 0;
    while !enough.is_cancelled() {
        let order = Order { key, number };
        let request = client
            .post(&door, order.to_string())
            .header("content-type", "text/plain")
            .header("sidespan-key", key.to_string());
        match request.send().await {
            Ok(answer) if answer.status == 200 => {
                say(&format!("stored: {order}"));
                number += 1;
            }
            Ok(answer) => say(&format!("refused: {order}: {} {}", answer.status, answer.text())),
            Err(error) => say(&format!("unanswered: {order}: {error}")),
        }
        sleep(PACE).await;
    }
}

/// In one piece, as others speak too.
fn say(line: &str) {
    println!("app: {line}");
}

/// Returns a port for an app.
pub(crate) fn port() -> u16 {
    free_port()
}

const KEYS: usize = 8;
/// Between two messages of a key.
const PACE: Duration = Duration::from_millis(20);
/// How long a message is worked on.
const QUICK: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_millis(300);
