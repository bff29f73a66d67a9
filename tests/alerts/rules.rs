//! The rules by themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::chart;
use crate::prometheus::promtool;

#[tokio::test]
async fn the_rules_fire_on_what_they_are_meant_for() {
    let checked = promtool(&chart(""), &["check", "rules", "alerts.yaml"]).await;
    assert!(checked.success, "{}{}", checked.output, checked.errors);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts");
    let tested = promtool(&here, &["test", "rules", "rules.yaml"]).await;
    assert!(tested.success, "{}{}", tested.output, tested.errors);
}

#[test]
fn each_rule_is_tested() {
    let tests =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts/rules.yaml")).unwrap();
    for alert in alerts() {
        assert!(tests.contains(&format!("\"{alert}\"")), "{alert} fires in no test");
    }
}

/// Somebody is woken by an alert, and has to be told what to do.
#[test]
fn each_alert_has_a_runbook_and_each_runbook_an_alert() {
    let rules = fs::read_to_string(chart("alerts.yaml")).unwrap();
    let alerts = alerts();
    for alert in &alerts {
        assert!(rules.contains(&format!("runbook_url: runbooks/{alert}.md")), "{alert} names no runbook");
        let page = fs::read_to_string(chart(&format!("runbooks/{alert}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {alert}\n")), "{page}");
        assert!(page.contains("\n## Look\n") && page.contains("\n## Do\n"), "{page}");
    }
    let pages: BTreeSet<String> = fs::read_dir(chart("runbooks"))
        .unwrap()
        .map(|page| page.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(pages, alerts);
}

fn alerts() -> BTreeSet<String> {
    let rules = fs::read_to_string(chart("alerts.yaml")).unwrap();
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(ToOwned::to_owned).collect()
}
