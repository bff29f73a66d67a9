//! Secrets, by value or by where they are kept.

use std::borrow::Cow;
use std::path::PathBuf;
use std::{env, fmt, fs, io};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

/// A secret: `{env: NAME}`, `{file: PATH}`, or the text itself. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Kept in an environment variable.
    Env(EnvSecret),
    /// Kept in a file; white space at its end is not part of it.
    File(FileSecret),
    /// Written out.
    Text(String),
}

/// A secret in an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvSecret {
    env: String,
}

/// A secret in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// By hand, as a derived reader takes a list for a map, and shows what it does not expect.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret: {env: NAME}, {file: PATH}, or the text in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        // A name that is neither may be the secret itself: it must not get into an error's path.
        let name = map.next_key::<String>()?.filter(|name| name == "env" || name == "file");
        let Some(name) = name else { return Err(unexpected()) };
        let secret = match map.next_value()? {
            Secret::Text(env) if name == "env" => Secret::Env(EnvSecret { env }),
            Secret::Text(file) => Secret::File(FileSecret { file: file.into() }),
            Secret::Env(_) | Secret::File(_) => return Err(unexpected()),
        };
        match map.next_key::<String>()? {
            None => Ok(secret),
            Some(_) => Err(unexpected()),
        }
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(unexpected())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(unexpected())
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
        Err(unexpected())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(unexpected())
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
        Err(unexpected())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(unexpected())
    }
}

/// What was found is not shown: it may be the secret.
fn unexpected<E: de::Error>() -> E {
    E::custom(format_args!("expected {}", &Written as &dyn de::Expected))
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
    use crate::Settings;

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

    #[test]
    fn a_secret_is_a_text_or_says_where_it_is() {
        let read = |json| Settings::new("s", serde_json::from_str(json).unwrap()).parse::<Secret>();
        assert_eq!(read(r#"{"env": "A"}"#).unwrap(), Secret::Env(EnvSecret { env: "A".into() }));
        assert_eq!(read(r#"{"file": "/a"}"#).unwrap(), Secret::File(FileSecret { file: "/a".into() }));
        for wrong in [
            r#"["hunter2"]"#,
            "471147",
            "-471147",
            "4711.47",
            "true",
            "null",
            "{}",
            r#"{"hunter2": null}"#,
            r#"{"env": ["hunter2"]}"#,
            r#"{"env": 471147}"#,
            r#"{"env": {"env": "hunter2"}}"#,
            r#"{"env": "A", "file": "hunter2"}"#,
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("expected a secret: {env: NAME}, {file: PATH}"), "{wrong}: {error}");
            assert!(!error.contains("hunter2") && !error.contains("4711"), "{wrong}: {error}");
        }
    }
}
