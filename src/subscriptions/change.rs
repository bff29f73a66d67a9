//! Changes at run time: each is one write to the registry, and done here when it is seen there.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use sidespan_bridge::{Fault, Registry, Revision};
use tokio::time::{Instant, timeout_at};

use super::book::Kept;
use super::{Described, Record, Subscriptions, WRITE};
use crate::config::{Name, SpecError, Subscription};
use crate::delivery::State;
use crate::error::Error;
use crate::security::caller::Caller;
use crate::security::destination::check_literal;

/// Of which version a change is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Of the one that there is, if any.
    #[default]
    Always,
    /// There is none.
    Absent,
    /// Of this one.
    Is(Revision),
    /// There is one.
    Present,
}

/// A subscription that was put.
#[derive(Clone, Debug)]
pub struct Changed {
    /// There was none before.
    pub created: bool,
    /// What there is now.
    pub described: Described,
}

impl Subscriptions {
    /// Makes a subscription, or replaces what was described before. The same again changes nothing.
    ///
    /// # Errors
    ///
    /// `Denied`, `NoRegistry`; `Configured` where the file has it; `InvalidSubscription` and `TargetDenied`;
    /// `Stale`, also where somebody else changes it at the same time; `Limited`; `Seeking`; `Strange`; those of
    /// the registry's bridge.
    pub async fn put(&self, caller: &Caller, name: &str, spec: &Value, when: When) -> Result<Changed, Error> {
        let deadline = Instant::now() + WRITE;
        let (registry, name) = self.begin(caller, name)?;
        let kept = self.current(&name, when, deadline).await?;
        // A member that is null is as if it were not there.
        let mut described = Value::Null;
        merge(&mut described, spec, DEEPEST);
        self.write_spec(registry, &name, kept, described, deadline).await
    }

    /// Changes parts of what was described: a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    ///
    /// As [`Subscriptions::put`]; `UnknownSubscription`.
    pub async fn patch(
        &self,
        caller: &Caller,
        name: &str,
        patch: &Value,
        when: When,
    ) -> Result<Described, Error> {
        let deadline = Instant::now() + WRITE;
        let (registry, name) = self.begin(caller, name)?;
        let kept = self.current(&name, when, deadline).await?;
        self.refuse_configured(&name)?;
        let spec = kept.as_ref().and_then(|kept| kept.record.spec.clone());
        let mut spec = spec.ok_or_else(|| unknown(&name))?.as_ref().clone();
        merge(&mut spec, patch, DEEPEST);
        let changed = self.write_spec(registry, &name, kept, spec, deadline).await?;
        Ok(changed.described)
    }

    /// Ends a subscription everywhere. What its group had not settled, and the group itself, stay with the
    /// broker.
    ///
    /// # Errors
    ///
    /// As [`Subscriptions::put`]; `UnknownSubscription`.
    pub async fn delete(&self, caller: &Caller, name: &str, when: When) -> Result<(), Error> {
        let deadline = Instant::now() + WRITE;
        let (registry, name) = self.begin(caller, name)?;
        let kept = self.current(&name, when, deadline).await?;
        self.refuse_configured(&name)?;
        let kept = kept.filter(|kept| kept.record.spec.is_some()).ok_or_else(|| unknown(&name))?;
        refuse_moving(&name, &kept)?;
        self.write(registry, &name, None, kept.revision, deadline).await?;
        Ok(())
    }

    /// Has every replica leave the group; what comes stays with the broker.
    ///
    /// # Errors
    ///
    /// `Denied`, `NoRegistry`, `UnknownSubscription`, `Stale`, `Seeking`; those of the registry's bridge.
    pub async fn pause(&self, caller: &Caller, name: &str, when: When) -> Result<Described, Error> {
        self.mark(caller, name, when, |record, _| {
            (!record.paused).then_some(Record { paused: true, ..record })
        })
        .await
    }

    /// Has every replica go on, also after a receiver that was gone.
    ///
    /// # Errors
    ///
    /// As [`Subscriptions::pause`].
    pub async fn resume(&self, caller: &Caller, name: &str, when: When) -> Result<Described, Error> {
        let resume = |record: Record, state: State| {
            let is_paused = record.paused || matches!(state, State::Paused(_));
            let restarts = record.restarts.wrapping_add(1);
            is_paused.then_some(Record { paused: false, restarts, ..record })
        };
        self.mark(caller, name, when, resume).await
    }

    /// Writes what `change` makes of the record of a subscription, which may be the file's.
    async fn mark(
        &self,
        caller: &Caller,
        name: &str,
        when: When,
        change: impl FnOnce(Record, State) -> Option<Record>,
    ) -> Result<Described, Error> {
        let deadline = Instant::now() + WRITE;
        let (registry, name) = self.begin(caller, name)?;
        let kept = self.current(&name, when, deadline).await?;
        let running = self.roster.find(name.as_str()).ok_or_else(|| unknown(&name))?;
        let (record, revision) = self.marked(&name, kept)?;
        if let Some(record) = change(record, running.status().state) {
            self.write(registry, &name, Some(&record), revision, deadline).await?;
        }
        self.described(&name)
    }

    /// Returns the record of a subscription, to change it; one of the file need not have one yet.
    pub(super) fn marked(&self, name: &Name, kept: Option<Kept>) -> Result<(Record, Revision), Error> {
        self.book().refuse_strange(name)?;
        let Some(kept) = kept else { return Ok((Record::default(), Revision::NONE)) };
        refuse_moving(name, &kept)?;
        Ok((kept.record, kept.revision))
    }

    /// Checks what every change needs.
    pub(super) fn begin(&self, caller: &Caller, name: &str) -> Result<(&Arc<dyn Registry>, Name), Error> {
        caller.require_manage()?;
        let registry = self.registry.as_ref().ok_or(Error::NoRegistry)?;
        let name = Name::parse(name).map_err(|error| Error::Invalid(error.to_string()))?;
        if self.roster.is_frozen() {
            return Err(Error::Draining);
        }
        if !self.book().is_complete() {
            let detail = "the registry is not known yet: its broker has not told all that is in it";
            return Err(sidespan_bridge::Error::new(Fault::Unavailable).detail(detail).into());
        }
        Ok((registry, name))
    }

    /// Returns the record of this name if it is of the version that is meant.
    pub(super) async fn current(
        &self,
        name: &Name,
        when: When,
        deadline: Instant,
    ) -> Result<Option<Kept>, Error> {
        if let When::Is(revision) = when {
            // Another replica may have written it a moment ago.
            let known = |kept: Option<&Kept>| kept.is_some_and(|kept| kept.revision >= revision);
            self.until(name, known, deadline.min(Instant::now() + CATCH_UP)).await;
        }
        let kept = self.book().kept(name).cloned();
        let exists = kept.is_some() || self.book().is_configured(name);
        let fits = match when {
            When::Always => true,
            When::Absent => !exists,
            When::Is(revision) => kept.as_ref().is_some_and(|kept| kept.revision == revision),
            When::Present => exists,
        };
        if fits { Ok(kept) } else { Err(stale(name)) }
    }

    async fn write_spec(
        &self,
        registry: &Arc<dyn Registry>,
        name: &Name,
        kept: Option<Kept>,
        spec: Value,
        deadline: Instant,
    ) -> Result<Changed, Error> {
        self.refuse_configured(name)?;
        self.book().refuse_strange(name)?;
        self.resolve(name, &spec)?;
        let before = kept.as_ref().filter(|kept| kept.record.spec.is_some());
        let created = before.is_none();
        if before.is_some_and(|kept| kept.record.spec.as_deref() == Some(&spec)) {
            return Ok(Changed { created, described: self.described(name)? });
        }
        let _room = match before {
            Some(kept) => {
                refuse_moving(name, kept)?;
                None
            }
            None => Some(self.make_room(name)?),
        };
        let record = before.map(|kept| kept.record.clone()).unwrap_or_default();
        let record = Record { spec: Some(Arc::new(spec)), ..record };
        let revision = kept.map_or(Revision::NONE, |kept| kept.revision);
        self.write(registry, name, Some(&record), revision, deadline).await?;
        Ok(Changed { created, described: self.described(name)? })
    }

    fn resolve(&self, name: &Name, spec: &Value) -> Result<Subscription, Error> {
        let book = self.book();
        let subscription = book.config().subscription(name, spec).map_err(|error| match &error {
            SpecError::Invalid(_) => Error::InvalidSubscription(error.to_string()),
            SpecError::Target => Error::TargetDenied(error.to_string()),
        })?;
        if let Some(push) = subscription.target.push() {
            check_literal(&push.url).map_err(|error| Error::TargetDenied(format!("push.url: {error}")))?;
        }
        if let Some(rival) = book.rival(&subscription) {
            return Err(Error::InvalidSubscription(format!(
                "group: the subscription {rival} has the same group {:?}, and each would get a part of the messages \
                 only",
                subscription.group
            )));
        }
        Ok(subscription)
    }

    fn refuse_configured(&self, name: &Name) -> Result<(), Error> {
        if self.book().is_configured(name) { Err(Error::Configured(name.to_string())) } else { Ok(()) }
    }

    /// Writes a record, and waits until this replica has seen it.
    pub(super) async fn write(
        &self,
        registry: &Arc<dyn Registry>,
        name: &Name,
        record: Option<&Record>,
        expected: Revision,
        deadline: Instant,
    ) -> Result<Revision, Error> {
        let value = record.map(Record::write);
        let is_removal = value.is_none();
        let written = timeout_at(deadline, registry.put(name.as_str(), value, expected, deadline)).await;
        let late =
            || sidespan_bridge::Error::new(Fault::Timeout).detail("the registry did not answer in time");
        let revision = written.map_err(|_| late())?.map_err(|error| match error.fault {
            Fault::Conflict => stale(name),
            _ => error.into(),
        })?;
        let seen = |kept: Option<&Kept>| match kept {
            Some(kept) => kept.revision >= revision,
            None => is_removal,
        };
        self.until(name, seen, deadline).await;
        Ok(revision)
    }

    /// Waits until what is known of a record is as `wanted`, or until the deadline.
    async fn until(&self, name: &Name, wanted: impl Fn(Option<&Kept>) -> bool, deadline: Instant) {
        let mut told = self.told.subscribe();
        while !wanted(self.book().kept(name)) {
            if !matches!(timeout_at(deadline, told.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    pub(super) fn described(&self, name: &Name) -> Result<Described, Error> {
        let running = self.roster.find(name.as_str()).ok_or_else(|| unknown(name))?;
        Ok(self.book().describe(running))
    }
}

fn refuse_moving(name: &Name, kept: &Kept) -> Result<(), Error> {
    if kept.moving.is_some() { Err(Error::Seeking(name.to_string())) } else { Ok(()) }
}

fn unknown(name: &Name) -> Error {
    Error::UnknownSubscription(name.to_string())
}

fn stale(name: &Name) -> Error {
    Error::Stale(format!(
        "the subscription {name} is not of the version that was meant, or was changed at the same time: read it \
         again, and decide anew"
    ))
}

/// RFC 7396, section 2. What is deeper than anything that we know is taken as it is, and refused later.
fn merge(target: &mut Value, patch: &Value, depth: usize) {
    let (Value::Object(changes), Some(depth)) = (patch, depth.checked_sub(1)) else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), change, depth);
        }
    }
}

/// How long it may take until this replica knows what another has written.
const CATCH_UP: Duration = Duration::from_secs(2);
/// No section of a subscription is as deep.
const DEEPEST: usize = 16;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_changes_what_it_names() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": "foo"}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}})),
            (json!({"a": 1}), json!(["c"]), json!(["c"])),
        ];
        for (mut target, patch, expected) in cases {
            merge(&mut target, &patch, DEEPEST);
            assert_eq!(target, expected, "{patch}");
        }
    }
}
