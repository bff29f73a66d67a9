//! Charts that have these as dependencies.

use serde_json::{Value, json};

use crate::cases::{objects, pod, render_shop, sidespan};

#[test]
fn a_service_has_a_sidecar_and_a_gateway_of_its_own_with_what_is_global() {
    let values = json!({
        "global": {"imageRegistry": "registry.example", "team": "shop"},
        "sidespan": file(),
        "gateway": {"enabled": true, "config": file()["config"]},
    });
    let objects = rendered(&values);
    let images: Vec<&Value> = objects.iter().filter_map(pod).map(|pod| &sidespan(pod)["image"]).collect();
    assert_eq!(images, ["registry.example/sidespan:0.1.0", "registry.example/sidespan:0.1.0"]);
    let names: Vec<&str> = objects.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
    assert!(names.contains(&"shop-gateway") && names.contains(&"shop-sidespan"), "{names:?}");
}

#[test]
fn without_a_condition_the_gateway_is_not_there() {
    let objects = rendered(&json!({"sidespan": file()}));
    assert_eq!(objects.iter().filter(|object| pod(object).is_some()).count(), 1);
}

#[test]
fn a_chart_may_have_several_sidecars_each_with_values_of_its_own() {
    let mut other = file();
    other["enabled"] = json!(true);
    other["readiness"] = json!("publish");
    let objects = rendered(&json!({"sidespan": file(), "worker": other}));
    let job = objects.iter().find(|object| object["kind"] == "Job").unwrap();
    let own = sidespan(pod(job).unwrap());
    assert_eq!(own["readinessProbe"]["httpGet"]["path"], "/readyz/publish");
    assert_eq!(job["spec"]["template"]["metadata"]["labels"]["sidespan/sidecar"], "shop-worker");
    assert_eq!(pod(job).unwrap()["volumes"][0]["configMap"]["name"], "shop-worker");
    let maps = objects.iter().filter(|object| object["kind"] == "ConfigMap");
    assert_eq!(maps.count(), 2);
}

#[test]
fn what_is_beside_the_sidecar_stays_as_it_is() {
    let objects = rendered(&json!({"sidespan": file()}));
    let pod = objects.iter().find_map(pod).unwrap();
    let names = |kind: &str| -> Vec<String> {
        let named = pod[kind].as_array().unwrap().iter();
        named.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("initContainers"), ["sidespan", "migrate"]);
    assert_eq!(names("containers"), ["shop"]);
    assert_eq!(names("volumes"), ["cache", "shop-sidespan-config"]);
    let env = pod["containers"][0]["env"].as_array().unwrap();
    assert!(env.contains(&json!({"name": "SIDESPAN_URL", "value": "http://127.0.0.1:7400"})), "{env:?}");
}

fn file() -> Value {
    json!({"config": {"file": {
        "insecure": true,
        "bridges": {"main": {"kind": "kafka", "brokers": ["kafka:9092"]}},
    }}})
}

fn rendered(values: &Value) -> Vec<Value> {
    objects(&render_shop(values))
}
