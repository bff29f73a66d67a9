//! `sidespan inject`: manifests in, manifests with the sidecar out.
//!
//! For whoever deploys without Helm: it stands in a pipe before `kubectl apply`. What makes no pods passes as it
//! is, byte by byte, and so does what was opted out. Of the rest each line stays that need not change, and
//! what was injected before is brought up to date, so that doing it twice is doing it once.

mod callers;
mod documents;
mod grace;
mod pod;
mod secrets;
mod sidecar;
mod text;
mod workload;

use std::io;
use std::path::PathBuf;

use clap::Args;
use yaml_serde::Value;

use self::documents::Document;
use self::grace::Deadlines;
use self::sidecar::{Sidecar, Wanted};
use super::failure::{Failure, Outcome};
use super::output;

/// Add the sidecar to Kubernetes manifests.
#[derive(Debug, Args)]
#[command(after_help = "\
Adds it to Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs and Pods, also in Lists; the
annotation `sidespan.io/inject: disabled` on one of them, or on its pod template, leaves it alone. What was done
is said on standard error.

The configuration comes from the ConfigMap, key config.yaml. A native sidecar needs Kubernetes 1.29.

Examples:
  sidespan inject -f deploy.yaml --config-map orders-sidespan | kubectl apply -f -
  sidespan inject -f deploy.yaml --secret-env KAFKA_PASSWORD=kafka/password --secret webhooks
  kubectl get deploy orders -o yaml | sidespan inject | kubectl apply -f -")]
pub(super) struct Inject {
    /// The manifests, in YAML or JSON; `-` is standard input; repeatable.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    file: Vec<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
    /// The configuration, to see whether the pods agree with it [default: the ConfigMap, if it is among
    /// the manifests]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Inject {
    /// Prints the manifests with the sidecar, or nothing if one of them cannot have it.
    pub(super) fn run(self) -> Outcome {
        let documents = self.documents()?;
        let (source, config) = self.config(&documents)?;
        let deadlines = Deadlines::read(&config, self.wanted.at_least);
        let deadlines = deadlines.map_err(|error| Failure::Failed(format!("{source}: {error}")))?;
        let sidecar = Sidecar::new(&self.wanted);
        let sidecar = sidecar.ok_or_else(|| Failure::Failed("the sidecar's template is broken".into()))?;
        let (mut out, mut all) = (String::new(), Vec::new());
        for Document { place, separator, text, value } in documents {
            let mut injected = value.clone();
            let done = workload::inject(&mut injected, &sidecar, &deadlines)
                .map_err(|(workload, refusal)| Failure::Failed(format!("{place}: {workload}: {refusal}")))?;
            all.extend(done);
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
            out.push_str(separator.as_deref().unwrap_or_default());
            out.push_str(&if injected == value { text } else { text::edit(&text, &value, &injected) });
        }
        if let Some(complaint) = callers::complaint(&config) {
            output::talk(&format!("{source}: {complaint}"));
        }
        for workload::Done { workload, said } in all {
            said.iter().for_each(|said| output::talk(&format!("{workload}: {said}")));
        }
        output::print_bytes(out.as_bytes())
    }

    /// Reads the files one after another, as one stream.
    fn documents(&self) -> Result<Vec<Document>, Failure> {
        let mut documents = Vec::new();
        for file in &self.file {
            let (name, stream) = if file.as_os_str() == "-" {
                ("standard input".to_owned(), io::read_to_string(io::stdin().lock()))
            } else {
                (file.display().to_string(), std::fs::read_to_string(file))
            };
            let stream = stream.map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
            let read = documents::read(&name, &stream);
            let mut read = read.map_err(|error| Failure::Failed(error.to_string()))?;
            if let Some(first) = read.first_mut().filter(|_| !documents.is_empty()) {
                first.separator.get_or_insert_with(|| "---\n".into());
            }
            documents.append(&mut read);
        }
        Ok(documents)
    }

    /// Returns where the configuration is, and what it says; nothing where it isn't at hand.
    fn config(&self, documents: &[Document]) -> Result<(String, String), Failure> {
        if let Some(file) = &self.config {
            let place = file.display().to_string();
            return match std::fs::read_to_string(file) {
                Ok(config) => Ok((place, config)),
                Err(error) => Err(Failure::Failed(format!("{place}: {error}"))),
            };
        }
        let found = documents.iter().find_map(|document| self.config_in(&document.value));
        Ok((format!("configmap/{}", self.wanted.config_map), found.unwrap_or_default().to_owned()))
    }

    fn config_in<'a>(&self, manifest: &'a Value) -> Option<&'a str> {
        if let Some(items) = manifest.get("items").and_then(Value::as_sequence) {
            return items.iter().find_map(|item| self.config_in(item));
        }
        let is = |value: Option<&Value>, text: &str| value.and_then(Value::as_str) == Some(text);
        let name = manifest.get("metadata")?.get("name");
        (is(manifest.get("kind"), "ConfigMap") && is(name, &self.wanted.config_map))
            .then(|| manifest.get("data")?.get("config.yaml")?.as_str())?
    }
}
