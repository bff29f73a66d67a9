//! Counts what a group has left, without a member of it: by what it committed.

use std::sync::Arc;

use rdkafka::consumer::Consumer;
use sidespan_bridge::{Error, Fault, Lag, Subscribe};
use tokio::time::{Instant, timeout_at};

use super::oldest::{self, Heads};
use super::ownership::CALL;
use super::{partitions, start};
use crate::asker::{Asker, Asking};
use crate::clients::Clients;
use crate::{blocking, fault};

/// Counts what a group has not settled; `None` where it has committed nothing yet.
pub(crate) async fn lag(
    clients: &Clients,
    asker: &Asker,
    to: &Subscribe,
    deadline: Instant,
) -> Result<Option<Lag>, Error> {
    let Some(group) = &to.group else {
        let detail = "a cursor of its own settles nothing, so nothing is left to settle";
        return Err(Error::new(Fault::Unsupported).detail(detail));
    };
    let (config, line) = clients.consumer(group)?;
    let (pattern, reader) = (to.pattern.clone(), (config.clone(), line.clone()));
    let counting = async {
        let counted = asker.ask(move |asking| {
            let stranger: Arc<Asking> = Arc::new(config.create_with_context(line).map_err(fault::of_making)?);
            let cluster = asking.client().fetch_cluster_id(CALL);
            let partitions = partitions(asking, &pattern)?;
            let left = start::left(&stranger, asking, cluster.as_deref(), &partitions, CALL);
            blocking::drop_apart(stranger, || {});
            Ok(left?.map(|left| partitions.into_iter().zip(left).collect::<Vec<_>>()))
        });
        let Some(left) = counted.await? else { return Ok(None) };
        let messages = left.iter().map(|(_, left)| left.messages).sum();
        let open = left.into_iter().filter(|(_, left)| left.messages > 0);
        let heads: Heads = open.map(|(partition, left)| (partition, left.head)).collect();
        let (config, line) = reader;
        let oldest = blocking::call(move || oldest::age(config, line, &heads)).await?;
        Ok(Some(Lag { messages, oldest }))
    };
    timeout_at(deadline, counting).await.unwrap_or_else(|_| Err(Fault::Unavailable.into()))
}
