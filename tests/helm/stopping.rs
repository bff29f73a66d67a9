//! How long a pod may take to end agrees with how long it takes.

use serde_json::Value;

use crate::cases::{Case, objects, pod, sidespan};

#[test]
fn the_grace_covers_the_deadlines() {
    for (chart, name, further, grace) in [
        // 20s of deliveries, 5s of shutdown, 2s: less than what Kubernetes gives anyway.
        ("sidespan", "kafka", "readiness=publish", 30),
        // 1m 30s, 2500ms and 2s.
        ("sidespan", "ephemeral", "readiness=publish", 95),
        ("sidespan", "kafka", "drain.atLeast=60s", 67),
        ("sidespan", "existing", "readiness=publish", 90),
        // The service takes 45s, and publishes meanwhile.
        ("sidespan-sidecar", "ordinary", "sidespan.readiness=publish", 52),
        ("sidespan-sidecar", "kafka", "sidespan.config.file.drain.shutdown=1m", 82),
    ] {
        let pod = rendered(&Case::named(chart, name), &["--set", further]);
        assert_eq!(pod["terminationGracePeriodSeconds"], grace, "{chart} {name} {further}");
    }
}

#[test]
fn the_hook_drains_and_waits_for_whom_it_must() {
    let hook = |chart, name: &str| {
        let pod = rendered(&Case::named(chart, name), &[]);
        let command = sidespan(&pod)["lifecycle"]["preStop"]["exec"]["command"].clone();
        let words: Vec<String> = serde_json::from_value(command).unwrap();
        words.join(" ")
    };
    let drain = "/usr/local/bin/sidespan drain";
    assert_eq!(hook("sidespan", "hpa"), format!("{drain} --at-least 5s"));
    let token = "--token-file /run/secrets/callers/operator";
    assert_eq!(hook("sidespan", "kafka"), format!("{drain} --at-least 5s {token}"));
    // It finds a token in the configuration itself.
    let case = Case::named("sidespan", "kafka");
    assert!(!rendered(&case, &["--set", "drain.tokenFile="]).to_string().contains("--token-file"));
    assert_eq!(hook("sidespan", "ephemeral"), drain);
    assert_eq!(hook("sidespan-sidecar", "kafka"), drain);
    let token = "--token-file /run/secrets/shop/token";
    assert_eq!(hook("sidespan-sidecar", "ordinary"), format!("{drain} --at-least 45s {token}"));
}

fn rendered(case: &Case, further: &[&str]) -> Value {
    let objects = objects(&case.try_render(further).printed());
    objects.iter().find_map(pod).unwrap().clone()
}
