//! Every configuration that is rendered is one that Sidespan takes.

use std::fs;

use serde_json::Value;

use crate::SIDESPAN;
use crate::cases::{Case, all};
use crate::tools::{run_with, schemas};

#[test]
fn sidespan_takes_every_configuration_that_is_rendered() {
    let mut seen = 0;
    for case in all() {
        for text in configurations(&case) {
            seen += 1;
            validate(&text, &format!("{} {}", case.chart, case.name));
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn a_sidecar_is_on_loopback_but_for_its_health() {
    let text = configurations(&Case::named("sidespan-sidecar", "kafka")).remove(0);
    let file: Value = yaml_serde::from_str(&text).unwrap();
    assert_eq!(file["listen"], "127.0.0.1:7400");
    assert_eq!(file["admin"], "127.0.0.1:7401");
    assert_eq!(file["health"], "0.0.0.0:7402");
}

#[test]
fn a_gateway_has_its_operators_on_loopback_and_its_replicas_behind_one_name() {
    let text = configurations(&Case::named("sidespan", "kafka")).remove(0);
    let file: Value = yaml_serde::from_str(&text).unwrap();
    assert_eq!(file["listen"], "0.0.0.0:7400");
    assert_eq!(file["admin"], "127.0.0.1:7401");
    assert_eq!(file["replicas"]["peers"][0], "shop-sidespan-replicas.events.svc.cluster.local:7400");
    assert_eq!(file["replicas"]["secrets"][1]["file"], "/run/secrets/sidespan-replicas/old");
    assert!(file["allowed_hosts"].as_array().unwrap().contains(&"shop-sidespan.events.svc".into()));
}

/// The files in the ConfigMaps.
fn configurations(case: &Case) -> Vec<String> {
    let objects = case.objects();
    let maps = objects.iter().filter(|object| object["kind"] == "ConfigMap");
    maps.filter_map(|map| map["data"]["config.yaml"].as_str().map(str::to_owned)).collect()
}

#[track_caller]
fn validate(text: &str, name: &str) {
    let folder = tempfile::tempdir_in(schemas()).unwrap();
    let path = folder.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    // What the pod says of itself.
    let own = [("SIDESPAN__REPLICAS__ADVERTISE", "10.0.0.5:7400")];
    let variables = if text.contains("\nreplicas:") { &own[..] } else { &[] };
    let done = run_with(SIDESPAN, &["validate", path.to_str().unwrap()], variables);
    assert!(done.succeeded, "{name}: {}\n{text}", done.stderr);
}
