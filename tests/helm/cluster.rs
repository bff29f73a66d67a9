//! Installed for real: a control plane without containers takes the charts, rolls them out, back, and cleans up, in a
//! namespace that enforces restricted Pod Security.
//!
//! `tests/run helm --cluster` builds the control plane once, some ten minutes, and runs these.

mod plane;

use std::fs;
use std::path::Path;

use plane::{PATIENCE, Plane};
use serde_json::Value;
use sidespan_test_support::{Said, eventually};

use crate::cases::shop;

const GATEWAY: &str = "helm/sidespan";

/// What the app's chart says of its sidecar: no more than has to be said.
const SIDECAR: &str = "sidespan: { config: { file: { insecure: true, bridges: { main: { kind: kafka, brokers: ['kafka:9092'] } } } } }";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a control plane: tests/run helm --cluster"]
async fn the_charts_are_installed_upgraded_rolled_back_and_gone() {
    let plane = Plane::start().await;
    plane.apply(&namespace("gateway")).await;
    plane.apply(&namespace("app")).await;
    restricted_pod_security_is_enforced(&plane).await;
    gateway(&plane).await;
    sidecar(&plane).await;
}

/// Otherwise that a pod is admitted would tell nothing.
async fn restricted_pod_security_is_enforced(plane: &Plane) {
    let careless = "apiVersion: v1\nkind: Pod\nmetadata: { name: careless, namespace: gateway }\n\
                    spec: { containers: [{ name: it, image: it }] }\n";
    let said = plane.try_to_apply(careless).await;
    assert!(
        !said.success && said.errors.contains("PodSecurity \"restricted"),
        "{}{}",
        said.output,
        said.errors
    );
}

async fn gateway(plane: &Plane) {
    let values = plane.directory().join("values.yaml");
    let values = values.to_str().unwrap();
    let first =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(GATEWAY).join("ci/kafka-values.yaml"))
            .unwrap();
    fs::write(values, &first).unwrap();
    let arguments = ["install", "shop", GATEWAY, "--values", values, "--wait", "--timeout", "2m"];
    succeeded("helm install", &plane.helm("gateway", &arguments).await);
    let before = pods(plane, "gateway").await;
    assert!(!before.is_empty() && before.iter().all(is_ready), "{before:?}");

    let upgrade = async |settings: &str, timeout: &str| {
        let to = ["upgrade", "shop", GATEWAY, "--values", values, "--set", settings];
        plane.helm("gateway", &[&to[..], &["--wait", "--timeout", timeout]].concat()).await
    };
    succeeded("helm upgrade", &upgrade("replicaCount=3,config.rollout=restart", "2m").await);
    let upgraded = pods(plane, "gateway").await;
    assert_eq!(upgraded.iter().filter(|pod| is_ready(pod)).count(), 3, "{upgraded:?}");

    // What Kubernetes refuses leaves what runs alone.
    let careless = "podSecurityContext.runAsNonRoot=false,securityContext.runAsNonRoot=false";
    let refused = upgrade(careless, "20s").await;
    assert!(!refused.success, "{}", refused.output);
    assert!(pods(plane, "gateway").await.iter().filter(|pod| is_ready(pod)).count() >= 3);

    let arguments = ["rollback", "shop", "1", "--wait", "--timeout", "2m"];
    succeeded("helm rollback", &plane.helm("gateway", &arguments).await);
    let back = pods(plane, "gateway").await;
    assert_eq!(back.iter().filter(|pod| is_ready(pod)).count(), before.len(), "{back:?}");

    succeeded(
        "helm uninstall",
        &plane.helm("gateway", &["uninstall", "shop", "--wait", "--timeout", "2m"]).await,
    );
    nothing_is_left(plane, "gateway").await;
}

/// An app whose own chart takes the sidecar from the library chart.
async fn sidecar(plane: &Plane) {
    let app = shop().path().join("shop");
    let values = plane.directory().join("app.yaml");
    fs::write(&values, SIDECAR).unwrap();
    let (app, values) = (app.to_str().unwrap(), values.to_str().unwrap());
    let arguments = ["install", "app", app, "--values", values, "--wait", "--timeout", "2m"];
    succeeded("helm install", &plane.helm("app", &arguments).await);
    let running = pods(plane, "app").await;
    assert!(!running.is_empty() && running.iter().all(is_ready), "{running:?}");
    let sidecars = running.iter().filter(|pod| {
        let containers = pod["spec"]["initContainers"].as_array();
        containers.is_some_and(|all| {
            all.iter().any(|it| it["name"] == "sidespan" && it["restartPolicy"] == "Always")
        })
    });
    assert_eq!(sidecars.count(), running.len(), "each pod has its sidecar, which starts before the app");
    succeeded("helm uninstall", &plane.helm("app", &["uninstall", "app", "--wait", "--timeout", "2m"]).await);
    nothing_is_left(plane, "app").await;
}

async fn nothing_is_left(plane: &Plane, namespace: &str) {
    let kinds = "deployments,statefulsets,replicasets,pods,services,configmaps,serviceaccounts,poddisruptionbudgets,networkpolicies,\
                 horizontalpodautoscalers";
    let what = format!("nothing of the chart is left in {namespace}");
    let selector = "app.kubernetes.io/instance";
    let arguments = ["get", kinds, "--namespace", namespace, "--selector", selector, "--output=name"];
    eventually(PATIENCE, &what, async || {
        let left = plane.kubectl(&arguments).await;
        left.success && left.output.is_empty()
    })
    .await;
}

async fn pods(plane: &Plane, namespace: &str) -> Vec<Value> {
    let said = plane.kubectl(&["get", "pods", "--namespace", namespace, "--output=json"]).await;
    succeeded("kubectl get pods", &said);
    let list: Value = serde_json::from_str(&said.output).unwrap();
    let pods = list["items"].as_array().unwrap();
    // Those that are on their way out are not of this release any more.
    pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|it| it["type"] == "Ready" && it["status"] == "True"))
}

#[track_caller]
fn succeeded(what: &str, said: &Said) {
    assert!(said.success, "{what}: {}{}", said.output, said.errors);
}

fn namespace(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n    pod-security.kubernetes.io/enforce-version: latest\n"
    )
}
