//! Every value is documented, and a README has them all.

use std::fs;

use serde_json::{Value, json};

use crate::cases::{Case, copy, objects, pod, render_shop};
use crate::tools::{assert_kept, root, run, tool};

#[test]
fn the_readme_of_each_chart_has_every_value() {
    let folder = tempfile::tempdir().unwrap();
    for chart in ["sidespan", "sidespan-sidecar"] {
        copy(&root().join("helm").join(chart), folder.path());
    }
    let search = folder.path().to_str().unwrap();
    run(tool("helm-docs"), &["--chart-search-root", search, "--sort-values-order", "file"]).printed();
    for chart in ["sidespan", "sidespan-sidecar"] {
        let now = fs::read_to_string(folder.path().join(chart).join("README.md")).unwrap();
        let table = now.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |  |"));
        assert_eq!(table.collect::<Vec<_>>(), Vec::<&str>::new(), "a value of {chart} is not documented");
        assert_kept(&root().join("helm").join(chart).join("README.md"), &now);
    }
}

#[test]
fn the_values_of_each_readme_are_enough_for_a_first_install() {
    let values = |chart: &str, mark: &str| -> Value {
        let readme = fs::read_to_string(root().join("helm").join(chart).join("README.md")).unwrap();
        let block = readme.split(mark).nth(1).unwrap().split("```").next().unwrap();
        yaml_serde::from_str(block).unwrap()
    };
    let mut shop = values("sidespan-sidecar", "```yaml\n# values.yaml\n");
    shop["gateway"] = values("sidespan", "```yaml\n");
    shop["gateway"]["enabled"] = json!(true);
    let objects = objects(&render_shop(&shop));
    let names: Vec<&Value> = objects
        .iter()
        .filter(|object| pod(object).is_some())
        .map(|object| &object["metadata"]["name"])
        .collect();
    assert_eq!(names, ["shop-gateway", "shop"]);
}

#[test]
fn the_notes_say_what_to_do_next() {
    let notes = |name: &str| {
        let case = Case::named("sidespan", name);
        let done = case.helm(&["install", "shop"], &["--dry-run=client"]).printed();
        done.split_once("NOTES:\n").unwrap().1.to_owned()
    };
    let kafka = notes("kafka");
    assert!(kafka.contains("http://shop-sidespan.events.svc:7400"), "{kafka}");
    assert!(kafka.contains("kubectl --namespace events rollout status deployment/shop-sidespan"), "{kafka}");
    assert!(kafka.contains("-H \"Authorization: Bearer $TOKEN\""), "{kafka}");
    assert!(kafka.contains("/v1/topics/orders/messages"), "{kafka}");
    let stat = "exec deployment/shop-sidespan -- sidespan stat --token-file /run/secrets/callers/operator\n";
    assert!(kafka.contains(stat), "{kafka}");
    assert!(notes("hpa").contains("-- sidespan stat\n"), "nobody is asked for a token there");
    assert!(notes("embedded").contains("rollout status statefulset/shop-sidespan"));
    assert!(notes("ephemeral").contains("Messages are lost with their pod"));
    assert!(notes("monitoring").contains("The gateway does not run"));
}
