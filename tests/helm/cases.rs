//! What is rendered: the charts with the values under their `ci`, the library by way of a service's chart.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tools::{Done, helm, root, run};

/// A chart with values.
pub(crate) struct Case {
    /// `sidespan`, or `sidespan-sidecar`.
    pub(crate) chart: &'static str,
    pub(crate) name: String,
    values: PathBuf,
}

impl Case {
    /// Returns one by its name.
    pub(crate) fn named(chart: &'static str, name: &str) -> Self {
        let values = root().join("helm").join(chart).join(format!("ci/{name}-values.yaml"));
        assert!(values.exists(), "{}", values.display());
        Self { chart, name: name.to_owned(), values }
    }

    /// Runs a command of Helm on it: the arguments before and after the chart.
    pub(crate) fn helm(&self, before: &[&str], after: &[&str]) -> Done {
        let (chart, values) = match self.chart {
            "sidespan" => (root().join("helm/sidespan"), self.values.clone()),
            _ => (shop().path().join("shop"), shop().path().join(format!("{}.json", self.name))),
        };
        let (chart, values) = (chart.to_str().unwrap(), values.to_str().unwrap());
        helm(&[before, &[chart, "--namespace", "events", "--values", values], after].concat())
    }

    /// Renders it, with further values.
    pub(crate) fn try_render(&self, further: &[&str]) -> Done {
        self.helm(&["template", "shop"], further)
    }

    /// Renders it, once.
    pub(crate) fn render(&self) -> String {
        static RENDERED: Mutex<BTreeMap<(&str, String), String>> = Mutex::new(BTreeMap::new());
        let key = (self.chart, self.name.clone());
        if let Some(rendered) = RENDERED.lock().unwrap().get(&key) {
            return rendered.clone();
        }
        let rendered = self.try_render(&[]).printed();
        RENDERED.lock().unwrap().insert(key, rendered.clone());
        rendered
    }

    /// Renders it, and reads the objects.
    pub(crate) fn objects(&self) -> Vec<Value> {
        objects(&self.render())
    }
}

/// Returns all of them.
pub(crate) fn all() -> Vec<Case> {
    let charts = ["sidespan", "sidespan-sidecar"];
    charts
        .into_iter()
        .flat_map(|chart| names(chart).into_iter().map(move |name| Case::named(chart, &name)))
        .collect()
}

fn names(chart: &str) -> Vec<String> {
    let files = fs::read_dir(root().join("helm").join(chart).join("ci")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter_map(|name| name.strip_suffix("-values.yaml").map(str::to_owned)).collect();
    names.sort_unstable();
    assert!(!names.is_empty(), "helm/{chart}/ci");
    names
}

/// A folder with the chart of a service, which has the charts as dependencies, and the values that it gives them.
pub(crate) fn shop() -> &'static TempDir {
    static SHOP: OnceLock<TempDir> = OnceLock::new();
    SHOP.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let charts = folder.path().join("shop/charts");
        copy(&root().join("tests/helm/shop"), folder.path());
        fs::create_dir(&charts).unwrap();
        for chart in ["helm/sidespan", "helm/sidespan-sidecar"] {
            copy(&root().join(chart), &charts);
        }
        for name in names("sidespan-sidecar") {
            let values = root().join(format!("helm/sidespan-sidecar/ci/{name}-values.yaml"));
            let values: Value = yaml_serde::from_str(&fs::read_to_string(values).unwrap()).unwrap();
            fs::write(folder.path().join(format!("{name}.json")), json!({"sidespan": values}).to_string())
                .unwrap();
        }
        folder
    })
}

/// Renders the chart of that service, with values.
#[track_caller]
pub(crate) fn render_shop(values: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values.json");
    fs::write(&path, values.to_string()).unwrap();
    let (chart, path) = (shop().path().join("shop"), path.to_str().unwrap());
    helm(&["template", "shop", chart.to_str().unwrap(), "--namespace", "events", "--values", path]).printed()
}

/// Copies a folder into another.
pub(crate) fn copy(from: &Path, to: &Path) {
    run("cp", &["-R", from.to_str().unwrap(), to.to_str().unwrap()]).printed();
}

/// Reads the objects of a text.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let documents = yaml_serde::Deserializer::from_str(text);
    documents
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// Returns the specification of the pods of an object, if it has any.
pub(crate) fn pod(object: &Value) -> Option<&Value> {
    object.pointer("/spec/template/spec")
}

/// Returns Sidespan's own container.
pub(crate) fn sidespan(pod: &Value) -> &Value {
    let containers = ["containers", "initContainers"].into_iter().filter_map(|kind| pod[kind].as_array());
    containers.flatten().find(|container| container["name"] == "sidespan").expect("Sidespan is in the pod")
}
