//! What RabbitMQ stands on: Erlang nodes, and the daemon by which they find one another.
//!
//! A node would start that daemon (`epmd`) by itself, detached from everything, and it would stay
//! for ever. So each broker has one of its own that is started here and ends with it. It outlives
//! the broker's kills, and keeps the node's name apart from those of other brokers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::broker::Place;
use crate::eventually::eventually;
use crate::logs::log_file;
use crate::port::free_port;
use crate::process::Process;

/// A port mapper, and the directory where the programs of one broker meet: it is their home, which
/// holds their secret (`.erlang.cookie`).
#[derive(Debug)]
pub(super) struct Erlang {
    _epmd: Process,
    home: Place,
}

impl Erlang {
    pub(super) async fn start() -> Self {
        let port = free_port();
        let home = Place::new("erlang", port, &log_file(&format!("epmd-{port}")));
        let mut command = Command::new("epmd");
        command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        let epmd = home.run(&command);
        eventually(Duration::from_secs(10), "epmd listens", async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Self { _epmd: epmd, home }
    }

    /// Returns the command that runs a broker in a place.
    pub(super) fn server(&self, place: &Place, config: &str, plugins: &[&str]) -> Command {
        let directory = place.directory();
        let config = format!("listeners.tcp.1 = 127.0.0.1:{}\n{config}\n", place.port);
        let plugins = format!("[{}].\n", plugins.join(","));
        let mut command = self.command("rabbitmq-server");
        command
            .env("RABBITMQ_CONFIG_FILE", place.write("rabbitmq.conf", &config))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", place.write("advanced.config", "[].\n"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", place.write("enabled_plugins", &plugins))
            .env("RABBITMQ_MNESIA_BASE", directory.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", directory)
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", directory.join("pid"))
            .env("RABBITMQ_DIST_PORT", free_port().to_string())
            // The script becomes the server, instead of waiting for it: so signals reach it.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-noinput -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            );
        command
    }

    /// Runs `rabbitmqctl` and returns what it printed.
    pub(super) async fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = self.command("rabbitmqctl");
        command.arg("--quiet").args(arguments);
        let mut command = tokio::process::Command::from(command);
        let output = command.kill_on_drop(true).output().await.expect("rabbitmqctl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rabbitmqctl {arguments:?} failed: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, program: &str) -> Command {
        let home = self.home.directory();
        let mut command = Command::new(Path::new(PROGRAMS).join(program));
        command
            .env("HOME", home)
            .env("ERL_EPMD_PORT", self.home.port.to_string())
            .env("RABBITMQ_NODENAME", "sidespan@localhost")
            // The system's own settings are none of ours.
            .env("RABBITMQ_CONF_ENV_FILE", home.join("none"));
        command
    }
}

/// Where Debian keeps the programs themselves; those on the `PATH` want to be another user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
