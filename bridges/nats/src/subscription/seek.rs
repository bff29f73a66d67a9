//! Moving a group: its consumer is made anew, with another start.
//!
//! The broker does not move a consumer, so this one is deleted and made again as it was. Members would make it again
//! themselves, where they had left off; so they have to leave first. The broker knows of those who wait for messages
//! and of the active one of an ordered subscription, and not of one whose window is full.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sidespan_bridge::{Error, Fault, Start, Subscribe};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::consumer::{From, Info, Wanted, policy};
use crate::api::{Api, Refusal};
use crate::settings::{NatsSettings, Retention};
use crate::streams::{Stream, Streams};

/// Moves a group to its start, making it where it does not exist.
pub(crate) async fn seek(
    to: &Subscribe,
    settings: &NatsSettings,
    api: &Api,
    streams: &Streams,
    deadline: Instant,
) -> Result<(), Error> {
    let Some(group) = &to.group else {
        return Err(Error::new(Fault::Invalid).detail("only a group can be moved: name one"));
    };
    let stream = streams.find(&to.pattern, deadline).await?;
    can_go(&stream, &to.start)?;
    let wanted = Wanted::of(to, settings, super::plain_name(group));
    let (name, from) = (&stream.config.name, From::Start(to.start.clone()));
    loop {
        let found = match wanted.info(api, name, deadline).await {
            Ok(found) => wanted.adapt(api, name, found, deadline).await?,
            Err(refusal) if refusal.is_missing() => {
                return wanted.attach(api, name, &from, deadline).await.map(drop);
            }
            Err(refusal) => return Err(refusal.into()),
        };
        if found.has_members() {
            if Instant::now() + PAUSE >= deadline {
                return Err(Error::new(Fault::Conflict).detail(format!(
                    "{group} has members, and is moved only without: pause it everywhere first"
                )));
            }
            sleep(PAUSE).await;
            continue;
        }
        let config = moved(&found, &from)?;
        let _: Value =
            api.ask(&format!("CONSUMER.DELETE.{name}.{}", wanted.name), Value::Null, deadline).await?;
        match make(api, name, &wanted, config, deadline).await {
            Ok(()) => return Ok(()),
            // Somebody was faster to make it, as it was.
            Err(refusal) if refusal.exists() => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
}

/// Refuses where messages would be lost on the way, or are gone.
fn can_go(stream: &Stream, start: &Start) -> Result<(), Error> {
    let refuse = |why: &str| {
        let detail = format!("the stream {} {why}", stream.config.name);
        Err(Error::new(Fault::Unsupported).detail(detail))
    };
    match stream.config.retention {
        Retention::Limits => Ok(()),
        Retention::Interest => refuse(
            "has `retention: interest`: it has thrown away what was settled, and would what nobody waits for during \
             the move",
        ),
        Retention::WorkQueue if *start == Start::Begin => Ok(()),
        Retention::WorkQueue => {
            refuse("is a work queue: a group can only be moved to the beginning of what is left")
        }
    }
}

/// Returns the settings of a consumer that is like another one, but for its start.
fn moved(found: &Info, from: &From) -> Result<Map<String, Value>, Error> {
    let mut config = found.config.clone();
    for key in ["deliver_policy", "opt_start_seq", "opt_start_time"] {
        config.remove(key);
    }
    config.extend(policy(from)?);
    Ok(config)
}

/// Makes the consumer. While it is not there the next member would make it where its settings say, so trouble that
/// passes is waited for.
async fn make(
    api: &Api,
    stream: &str,
    wanted: &Wanted,
    config: Map<String, Value>,
    deadline: Instant,
) -> Result<(), Refusal> {
    let body = json!({"stream_name": stream, "config": config, "action": "create"});
    loop {
        let made: Result<Value, Refusal> = api.ask(&wanted.create(stream), body.clone(), deadline).await;
        match made {
            Ok(_) => {
                info!(stream, consumer = %wanted.name, "moved a group");
                return Ok(());
            }
            Err(refusal) if refusal.passes() && Instant::now() + PAUSE < deadline => sleep(PAUSE).await,
            Err(refusal) => return Err(refusal),
        }
    }
}

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(100);
