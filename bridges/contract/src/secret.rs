//! Secrets, by value or by where they are kept.

use std::borrow::Cow;
use std::path::PathBuf;
use std::{env, fmt, fs, io};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// A secret: `{env: NAME}`, `{file: PATH}`, or the text itself. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a secret: {env: NAME}, {file: PATH}, or the text in quotes")]
pub enum Secret {
    /// Kept in an environment variable.
    Env(EnvSecret),
    /// Kept in a file; white space at its end is not part of it.
    File(FileSecret),
    /// Written out.
    Text(String),
}

/// A secret in an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvSecret {
    env: String,
}

/// A secret in a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSecret {
    file: PathBuf,
}

impl Secret {
    /// Reads the secret as it is now; a file may change under a running process.
    ///
    /// # Errors
    ///
    /// The variable is not set, or the file cannot be read; the error names which.
    pub fn reveal(&self) -> Result<String, SecretError> {
        match self {
            Self::Env(EnvSecret { env: name }) => {
                env::var(name).map_err(|_| SecretError::Variable(name.clone()))
            }
            Self::File(FileSecret { file }) => match fs::read_to_string(file) {
                Ok(text) => Ok(text.trim_end().to_owned()),
                Err(error) => Err(SecretError::File(file.clone(), error)),
            },
            Self::Text(text) => Ok(text.clone()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A secret: in an environment variable, in a file, or written out.",
            "oneOf": [
                {"type": "string"},
                {"type": "object", "properties": {"env": {"type": "string"}},
                 "required": ["env"], "additionalProperties": false},
                {"type": "object", "properties": {"file": {"type": "string"}},
                 "required": ["file"], "additionalProperties": false},
            ],
        })
    }
}

/// A secret that is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in {}: {}", .0.display(), .1.kind())]
    File(PathBuf, #[source] io::Error),
    /// The variable is not set.
    #[error("the secret's environment variable {0} is not set")]
    Variable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret: Secret = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.reveal().unwrap(), "hunter2");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let secret: Secret = serde_json::from_str(r#"{"env": "SIDESPAN_NO_SUCH"}"#).unwrap();
        let error = secret.reveal().unwrap_err().to_string();
        assert!(error.contains("SIDESPAN_NO_SUCH"), "{error}");
    }
}
