//! Steers a subscription, and ends it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sidespan_bridge::{Control, Error, Fault, Lag, Role};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::shared::Shared;
use crate::fault;
use crate::link::Link;
use crate::topology;

/// The handle on a subscription.
pub(crate) struct AmqpControl {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Arc<Link>,
    /// The link is the subscription's alone, and ends with it.
    pub(super) alone: bool,
    pub(super) queue: Box<str>,
    pub(super) closing: watch::Sender<Option<Instant>>,
    pub(super) member: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

#[async_trait]
impl Control for AmqpControl {
    fn stop_intake(&self) {
        self.shared.stop_intake();
    }

    fn role(&self) -> Role {
        self.shared.role()
    }

    /// Counts what the queue holds ready and what this member holds. What other members hold is not
    /// told by AMQP, and not counted.
    async fn lag(&self) -> Result<Lag, Error> {
        if !self.shared.durable {
            let detail = "a cursor of its own settles nothing, so nothing is left to settle";
            return Err(Error::new(Fault::Unsupported).detail(detail));
        }
        let wire = self.link.wire(Instant::now() + LOOK).await?;
        let depth = topology::depth(&wire, &self.queue).await?;
        let depth = depth.ok_or_else(|| fault::no_queue(&self.queue))?;
        Ok(Lag { messages: depth.ready + self.shared.unsettled(), oldest: None })
    }

    async fn close(&self, deadline: Instant) -> Result<(), Error> {
        self.shared.stop_intake();
        self.closing.send_replace(Some(deadline));
        let Some(mut member) = self.member.lock().await.take() else { return Ok(()) };
        let settled = match timeout_at(deadline, &mut member).await {
            Ok(Ok(settled)) => settled,
            Ok(Err(_)) | Err(_) => {
                member.abort();
                Err(Error::new(Fault::Timeout)
                    .detail("rabbitmq did not take all settlements in time: some messages may come again"))
            }
        };
        self.shared.abandon();
        if self.alone {
            self.link.cut();
        }
        self.shared.end(Ok(()));
        settled
    }
}

impl Drop for AmqpControl {
    fn drop(&mut self) {
        if let Some(member) = self.member.get_mut() {
            member.abort();
        }
    }
}

/// How long a question waits for the first connection.
const LOOK: Duration = Duration::from_secs(5);
