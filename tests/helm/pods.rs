//! The pods: restricted, and set up for a fleet.

use serde_json::{Value, json};

use crate::cases::{Case, all, objects, pod, render_shop, sidespan};
use crate::security::violations;

#[test]
fn every_pod_is_restricted() {
    for case in all() {
        for object in case.objects() {
            let Some(pod) = pod(&object) else { continue };
            assert_eq!(violations(pod), Vec::<String>::new(), "{} {}", case.chart, case.name);
        }
    }
}

#[test]
fn sidespan_writes_nowhere_and_is_told_of_nothing() {
    for case in all() {
        for object in case.objects() {
            let Some(pod) = pod(&object).filter(|_| case.name != "off") else { continue };
            let name = format!("{} {}", case.chart, case.name);
            assert_eq!(sidespan(pod)["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(sidespan(pod)["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(pod["enableServiceLinks"], false, "{name}");
            // Consul's proxy logs in with it.
            let has_token = name == "sidespan consul";
            assert_eq!(pod["automountServiceAccountToken"], has_token, "{name}");
        }
    }
}

#[test]
fn a_gateway_is_ready_with_the_publish_path_and_a_sidecar_with_its_listeners() {
    let ready = |chart, name: &str| readiness(&Case::named(chart, name));
    assert_eq!(ready("sidespan", "kafka"), "/readyz/publish");
    assert_eq!(ready("sidespan", "existing"), "/readyz");
    assert_eq!(ready("sidespan-sidecar", "kafka"), "/readyz/listeners");
    assert_eq!(ready("sidespan-sidecar", "ordinary"), "/readyz/publish");
}

fn readiness(case: &Case) -> String {
    let objects = case.objects();
    let pod = objects.iter().find_map(pod).unwrap();
    let container = sidespan(pod);
    assert_eq!(container["startupProbe"]["httpGet"]["path"], "/startupz");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    container["readinessProbe"]["httpGet"]["path"].as_str().unwrap().to_owned()
}

#[test]
fn a_sidecar_is_native_and_an_ordinary_container_by_a_switch() {
    let pod_of = |name: &str| {
        let objects = Case::named("sidespan-sidecar", name).objects();
        objects.iter().find_map(pod).unwrap().clone()
    };
    let native = pod_of("kafka");
    assert_eq!(native["initContainers"][0]["name"], "sidespan");
    assert_eq!(native["initContainers"][0]["restartPolicy"], "Always");
    assert_eq!(native["containers"].as_array().unwrap().len(), 1);

    let ordinary = pod_of("ordinary");
    assert_eq!(ordinary["containers"][1]["name"], "sidespan");
    assert_eq!(ordinary["containers"][1]["restartPolicy"], Value::Null);
    assert_eq!(ordinary["initContainers"].as_array().unwrap().len(), 1);

    assert_eq!(pod_of("off")["containers"].as_array().unwrap().len(), 1);
}

#[test]
fn an_embedded_log_with_a_volume_is_a_stateful_set_of_one() {
    let workload = |name: &str| {
        let objects = Case::named("sidespan", name).objects();
        objects.into_iter().find(|object| pod(object).is_some()).unwrap()
    };
    let set = workload("embedded");
    assert_eq!((&set["kind"], &set["spec"]["replicas"]), (&json!("StatefulSet"), &json!(1)));
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"], "10Gi");
    assert_eq!(workload("ephemeral")["kind"], "Deployment");
}

#[test]
fn a_secret_may_have_dots_in_its_name_and_its_volume_has_none() {
    let values = json!({
        "enabled": true,
        "config": {"file": {"insecure": true, "bridges": {"main": {"kind": "kafka", "brokers": ["kafka:9092"]}}}},
        "secrets": {"files": [{"secret": "kafka.tls"}]},
    });
    let objects = objects(&render_shop(&json!({"sidespan": values, "gateway": values})));
    let names: Vec<(&Value, &Value)> = objects
        .iter()
        .filter_map(pod)
        .map(|pod| {
            let volumes = pod["volumes"].as_array().unwrap();
            let mounts = sidespan(pod)["volumeMounts"].as_array().unwrap();
            let volume = volumes.iter().find(|volume| volume["secret"]["secretName"] == "kafka.tls").unwrap();
            let mount = mounts.iter().find(|mount| mount["mountPath"] == "/run/secrets/kafka.tls").unwrap();
            (&volume["name"], &mount["name"])
        })
        .collect();
    let (gateway, sidecar) = (json!("secret-kafka-tls"), json!("shop-sidespan-secret-kafka-tls"));
    assert_eq!(names, [(&gateway, &gateway), (&sidecar, &sidecar)]);
}

#[test]
fn a_changed_configuration_replaces_pods_only_where_it_is_asked_for() {
    let annotations = |name: &str, further: &[&str]| {
        let rendered = Case::named("sidespan", name).try_render(further).printed();
        let objects = crate::cases::objects(&rendered);
        let object = objects.iter().find(|object| pod(object).is_some()).unwrap();
        object["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let changed = ["--set", "config.file.topics.invoices.address=invoices"];
    assert_eq!(annotations("kafka", &[]), annotations("kafka", &changed));
    assert_ne!(annotations("ephemeral", &[]), annotations("ephemeral", &changed));
}
