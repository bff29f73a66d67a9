//! A pod, and how the kubelet ends it.

use std::process::ExitStatus;
use std::time::Duration;

use sidespan_test_support::{Ended, Launch, Scene, Sidecar, Signal, eventually};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::app::{self, App, Character, history};
use crate::{NEVER, PATIENCE, SIDESPAN, until};

/// An app and the sidecar beside it.
pub(crate) struct Pod {
    pub(crate) app: App,
    pub(crate) sidecar: Sidecar,
    port: u16,
}

/// What the manifest says of a pod's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manifest {
    /// The sidecar is an init container that is always restarted, and so outlives the app.
    pub(crate) native: bool,
    /// `terminationGracePeriodSeconds`.
    pub(crate) grace: Duration,
    /// The app's hook: it sleeps so long.
    pub(crate) sleep: Duration,
    /// `sidespan drain` with these arguments is the sidecar's hook.
    pub(crate) drain: &'static [&'static str],
}

/// How the containers of a pod ended.
pub(crate) struct End {
    /// The sidecar's hook; `None` if the grace period ended first.
    pub(crate) hook: Option<Ended>,
    /// How long the hook took.
    pub(crate) hook_took: Duration,
    /// The app's own exit status; `None` if it had to be killed.
    pub(crate) app: Option<ExitStatus>,
    /// The sidecar's; `None` if it had to be killed.
    pub(crate) sidecar: Option<Ended>,
    /// How long everything took.
    pub(crate) took: Duration,
}

impl Pod {
    /// Starts the sidecar, and the app once the startup probe passes and subscriptions have begun.
    pub(crate) async fn start(scene: &Scene, sections: &str, character: &Character) -> Self {
        let port = app::port();
        let [webhook, dead] = ["/0", "/dead"].map(|path| format!("http://127.0.0.1:{port}{path}"));
        let config = scene.config(&webhook, &dead, NEVER) + sections;
        let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
        until(&sidecar, "/startupz", 200).await;
        sidecar.until_ready().await;
        let app = App::start(port, &sidecar.url(ORDERS), character).await;
        Self { app, sidecar, port }
    }

    /// Waits until the app has published and got so many messages.
    pub(crate) async fn until_busy(&self, messages: usize) {
        eventually(PATIENCE, "load in both directions", async || {
            self.app.count("stored: ") >= messages && self.app.count("got: ") >= messages
        })
        .await;
    }

    /// Ends the pod as the kubelet does.
    pub(crate) async fn end(&mut self, manifest: Manifest) -> End {
        let Manifest { native, grace, .. } = manifest;
        let (began, hook) = (Instant::now(), drain(&self.sidecar, manifest.drain));
        let main_containers_ended = CancellationToken::new();
        let Self { app, sidecar, .. } = self;
        let app = async {
            let _ = timeout(grace, sleep(manifest.sleep)).await;
            app.terminate();
            let status = app.ended_within(left(began, grace)).await;
            if status.is_none() {
                app.kill();
            }
            main_containers_ended.cancel();
            status
        };
        let sidecar = async {
            let hook = timeout(grace, hook.run_to_end()).await.ok();
            let hook_took = began.elapsed();
            if native {
                // They have by the end of the grace period, when they are killed. In that instant a kubelet may tell
                // the sidecar a moment before, and what the app says last is refused; here the app goes first.
                main_containers_ended.cancelled().await;
            }
            sidecar.signal(Signal::Terminate);
            let ended = sidecar.ended_within(left(began, grace)).await;
            if ended.is_none() {
                sidecar.kill();
            }
            (hook, hook_took, ended)
        };
        let (app, (hook, hook_took, sidecar)) = tokio::join!(app, sidecar);
        End { hook, hook_took, app, sidecar, took: began.elapsed() }
    }

    /// Starts the containers of a successor that publishes nothing, waits until all has come that was stored, has the
    /// whole history checked, and returns how often something was accepted again.
    pub(crate) async fn succeed(mut self, name: &str) -> usize {
        self.sidecar.start_again().await;
        let successor = App::start(self.port, &self.sidecar.url(ORDERS), &Character::quiet()).await;
        let both = [&self.app, &successor];
        let published = history(both).published();
        let end = Instant::now() + PATIENCE;
        // What was answered after the app was killed is stored too, and comes, but was never said: so it is not counted
        // for that which was.
        let figures = loop {
            match history(both).check(published, 1) {
                Ok(figures) => break figures,
                Err(_) if Instant::now() < end => sleep(Duration::from_millis(100)).await,
                Err(broken) => panic!("{name}:\n{}\n{}", broken.join("\n"), self.sidecar.stderr()),
            }
        };
        println!("{name}: {figures}");
        assert_eq!(figures.dead, 0, "{name}: a shutdown made dead letters");
        self.sidecar.until_ready().await;
        let ended = self.sidecar.stop().await;
        assert!(ended.status.success(), "{name}: {}", ended.stderr);
        figures.repeats
    }
}

/// Returns `sidespan drain` as it runs in a sidecar's container: with its environment, and no shell.
pub(crate) fn drain(sidecar: &Sidecar, arguments: &[&str]) -> Launch {
    let config = sidecar.directory().join("sidespan.yaml");
    Launch::new(SIDESPAN)
        .arguments(&[&["drain"], arguments].concat())
        .env("SIDESPAN_CONFIG", config.to_str().unwrap())
        .env("SIDESPAN__ADMIN", sidecar.admin_url("").trim_start_matches("http://"))
}

/// What is left of the grace period when a container is sent SIGTERM.
fn left(began: Instant, grace: Duration) -> Duration {
    grace.saturating_sub(began.elapsed()).max(LEAST)
}

/// Where a sidecar takes messages.
pub(crate) const ORDERS: &str = "/v1/topics/orders/messages";
/// What the kubelet always leaves a container after SIGTERM.
const LEAST: Duration = Duration::from_secs(2);
