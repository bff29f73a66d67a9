//! Rules and dashboards reach the cluster as their files have them.

use std::fs;

use serde_json::Value;

use crate::cases::{Case, copy, objects};
use crate::tools::{helm, root};

#[test]
fn rules_and_dashboards_are_what_the_files_say() {
    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("sidespan");
    copy(&root().join("helm/sidespan"), folder.path());
    let _ = fs::remove_dir_all(chart.join("files"));
    fs::create_dir_all(chart.join("files/dashboards")).unwrap();
    fs::write(chart.join("files/alerts.yaml"), RULES).unwrap();
    let dashboard = "{\n  \"title\": \"{{ $labels.instance }}\"\n}\n";
    fs::write(chart.join("files/dashboards/fleet.json"), dashboard).unwrap();

    let values = root().join("helm/sidespan/ci/monitoring-values.yaml");
    let (chart, values) = (chart.to_str().unwrap(), values.to_str().unwrap());
    let objects = objects(&helm(&["template", "shop", chart, "--values", values]).printed());

    let rule = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    let alert = &rule["spec"]["groups"][0]["rules"][0];
    assert_eq!(alert["annotations"]["summary"], "{{ $labels.sidespan_subscription }} is late");
    assert_eq!(alert["annotations"]["runbook_url"], "https://runbooks.example/sidespan/runbooks/Late.md");
    let map = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    assert_eq!(map["data"]["fleet.json"], dashboard);
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
}

#[test]
fn nothing_but_what_is_switched_on_is_rendered() {
    let kinds = |case: &str| {
        let objects = Case::named("sidespan", case).objects();
        let kinds = objects.iter().map(|object| object["kind"].as_str().unwrap().to_owned());
        let mut kinds: Vec<String> = kinds.collect();
        kinds.sort_unstable();
        kinds
    };
    assert_eq!(kinds("kafka"), ["ConfigMap", "Deployment", "Service", "Service", "ServiceAccount"]);
    let switched = ["NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "ScaledObject", "ServiceMonitor"];
    assert!(switched.iter().all(|kind| kinds("fleet").iter().any(|one| one == kind)), "{:?}", kinds("fleet"));
    assert!(kinds("monitoring").iter().all(|kind| kind == "ConfigMap" || kind == "PrometheusRule"));
}

#[test]
fn who_scales_asks_for_the_lag_by_the_metrics_own_name() {
    let find = |case: &str, kind: &str| -> Value {
        let objects = Case::named("sidespan", case).objects();
        objects.into_iter().find(|object| object["kind"] == kind).unwrap()
    };
    let query = &find("fleet", "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"];
    let lag =
        r#"max(sidespan_subscription_lag_messages{namespace="events",sidespan_subscription="billing"})"#;
    assert_eq!(query, lag);
    let metric = &find("hpa", "HorizontalPodAutoscaler")["spec"]["metrics"][1]["external"]["metric"];
    assert_eq!(metric["name"], "sidespan_subscription_lag_messages");
}

const RULES: &str = "\
# Rules.
groups:
  - name: sidespan
    rules:
      - alert: Late
        expr: sidespan_subscription_oldest_unsettled_age_seconds > 60
        annotations:
          summary: \"{{ $labels.sidespan_subscription }} is late\"
          runbook_url: runbooks/Late.md
";
