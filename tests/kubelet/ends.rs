//! The ends that a pod may have.

use std::time::Duration;

use sidespan_test_support::{Ground, eventually, on};

use crate::app::Character;
use crate::pod::{End, Manifest, Pod};
use crate::{PATIENCE, stopped};

on!(of_a_native_sidecar on every broker);
on!(of_an_ordinary_sidecar on every broker);
on!(after_the_app_has_died on every broker);
on!(of_an_app_that_takes_all_the_grace on every broker);
on!(with_too_little_grace on every broker);

/// The hooks of both at once, SIGTERM to the app, then to the sidecar.
async fn of_a_native_sidecar(ground: Ground) {
    let mut pod = Pod::start(&ground.shared().await, "", &Character::busy()).await;
    pod.until_busy(400).await;
    let end = pod.end(MANIFEST).await;
    is_clean(&pod, &end);
    assert!(end.hook_took < Duration::from_secs(10), "{:?}", end.hook_took);
    let repeats = pod.succeed(&format!("{}, native sidecar", ground.name())).await;
    assert_eq!(repeats, 0, "a polite end repeats nothing");
}

/// Both are told to end at once: the sidecar's hook takes its time while the app has last words.
async fn of_an_ordinary_sidecar(ground: Ground) {
    let mut pod = Pod::start(&ground.shared().await, "", &Character::busy()).await;
    pod.until_busy(400).await;
    let end = pod.end(Manifest { native: false, drain: &["--at-least", "8s"], ..MANIFEST }).await;
    is_clean(&pod, &end);
    assert!(end.hook_took >= Duration::from_secs(8), "{:?}", end.hook_took);
    let repeats = pod.succeed(&format!("{}, ordinary sidecar", ground.name())).await;
    assert_eq!(repeats, 0, "a polite end repeats nothing");
}

/// It crashed: what was being pushed to it waits for its successor, and keeps no hook.
async fn after_the_app_has_died(ground: Ground) {
    let mut pod = Pod::start(&ground.shared().await, "", &Character::busy()).await;
    pod.until_busy(400).await;
    pod.app.kill();
    let end = pod.end(Manifest { sleep: Duration::ZERO, ..MANIFEST }).await;
    let (hook, sidecar) = (end.hook.expect("a hook that ends"), end.sidecar.expect("a proper end"));
    assert_eq!(hook.status.code(), Some(0), "{}", hook.stderr);
    assert!(end.hook_took < Duration::from_secs(10), "it waits for nobody: {:?}", end.hook_took);
    assert_eq!(sidecar.status.code(), Some(0), "{}", sidecar.stderr);
    assert_eq!(stopped(&sidecar)["attempts_left"], 0, "{}", sidecar.stderr);
    pod.succeed(&format!("{}, app gone first", ground.name())).await;
}

/// It is killed, and the two seconds that the kubelet leaves are enough for a sidecar that has drained.
async fn of_an_app_that_takes_all_the_grace(ground: Ground) {
    let slow = Character { farewell: Duration::from_secs(60), ..Character::busy() };
    let mut pod = Pod::start(&ground.shared().await, "", &slow).await;
    pod.until_busy(200).await;
    let end = pod.end(Manifest { grace: Duration::from_secs(4), ..MANIFEST }).await;
    let (hook, sidecar) = (end.hook.expect("a hook that ends"), end.sidecar.expect("a proper end"));
    assert_eq!((hook.status.code(), &*hook.stdout), (Some(0), "drained\n"), "{}", hook.stderr);
    assert!(end.app.is_none(), "the app was to be killed");
    let refused = pod.app.count("refused: ") + pod.app.count("unanswered: ");
    assert_eq!(refused, 0, "publishing works until the app is gone");
    assert_eq!(sidecar.status.code(), Some(0), "{}", sidecar.stderr);
    assert_eq!(stopped(&sidecar)["connections_cut"], 0, "{}", sidecar.stderr);
    pod.succeed(&format!("{}, an app that takes all the grace", ground.name())).await;
}

/// The app is stuck and `drain.deliveries` is longer than the grace period, so that all of them are killed.
async fn with_too_little_grace(ground: Ground) {
    let scene = ground.shared().await.timeout(Duration::from_secs(60));
    let stuck = Character { stuck: true, ..Character::busy() };
    let mut pod = Pod::start(&scene, "drain: { deliveries: 60s }\n", &stuck).await;
    eventually(PATIENCE, "load, and attempts that hang", async || {
        pod.app.count("stored: ") >= 100 && pod.app.count("hangs") > 0
    })
    .await;
    let end = pod.end(Manifest { grace: Duration::from_secs(3), ..MANIFEST }).await;
    assert!(end.hook.is_none() && end.app.is_none(), "none of them ends by itself");
    assert!(end.took < Duration::from_secs(8), "the kubelet does not wait: {:?}", end.took);
    pod.succeed(&format!("{}, grace too short", ground.name())).await;
}

/// The same with deadlines that agree: all ends by itself, and it is said what was left.
#[tokio::test(flavor = "multi_thread")]
async fn with_deadlines_that_agree_says_what_was_left() {
    let scene = Ground::Embedded.shared().await.timeout(Duration::from_secs(60));
    let stuck = Character { stuck: true, ..Character::busy() };
    let mut pod = Pod::start(&scene, "drain: { deliveries: 1s, shutdown: 1s }\n", &stuck).await;
    eventually(PATIENCE, "attempts that hang", async || pod.app.count("hangs") == 8).await;
    let end = pod.end(Manifest { grace: Duration::from_secs(6), ..MANIFEST }).await;
    let (hook, sidecar) = (end.hook.expect("a hook that ends"), end.sidecar.expect("a proper end"));
    assert_eq!(hook.status.code(), Some(1), "{}", hook.stdout);
    let said = hook.stderr.lines().last().unwrap();
    assert!(said.contains("8 attempts") && said.contains("come again"), "{said}");
    assert_eq!(sidecar.status.code(), Some(1), "{}", sidecar.stderr);
    let left = stopped(&sidecar);
    assert_eq!(left["attempts_left"], 8, "one of each key: {left}");
    assert!(left["held"].as_u64().unwrap() >= 8, "{left}");
    pod.succeed("embedded, an app that is stuck").await;
}

/// Where both are told to end at once and the hook takes none, the app's last words are refused, which it is
/// told: nothing is lost without a word.
#[tokio::test(flavor = "multi_thread")]
async fn of_an_ordinary_sidecar_that_takes_no_time_refuses_the_last_words() {
    let mut pod = Pod::start(&Ground::Embedded.shared().await, "", &Character::busy()).await;
    pod.until_busy(400).await;
    let end = pod.end(Manifest { native: false, sleep: Duration::from_secs(1), ..MANIFEST }).await;
    assert!(end.app.is_some_and(|status| status.success()));
    let refused = pod.app.count("refused: ") + pod.app.count("unanswered: ");
    assert!(refused > 0, "publishing went on after the sidecar was gone?");
    pod.succeed("embedded, ordinary sidecar that takes no time").await;
}

/// Every container ended by itself, nothing was cut off, and the app could publish until it was gone.
fn is_clean(pod: &Pod, end: &End) {
    let hook = end.hook.as_ref().expect("a hook that ends");
    assert_eq!((hook.status.code(), &*hook.stdout), (Some(0), "drained\n"), "{}", hook.stderr);
    assert!(end.app.is_some_and(|status| status.success()), "the app ends by itself: {:?}", end.app);
    let said = pod.app.said();
    let refused: Vec<_> =
        said.iter().filter(|line| line.starts_with("refused") || line.starts_with("unanswered")).collect();
    assert!(refused.is_empty(), "publishing works until the app is gone: {refused:?}");
    let (told, last) = (position(&said, "terminated"), position(&said, "ends"));
    let late = said.iter().take(last).skip(told).filter(|line| line.starts_with("stored")).count();
    assert!(late > 0, "the app published after SIGTERM");
    let sidecar = end.sidecar.as_ref().expect("a sidecar that ends by itself");
    assert_eq!(sidecar.status.code(), Some(0), "{}", sidecar.stderr);
    let left = stopped(sidecar);
    assert_eq!(
        (left["attempts_left"].as_u64(), left["connections_cut"].as_u64()),
        (Some(0), Some(0)),
        "{left}"
    );
}

fn position(said: &[String], line: &str) -> usize {
    said.iter().position(|said| said == line).unwrap_or_else(|| panic!("it never said {line:?}"))
}

const MANIFEST: Manifest =
    Manifest { native: true, grace: Duration::from_secs(30), sleep: Duration::from_millis(500), drain: &[] };
