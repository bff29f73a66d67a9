//! What the sidecar gets of the cluster's Secrets: references alone, as its configuration names them.

use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

/// The Secrets that are asked for.
#[derive(Debug, Default, Args)]
pub(super) struct Secrets {
    /// A Secret whose keys are files, for `{file: /run/secrets/NAME/KEY}` in the configuration; repeatable.
    #[arg(long = "secret", value_name = "NAME")]
    files: Vec<String>,
    /// A variable from a key of a Secret, for `{env: VARIABLE}` in the configuration; repeatable.
    #[arg(long = "secret-env", value_name = "VARIABLE=NAME/KEY")]
    variables: Vec<Variable>,
}

impl Secrets {
    /// Returns what the container has among its variables.
    pub(super) fn env(&self) -> Vec<Value> {
        let variable = |Variable { variable, secret, key }: &Variable| json!({"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}});
        self.variables.iter().map(variable).collect()
    }

    /// Returns what it mounts.
    pub(super) fn mounts(&self) -> Vec<Value> {
        let mount = |secret: &String| json!({"name": volume(secret), "mountPath": format!("/run/secrets/{secret}"), "readOnly": true});
        self.files.iter().map(mount).collect()
    }

    /// Returns the volumes of its pod.
    pub(super) fn volumes(&self) -> Vec<Value> {
        let volume = |secret: &String| json!({"name": volume(secret), "secret": {"secretName": secret}});
        self.files.iter().map(volume).collect()
    }
}

/// A variable that has its value from a Secret.
#[derive(Clone, Debug)]
struct Variable {
    variable: String,
    secret: String,
    key: String,
}

impl FromStr for Variable {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').and_then(|(variable, of)| Some((variable, of.split_once('/')?)));
        match parts {
            Some((variable, (secret, key))) if ![variable, secret, key].contains(&"") => {
                Ok(Self { variable: variable.into(), secret: secret.into(), key: key.into() })
            }
            Some(_) | None => Err("it is no VARIABLE=NAME/KEY, such as KAFKA_PASSWORD=kafka/password"),
        }
    }
}

/// Names a Secret's volume, which may have no dot, and 63 characters.
fn volume(secret: &str) -> String {
    let name = format!("{VOLUMES}{}", secret.replace('.', "-"));
    name.chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
}

/// What their volumes' names begin with.
pub(super) const VOLUMES: &str = "sidespan-secret-";
