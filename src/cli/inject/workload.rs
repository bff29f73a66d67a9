//! Finds what has pods among manifests: workloads, and lists of them.

use yaml_serde::{Mapping, Value};

use super::grace::Deadlines;
use super::pod::{self, Refusal, within};
use super::sidecar::Sidecar;

/// What was done to a workload, or why nothing was.
#[derive(Debug)]
pub(super) struct Done {
    /// Kind and name.
    pub(super) workload: String,
    /// What to say of it; what the operator has to look at comes after the first.
    pub(super) said: Vec<String>,
}

/// Puts the sidecar into every pod that a manifest makes, and returns what was done to each workload.
///
/// # Errors
///
/// A workload cannot have a sidecar: which, and why.
pub(super) fn inject(
    manifest: &mut Value,
    sidecar: &Sidecar,
    deadlines: &Deadlines,
) -> Result<Vec<Done>, (String, Refusal)> {
    let kind = manifest.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(items) = manifest.get_mut("items").and_then(Value::as_sequence_mut)
        && kind.ends_with("List")
    {
        let mut done = Vec::new();
        for item in items {
            done.extend(inject(item, sidecar, deadlines)?);
        }
        return Ok(done);
    }
    // Others have kinds of these names too, with pods elsewhere.
    let version = manifest.get("apiVersion").and_then(Value::as_str);
    let is_known =
        |known: &str, of: &str| known == kind && version.is_none_or(|version| version.starts_with(of));
    let Some((.., path)) = KINDS.iter().find(|(known, of, _)| is_known(known, of)) else {
        return Ok(Vec::new());
    };
    let name = manifest.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str);
    let workload = format!("{}/{}", kind.to_lowercase(), name.unwrap_or("(no name)"));
    let said = template(manifest, path, sidecar, deadlines);
    let said = said.map_err(|refusal| (workload.clone(), refusal))?;
    Ok(vec![Done { workload, said }])
}

fn template(
    manifest: &mut Value,
    path: &[&'static str],
    sidecar: &Sidecar,
    deadlines: &Deadlines,
) -> Result<Vec<String>, Refusal> {
    let workload = manifest.as_mapping_mut().ok_or(Refusal::Shape("the manifest", "mapping"))?;
    let mut out = pod::opted_out(workload.get("metadata"));
    let ends = path.contains(&"jobTemplate") || workload.get("kind").is_some_and(|kind| kind == "Job");
    let mut pod: &mut Mapping = workload;
    for key in path {
        pod = within(pod, key, key)?;
    }
    out |= pod::opted_out(pod.get("metadata"));
    if out {
        return Ok(vec!["left alone, as its annotation says".into()]);
    }
    if ends && !sidecar.native {
        return Err(Refusal::NeverEnds);
    }
    if !pod.get("spec").is_some_and(|spec| spec.get("containers").is_some_and(Value::is_sequence)) {
        return Err(Refusal::Shape("what stands at `containers`", "list"));
    }
    let notes = pod::inject(pod, sidecar)?;
    let grace = deadlines.agree(within(pod, "spec", "spec")?);
    Ok(["has a sidecar".to_owned()].into_iter().chain(notes).chain(grace).collect())
}

/// What makes pods, what its version begins with, and where the template of these is.
const KINDS: [(&str, &str, &[&str]); 7] = [
    ("CronJob", "batch/", &["spec", "jobTemplate", "spec", "template"]),
    ("DaemonSet", "apps/", &["spec", "template"]),
    ("Deployment", "apps/", &["spec", "template"]),
    ("Job", "batch/", &["spec", "template"]),
    ("Pod", "v1", &[]),
    ("ReplicaSet", "apps/", &["spec", "template"]),
    ("StatefulSet", "apps/", &["spec", "template"]),
];
