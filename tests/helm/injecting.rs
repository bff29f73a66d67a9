//! `sidespan inject` and the library chart make the same pod of a service, but for what is listed here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use crate::cases::{objects, pod, render_shop, sidespan};
use crate::manifests::{RELEASES, conform, operators};
use crate::security::violations;
use crate::tools::run;

#[test]
fn injecting_makes_the_pod_that_the_chart_makes() {
    let mut found = BTreeSet::new();
    for (values, options) in configurations() {
        let (chart, injected) =
            (leaves(&template(&rendered(&values))), leaves(&template(&injected(&values, &options))));
        let places: BTreeSet<&String> = chart.keys().chain(injected.keys()).collect();
        for place in places.into_iter().filter(|place| chart.get(*place) != injected.get(*place)) {
            let of = |pod: &BTreeMap<String, Value>| pod.get(place).map_or("-".into(), Value::to_string);
            found.insert((place.clone(), of(&chart), of(&injected)));
        }
    }
    let reasons =
        DIFFERENCES.map(|(place, chart, injected, _)| (place.into(), chart.into(), injected.into()));
    assert_eq!(found, BTreeSet::from(reasons));
}

/// Where they differ, what the chart makes, what is injected, and why.
const DIFFERENCES: [(&str, &str, &str, &str); 11] = [
    (
        "/metadata/annotations/sidespan~1version",
        r#""0.1.0""#,
        "-",
        "the chart is of one version; what is injected has any image",
    ),
    (
        "/metadata/annotations/sidespan.io~1injected",
        "-",
        r#""true""#,
        "a sidecar is known by it the next time",
    ),
    (
        "/metadata/annotations/prometheus.io~1scrape",
        "-",
        r#""true""#,
        "nothing but pods is made: no PodMonitor",
    ),
    ("/metadata/annotations/prometheus.io~1port", "-", r#""7402""#, "the same"),
    ("/metadata/annotations/prometheus.io~1path", "-", r#""/metrics""#, "the same"),
    ("/metadata/labels/sidespan~1sidecar", r#""shop-sidespan""#, "-", "a PodMonitor finds the pod by it"),
    (
        "/spec/containers/shop/env/SIDESPAN_URL/value",
        r#""http://127.0.0.1:7400""#,
        "-",
        "the service stays as it was written; it is where clients look anyway",
    ),
    (
        "/spec/enableServiceLinks",
        "false",
        "-",
        "the service may read these variables; a chart's author has the line before their eyes",
    ),
    (
        NATIVE_HEALTH,
        "-",
        r#""0.0.0.0:7402""#,
        "the chart writes it into the ConfigMap, which is the operator's here",
    ),
    (ORDINARY_HEALTH, "-", r#""0.0.0.0:7402""#, "the same"),
    ("/spec/terminationGracePeriodSeconds", "30", "-", "it is Kubernetes' own default"),
];
const NATIVE_HEALTH: &str = "/spec/initContainers/sidespan/env/SIDESPAN__HEALTH/value";
const ORDINARY_HEALTH: &str = "/spec/containers/sidespan/env/SIDESPAN__HEALTH/value";

#[test]
fn the_sidecar_is_in_the_same_place() {
    for (values, options) in configurations() {
        let names = |template: &Value, kind: &str| -> Vec<String> {
            let containers = template["spec"][kind].as_array().unwrap().iter();
            containers.map(|container| container["name"].as_str().unwrap().to_owned()).collect()
        };
        let (chart, injected) = (template(&rendered(&values)), template(&injected(&values, &options)));
        for kind in ["initContainers", "containers"] {
            assert_eq!(names(&chart, kind), names(&injected, kind), "{options:?}");
        }
    }
}

#[test]
fn what_is_injected_is_restricted_and_kubernetes_takes_it() {
    let (folder, operators) = (tempfile::tempdir().unwrap(), operators());
    for (number, (values, options)) in configurations().into_iter().enumerate() {
        let injected = injected(&values, &options);
        let pod = objects(&injected).iter().find_map(pod).unwrap().clone();
        assert_eq!(violations(&pod), Vec::<String>::new(), "{options:?}");
        assert_eq!(sidespan(&pod)["image"], "sidespan:0.1.0");
        fs::write(folder.path().join(format!("{number}.yaml")), injected).unwrap();
    }
    for release in RELEASES {
        let done = conform(release, &operators, folder.path());
        assert!(done.succeeded, "{release}: {}{}", done.stdout, done.stderr);
    }
}

/// Values of the chart, and the options of `inject` that mean the same.
fn configurations() -> [(Value, Vec<&'static str>); 5] {
    let file = |drain: &Value| {
        let bridges = json!({"main": {"kind": "kafka", "brokers": ["kafka:9092"]}});
        json!({"file": {"insecure": true, "bridges": bridges, "drain": drain}})
    };
    let defaults = json!({});
    [
        (json!({"config": file(&defaults)}), vec![]),
        (json!({"config": file(&defaults), "native": false}), vec!["--native=false"]),
        (
            json!({"config": file(&json!({"deliveries": "1m 30s"})), "readiness": "publish"}),
            vec!["--readiness=publish"],
        ),
        (
            json!({
                "config": file(&json!({"shutdown": "2500ms"})),
                "native": false,
                "readiness": "subscriptions",
                "service": {"stopping": "45s"},
            }),
            vec!["--native=false", "--readiness=subscriptions", "--at-least=45s"],
        ),
        (
            json!({
                "config": file(&defaults),
                "secrets": {
                    "env": [{"name": "KAFKA_PASSWORD", "secret": "kafka", "key": "password"}],
                    "files": [{"secret": "kafka.tls"}, {"secret": "webhooks"}],
                },
            }),
            vec!["--secret-env=KAFKA_PASSWORD=kafka/password", "--secret=kafka.tls", "--secret=webhooks"],
        ),
    ]
}

/// Renders the service's chart, with values for its sidecar.
fn rendered(values: &Value) -> String {
    render_shop(&json!({"sidespan": values}))
}

/// Renders it without a sidecar, and injects that; the ConfigMap is the one that the chart would have made.
fn injected(values: &Value, options: &[&str]) -> String {
    let map = objects(&rendered(values)).into_iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.yaml");
    fs::write(&path, format!("{}\n---\n{map}", rendered(&json!({"enabled": false})))).unwrap();
    let file = ["inject", "--config-map=shop-sidespan", "-f", path.to_str().unwrap()];
    run(crate::SIDESPAN, &[&file, options].concat()).printed()
}

/// Returns the template of the service's pods. There may be two sidecars in a chart, so that their volumes have names of their
/// own.
fn template(manifests: &str) -> Value {
    let own = |manifests: &str, volume: &str| {
        manifests.replace(&format!("name: shop-sidespan-{volume}"), &format!("name: sidespan-{volume}"))
    };
    let manifests = own(&own(manifests, "config"), "secret-");
    let workload = objects(&manifests).into_iter().find(|object| pod(object).is_some()).unwrap();
    workload["spec"]["template"].clone()
}

/// Returns every scalar by its place, in which what has a name stands by that.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let inner: Vec<(String, Value)> = match value {
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, item)| named(index, item)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return BTreeMap::from([(String::new(), value.clone())]);
        }
    };
    let below = |(key, value): (String, Value)| {
        let key = key.replace('/', "~1");
        leaves(&value).into_iter().map(move |(place, leaf)| (format!("/{key}{place}"), leaf))
    };
    inner.into_iter().flat_map(below).collect()
}

fn named(index: usize, item: &Value) -> (String, Value) {
    let mut item = item.clone();
    let name = item.as_object_mut().and_then(|item| item.remove("name"));
    (name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_else(|| index.to_string()), item)
}
