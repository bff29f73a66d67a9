//! What a subscription is made of: a file in YAML or JSON, or options.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::place;

/// What a subscription is made of.
#[derive(Debug, Args)]
pub(super) struct Spec {
    /// The section that a configuration file would have, in YAML or JSON; `-` is standard input.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["topic", "bridge", "push", "pull", "start", "order"])]
    file: Option<PathBuf>,
    /// What it reads: a declared topic, an address or a pattern.
    #[arg(long, value_name = "TOPIC", required_unless_present = "file")]
    topic: Option<String>,
    /// The bridge, for an address or pattern.
    #[arg(long, value_name = "BRIDGE")]
    bridge: Option<String>,
    /// Post the messages to this webhook.
    #[arg(long, value_name = "URL", conflicts_with = "pull", required_unless_present_any = ["file", "pull"])]
    push: Option<String>,
    /// Keep the messages for consumers that fetch them.
    #[arg(long)]
    pull: bool,
    /// Where a new group begins: `begin`, `end`, a time or a position.
    #[arg(long, value_name = "PLACE")]
    start: Option<String>,
    /// Which messages must not overtake which: `none`, `key` or `topic`.
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,
}

impl Spec {
    /// Reads the file, or puts together what the options say.
    pub(super) fn read(&self) -> Result<Value, Failure> {
        let Some(file) = &self.file else { return Ok(self.said()) };
        let text = if file.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(file)
        };
        let shown = file.display();
        let text = text.map_err(|error| Failure::Failed(format!("cannot read {shown}: {error}")))?;
        // JSON is YAML.
        let value: Value = yaml_serde::from_str(&text)
            .map_err(|error| Failure::Failed(format!("{shown} is neither YAML nor JSON: {error}")))?;
        if value.is_object() {
            return Ok(value);
        }
        Err(Failure::Failed(format!("{shown} is no section of keys, such as `topic: orders`")))
    }

    fn said(&self) -> Value {
        let mut spec = Map::new();
        let texts = [("topic", &self.topic), ("bridge", &self.bridge), ("order", &self.order)];
        for (key, text) in texts {
            spec.extend(text.as_deref().map(|text| (key.to_owned(), text.into())));
        }
        spec.extend(self.start.as_deref().map(|start| ("start".to_owned(), place(start))));
        spec.extend(self.push.as_ref().map(|url| ("push".to_owned(), json!({"url": url}))));
        spec.extend(self.pull.then(|| ("pull".to_owned(), json!({}))));
        spec.into()
    }
}
