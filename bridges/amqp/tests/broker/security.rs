//! Who is let in, by which certificate or password, and what is said where one is wrong.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sidespan_bridge::{Bridge, Driver, Fault, Order, Settings, Subscribe, Window};
use sidespan_bridge_amqp::Amqp;
use sidespan_test_support::{Certificates, Pair, Rabbit, eventually, free_port, unique_name};
use tokio::sync::OnceCell;

use super::{PATIENCE, accept, all_of, attempt, body, log, next, open_with, soon, subscribe, text};

/// A broker that knows the user `service`, with [`PASSWORD`] or a certificate of that name.
struct Secured {
    rabbit: Rabbit,
    ours: Certificates,
    /// Its TLS port.
    open: u16,
    /// One where clients must show a certificate.
    strict: u16,
}

#[tokio::test]
async fn a_broker_is_reached_over_tls_by_password_or_certificate() {
    let Some(secured) = secured().await else { return };
    let (ca, client) = (secured.ours.authority(), secured.ours.client("service"));
    let nobody = format!("amqps://localhost:{}", free_port());
    let cases = [
        json!({"url": secured.tls(secured.open), "tls": {"ca": {"file": ca}}}),
        json!({"url": [nobody, secured.tls(secured.open)], "tls": {"ca": {"file": ca}}}),
        json!({"url": secured.tls(secured.strict), "tls": showing(&ca, &client)}),
    ];
    for mut keys in cases {
        keys["username"] = "service".into();
        keys["password"] = PASSWORD.into();
        passes_a_message(&*open_with(&secured.rabbit, keys)).await;
    }
    let keys = json!({"url": secured.tls(secured.strict), "tls": showing(&ca, &client), "auth": "external"});
    passes_a_message(&*open_with(&secured.rabbit, keys)).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_is_one_line_that_says_what_to_change() {
    let Some(secured) = secured().await else { return };
    let (ours, rabbit) = (&secured.ours, &secured.rabbit);
    let theirs = Certificates::new();
    let (ca, client) = (ours.authority(), ours.client("nobody"));
    let expired = rabbit.listen_with_tls(&ours.expired(), &ca, false).await;
    let elsewhere = rabbit.listen_with_tls(&ours.elsewhere(), &ca, false).await;
    let plain_on_tls = format!("amqp://localhost:{}", secured.open);
    rabbit.ctl(&["add_vhost", "closed"]).await;
    let closed = format!("{}/closed", secured.tls(secured.open));
    let tls = json!({"ca": {"file": ca}});
    let cases = [
        (json!({"url": secured.tls(expired), "tls": tls}), "has expired: renew it at the broker"),
        (json!({"url": secured.tls(elsewhere), "tls": tls}), "connect by a name that it holds"),
        (
            json!({"url": secured.tls(secured.open), "tls": {"ca": {"file": theirs.authority()}}}),
            "unknown authority: set `tls.ca`",
        ),
        (json!({"url": secured.tls(secured.strict), "tls": tls}), "set `tls.certificate` and `tls.key`"),
        (
            json!({"url": secured.tls(secured.strict), "tls": showing(&ca, &theirs.client("service"))}),
            "refuses `tls.certificate`",
        ),
        (json!({"url": secured.tls(rabbit.port()), "tls": tls}), "does not speak TLS"),
        (json!({"url": plain_on_tls}), "use `amqps://`"),
        (json!({"url": secured.tls(secured.open), "tls": {"ca": {"file": "/missing"}}}), "/missing"),
        (
            json!({"url": secured.tls(secured.open), "tls": tls, "password": "hidden-and-wrong"}),
            "look at `username` and `password`",
        ),
        (json!({"url": closed, "tls": tls}), "virtual host \"closed\""),
        (
            json!({"url": secured.tls(secured.strict), "tls": showing(&ca, &client), "auth": "external"}),
            "a user by the name in `tls.certificate`",
        ),
    ];
    for (mut keys, expected) in cases {
        if keys["auth"].is_null() {
            keys["username"] = "service".into();
        }
        if keys["auth"].is_null() && keys["password"].is_null() {
            keys["password"] = PASSWORD.into();
        }
        let service = unique_name("wrong");
        log::keep();
        let bridge = Amqp.open(&Settings::new(service.as_str(), keys)).unwrap();
        let error = bridge.probe(soon()).await.expect_err(expected);
        let said = error.to_string();
        assert!(said.contains(expected) && !said.contains('\n'), "{expected:?} is not in {said:?}");
        assert!(matches!(error.fault, Fault::Denied | Fault::Unavailable), "{error:?}");
        drop(bridge.subscribe(all_of("none")).await.map(drop).expect_err("no connection"));
        let refused = attempt(&*bridge, "none", text("x")).await.unwrap_err();
        assert!(!refused.to_string().contains("localhost"), "{refused}");
        eventually(PATIENCE, "some more attempts", async || log::lines(&[&service, "DEBUG"]).len() > 3).await;
        let told = log::lines(&[&service, "WARN", &said]);
        assert_eq!(told.len(), 1, "{told:?}");
    }
    let log = log::lines(&[]).join("\n");
    for secret in ["hidden", PASSWORD, &key_of(&client)] {
        assert!(!log.contains(secret), "the log holds {secret:?}");
    }
}

/// What an encrypted connection held comes back as from any that is cut: ahead of what is new.
#[tokio::test]
async fn order_holds_over_tls_when_a_member_leaves() {
    let Some(secured) = secured().await else { return };
    let keys = json!({
        "url": secured.tls(secured.open),
        "tls": {"ca": {"file": secured.ours.authority()}},
        "username": "service",
        "password": PASSWORD,
    });
    let bridge = open_with(&secured.rabbit, keys);
    let topic = unique_name("ordered");
    let window = Window { messages: 3, ..Window::default() };
    let to = Subscribe { order: Order::Topic, window, ..all_of(&topic) };
    let mut active = subscribe(&*bridge, to.clone()).await;
    let mut standby = subscribe(&*bridge, to).await;
    for n in 0..10 {
        attempt(&*bridge, &topic, text(n)).await.unwrap();
    }
    let _held = next(&mut active).await;

    active.control().close(soon()).await.unwrap();

    for n in 0..10 {
        let delivery = next(&mut standby).await;
        assert_eq!(body(&delivery), n.to_string());
        accept(delivery).await;
    }
}

/// The files change, and so does the broker; nobody is told.
#[tokio::test]
async fn a_secret_that_is_rotated_is_used_by_the_next_connection() {
    let Some(secured) = secured().await else { return };
    let rabbit = &secured.rabbit;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    rabbit.ctl(&["add_user", "rotated", "hidden-first"]).await;
    rabbit.ctl(&["set_permissions", "rotated", ".*", ".*", ".*"]).await;
    fs::write(at("password"), "hidden-first\n").unwrap();
    let password = json!({
        "url": secured.tls(secured.open),
        "tls": {"ca": {"file": secured.ours.authority()}},
        "username": "rotated",
        "password": {"file": at("password")},
    });
    let show = |pair: &Pair| {
        fs::copy(&pair.certificate, at("certificate")).unwrap();
        fs::copy(&pair.key, at("key")).unwrap();
    };
    show(&secured.ours.client("stranger"));
    let certificate = json!({
        "url": secured.tls(secured.strict),
        "tls": {
            "ca": {"file": secured.ours.authority()},
            "certificate": {"file": at("certificate")},
            "key": {"file": at("key")},
        },
        "auth": "external",
    });
    let bridges = [open_with(rabbit, password), open_with(rabbit, certificate)];
    passes_a_message(&*bridges[0]).await;
    assert_eq!(bridges[1].probe(soon()).await.unwrap_err().fault, Fault::Denied);

    show(&secured.ours.client("service"));
    rabbit.ctl(&["change_password", "rotated", "hidden-second"]).await;
    rabbit.ctl(&["close_all_user_connections", "rotated", "a test"]).await;
    eventually(PATIENCE, "the old password to be refused", async || {
        bridges[0].probe(soon()).await.is_err_and(|error| error.fault == Fault::Denied)
    })
    .await;
    fs::write(at("password"), "hidden-second\n").unwrap();

    for bridge in &bridges {
        eventually(PATIENCE, "the new secret to be used", async || bridge.probe(soon()).await.is_ok()).await;
        passes_a_message(&**bridge).await;
    }
    let log = log::lines(&[]).join("\n");
    assert!(!log.contains("hidden") && !log.contains(&key_of(&secured.ours.client("service"))));
}

impl Secured {
    fn tls(&self, port: u16) -> String {
        format!("amqps://localhost:{port}")
    }
}

async fn secured() -> Option<&'static Secured> {
    static SECURED: OnceCell<Option<Secured>> = OnceCell::const_new();
    let start = async || {
        // The certificate's name is that of the user. EXTERNAL wants `verify_peer` to stand here, too.
        let config = "auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\n\
                      ssl_cert_login_from = common_name\nssl_options.verify = verify_peer";
        let rabbit = Rabbit::start_with(config, &["rabbitmq_auth_mechanism_ssl"]).await;
        let rabbit = rabbit.map_err(|skipped| eprintln!("{skipped}")).ok()?;
        rabbit.ctl(&["add_user", "service", PASSWORD]).await;
        rabbit.ctl(&["set_permissions", "service", ".*", ".*", ".*"]).await;
        let ours = Certificates::new();
        let (server, ca) = (ours.server(), ours.authority());
        let open = rabbit.listen_with_tls(&server, &ca, false).await;
        let strict = rabbit.listen_with_tls(&server, &ca, true).await;
        Some(Secured { rabbit, ours, open, strict })
    };
    SECURED.get_or_init(start).await.as_ref()
}

fn showing(ca: &Path, client: &Pair) -> Value {
    json!({"ca": {"file": ca}, "certificate": {"file": client.certificate}, "key": {"file": client.key}})
}

/// Returns a line of a key that nothing else holds.
fn key_of(pair: &Pair) -> String {
    fs::read_to_string(&pair.key).unwrap().lines().nth(1).unwrap().to_owned()
}

async fn passes_a_message(bridge: &dyn Bridge) {
    let topic = unique_name("secured");
    let mut inbox = subscribe(bridge, all_of(&topic)).await;
    attempt(bridge, &topic, text("hello")).await.unwrap();
    let delivery = next(&mut inbox).await;
    assert_eq!(body(&delivery), "hello");
    accept(delivery).await;
}

const PASSWORD: &str = "hidden-password";
