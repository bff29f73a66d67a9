//! `inject` on manifests as people have them: fetched, generated, shared, and broken.

use std::fs;

use sidespan_test_support::{Ended, Launch};

use crate::{SIDESPAN, ended};

/// Injects the files of a directory by a line of shell, which reads `$SIDESPAN inject`.
async fn inject(files: &[(&str, &str)], line: &str) -> Ended {
    let launch = Launch::new("/bin/sh").arguments(&["-c", line]).env("SIDESPAN", SIDESPAN);
    for (name, text) in files {
        fs::write(launch.directory().join(name), text).unwrap();
    }
    launch.run_to_end().await
}

async fn inject_one(manifests: &str) -> Ended {
    inject(&[("in.yaml", manifests)], "$SIDESPAN inject -f in.yaml").await
}

fn meaning(text: &str) -> yaml_serde::Value {
    let mut value: yaml_serde::Value = yaml_serde::from_str(text).unwrap();
    value.apply_merge().unwrap();
    value
}

#[track_caller]
fn assert_keeps_lines(before: &str, after: &str) {
    let mut left = after.lines();
    for line in before.lines() {
        assert!(left.any(|kept| kept == line), "{line:?} is gone or out of order in:\n{after}");
    }
}

#[tokio::test]
async fn what_kubectl_fetched_keeps_its_lines_and_its_status() {
    let said = inject_one(FETCHED).await;
    ended(&said, 0);
    assert_keeps_lines(FETCHED, &said.stdout);
    let list = meaning(&said.stdout);
    let deployment = &list["items"][1];
    assert_eq!(deployment["status"], meaning(FETCHED)["items"][1]["status"]);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["initContainers"][0]["name"], "sidespan");
    // The configuration is in the list too.
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    assert!(said.stderr.contains("is 30, and draining takes up to 67 s"), "{}", said.stderr);

    let again = inject_one(&said.stdout).await;
    assert_eq!(again.stdout, said.stdout, "injecting twice is injecting once");
}

#[tokio::test]
async fn anchors_stay_and_what_is_merged_in_is_not_lost() {
    let shared = SHARED.replace("MERGE", "");
    let said = inject_one(&shared).await;
    ended(&said, 0);
    assert_keeps_lines(&shared, &said.stdout);

    // Here it is the pod's own specification that is merged, so that it cannot stay as it is written.
    let merged = SHARED.replace("MERGE", "<<: *pod");
    let said = inject_one(&merged).await;
    ended(&said, 0);
    assert!(!said.stdout.contains("<<"), "kubectl merges nothing in:\n{}", said.stdout);
    let spec = &meaning(&said.stdout)["spec"]["template"]["spec"];
    assert_eq!(spec["initContainers"][0]["name"], "sidespan");
    assert_eq!(spec["serviceAccountName"], "orders");
    assert_eq!(spec["containers"], meaning(&merged)["spec"]["template"]["spec"]["containers"]);
}

#[tokio::test]
async fn files_and_standard_input_make_one_stream() {
    let files = [
        ("a.yaml", "# first\nkind: Secret"),
        ("b.yaml", "---\nkind: Role\n"),
        ("c.yaml", POD),
        ("d.yaml", ""),
    ];
    let line = "$SIDESPAN inject -f a.yaml -f b.yaml -f - -f d.yaml < c.yaml";
    let said = inject(&files, line).await;
    ended(&said, 0);
    assert!(said.stdout.starts_with("# first\nkind: Secret\n---\nkind: Role\n---\n"), "{}", said.stdout);
    assert_eq!(said.stdout.matches("/usr/local/bin/sidespan").count(), 1, "{}", said.stdout);
    let by_default = inject(&files, "$SIDESPAN inject < c.yaml").await;
    assert!(said.stdout.contains(&by_default.stdout), "{}", by_default.stdout);
}

#[tokio::test]
async fn a_fault_is_found_by_its_file_and_line_and_nothing_is_printed() {
    let pod = POD.replace("image: a", "image: a\n  volumes: none");
    for (broken, complaint) in [
        ("kind: Role\n---\n# fine\nkind: [Role\nname: }\n", "b.yaml: document 2 is no YAML: "),
        ("kind: Role\n---\n# fine\nkind: [Role\nname: }\n", "line 5"),
        (
            "a: 1\n---\nkind: Role\nkind: Role\n",
            "document 2 is no YAML: duplicate entry with key \"kind\" at line 3",
        ),
        ("kind: Role\nkind: Role\n", "b.yaml: document 1 is no YAML: duplicate entry with key \"kind\""),
        ("kind: Role\n\tname: a\n", "line 2"),
        (&format!("kind: Role\n---\n{pod}"), "b.yaml:3: pod/orders: volumes is no list"),
    ] {
        let said =
            inject(&[("a.yaml", POD), ("b.yaml", broken)], "$SIDESPAN inject -f a.yaml -f b.yaml").await;
        ended(&said, 1);
        assert!(said.stderr.contains(complaint), "{broken:?}: {}", said.stderr);
        assert_eq!(said.stdout, "");
        assert!(!said.stderr.contains("has a sidecar"), "nothing was done: {}", said.stderr);
    }
    let said = inject(&[("b.yaml", "a: [\n")], "$SIDESPAN inject < b.yaml").await;
    assert!(said.stderr.contains("standard input: document 1 is no YAML: "), "{}", said.stderr);
    let said = inject(&[], "$SIDESPAN inject -f gone.yaml").await;
    ended(&said, 1);
    assert!(said.stderr.contains("gone.yaml: "), "{}", said.stderr);
}

#[tokio::test]
async fn what_others_define_passes_as_it_is() {
    // Kinds with pods elsewhere, one of them with a name that Kubernetes has too; and text that looks like a manifest.
    let text = "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nmetadata: { name: train }\nspec:\n  tasks: [ {name: a} ]\n\
                ---  \napiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec: {template: {spec: {containers: [{name: app}]}}}\n\
                ---\nkind: ConfigMap\ndata:\n  pod.yaml: |\n    kind: Pod\n    spec: {containers: []}\n    ---\n    kind: Pod\n\
                --- # the last\n# nothing but this\n";
    let said = inject_one(text).await;
    ended(&said, 0);
    assert_eq!(said.stdout, text);
    assert_eq!(said.stderr, "");
}

#[tokio::test]
async fn a_pod_on_the_nodes_network_is_warned_of() {
    let said = inject_one(&POD.replace("spec:", "spec:\n  hostNetwork: true")).await;
    ended(&said, 0);
    assert!(said.stderr.contains("pod/orders: its pods have the node's network"), "{}", said.stderr);
}

#[tokio::test]
async fn files_are_read_as_windows_writes_them() {
    let said = inject_one(&format!("\u{feff}kind: Role\r\n---\r\n{}", POD.replace('\n', "\r\n"))).await;
    ended(&said, 0);
    assert!(said.stdout.starts_with("kind: Role\r\n---\r\n"), "{:?}", said.stdout);
    assert_eq!(said.stdout.matches("/usr/local/bin/sidespan").count(), 1, "{}", said.stdout);
    assert!(said.stdout.contains("# the service"), "{}", said.stdout);
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: orders\nspec:\n  containers:\n  - name: app # the service\n    image: a\n";

const SHARED: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: orders
  labels: &labels
    app: orders
x-pod: &pod
  serviceAccountName: orders # shared
spec:
  selector:
    matchLabels: *labels
  template:
    metadata:
      labels: *labels
    spec:
      MERGE
      containers:
        - &app
          name: app
          image: orders:1
          resources: {limits: &limits {memory: 64Mi}}
        - <<: *app
          name: worker # the same, but for its name
"#;

const FETCHED: &str = r#"apiVersion: v1
items:
- apiVersion: v1
  data:
    config.yaml: |
      drain: {deliveries: 1m}
  kind: ConfigMap
  metadata:
    name: sidespan
- apiVersion: apps/v1
  kind: Deployment
  metadata:
    annotations:
      deployment.kubernetes.io/revision: "3"
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{"spec":{"containers":[{"name":"app"}]}}}}
    creationTimestamp: "2026-01-02T03:04:05Z"
    generation: 3
    name: orders
    resourceVersion: "0123"
    uid: 8e5a7a52-6f5e-4f0e-9d0f-3a4a4f0c1b2d
  spec:
    progressDeadlineSeconds: 600
    template:
      metadata:
        creationTimestamp: null
        labels:
          app: orders
      spec:
        containers:
        - image: orders:1
          imagePullPolicy: IfNotPresent
          name: app
          resources: {}
          terminationMessagePath: /dev/termination-log
        dnsPolicy: ClusterFirst
        restartPolicy: Always
        schedulerName: default-scheduler
        securityContext: {}
        terminationGracePeriodSeconds: 30
  status:
    availableReplicas: 3
    conditions:
    - lastTransitionTime: "2026-01-02T03:04:05Z"
      status: "True"
      type: Available
kind: List
metadata:
  resourceVersion: ""
"#;
