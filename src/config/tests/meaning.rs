//! What a configuration that can be read must not mean.

use super::*;

#[test]
fn a_listener_off_loopback_must_be_wanted() {
    refused_with(yaml("listen: 0.0.0.0:7400"), &["listen: 0.0.0.0:7400 is reachable", "`insecure: true`"]);
    refused_with(yaml("admin: '[::]:7401'"), &["admin: [::]:7401 is reachable"]);
    assert!(
        yaml(
            "{listen: 0.0.0.0:7400, admin: 0.0.0.0:7401, insecure: true}"
                .trim_matches(['{', '}'])
                .replace(", ", "\n")
                .as_str()
        )
        .is_ok()
    );
    assert!(yaml(&format!("listen: 0.0.0.0:7400\nadmin: 0.0.0.0:7401\n{AUTH}")).is_ok());
    let config = yaml("health: 0.0.0.0:7402").expect("the kubelet's door shows no payload");
    assert_eq!(config.health.unwrap().port(), 7402);
    assert_eq!(yaml("listen: localhost:7500").unwrap().listen.to_string(), "http://127.0.0.1:7500");
    assert_eq!(yaml("listen: unix:/run/s.sock").unwrap().listen, Address::Unix("/run/s.sock".into()));
}

const AUTH: &str = "auth: {tokens: [{name: till, secret: {env: TILL}, publish: ['orders.*']}]}";

#[test]
fn callers_have_names_of_their_own_and_patterns() {
    let auth = yaml(AUTH).unwrap().auth.unwrap();
    assert_eq!(auth.tokens[0].name.as_str(), "till");
    assert!(auth.tokens[0].publish[0].is_wildcard());
    assert!(!auth.tokens[0].manage);
    assert!(yaml("").unwrap().auth.is_none());
    let refused = |tokens: &str, parts: &[&str]| {
        refused_with(yaml(&format!("auth: {{tokens: [{tokens}]}}")), parts);
    };
    refused("", &["auth.tokens: nobody could call", "leave out `auth`"]);
    let two = "{name: a, secret: x, manage: true}, {name: a, secret: y, manage: true}";
    refused(two, &["auth.tokens.1.name: auth.tokens.0 has the same name"]);
    refused("{name: 'a b', secret: x, manage: true}", &["auth.tokens.0.name: \"a b\" is no name"]);
    refused("{name: a, secret: x}", &["auth.tokens.0: it may do nothing", "`publish`"]);
    refused(
        "{name: a, secret: x, publish: [b, 'orders*']}",
        &["auth.tokens.0.publish.1: a wildcard stands for a whole token"],
    );
    refused("{name: a, secret: x, subscribe: ['']}", &["auth.tokens.0.subscribe.0: "]);
    refused("{name: a, secret: hunter2, publsh: []}", &["publsh: unknown key; did you mean `publish`?"]);
    refused("{name: a, manage: true}", &["the key `secret` is missing"]);
}

#[test]
fn listeners_do_not_share_an_address() {
    refused_with(yaml("admin: 127.0.0.1:7400"), &["admin: `listen` listens on the same address"]);
    assert!(yaml("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0").is_ok());
}

#[test]
fn several_bridges_need_a_default_only_where_it_matters() {
    let two = |main: &str, below: &str| {
        let text = format!(
            "version: 1\nservice: s\nbridges:\n  main: {{kind: embedded, dir: d{main}}}\n  other: {{kind: kafka, dir: e}}\n{below}"
        );
        read("c.yaml", &text, &[])
    };
    assert_eq!(two("", "").unwrap().default_bridge, None);
    assert!(two("", "topics: {orders: {bridge: other}}").is_ok());
    refused_with(two(", open: true", ""), &["default_bridge: the key is missing"]);
    refused_with(two("", "topics: {orders: {}}"), &["topics.orders.bridge: the key is missing"]);
    refused_with(
        two("", "default_bridge: mian\ntopics: {orders: {}}"),
        &["default_bridge: there is no bridge named \"mian\"; did you mean `main`?"],
    );
    refused_with(two(", open: true", "default_bridge: other"), &["bridges.main.open: has no effect"]);
    let config = two(", open: true", "default_bridge: main").unwrap();
    assert_eq!(config.default_bridge.unwrap().as_str(), "main");
}

#[test]
fn what_a_broker_cannot_do_is_said_before_anything_is_connected() {
    let on_one_that_forgets = |below: &str| {
        let text = format!(
            "version: 1\nservice: s\ndefault_bridge: main\nbridges:\n  main: {{kind: embedded, dir: d, forget: true}}\n  \
             other: {{kind: kafka, dir: e}}\ntopics: {{orders: {{}}, graves: {{bridge: other}}}}\n\
             subscriptions: {{b: {{topic: orders, push: {{url: 'http://h'}}, {below}}}}}"
        );
        read("c.yaml", &text, &[])
    };
    refused_with(
        on_one_that_forgets("start: begin, dead_letter: false"),
        &["subscriptions.b: what is forgotten has no beginning"],
    );
    refused_with(
        on_one_that_forgets(""),
        &["subscriptions.b.dead_letter: bridge main stores nothing", "another bridge"],
    );
    assert!(on_one_that_forgets("dead_letter: false").is_ok());
    assert!(on_one_that_forgets("dead_letter: graves").is_ok());
}

#[test]
fn an_undeclared_topic_needs_an_open_bridge_or_a_named_one() {
    let closed = |below: &str| {
        let text = format!("version: 1\nservice: s\nbridges: {{main: {{kind: embedded, dir: d}}}}\n{below}");
        read("c.yaml", &text, &[])
    };
    refused_with(
        closed("topics: {orders: {}}\nsubscriptions: {b: {topic: order, push: {url: 'http://h'}}}"),
        &["subscriptions.b.topic: there is no topic named \"order\"; did you mean `orders`?", "open: true"],
    );
    let config =
        closed("subscriptions: {b: {topic: order.*, bridge: main, push: {url: 'http://h'}}}").unwrap();
    assert!(config.subscriptions[0].pattern.is_wildcard());
    let open = yaml("subscriptions: {b: {topic: orders, push: {url: 'http://h'}}}").unwrap();
    assert_eq!(open.subscriptions[0].pattern.as_str(), "orders");
    refused_with(
        yaml("subscriptions: {b: {topic: 'orders*', push: {url: 'http://h'}}}"),
        &["subscriptions.b.topic: a wildcard stands for a whole token"],
    );
    refused_with(
        yaml("topics: {all: {address: 'orders.>'}}"),
        &["topics.all.address: \"orders.>\" stands for many"],
    );
    refused_with(yaml("topics: {all: {address: ''}}"), &["topics.all.address: \"\" is no topic name"]);
}

#[test]
fn dead_letters_have_a_place_that_is_not_read_again() {
    let dead = |topic: &str, place: &str| {
        yaml(&format!("subscriptions: {{b: {{topic: '{topic}', {place}push: {{url: 'http://h'}}}}}}"))
    };
    let address = |config: Config| config.subscriptions[0].dead_letter.clone().map(|p| p.address.to_string());
    assert_eq!(address(dead("orders", "").unwrap()).as_deref(), Some("dead.shop.b"));
    assert_eq!(address(dead("orders", "dead_letter: lost, ").unwrap()).as_deref(), Some("lost"));
    assert_eq!(address(dead(">", "dead_letter: false, ").unwrap()), None);
    let own = &["subscriptions.b.dead_letter: ", "is within the subscription's own topic"];
    refused_with(dead(">", ""), own);
    refused_with(dead("dead.*.b", ""), own);
    refused_with(dead("orders", "dead_letter: orders, "), own);
    refused_with(dead("orders", "dead_letter: 'lost.*', "), &["stands for many topics"]);
    refused_with(
        dead("orders", "dead_letter: '', "),
        &["subscriptions.b.dead_letter: \"\" is no topic name"],
    );
}

#[test]
fn a_group_is_one_subscriptions_own() {
    let below = "subscriptions: {a: {topic: x, push: {url: 'http://h'}}, b: {topic: y, group: shop.a, push: {url: 'http://h'}}}";
    refused_with(yaml(below), &["subscriptions.b.group: subscription a has the same group \"shop.a\""]);
}

#[test]
fn starts_are_words_times_or_positions() {
    let start = |start: &str| {
        yaml(&format!("subscriptions: {{b: {{topic: o, start: {start}, push: {{url: 'http://h'}}}}}}"))
            .map(|config| config.subscriptions[0].start.clone())
            .map_err(|errors| errors.to_string())
    };
    assert_eq!(start("begin"), Ok(Start::Begin));
    assert_eq!(start("end"), Ok(Start::End));
    let position = |partition, sequence| Position { partition, sequence };
    assert_eq!(start("{position: '0-7, 1-9'}"), Ok(Start::Position(vec![position(0, 7), position(1, 9)])));
    let epoch = std::time::UNIX_EPOCH;
    assert_eq!(start("{time: '1970-01-01T00:00:05Z'}"), Ok(Start::Time(epoch + Duration::from_secs(5))));
    assert!(start("{time: yesterday}").unwrap_err().contains("start: \"yesterday\" is no time"));
    assert!(start("{position: here}").unwrap_err().contains("start: \"here\": this is not a position"));
}

#[test]
fn the_attempts_fit_into_the_time_that_the_broker_lets_a_message_be_held() {
    let read = |hold: u32, retry: &str| {
        let bridge = format!("bridges: {{main: {{kind: embedded, dir: d, open: true, hold: {hold}}}}}");
        let subscription = format!("{{topic: o, push: {{url: 'http://h'}}, retry: {{{retry}}}}}");
        let text = format!("version: 1\nservice: s\n{bridge}\nsubscriptions: {{b: {subscription}}}\n");
        super::read("c.yaml", &text, &[])
    };
    let attempts = |hold, retry| read(hold, retry).unwrap().subscriptions[0].retry.max_attempts;
    // Waits of 0.2 s, 0.4 s, 0.8 s and so on, at most 5 minutes.
    assert_eq!(attempts(27 * 60, ""), 16);
    assert_eq!(attempts(3600, ""), 20);
    assert_eq!(attempts(9, ""), 6);
    assert_eq!(attempts(0, ""), 1);
    assert_eq!(attempts(27 * 60, "max_attempts: 100, backoff: {base: 5s, cap: 10s}"), 100);
    refused_with(
        read(27 * 60, "max_attempts: 17"),
        &["b.retry.max_attempts: ", "more than 16 attempts", "27m", "`consumer_timeout`"],
    );
}

#[test]
fn numbers_that_would_stop_everything_are_refused() {
    let subscription =
        |text: &str| yaml(&format!("subscriptions: {{b: {{topic: o, push: {{url: 'http://h'}}, {text}}}}}"));
    refused_with(subscription("max_in_flight: 0"), &["b.max_in_flight: must be at least 1"]);
    refused_with(
        subscription("max_held: {messages: 5}"),
        &["b.max_held.messages: must be at least `max_in_flight`, which is 64"],
    );
    refused_with(subscription("retry: {max_attempts: 0}"), &["b.retry.max_attempts: must be at least 1"]);
    refused_with(subscription("retry: {backoff: {base: 10m}}"), &["b.retry.backoff.base: "]);
    refused_with(
        subscription("retry: {on: {failed: [200]}}"),
        &["b.retry.on.failed: 200 is no status of a failure"],
    );
    refused_with(
        subscription("retry: {on: {failed: [404], refused: [404]}}"),
        &["b.retry.on.refused: 404 stands in `failed` as well"],
    );
    assert_eq!(subscription("max_in_flight: 9000").unwrap().subscriptions[0].max_held.messages, 9000);
    refused_with(yaml("limits: {max_in_flight: 0}"), &["limits.max_in_flight: must be at least 1"]);
    refused_with(yaml("limits: {timeout: 0s}"), &["limits.timeout: must be more than nothing"]);
    refused_with(yaml("limits: {timeout: 1m}"), &["limits.timeout: must be at most `limits.max_timeout`"]);
}

#[test]
fn a_message_sets_no_header_of_the_request_itself() {
    let push = |name: &str| {
        yaml(&format!("subscriptions: {{b: {{topic: o, push: {{url: 'http://h', headers: ['{name}']}}}}}}"))
    };
    for name in ["Content-Length", "host", "Connection", "TE", "webhook-id", "Sidespan-Topic", "ce-id", "a b"]
    {
        refused_with(push(name), &["subscriptions.b.push.headers: ", name]);
    }
    assert_eq!(push("X-Tenant").unwrap().subscriptions[0].target.push().unwrap().headers, ["x-tenant"]);
}

#[test]
fn what_is_longer_than_a_day_is_no_deadline() {
    let long = "99y";
    for key in ["timeout", "max_timeout", "read_timeout", "idle_timeout"] {
        let below =
            format!("limits: {{max_timeout: 24h, {key}: {long}}}").replace("max_timeout: 24h, max", "max");
        refused_with(yaml(&below), &[&format!("limits.{key}: must be at most 24h")]);
    }
    for key in ["deliveries", "shutdown"] {
        let expected = format!("drain.{key}: must be at most 24h");
        refused_with(yaml(&format!("drain: {{{key}: {long}}}")), &[&expected]);
    }
    for (section, key) in [
        (format!("push: {{url: 'http://h', timeout: {long}}}"), "push.timeout"),
        (format!("push: {{url: 'http://h'}}, retry: {{backoff: {{base: {long}}}}}"), "retry.backoff.base"),
        ("push: {url: 'http://h'}, retry: {backoff: {cap: 25h}}".to_owned(), "retry.backoff.cap"),
    ] {
        let expected = format!("subscriptions.b.{key}: must be at most 24h");
        refused_with(yaml(&format!("subscriptions: {{b: {{topic: o, {section}}}}}")), &[&expected]);
    }
}

#[test]
fn replicas_are_found_by_name_and_find_this_one_where_it_listens() {
    let with = |head: &str, replicas: &str| yaml(&format!("{head}\nreplicas: {{{replicas}}}\n"));
    let all = "peers: ['sidespan-headless:7400', '[::1]:7400'], secrets: [{env: SHARED}]";
    let replicas = with("", all).unwrap().replicas.unwrap();
    assert_eq!((replicas.peers.len(), replicas.advertise, replicas.secrets.len()), (2, None, 1));
    let everywhere = "listen: '0.0.0.0:7400'\ninsecure: true";
    let advertised = with(everywhere, &format!("{all}, advertise: '10.0.0.5:7400'")).unwrap().replicas;
    assert_eq!(advertised.unwrap().advertise, Some("10.0.0.5:7400".parse().unwrap()));
    for vague in [everywhere, "listen: 'unix:/run/sidespan'"] {
        refused_with(with(vague, all), &["replicas.advertise: the key is missing", "10.0.0.5:7400"]);
    }
    for nowhere in ["0.0.0.0:7400", "10.0.0.5:0", "sidespan:7400", "224.0.0.1:7400"] {
        refused_with(with("", &format!("{all}, advertise: '{nowhere}'")), &["replicas.advertise: ", nowhere]);
    }
    for wrong in ["sidespan", "http://sidespan:7400", ":7400", "sidespan:0", "a b:1", "sidespan:http"] {
        refused_with(with("", &format!("peers: ['{wrong}'], secrets: [s]")), &["replicas.peers: ", wrong]);
    }
    refused_with(with("", "peers: [], secrets: [s]"), &["replicas.peers: must name 1 to 64"]);
    refused_with(with("", "peers: ['s:1'], secrets: []"), &["replicas.secrets: ", "openssl rand"]);
    refused_with(with("", "peers: ['s:1']"), &["the key `secrets` is missing"]);
}
