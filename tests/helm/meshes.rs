//! What the pages on meshes say that the charts set is what they set. No mesh runs here.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::cases::{objects, pod, render_shop, sidespan};
use crate::tools::root;

type Annotations = BTreeMap<String, Value>;

#[test]
fn a_page_names_every_annotation_that_a_mesh_gets_with_its_value() {
    for mesh in ["cilium", "consul", "istio", "linkerd"] {
        let page = fs::read_to_string(root().join(format!("docs/mesh/{mesh}.md"))).unwrap();
        for brokers in ["inside", "outside"] {
            let mut values = values(&page);
            assert_eq!(values["mesh"]["kind"], mesh);
            values["mesh"]["brokers"] = json!(brokers);
            let mut said = annotations(&page, brokers);
            let [sidecar, gateway] = pods(&values, true);
            assert_eq!(gateway, said, "{mesh}, brokers {brokers}: the gateway's pods");
            // Whether a service is in the mesh, and with which port, its own chart says.
            said.retain(|annotation, _| !annotation.starts_with("consul.hashicorp.com/connect-"));
            assert_eq!(sidecar, said, "{mesh}, brokers {brokers}: the pods with a sidecar");
        }
    }
}

#[test]
fn the_proxy_is_native_where_the_sidecar_is() {
    for (mesh, annotation) in [
        ("istio", "sidecar.istio.io/nativeSidecar"),
        ("linkerd", "config.beta.linkerd.io/proxy-enable-native-sidecar"),
    ] {
        for native in [true, false] {
            let [sidecar, gateway] = pods(&json!({"mesh": {"kind": mesh}}), native);
            assert_eq!(sidecar[annotation], json!(native.to_string()), "{mesh}");
            assert_eq!(gateway[annotation], json!("true"), "{mesh}");
        }
    }
}

/// Returns the first values of a page.
fn values(page: &str) -> Value {
    let (_, block) = page.split_once("```yaml cluster\n").unwrap();
    yaml_serde::from_str(block.split_once("```").unwrap().0).unwrap()
}

/// Returns what the table of a page says of a place of the brokers.
fn annotations(page: &str, brokers: &str) -> Annotations {
    let (table, _) = page.split_once("## See that it works").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let other = if brokers == "inside" { "with `brokers: outside`" } else { "with `brokers: inside`" };
    let rows = rows.filter(|(_, why)| !why.contains(other));
    rows.flat_map(|(annotation, _)| yaml_serde::from_str::<Annotations>(annotation).unwrap()).collect()
}

/// Renders a service with a sidecar, and a gateway; returns the annotations that the values bring to their pods.
fn pods(values: &Value, native: bool) -> [Annotations; 2] {
    let render = |values: &Value| {
        let config = json!({"file": {"insecure": true, "bridges": {"main": {"kind": "nats", "servers": ["nats://nats:4222"]}}}});
        let mut sidecar = json!({"config": config, "native": native});
        let mut gateway = json!({"config": config, "enabled": true});
        for chart in [&mut sidecar, &mut gateway] {
            chart.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        }
        let objects = objects(&render_shop(&json!({"sidespan": sidecar, "gateway": gateway})));
        ["shop", "shop-gateway"].map(|name| {
            let is = |object: &&Value| pod(object).is_some() && object["metadata"]["name"] == name;
            let workload = objects.iter().find(is).unwrap();
            assert_eq!(sidespan(pod(workload).unwrap())["name"], "sidespan");
            let annotations = &workload["spec"]["template"]["metadata"]["annotations"];
            serde_json::from_value::<Option<Annotations>>(annotations.clone()).unwrap().unwrap_or_default()
        })
    };
    let (with, without) = (render(values), render(&json!({})));
    let mut brought = with;
    for (brought, without) in brought.iter_mut().zip(&without) {
        brought.retain(|annotation, value| without.get(annotation) != Some(value));
    }
    brought
}
