//! One broker with a listener for each way in, shared by all tests of this binary.

use std::fmt::Write as _;
use std::path::Path;

use sidespan_test_support::{Certificates, Kafka, free_port};
use tokio::sync::OnceCell;

/// The broker, its certificates, and its ports by the listeners' names.
pub(crate) struct Secured {
    pub(crate) kafka: Kafka,
    pub(crate) certificates: Certificates,
    ports: Vec<(&'static str, u16)>,
}

impl Secured {
    /// Returns the broker; `None` where one is given from outside, whose doors are not known.
    pub(crate) async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Secured>> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await.as_ref()
    }

    /// Starts a broker of the test's own.
    pub(crate) async fn start() -> Option<Self> {
        let certificates = Certificates::new();
        let ports: Vec<(&str, u16)> = LISTENERS.iter().map(|(name, _)| (*name, free_port())).collect();
        let settings = settings(&certificates, &ports);
        match Kafka::start_with(&settings).await {
            Ok(kafka) => Some(Self { kafka, certificates, ports }),
            Err(skipped) => {
                eprintln!("{skipped}");
                None
            }
        }
    }

    /// Returns `host:port` of a listener.
    pub(crate) fn at(&self, listener: &str) -> String {
        let (_, port) = self.ports.iter().find(|(name, _)| *name == listener).unwrap();
        format!("127.0.0.1:{port}")
    }

    /// Gives a user this password for a SCRAM mechanism; one before that is no longer good.
    pub(crate) async fn set_password(&self, user: &str, mechanism: &str, password: &str) {
        let passwords = format!("{mechanism}=[password={password}]");
        let arguments = ["--bootstrap-server", self.kafka.address(), "--alter", "--entity-type", "users"];
        let more = ["--entity-name", user, "--add-config", &passwords];
        self.kafka.tool("kafka.admin.ConfigCommand", &[&arguments[..], &more[..]].concat()).await;
    }

    /// Lets a user do one thing with a topic or group, and nobody anything else with it.
    pub(crate) async fn allow(&self, user: &str, operation: &str, on: Vec<&str>) {
        self.rule("--allow-principal", user, operation, &on).await;
    }

    /// Denies a user one thing, whatever else says.
    pub(crate) async fn deny(&self, user: &str, operation: &str, on: Vec<&str>) {
        self.rule("--deny-principal", user, operation, &on).await;
    }

    async fn rule(&self, rule: &str, user: &str, operation: &str, on: &[&str]) {
        let arguments = ["--bootstrap-server", self.kafka.address(), "--add", "--force"];
        let principal = format!("User:{user}");
        let more = [rule, &principal, "--operation", operation];
        self.kafka.tool("org.apache.kafka.tools.AclCommand", &[&arguments[..], &more[..], on].concat()).await;
    }
}

fn settings(certificates: &Certificates, ports: &[(&str, u16)]) -> String {
    let mut settings = String::new();
    for (name, port) in ports {
        writeln!(settings, "listeners+={name}://127.0.0.1:{port}").unwrap();
    }
    let protocols: String = LISTENERS.iter().map(|(name, protocol)| format!(",{name}:{protocol}")).collect();
    writeln!(settings, "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}")
        .unwrap();
    let server = certificates.server();
    let mut keystore = |listener: &str, both: &Path| {
        writeln!(settings, "listener.name.{listener}.ssl.keystore.type=PEM").unwrap();
        writeln!(settings, "listener.name.{listener}.ssl.keystore.location={}", both.display()).unwrap();
    };
    keystore("tls", &server.both);
    keystore("mtls", &server.both);
    keystore("sasltls", &server.both);
    keystore("expired", &certificates.expired().both);
    keystore("elsewhere", &certificates.elsewhere().both);
    let authority = certificates.authority();
    write!(
        settings,
        "listener.name.mtls.ssl.client.auth=required
listener.name.mtls.ssl.truststore.type=PEM
listener.name.mtls.ssl.truststore.location={authority}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
",
        authority = authority.display(),
    )
    .unwrap();
    for listener in ["sasl", "sasltls"] {
        let mechanisms = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER";
        writeln!(settings, "listener.name.{listener}.sasl.enabled.mechanisms={mechanisms}").unwrap();
        for (mechanism, module) in MODULES {
            let key = format!("listener.name.{listener}.{mechanism}.sasl.jaas.config");
            writeln!(settings, "{key}=org.apache.kafka.common.security.{module};").unwrap();
        }
        // A connection ends with the token that it began with, unless it shows another in time.
        writeln!(settings, "listener.name.{listener}.oauthbearer.connections.max.reauth.ms=60000").unwrap();
    }
    writeln!(settings, "listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512").unwrap();
    writeln!(
        settings,
        "listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.{};",
        MODULES[2].1
    )
    .unwrap();
    settings
}

const LISTENERS: &[(&str, &str)] = &[
    ("TLS", "SSL"),
    ("MTLS", "SSL"),
    ("SASL", "SASL_PLAINTEXT"),
    ("SASLTLS", "SASL_SSL"),
    ("SCRAM", "SASL_PLAINTEXT"),
    ("EXPIRED", "SSL"),
    ("ELSEWHERE", "SSL"),
];

const MODULES: [(&str, &str); 4] = [
    (
        "plain",
        "plain.PlainLoginModule required user_alice=\"wonderland\" user_reader=\"reads-only\" user_watcher=\"looks-only\"",
    ),
    ("scram-sha-256", "scram.ScramLoginModule required"),
    ("scram-sha-512", "scram.ScramLoginModule required"),
    ("oauthbearer", "oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\""),
];
