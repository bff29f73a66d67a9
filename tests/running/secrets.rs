//! Secrets stay where they are, also when what they are for fails and everything is logged.

use sidespan_test_support::{Answer, Client, Ended, Launch, Webhook, eventually};

use crate::{PATIENCE, SIDESPAN, readiness, store};

const SIGNING: &str = "whsec_c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1zZWUtMzItYnk=";
/// Not as secrets are written, and perhaps one nevertheless.
const UNFIT: &str = "hunter2hunter2hunter2hunter2hunter2";
const BARE_SIGNING: &str = "c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1zZWUtMzItYnk";

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_secret_is_never_said() {
    let webhook = Webhook::start(|_| Answer::status(500)).await;
    for level in ["debug", "trace"] {
        let config = format!(
            "version: 1\nservice: shop\nlog: {{level: {level}, access: 1}}\nbridges: {{local: {{kind: embedded, dir: data}}}}\n\
             topics: {{orders: {{}}}}\n\
             subscriptions:\n  billing:\n    topic: orders\n    start: begin\n    \
             push: {{url: '{}', secrets: ['{SIGNING}', {{env: OTHER_SECRET}}]}}\n    \
             retry: {{backoff: {{base: 5ms, cap: 10ms}}, max_attempts: 3}}\n\
             \x20 refused:\n    topic: orders\n    start: begin\n    \
             push: {{url: 'http://127.0.0.1:1/', secrets: ['{SIGNING}']}}\n\
             \x20 unset:\n    topic: orders\n    push: {{url: '{0}', secrets: [{{file: bad}}]}}\n\
             \x20 unfit:\n    topic: orders\n    push: {{url: '{0}', secrets: [{{file: unfit}}]}}\n",
            webhook.url("/")
        );
        let other = "whsec_b3RoZXIgc2VjcmV0IG5vYm9keSBtYXkgc2VlIDMyIGI=";
        let bad = "whsec_not-base64-but-still-a-secret!";
        let launch = Launch::new(SIDESPAN).config(&config);
        let mut sidecar = launch.env("OTHER_SECRET", other).start().await;
        // Those that are there at the start and cannot sign are refused.
        for (file, secret) in [("bad", bad), ("unfit", UNFIT)] {
            std::fs::write(sidecar.directory().join(file), secret).unwrap();
        }
        store(&sidecar, "orders", "x").await;
        let mut said = String::new();
        eventually(PATIENCE, "all of it fails and says so", async || {
            said = readiness(&sidecar).await.1.to_string();
            said.contains("\"dead_lettered\":1") && said.contains("\"endpoint\"") && said.contains("retrying")
        })
        .await;
        let ended = sidecar.stop().await;
        assert!(ended.stderr.contains("DEBUG"), "the log is at its level: {}", ended.stderr);
        for secret in [BARE_SIGNING, UNFIT, &other[6..40], &bad[6..30]] {
            is_not_said(secret, &said, &ended);
        }
    }
}

#[tokio::test]
async fn an_error_in_the_configuration_repeats_no_secret() {
    let with = |push: &str| {
        format!(
            "version: 1\nservice: s\nbridges: {{b: {{kind: embedded, dir: d}}}}\ntopics: {{t: {{}}}}\n\
             subscriptions: {{a: {{topic: t, push: {{{push}}}}}}}\n"
        )
    };
    let secret = "hunter2hunter2hunter2";
    for push in [
        format!("url: 'http://127.0.0.1/', secrets: '{secret}'"),
        format!("url: 'http://127.0.0.1/', secrets: ['{secret}']"),
        format!("url: 'http://127.0.0.1/', secrets: [{{text: {secret}}}]"),
        format!("url: 'http://127.0.0.1/', secret: '{secret}'"),
        format!("url: 'http://user:{secret}@127.0.0.1/'"),
        format!("url: 'http://user:{secret}@127.0.0.1:port/'"),
    ] {
        let ended = Launch::new(SIDESPAN).config(&with(&push)).run_to_end().await;
        assert_eq!(ended.status.code(), Some(78), "{push}\n{}", ended.stderr);
        is_not_said(secret, "", &ended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_token_is_never_said() {
    let (known, unknown) = ("known-token-known-token-known", "unknown-token-unknown-token");
    let config = format!(
        "version: 1\nservice: shop\nlog: {{level: trace, access: 1}}\n\
         bridges: {{local: {{kind: embedded, dir: data, open: true}}}}\n\
         auth: {{tokens: [{{name: till, secret: {known}, publish: [orders]}}, \
         {{name: late, secret: {{file: late}}, manage: true}}]}}\n"
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    // One that is there at the start and cannot be used is refused.
    std::fs::write(sidecar.directory().join("late"), "too-short").unwrap();
    let mut said = String::new();
    for client in [Client::new(), Client::http2()] {
        for (token, topic, status) in
            [(known, "orders", 200), (known, "other", 403), (unknown, "orders", 401)]
        {
            let publish = client.post(&sidecar.url(&format!("/v1/topics/{topic}/messages")), "x");
            let publish = publish.header("authorization", format!("Bearer {token}"));
            let answer = publish.send().await.unwrap();
            assert_eq!(answer.status, status, "{}", answer.text());
            said.push_str(answer.text());
        }
    }
    for token in [known, unknown] {
        let change = Client::new().request(http::Method::PUT, &sidecar.admin_url("/log"));
        let change = change.body(r#"{"level": "trace"}"#);
        let answer = change.header("authorization", format!("Bearer {token}")).send().await.unwrap();
        assert!(answer.status == 401 || answer.status == 403, "{}", answer.text());
        said.push_str(answer.text());
    }
    let ended = sidecar.stop().await;
    for secret in [known, unknown, "too-short"] {
        is_not_said(secret, &said, &ended);
    }
    assert!(ended.stderr.contains("cannot read a token; its caller is refused"), "{}", ended.stderr);
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn a_password_for_kafka_is_never_said() {
    let kafka = sidespan_test_support::Kafka::shared().await;
    let secret = "correct-horse-battery";
    // This broker asks for no password: the client fails at it in its own words.
    let config = format!(
        "version: 1\nservice: shop\nlog: {{level: 'trace'}}\nbridges:\n  main:\n    kind: kafka\n    \
         brokers: ['{}']\n    sasl: {{mechanism: plain, username: shop, password: {secret}}}\n    \
         properties: {{debug: 'security,broker'}}\ntopics: {{orders: {{}}}}\n\
         subscriptions: {{billing: {{topic: orders, push: {{url: 'http://127.0.0.1:1/'}}}}}}\n",
        kafka.address()
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    let mut said = String::new();
    eventually(PATIENCE, "both say why they are not ready", async || {
        let (status, report) = readiness(&sidecar).await;
        said = report.to_string();
        status == 503
            && report["bridges"][0]["error"].as_str().is_some_and(|error| error.contains("leave `sasl` out"))
            && report["subscriptions"][0]["state"] == "retrying"
    })
    .await;
    let publish = Client::new().post(&sidecar.url("/v1/topics/orders/messages"), "x");
    let answer = publish.header("sidespan-timeout", "3s").send().await.unwrap();
    assert!(answer.status.is_server_error() || answer.status == 403, "{}", answer.status);
    said.push_str(answer.text());
    let ended = sidecar.stop().await;
    is_not_said(secret, &said, &ended);

    let checked = Launch::new(SIDESPAN).config(&config);
    for arguments in
        [&["check", "sidespan.yaml", "--timeout", "3s"][..], &["validate", "sidespan.yaml", "-o", "json"]]
    {
        let ended = Launch::new(SIDESPAN).config(&config).arguments(arguments).run_to_end().await;
        is_not_said(secret, "", &ended);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(arguments[0] != "check" || said.contains("leave `sasl` out"), "{said}");
    }
    let wrong = config.replace("password:", "passwort:");
    let ended = checked.config(&wrong).run_to_end().await;
    assert_eq!(ended.status.code(), Some(78), "{}", ended.stderr);
    is_not_said(secret, "", &ended);
    let wrong = config.replace(secret, &format!("[{secret}]"));
    let ended = Launch::new(SIDESPAN).config(&wrong).run_to_end().await;
    assert_eq!(ended.status.code(), Some(78), "{}", ended.stderr);
    is_not_said(secret, "", &ended);
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread")]
async fn what_nats_refuses_is_said_by_its_key_and_not_by_its_secret() {
    let users = "authorization { users: [{ user: shop, password: another-one }] }";
    let nats = match sidespan_test_support::Nats::start_with(users).await {
        Ok(nats) => nats,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let secret = "correct-horse-battery";
    let refused = "the server refuses the credentials: are they right? (`username` and `password`)";
    let config = format!(
        "version: 1\nservice: shop\nlog: {{level: 'trace'}}\nbridges:\n  main:\n    kind: nats\n    \
         servers: ['{}']\n    username: shop\n    password: {secret}\ntopics: {{orders: {{}}}}\n\
         subscriptions: {{billing: {{topic: orders, push: {{url: 'http://127.0.0.1:1/'}}}}}}\n",
        nats.url()
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    let mut said = String::new();
    eventually(PATIENCE, "both say why they are not ready", async || {
        let (status, report) = readiness(&sidecar).await;
        said = report.to_string();
        status == 503 && said.contains(refused) && report["subscriptions"][0]["state"] == "retrying"
    })
    .await;
    let publish = Client::new().post(&sidecar.url("/v1/topics/orders/messages"), "x");
    let answer = publish.send().await.unwrap();
    assert!(answer.status.is_server_error() || answer.status == 403, "{}", answer.status);
    said.push_str(answer.text());
    let ended = sidecar.stop().await;
    is_not_said(secret, &said, &ended);
    let lines = ended.stderr.lines().filter(|line| line.contains("\"nats cannot be reached\""));
    assert_eq!(lines.count(), 2, "once for each connection: {}", ended.stderr);
    let lines = ended.stderr.lines().filter(|line| line.contains("a declared topic cannot be used yet"));
    assert_eq!(lines.count(), 1, "once, however often it is tried: {}", ended.stderr);

    for arguments in
        [&["check", "sidespan.yaml", "--timeout", "3s"][..], &["validate", "sidespan.yaml", "-o", "json"]]
    {
        let ended = Launch::new(SIDESPAN).config(&config).arguments(arguments).run_to_end().await;
        assert_eq!(ended.stdout.contains(refused), arguments[0] == "check", "{}", ended.stdout);
        is_not_said(secret, "", &ended);
    }
    let two = config.replace("topics:", &format!("    token: {secret}\ntopics:"));
    let ended = Launch::new(SIDESPAN).config(&two).run_to_end().await;
    assert_eq!(ended.status.code(), Some(78), "{}", ended.stderr);
    assert!(ended.stderr.contains("token") && ended.stderr.contains("username"), "{}", ended.stderr);
    is_not_said(secret, "", &ended);
}

/// Who is not let in is told nothing of topics: with credentials that are right again, the server is
/// ready no sooner than the topic is there.
#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread")]
async fn a_declared_topic_is_there_once_ready_also_after_wrong_credentials() {
    let users = "authorization { users: [{ user: shop, password: right }] }";
    let nats = match sidespan_test_support::Nats::start_with(users).await {
        Ok(nats) => nats,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let config = format!(
        "version: 1\nservice: shop\nbridges:\n  main:\n    kind: nats\n    servers: ['{}']\n    \
         create_streams: {{}}\n    username: shop\n    password: {{file: password}}\ntopics: {{orders: {{}}}}\n",
        nats.url()
    );
    let launch = Launch::new(SIDESPAN).config(&config);
    let password = launch.directory().join("password");
    std::fs::write(&password, "wrong").unwrap();
    let mut sidecar = launch.start().await;
    eventually(PATIENCE, "the topic was asked for in vain", async || {
        sidecar.stderr().contains("a declared topic cannot be used yet")
    })
    .await;
    let (_, report) = readiness(&sidecar).await;
    assert_eq!(report["unknown_topics"], 1, "{report}");
    std::fs::write(&password, "right").unwrap();
    sidecar.until_ready().await;
    store(&sidecar, "orders", "x").await;
    crate::ended_with(&sidecar.stop().await, 0);
}

#[track_caller]
fn is_not_said(secret: &str, answers: &str, ended: &Ended) {
    for (place, text) in [("answers", answers), ("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        if let Some(line) = text.lines().find(|line| line.contains(secret)) {
            panic!("the secret {secret:?} is in {place}: {line}");
        }
    }
}
