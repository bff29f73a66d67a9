//! Reading the configuration: one file, and the environment over it.

use std::ffi::OsString;
use std::path::Path;
use std::{env, fs};

use figment::Figment;
use figment::providers::{Format, Toml};
use figment::value::Dict;
use serde::de::DeserializeOwned;
use sidespan_bridge::Driver;

use super::environment::Overrides;
use super::explain::{explain, is_environment};
use super::{Config, ConfigError, ConfigErrors, File, resolve};

impl Config {
    /// Reads a YAML or TOML file (by its ending) and the environment over it, and checks both.
    /// Connects to nothing.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each by file, key, what was expected and the nearest known key.
    pub fn load(path: &Path, drivers: &[&'static dyn Driver]) -> Result<Self, ConfigErrors> {
        let text = fs::read_to_string(path)
            .map_err(|error| whole(path, format!("cannot read the configuration: {error}")))?;
        Self::read(path, &text, env::vars_os(), drivers)
    }

    /// As [`Config::load`], of a text that was read and variables that are given.
    pub(super) fn read(
        path: &Path,
        text: &str,
        variables: impl Iterator<Item = (OsString, OsString)>,
        drivers: &[&'static dyn Driver],
    ) -> Result<Self, ConfigErrors> {
        finish(typed(path, text)?, Figment::new(), &path.display().to_string(), variables, drivers)
    }
}

/// Reads only some keys of a file and of the environment over it, whatever the others say.
pub(super) fn some_keys<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigErrors> {
    let text = fs::read_to_string(path)
        .map_err(|error| whole(path, format!("cannot read the configuration: {error}")))?;
    let (file, origin) = (typed(path, &text)?, path.display().to_string());
    let said = |overrides: &Overrides, error| ConfigErrors(explain(&origin, overrides, error));
    let keys: Dict = file.extract().map_err(|error| said(&Overrides::default(), error))?;
    let overrides = Overrides::read(env::vars_os(), &keys).map_err(ConfigErrors)?;
    file.merge(&overrides).extract().map_err(|error| said(&overrides, error))
}

fn typed(path: &Path, text: &str) -> Result<Figment, ConfigErrors> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => Ok(Figment::from(Toml::string(text))),
        Some("yaml" | "yml" | "json") => Ok(Figment::from(Yaml::string(text))),
        _ => Err(whole(path, "the file's name must end in .yaml, .yml, .json or .toml")),
    }
}

/// Puts the environment over `base`, and `options` over that, and resolves what comes out.
pub(super) fn finish(
    base: Figment,
    options: Figment,
    origin: &str,
    variables: impl Iterator<Item = (OsString, OsString)>,
    drivers: &[&'static dyn Driver],
) -> Result<Config, ConfigErrors> {
    let said = |overrides: &Overrides, error| ConfigErrors(explain(origin, overrides, error));
    let typed: Dict = base.extract().map_err(|error| said(&Overrides::default(), error))?;
    let overrides = Overrides::read(variables, &typed).map_err(ConfigErrors)?;
    let figment = base.merge(&overrides).merge(options);
    let file: File = figment.extract().map_err(|error| said(&overrides, error))?;
    resolve::resolve(file, drivers).map_err(|mut errors| {
        for error in &mut errors.0 {
            let set = figment.find_metadata(&error.key).is_none_or(is_environment);
            let variable = overrides.origin_of(&error.key).filter(|_| set);
            error.origin = variable.unwrap_or_else(|| origin.to_owned());
        }
        errors
    })
}

/// YAML for figment, by a parser that is kept up; figment's own is not.
struct Yaml;

impl Format for Yaml {
    type Error = yaml_serde::Error;
    const NAME: &'static str = "YAML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        // A file with only comments is an empty configuration, not a null.
        let value: yaml_serde::Value = yaml_serde::from_str(text)?;
        let value =
            if value.is_null() { yaml_serde::Value::Mapping(yaml_serde::Mapping::new()) } else { value };
        yaml_serde::from_value(value)
    }
}

fn whole(path: &Path, reason: impl Into<String>) -> ConfigErrors {
    ConfigErrors(vec![ConfigError {
        origin: path.display().to_string(),
        key: String::new(),
        reason: reason.into(),
    }])
}
