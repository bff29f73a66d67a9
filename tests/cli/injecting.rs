//! `inject`: manifests in, manifests with the sidecar out.

use std::fs;

use sidespan_test_support::{Ended, Launch};

use crate::{SIDESPAN, ended};

async fn inject(manifests: &str, options: &[&str]) -> Ended {
    let launch = Launch::new(SIDESPAN);
    fs::write(launch.directory().join("in.yaml"), manifests).unwrap();
    let arguments = [&["inject", "-f", "in.yaml"], options].concat();
    launch.arguments(&arguments).run_to_end().await
}

/// Parses what came out; the order of keys does not count.
fn documents(text: &str) -> Vec<yaml_serde::Value> {
    text.split("---\n").map(|text| yaml_serde::from_str(text).unwrap()).collect()
}

#[tokio::test]
async fn a_deployment_gets_the_sidecar_and_keeps_all_its_lines() {
    let said = inject(DEPLOYMENT, &[]).await;
    ended(&said, 0);
    let mut left = said.stdout.lines();
    for line in DEPLOYMENT.lines() {
        assert!(left.any(|kept| kept == line), "{line:?} is gone or out of order in:\n{}", said.stdout);
    }
    assert!(said.stderr.contains("deployment/orders: has a sidecar"), "{}", said.stderr);

    let manifests = documents(&said.stdout);
    assert_eq!(manifests[0], documents(DEPLOYMENT)[0], "a service has no pods");
    let template = &manifests[1]["spec"]["template"];
    let container = &template["spec"]["initContainers"][0];
    assert_eq!(container["restartPolicy"], "Always");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz/listeners");
    assert_eq!(container["lifecycle"]["preStop"]["exec"]["command"][1], "drain");
    assert_eq!(template["spec"]["initContainers"][1]["name"], "migrate", "it is the first to start");
    assert_eq!(template["spec"]["volumes"][1]["configMap"]["name"], "sidespan");
    assert_eq!(template["metadata"]["annotations"]["prometheus.io/port"], "7402");
}

#[tokio::test]
async fn injecting_twice_is_injecting_once() {
    for options in [&["--native=true"][..], &["--native=false", "--readiness", "publish"]] {
        let once = inject(DEPLOYMENT, options).await;
        ended(&once, 0);
        let twice = inject(&once.stdout, options).await;
        ended(&twice, 0);
        assert_eq!(once.stdout, twice.stdout);
    }
    let old = inject(DEPLOYMENT, &["--image", "sidespan:old"]).await;
    let new = inject(&old.stdout, &["--image", "sidespan:new", "--native=false"]).await;
    let fresh = inject(DEPLOYMENT, &["--image", "sidespan:new", "--native=false"]).await;
    assert_eq!(documents(&new.stdout), documents(&fresh.stdout), "what is injected follows the options");

    let options =
        ["--secret", "webhooks", "--secret", "kafka", "--secret-env", "KAFKA_PASSWORD=kafka/password"];
    let old = inject(DEPLOYMENT, &options).await;
    let twice = inject(&old.stdout, &options).await;
    assert_eq!(old.stdout, twice.stdout);
    let without = inject(&old.stdout, &[]).await;
    let fresh = inject(DEPLOYMENT, &[]).await;
    assert_eq!(
        documents(&without.stdout),
        documents(&fresh.stdout),
        "a secret that is not asked for is gone"
    );
}

#[tokio::test]
async fn what_is_in_a_list_keeps_its_lines_too() {
    let (_, deployment) = DEPLOYMENT.split_once("---\n").unwrap();
    let item: Vec<String> = deployment.lines().map(|line| format!("  {line}\n")).collect();
    let list = format!("kind: List\nitems:\n- {}- {{kind: Secret}}\n", item.concat().trim_start());
    let said = inject(&list, &[]).await;
    ended(&said, 0);
    let mut left = said.stdout.lines();
    for line in list.lines() {
        assert!(left.any(|kept| kept == line), "{line:?} is gone or out of order in:\n{}", said.stdout);
    }
    assert_eq!(said.stdout.matches("/usr/local/bin/sidespan").count(), 1, "{}", said.stdout);
}

#[tokio::test]
async fn every_kind_of_workload_is_found() {
    let spec = "{containers: [{name: app, image: app}]}";
    let workload = |kind: &str, spec: &str| format!("{{kind: {kind}, metadata: {{name: a}}, spec: {spec}}}");
    let template = format!("{{template: {{spec: {spec}}}}}");
    let mut manifests = vec![
        workload("Pod", spec),
        workload("CronJob", &format!("{{jobTemplate: {{spec: {template}}}}}")),
        format!("{{kind: List, items: [{}, {}]}}", workload("Pod", spec), workload("Secret", "{}")),
    ];
    let others = ["Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet"];
    manifests.extend(others.map(|kind| workload(kind, &template)));
    let said = inject(&manifests.join("\n---\n"), &[]).await;
    ended(&said, 0);
    assert_eq!(said.stdout.matches("/usr/local/bin/sidespan").count(), 8, "{}", said.stdout);
    assert_eq!(said.stderr.matches("has a sidecar").count(), 8, "{}", said.stderr);
}

#[tokio::test]
async fn who_opts_out_is_left_alone() {
    for place in ["metadata:\n  name: orders", "  template:\n    metadata:"] {
        let indent = if place.starts_with("metadata") { "" } else { "    " };
        let annotated =
            format!("{place}\n{indent}  annotations:\n{indent}    sidespan.io/inject: disabled # for now");
        let manifests = DEPLOYMENT.split_once("---\n").unwrap().1.replacen(place, &annotated, 1);
        assert!(manifests.contains("disabled"));
        let said = inject(&manifests, &[]).await;
        ended(&said, 0);
        assert_eq!(said.stdout, manifests);
        assert!(said.stderr.contains("deployment/orders: left alone"), "{}", said.stderr);
    }
}

#[tokio::test]
async fn deadlines_that_do_not_agree_are_said() {
    let short = DEPLOYMENT.replacen("    spec:\n", "    spec:\n      terminationGracePeriodSeconds: 10\n", 1);
    let said = inject(&short, &[]).await;
    ended(&said, 0);
    assert!(
        said.stderr.contains("terminationGracePeriodSeconds is 10, and draining takes up to 27 s"),
        "{}",
        said.stderr
    );
    let config = "kind: ConfigMap\nmetadata: {name: sidespan}\ndata:\n  config.yaml: |\n    \
                  drain: {deliveries: 5s, shutdown: 2s}\n---\n";
    // The service's own time counts too.
    let said = inject(&format!("{config}{short}"), &[]).await;
    assert!(said.stderr.contains("is 10, and draining takes up to 14 s"), "{}", said.stderr);
    let said = inject(&format!("{config}{short}"), &["--at-least", "6s"]).await;
    ended(&said, 0);
    assert!(!said.stderr.contains("terminationGracePeriodSeconds"), "{}", said.stderr);
    let long = config.replace("5s", "2m");
    let said = inject(&format!("{long}{DEPLOYMENT}"), &[]).await;
    assert!(said.stderr.contains("is now 124, since draining takes up to 124 s"), "{}", said.stderr);
    assert_eq!(documents(&said.stdout)[2]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 124);
    let said = inject(&short, &["--at-least", "45s"]).await;
    assert!(said.stderr.contains("is 10, and draining takes up to 52 s"), "{}", said.stderr);
}

#[tokio::test]
async fn a_configuration_that_lets_nobody_drain_it_is_warned_of() {
    let complaint = "configmap/sidespan: auth is set and no token may drain Sidespan";
    for (manage, warned) in [("", true), (", manage: false", true), (", manage: true", false)] {
        let tokens = format!("tokens: [{{name: till, secret: {{env: TILL}}{manage}}}]");
        let map = format!(
            "kind: ConfigMap\nmetadata: {{name: sidespan}}\ndata:\n  config.yaml: 'auth: {{{tokens}}}'\n"
        );
        let said = inject(&format!("{map}---\n{DEPLOYMENT}"), &[]).await;
        ended(&said, 0);
        assert_eq!(said.stderr.contains(complaint), warned, "{}", said.stderr);
    }
    let said = inject(DEPLOYMENT, &[]).await;
    assert!(!said.stderr.contains("auth"), "{}", said.stderr);
}

#[tokio::test]
async fn what_cannot_have_a_sidecar_is_named() {
    let template = "{template: {spec: {containers: [{name: app, image: app}]}}}";
    let job = format!("kind: Job\nmetadata: {{name: once}}\nspec: {template}\n");
    let taken = DEPLOYMENT.replace("name: app", "name: sidespan");
    let volume = DEPLOYMENT.replace("name: data", "name: sidespan-config");
    let wrong = DEPLOYMENT.replace("      volumes:\n", "      volumes: none\n      other:\n");
    for (manifests, options, complaint) in [
        (
            job.as_str(),
            &["--native=false"][..],
            "job/once: an ordinary container would keep it from ever ending",
        ),
        (&taken, &[], "deployment/orders: a container is named sidespan already"),
        (&volume, &[], "deployment/orders: a volume is named sidespan-config already"),
        (&wrong, &[], "deployment/orders: volumes is no list"),
        ("a: b\n---\n{", &[], "in.yaml: document 2 is no YAML"),
        ("kind: Deployment\n", &[], "deployment/(no name): what stands at `containers` is no list"),
    ] {
        let said = inject(manifests, options).await;
        ended(&said, 1);
        assert!(said.stderr.contains(complaint), "{}", said.stderr);
        assert_eq!(said.stdout, "", "half of the manifests would be applied");
    }
    let said = inject(DEPLOYMENT, &["--secret-env", "PASSWORD=kafka"]).await;
    ended(&said, 2);
    assert!(said.stderr.contains("it is no VARIABLE=NAME/KEY"), "{}", said.stderr);
}

const DEPLOYMENT: &str = r#"# What others call.
apiVersion: v1
kind: Service
metadata: {name: orders}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: orders # the name
spec:
  template:
    metadata:
      labels: {app: orders}
    spec:
      initContainers:
      - name: migrate
        image: orders:1
        command: ["sh", "-c", "yes | migrate"]
      # The service.
      containers:
        - name: app
          image: "orders:1"
          env:
            - {name: FLAG, value: "on"}
      volumes:
        - name: data
          secret:
            secretName: orders
            defaultMode: 0400
"#;
