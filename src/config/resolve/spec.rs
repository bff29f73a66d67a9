//! A subscription that is described at run time: the same section as in the file, by the same rules, and a few
//! more, since who describes it is not who wrote the file.

use std::fmt;

use figment::Figment;
use figment::providers::Serialized;
use serde_json::Value;
use sidespan_bridge::Secret;

use super::Errors;
use super::scope::Scope;
use crate::config::environment::Overrides;
use crate::config::explain::explain;
use crate::config::file::SubscriptionFile;
use crate::config::{Config, ConfigErrors, Name, Subscription, Target};

/// Why a subscription cannot be as it is described.
#[derive(Debug, PartialEq, Eq)]
pub enum SpecError {
    /// What is wrong, by key.
    Invalid(ConfigErrors),
    /// The target is not listed under `push.allow`.
    Target,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(errors) => {
                for (index, error) in errors.0.iter().enumerate() {
                    if index > 0 {
                        f.write_str("; ")?;
                    }
                    error.fmt(f)?;
                }
                Ok(())
            }
            Self::Target => f.write_str(
                "push.url: messages may not be pushed there by a subscription that is made at run time: list the \
                 target under `push.allow` in the configuration",
            ),
        }
    }
}

impl Config {
    /// Reads a subscription that is described at run time. Its secrets are among those of
    /// `registry.secrets`, and its target is one of `push.allow`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, by key, or that its target is not allowed.
    pub fn subscription(&self, name: &Name, spec: &Value) -> Result<Subscription, SpecError> {
        let file: SubscriptionFile = Figment::from(Serialized::defaults(spec))
            .extract()
            .map_err(|error| SpecError::Invalid(ConfigErrors(explain("", &Overrides::default(), error))))?;
        let mut errors = Errors::default();
        self.rules(&file, &mut errors);
        let resolved = self.scope().subscription(name.as_str(), file, &mut errors);
        let prefix = format!("subscriptions.{name}");
        for error in &mut errors.0 {
            let below = error.key.strip_prefix(&prefix).map(|key| key.trim_start_matches('.').to_owned());
            error.key = below.unwrap_or_else(|| std::mem::take(&mut error.key));
        }
        errors.into_result().map_err(SpecError::Invalid)?;
        let mut subscription = resolved.ok_or(SpecError::Invalid(ConfigErrors(Vec::new())))?;
        if let Target::Push(push) = &mut subscription.target {
            push.reach = self.push_allow.reach(&push.url).ok_or(SpecError::Target)?;
        }
        Ok(subscription)
    }

    /// What is kept is seen by all who see the registry, and by whoever reads the subscription.
    fn rules(&self, file: &SubscriptionFile, errors: &mut Errors) {
        let Some(push) = &file.push else { return };
        for (index, secret) in push.secrets.iter().enumerate() {
            let key = format!("push.secrets.{index}");
            let listed = self.registry.as_ref().is_some_and(|registry| registry.secrets.contains(secret));
            match secret {
                Secret::Text(_) => {
                    let reason =
                        "a secret is not kept in the registry: refer to it, as {env: NAME} or {file: PATH}";
                    errors.add(key, reason);
                }
                Secret::Env(_) | Secret::File(_) if !listed => {
                    let reason = "this secret is not listed under `registry.secrets` in the configuration";
                    errors.add(key, reason);
                }
                Secret::Env(_) | Secret::File(_) => {}
            }
        }
        if push.url.contains(['?', '#']) {
            let reason = "a query may hold a token, and would be kept where many may read it: use the path, or sign \
                          with `secrets`";
            errors.add("push.url", reason);
        }
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            bridges: &self.bridges,
            default_bridge: self.default_bridge.as_ref(),
            topics: &self.topics,
            doubtful: false,
            service: self.service.as_str(),
            largest_reply: self.limits.max_message,
        }
    }
}
