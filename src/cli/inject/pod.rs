//! Puts the sidecar into a pod, or takes over the one that an earlier run has put there.

use yaml_serde::{Mapping, Value};

use super::sidecar::{Sidecar, is_own_volume};

/// Why a pod cannot have a sidecar.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// A Job ends when its containers have.
    #[error("an ordinary container would keep it from ever ending: leave out --native=false")]
    NeverEnds,
    /// The manifest is not what Kubernetes takes.
    #[error("{0} is no {1}")]
    Shape(&'static str, &'static str),
    /// Somebody else's container or volume has the name.
    #[error(
        "a {0} is named {1} already and was not injected: rename it, or opt out with the annotation {DISABLE}: disabled"
    )]
    Taken(&'static str, String),
}

/// Puts the sidecar into a pod, or a pod's template.
///
/// # Errors
///
/// The manifest is not what Kubernetes takes, or the pod cannot have a sidecar.
pub(super) fn inject(pod: &mut Mapping, sidecar: &Sidecar) -> Result<Vec<String>, Refusal> {
    let metadata = within(pod, "metadata", "metadata")?;
    let known = annotation(metadata, INJECTED).is_some();
    let mut notes = annotate(within(metadata, "annotations", "metadata.annotations")?);
    let spec = within(pod, "spec", "spec")?;
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        notes.push(NODE.into());
    }
    // The first to start, so that whatever starts then can publish.
    let (wanted, other) =
        if sidecar.native { ("initContainers", "containers") } else { ("containers", "initContainers") };
    let place = remove(spec, wanted, known)?;
    remove(spec, other, known)?;
    let list = listed(spec, wanted)?;
    let place = place.unwrap_or(if sidecar.native { 0 } else { list.len() });
    list.insert(place.min(list.len()), sidecar.container.clone());
    mount(listed(spec, "volumes")?, sidecar, known)?;
    Ok(notes)
}

/// Tells whether whoever wrote the manifest wants no sidecar.
pub(super) fn opted_out(metadata: Option<&Value>) -> bool {
    let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
    annotations.and_then(|all| all.get(DISABLE)).is_some_and(|value| value.as_str() == Some("disabled"))
}

/// Takes out what an earlier run has put there, and returns where it was.
fn remove(spec: &mut Mapping, key: &'static str, known: bool) -> Result<Option<usize>, Refusal> {
    let Some(list) = spec.get_mut(key).filter(|list| !list.is_null()) else { return Ok(None) };
    let list = list.as_sequence_mut().ok_or(Refusal::Shape(key, "list"))?;
    let Some(place) = list.iter().position(|container| is_named(container, NAME)) else { return Ok(None) };
    if !known {
        return Err(Refusal::Taken("container", NAME.into()));
    }
    list.remove(place);
    if list.is_empty() {
        spec.shift_remove(key);
    }
    Ok(Some(place))
}

/// Puts the sidecar's volumes where those of an earlier run were, or last.
fn mount(volumes: &mut Vec<Value>, sidecar: &Sidecar, known: bool) -> Result<(), Refusal> {
    let place = volumes.iter().position(|volume| own(volume).is_some()).unwrap_or(volumes.len());
    if let Some(name) = volumes.get(place).and_then(own).filter(|_| !known) {
        return Err(Refusal::Taken("volume", name.to_owned()));
    }
    volumes.retain(|volume| own(volume).is_none());
    volumes.splice(place..place, sidecar.volumes.iter().cloned());
    Ok(())
}

/// Returns the name of a volume that is a sidecar's.
fn own(volume: &Value) -> Option<&str> {
    volume.get("name")?.as_str().filter(|name| is_own_volume(name))
}

/// Has Prometheus look at the sidecar, unless it looks at the service.
fn annotate(annotations: &mut Mapping) -> Vec<String> {
    annotations.insert(INJECTED.into(), "true".into());
    let port = annotations.get(SCRAPED_PORT).and_then(Value::as_str);
    if port.is_some_and(|port| port != HEALTH_PORT) || (port.is_none() && annotations.contains_key(SCRAPED)) {
        return vec![format!("{SCRAPED} is the service's, so Prometheus does not see the sidecar by it")];
    }
    for (key, value) in [(SCRAPED, "true"), (SCRAPED_PORT, HEALTH_PORT), (SCRAPED_PATH, "/metrics")] {
        annotations.insert(key.into(), value.into());
    }
    Vec::new()
}

fn annotation<'a>(metadata: &'a Mapping, name: &str) -> Option<&'a Value> {
    metadata.get("annotations")?.get(name)
}

fn is_named(value: &Value, name: &str) -> bool {
    value.get("name").and_then(Value::as_str) == Some(name)
}

/// Returns the mapping under a key, which is made if there is none.
pub(super) fn within<'a>(
    mapping: &'a mut Mapping,
    key: &str,
    path: &'static str,
) -> Result<&'a mut Mapping, Refusal> {
    let value = mapping.entry(key.into()).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Mapping(Mapping::new());
    }
    value.as_mapping_mut().ok_or(Refusal::Shape(path, "mapping"))
}

fn listed<'a>(mapping: &'a mut Mapping, key: &'static str) -> Result<&'a mut Vec<Value>, Refusal> {
    let value = mapping.entry(key.into()).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Sequence(Vec::new());
    }
    value.as_sequence_mut().ok_or(Refusal::Shape(key, "list"))
}

/// What loopback is no bound for.
const NODE: &str = "its pods have the node's network: whatever runs on the node reaches Sidespan on loopback, and the ports let only \
                    one of them be on a node";
const NAME: &str = "sidespan";
const DISABLE: &str = "sidespan.io/inject";
const INJECTED: &str = "sidespan.io/injected";
const SCRAPED: &str = "prometheus.io/scrape";
const SCRAPED_PORT: &str = "prometheus.io/port";
const SCRAPED_PATH: &str = "prometheus.io/path";
const HEALTH_PORT: &str = "7402";
