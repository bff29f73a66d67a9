//! What people type, and what they are told.

mod any;
mod meaning;
mod telemetry;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use sidespan_bridge::{
    Bridge, Driver, Error, Fault, Limits as BridgeLimits, Position, Settings, SettingsError, Start,
    Subscribe, Unsupported,
};

use super::*;

/// A kind of broker that has settings and nothing else. One that is told to forget stores nothing; one may
/// let messages be held for some seconds only.
struct Store(&'static str);

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read by serde")]
struct StoreSettings {
    dir: String,
    max_size: Option<u32>,
    password: Option<Secret>,
    forget: Option<bool>,
    hold: Option<u64>,
}

impl Driver for Store {
    fn name(&self) -> &'static str {
        self.0
    }

    fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        settings.parse::<StoreSettings>().map(drop)
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(StoreSettings)
    }

    fn limits(&self, settings: &Settings, to: &Subscribe) -> Result<BridgeLimits, Unsupported> {
        if to.start == Start::Begin && !self.stores(settings) {
            return Err(Unsupported("what is forgotten has no beginning".into()));
        }
        let hold = settings.keys.get("hold").and_then(|seconds| seconds.as_u64());
        Ok(BridgeLimits { longest_hold: hold.map(Duration::from_secs), releases_to_broker: false })
    }

    fn stores(&self, settings: &Settings) -> bool {
        settings.keys.get("forget").is_none_or(|forget| forget == false)
    }

    fn open(&self, _: &Settings) -> Result<Arc<dyn Bridge>, Error> {
        Err(Fault::Unsupported.into())
    }
}

const DRIVERS: &[&'static dyn Driver] = &[&Store("embedded"), &Store("kafka")];

const HEAD: &str = "version: 1\nservice: shop\nbridges: {main: {kind: embedded, dir: d, open: true}}\n";

fn read(name: &str, text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::read(Path::new(name), text, variables, DRIVERS)
}

fn yaml(below_head: &str) -> Result<Config, ConfigErrors> {
    read("c.yaml", &format!("{HEAD}{below_head}"), &[])
}

fn with(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    read("c.yaml", HEAD, variables)
}

#[track_caller]
fn refused(result: Result<Config, ConfigErrors>, expected: &str) {
    let text = result.expect_err("the configuration is refused").to_string();
    assert_eq!(text, expected);
}

#[track_caller]
fn refused_with(result: Result<Config, ConfigErrors>, parts: &[&str]) {
    let text = result.expect_err("the configuration is refused").to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn the_defaults_are_loopback_and_need_one_bridge_only() {
    let config = yaml("").unwrap();
    assert_eq!(config.listen.to_string(), "http://127.0.0.1:7400");
    assert_eq!(config.admin.to_string(), "127.0.0.1:7401");
    assert_eq!(config.health, None);
    assert_eq!(config.default_bridge.unwrap().as_str(), "main");
    assert!(!config.development);
}

#[test]
fn events_go_to_brokers_and_receivers_in_no_batches() {
    let topic = |mode: &str| yaml(&format!("topics: {{orders: {{cloudevents: {mode}}}}}"));
    for mode in ["binary", "protobuf", "structured"] {
        assert!(topic(mode).is_ok(), "{mode}");
    }
    refused_with(topic("batched"), &["topics.orders.cloudevents", "use binary, structured or protobuf"]);
    let push = |protocol: &str, mode: &str| {
        let push = format!("{{url: 'http://127.0.0.1:1/', protocol: {protocol}, cloudevents: {mode}}}");
        yaml(&format!("subscriptions: {{billing: {{topic: orders, push: {push}}}}}"))
    };
    assert!(push("http1", "batched").is_ok() && push("grpc", "protobuf").is_ok());
    refused_with(
        push("grpc", "batched"),
        &["subscriptions.billing.push.cloudevents", "belongs to a webhook"],
    );
}

#[test]
fn yaml_and_toml_mean_the_same() {
    let toml = r#"
        version = 1
        service = "shop"
        [bridges.main]
        kind = "embedded"
        dir = "d"
        [subscriptions.billing]
        topic = "orders"
        start = "begin"
        push = { url = "http://127.0.0.1:1/x", timeout = "3s" }
        [topics.orders]
    "#;
    let yaml = "
version: 1
service: shop
bridges: {main: {kind: embedded, dir: d}}
topics: {orders: {}}
subscriptions:
  billing: {topic: orders, start: begin, push: {url: 'http://127.0.0.1:1/x', timeout: 3s}}
";
    let [toml, yaml] = [read("c.toml", toml, &[]), read("c.yaml", yaml, &[])].map(Result::unwrap);
    // All but the driver, which has no words for itself.
    assert_eq!(format!("{:?}", toml.subscriptions), format!("{:?}", yaml.subscriptions));
    assert_eq!(format!("{:?}", toml.topics), format!("{:?}", yaml.topics));
    assert_eq!(yaml.subscriptions[0].target.push().unwrap().timeout, Duration::from_secs(3));
}

#[test]
fn an_unknown_key_is_told_the_nearest_known_one() {
    refused(
        yaml("limits: {max_mesage: 5}"),
        "c.yaml: limits.max_mesage: unknown key; did you mean `max_message`?",
    );
    refused(yaml("topic: {}"), "c.yaml: topic: unknown key; did you mean `topics`?");
    refused_with(
        yaml("drain: {quickly: 5s}"),
        &["drain.quickly: unknown key; known here: deliveries, shutdown"],
    );
    let below = "subscriptions: {b: {topic: o, push: {ur: 'http://h'}}}";
    refused_with(yaml(below), &["c.yaml: subscriptions.b.push.ur: unknown key; did you mean `url`?"]);
}

#[test]
fn an_unknown_key_within_a_bridge_is_told_too() {
    let text = "version: 1\nservice: s\nbridges: {main: {kind: embedded, dri: d}}";
    refused(read("c.yaml", text, &[]), "c.yaml: bridges.main.dri: unknown key; did you mean `dir`?");
    let text = "version: 1\nservice: s\nbridges: {main: {kind: embeded, dir: d}}";
    refused(
        read("c.yaml", text, &[]),
        "c.yaml: bridges.main.kind: unknown kind \"embeded\"; did you mean `embedded`?",
    );
    let text = "version: 1\nservice: s\nbridges: {main: {kind: embedded}}";
    refused(read("c.yaml", text, &[]), "c.yaml: bridges.main: the key `dir` is missing");
    let text = "version: 1\nservice: s\nbridges: {main: {dir: d}}";
    refused(read("c.yaml", text, &[]), "c.yaml: bridges.main: the key `kind` is missing");
}

#[test]
fn wrong_types_name_the_key_and_what_is_expected() {
    let cases = [
        (
            "limits: {timeout: 5}",
            "limits.timeout: expected a duration with a unit, such as \"250ms\" or \"5s\", found an integer",
        ),
        ("limits: {timeout: '5'}", "limits.timeout: \"5\" is no duration"),
        ("limits: {max_message: lots}", "limits.max_message: \"lots\" is no size"),
        ("limits: {max_message: -1}", "limits.max_message: expected a size in bytes"),
        ("limits: {max_connections: many}", "limits.max_connections: expected usize, found a string"),
        ("limits: 5", "limits: expected struct LimitsFile, found an integer"),
        ("topics: [a]", "topics: expected a map, found a list"),
        ("log: {format: xml}", "log.format: \"xml\" is not one of json, text"),
        ("log: {level: 'sidespan=loud'}", "log.level: \"sidespan=loud\" is no filter: use off, error, warn"),
        ("insecure: maybe", "insecure: expected a boolean, found a string"),
        ("listen: 7400", "listen: expected a string, found an integer"),
        ("admin: here", "admin: \"here\" is no address: write an IP address and a port"),
        ("listen: 'unix:'", "listen: `unix:` must be followed by a path"),
        ("health: ':7402'", "health: \":7402\" is no address"),
        ("subscriptions: {b: {topic: o, start: beginn, push: {url: 'http://h'}}}", "did you mean `begin`?"),
        ("subscriptions: {b: {topic: o, order: keys, push: {url: 'http://h'}}}", "did you mean `key`?"),
        (
            "subscriptions: {b: {topic: o, dead_letter: 5, push: {url: 'http://h'}}}",
            "expected the name of a topic, or false",
        ),
        ("subscriptions: {b: {topic: o}}", "subscriptions.b: says nothing of where messages go: add `push"),
        ("subscriptions: {b: {topic: o, pull: {}, push: {url: 'http://h'}}}", "there is `push` as well"),
        (
            "subscriptions: {b: {topic: o, pull: {leases: 1s}}}",
            "pull.leases: unknown key; did you mean `lease`?",
        ),
        ("subscriptions: {b: {topic: o, pull: {lease: 11m}}}", "pull.lease: must be from 1s to 10m"),
        (
            "subscriptions: {b: {topic: o, pull: {}, guarantee: at-most-once}}",
            "b.guarantee: messages that are",
        ),
    ];
    for (below, expected) in cases {
        refused_with(yaml(below), &["c.yaml: ", expected]);
    }
    let text = "version: 1\nservice: s\nbridges: {main: {kind: embedded, dir: d, max_size: big}}";
    refused_with(read("c.yaml", text, &[]), &["c.yaml: bridges.main.max_size: expected u32, found a string"]);
    let text = "version: 1\nservice: s\nbridges: {main: {kind: embedded, dir: d, open: perhaps}}";
    refused_with(
        read("c.yaml", text, &[]),
        &["c.yaml: bridges.main.open: expected a boolean, found a string"],
    );
}

#[test]
fn a_text_that_cannot_be_parsed_names_the_place_in_one_line() {
    refused_with(read("c.yaml", "version: 1\nbridges: {main: [}", &[]), &["c.yaml: ", "line 2"]);
    refused_with(read("c.toml", "version = 1\nservice = shop", &[]), &["c.toml: ", "line 2"]);
    refused_with(read("c.yaml", "service: a\nservice: b", &[]), &["c.yaml: ", "duplicate"]);
    refused_with(read("c.yaml", "- a\n- b", &[]), &["c.yaml: ", "a map", "found a list"]);
    refused_with(read("c.ini", "", &[]), &["c.ini: the file's name must end in"]);
}

#[test]
fn no_error_repeats_a_secret() {
    let texts = [
        ("c.yaml", "version: 1\nservice: s\nbridges: {main: {kind: embedded, dir: d, max_size: hunter2}}"),
        (
            "c.yaml",
            "version: 1\nservice: s\nbridges: {main: {kind: embedded, dir: d, password: {word: hunter2}}}",
        ),
        ("c.yaml", "hunter2"),
        ("c.yaml", "version: 1\nservice: s\nbridges: hunter2"),
        ("c.toml", "version = 1\nservice = hunter2"),
        ("c.yaml", "version: 1\nsubscriptions: {b: {topic: o, push: {url: 'http://h', secrets: hunter2}}}"),
        ("c.yaml", "version: 1\nsubscriptions: {b: {topic: o, push: {url: 'http://me:hunter2@ho st'}}}"),
        ("c.yaml", "version: 1\nsubscriptions: {b: {topic: o, push: {url: 'http://me:hunter2@host'}}}"),
    ];
    for (name, text) in texts {
        let error = read(name, text, &[]).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn an_empty_file_is_told_what_it_lacks() {
    let text = read("c.yaml", "# nothing yet\n", &[]).unwrap_err().to_string();
    let keys: Vec<&str> = text.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(keys, ["version", "service", "bridges"]);
}

#[test]
fn the_environment_goes_over_the_file() {
    let config = with(&[
        ("SIDESPAN__LISTEN", "127.0.0.1:0"),
        ("SIDESPAN__LIMITS__TIMEOUT", "250ms"),
        ("SIDESPAN__LIMITS__MAX_MESSAGE", "2MiB"),
        ("SIDESPAN__BRIDGES__MAIN__DIR", "elsewhere"),
        ("SIDESPAN__TOPICS__ORDERS__ADDRESS", "shop.orders"),
        ("SIDESPAN__ALLOWED_HOSTS", "[one, two]"),
    ])
    .unwrap();
    assert_eq!(config.listen.to_string(), "http://127.0.0.1:0");
    assert_eq!(config.limits.timeout, Duration::from_millis(250));
    assert_eq!(config.limits.max_message, 2 << 20);
    assert_eq!(config.bridges["main"].settings.keys["dir"], "elsewhere");
    assert_eq!(config.topics["orders"].address.as_str(), "shop.orders");
    assert_eq!(config.allowed_hosts, ["one", "two"]);
    let toml = "version = 1\nservice = 'a'\n[bridges.main]\nkind = 'embedded'\ndir = 'd'";
    assert_eq!(read("c.toml", toml, &[("SIDESPAN__SERVICE", "b")]).unwrap().service.as_str(), "b");
}

#[test]
fn a_variable_reaches_names_that_it_cannot_spell() {
    let below = "subscriptions: {Orders-eu: {topic: o, push: {url: 'http://h/a'}}}";
    let text = format!("{HEAD}{below}");
    let variable = "SIDESPAN__SUBSCRIPTIONS__ORDERS_EU__PUSH__URL";
    let config = read("c.yaml", &text, &[(variable, "http://h/b")]).unwrap();
    assert_eq!(config.subscriptions.len(), 1);
    assert_eq!(config.subscriptions[0].target.push().unwrap().url.path(), "/b");
    let text = format!("{HEAD}topics: {{a-b: {{}}, a.b: {{}}}}");
    refused_with(
        read("c.yaml", &text, &[("SIDESPAN__TOPICS__A_B__ADDRESS", "x")]),
        &["environment variable SIDESPAN__TOPICS__A_B__ADDRESS: ", "`a-b` or `a.b`"],
    );
}

#[test]
fn what_would_be_misread_of_the_environment_is_refused() {
    for value in ["\"®\\A\"", "\"é\\n\"", "[\"\\n\", \"é\\n\"]"] {
        refused_with(
            with(&[("SIDESPAN__SERVICE", value)]),
            &["SIDESPAN__SERVICE: a backslash cannot follow"],
        );
    }
    let read = |value| with(&[("SIDESPAN__TOPICS__ORDERS__ADDRESS", value)]).unwrap();
    for (value, expected) in [("é", "é"), ("\"é\"", "é"), ("é\\n", "é\\n"), ("\"\\u00e9.\\u00e9\"", "é.é")]
    {
        let topics = read(value).topics;
        assert_eq!(topics.values().next().unwrap().address.as_str(), expected);
    }
}

#[test]
fn an_error_in_the_environment_names_the_variable() {
    let variable = |name: &str, value: &str| with(&[(name, value)]);
    refused(
        variable("SIDESPAN__LIMITS__MAX_MESAGE", "5"),
        "environment variable SIDESPAN__LIMITS__MAX_MESAGE: limits.max_mesage: unknown key; did you mean `max_message`?",
    );
    refused_with(
        variable("SIDESPAN__LIMITS__TIMEOUT", "1h"),
        &["environment variable SIDESPAN__LIMITS__TIMEOUT: limits.timeout: must be at most"],
    );
    refused_with(
        variable("SIDESPAN__BRIDGES__MAIN__MAX_SIZE", "big"),
        &["environment variable SIDESPAN__BRIDGES__MAIN__MAX_SIZE: bridges.main.max_size: expected u32"],
    );
    refused_with(
        variable("SIDESPAN__SERVICE", "8080"),
        &[
            "environment variable SIDESPAN__SERVICE: service: expected a string, found an integer",
            "double quotes",
        ],
    );
    assert_eq!(variable("SIDESPAN__SERVICE", "\"8080\"").unwrap().service.as_str(), "8080");
    refused_with(
        variable("SIDESPAN__LIMITS____TIMEOUT", "5s"),
        &["SIDESPAN__LIMITS____TIMEOUT", "two underscores"],
    );
}

#[test]
fn it_starts_beside_a_kubernetes_service_of_its_name() {
    let config = with(&[
        ("SIDESPAN_SERVICE_HOST", "10.96.0.17"),
        ("SIDESPAN_SERVICE_PORT", "7400"),
        ("SIDESPAN_SERVICE_PORT_HTTP", "7400"),
        ("SIDESPAN_PORT", "tcp://10.96.0.17:7400"),
        ("SIDESPAN_PORT_7400_TCP", "tcp://10.96.0.17:7400"),
        ("SIDESPAN_PORT_7400_TCP_PROTO", "tcp"),
        ("SIDESPAN_PORT_7400_TCP_PORT", "7400"),
        ("SIDESPAN_PORT_7400_TCP_ADDR", "10.96.0.17"),
        ("SIDESPAN_CONFIG", "/etc/sidespan.yaml"),
    ]);
    assert_eq!(config.unwrap().listen.to_string(), "http://127.0.0.1:7400");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = "version: 2\nservice: a b\nbridges: {main: {kind: embedded, dir: d, size: 3}}\nlisten: here\nadmin: there";
    let keys: Vec<String> = read("c.yaml", text, &[]).unwrap_err().0.into_iter().map(|e| e.key).collect();
    assert_eq!(keys, ["version", "service", "listen", "admin", "bridges.main.size"]);
}

fn develop(
    listen: Option<&str>,
    pushes: &[(&str, &str)],
    variables: &[(&str, &str)],
) -> Result<Config, ConfigErrors> {
    let pushes: Vec<_> = pushes.iter().map(|(topic, url)| ((*topic).to_owned(), (*url).to_owned())).collect();
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::develop(
        Some(Path::new("d")),
        listen,
        None,
        Subscriptions { push: &pushes, pull: &[] },
        variables,
        DRIVERS,
    )
}

#[test]
fn development_mode_is_open_local_and_pushes_from_the_beginning() {
    let pushes = [("orders.eu", "http://h/a"), ("orders.eu", "http://h/b"), (">", "http://h/c")];
    let config = develop(None, &pushes, &[]).unwrap();
    assert!(config.development);
    assert!(config.bridges["local"].open);
    assert_eq!(config.bridges["local"].settings.keys["dir"], "d");
    let mut names: Vec<&str> = config.subscriptions.iter().map(|s| s.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["all", "orders-eu", "orders-eu-2"]);
    assert!(config.subscriptions.iter().all(|subscription| subscription.start == Start::Begin));
}

#[test]
fn options_go_over_the_environment_and_that_over_development_mode() {
    let environment = [("SIDESPAN__LISTEN", "127.0.0.1:1"), ("SIDESPAN__LOG__LEVEL", "debug")];
    let config = develop(None, &[], &environment).unwrap();
    assert_eq!(config.listen.to_string(), "http://127.0.0.1:1");
    assert_eq!(config.log.level.to_string(), "debug");
    let config = develop(Some("127.0.0.1:2"), &[], &environment).unwrap();
    assert_eq!(config.listen.to_string(), "http://127.0.0.1:2");
}

#[test]
fn an_error_in_development_mode_names_the_option_or_the_variable() {
    let environment = [("SIDESPAN__ADMIN", "0.0.0.0:2")];
    let wrong = develop(Some("0.0.0.0:1"), &[("orders", "ftp://h")], &environment);
    let text = wrong.unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("--listen: 0.0.0.0:1 is reachable"), "{text}");
    assert!(lines[1].starts_with("environment variable SIDESPAN__ADMIN: admin: 0.0.0.0:2"), "{text}");
    assert!(lines[2].starts_with("--push orders: this is no webhook"), "{text}");
}

#[test]
fn the_schema_knows_every_kind_of_bridge() {
    let schema = schema(DRIVERS);
    let kinds = schema.pointer("/$defs/BridgeFile/oneOf").and_then(|kinds| kinds.as_array()).unwrap();
    let kind = |schema: &serde_json::Value| schema.pointer("/properties/kind/const").cloned();
    assert_eq!(kinds.iter().filter_map(kind).collect::<Vec<_>>(), ["embedded", "kafka"]);
    assert!(kinds[0].pointer("/properties/dir").is_some());
    assert!(kinds[0].get("$defs").is_none(), "references are to the root");
    let reference = kinds[0].pointer("/properties/password/anyOf/0/$ref").and_then(|r| r.as_str()).unwrap();
    assert!(schema.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads somewhere");
    let sections = ["version", "service", "listen", "bridges", "topics", "subscriptions"];
    assert!(sections.iter().all(|key| schema.pointer(&format!("/properties/{key}")).is_some()));
}
