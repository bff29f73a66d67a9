//! Moves a group to another position, whatever it has settled.
//!
//! A broker moves a group only while nobody is a member. So the record asks all replicas to leave for a while;
//! the one that was asked waits with the bridge until they have, moves the group, and calls all back. If it
//! dies meanwhile, the others go on by themselves when the time is over.

use std::sync::Arc;
use std::time::Duration;

use sidespan_bridge::{Fault, Start};
use tokio::time::Instant;

use super::{Described, Subscriptions, WRITE, When};
use crate::config::Name;
use crate::error::Error;
use crate::security::caller::Caller;

impl Subscriptions {
    /// Moves the group of a subscription: what lies behind comes again, what lies before is skipped. A caller
    /// that goes away does not call it off.
    ///
    /// # Errors
    ///
    /// `Denied`, `NoRegistry`, `UnknownSubscription`, `Seeking`, `Stale`; those of the bridge, `Unsupported` among
    /// them, and then nothing has moved. Where the broker can move no group, nobody leaves it either.
    pub async fn seek(self: &Arc<Self>, caller: &Caller, name: &str, to: Start) -> Result<Described, Error> {
        let (_, name) = self.begin(caller, name)?;
        let seeking = self.tasks.spawn(self.clone().moving(name, to));
        seeking.await.unwrap_or(Err(Error::Internal))
    }

    async fn moving(self: Arc<Self>, name: Name, to: Start) -> Result<Described, Error> {
        let registry = self.registry.as_ref().ok_or(Error::NoRegistry)?;
        let began = Instant::now();
        let kept = self.current(&name, When::Always, began + WRITE).await?;
        let running = self.roster.find(name.as_str());
        let running = running.ok_or_else(|| Error::UnknownSubscription(name.to_string()))?;
        if !running.can_seek() {
            let detail = "the broker of this subscription cannot move a group";
            return Err(sidespan_bridge::Error::new(Fault::Unsupported).detail(detail).into());
        }
        let (record, revision) = self.marked(&name, kept)?;
        let away = record.clone().moving_for(AWAY);
        let revision = self.write(registry, &name, Some(&away), revision, began + WRITE).await?;
        let deadline = began + AWAY - MARGIN;
        let moved = if self.roster.settled(name.as_str(), deadline).await {
            running.seek(to, deadline).await
        } else {
            Err(sidespan_bridge::Error::new(Fault::Conflict)
                .detail("this replica could not leave the group in time"))
        };
        // Whatever came of it, all may come back; if this fails, they do so when the time is over.
        let record = record.moved();
        let back = self.write(registry, &name, Some(&record), revision, Instant::now() + WRITE).await;
        moved?;
        back?;
        tracing::info!(subscription = %name, "its group was moved");
        self.described(&name)
    }
}

/// How long all replicas stay out of the group at most.
const AWAY: Duration = Duration::from_secs(30);
/// By how much the bridge has to be done before that.
const MARGIN: Duration = Duration::from_secs(5);
