//! Takes the messages of a subscription: pulls, prints, acknowledges.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::{FIRST_WAIT, LONGEST_WAIT, Sub};
use crate::cli::client::{json_request, subscription_path};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;

impl Sub {
    /// Takes messages until there were enough. What is printed and not acknowledged comes again.
    pub(super) async fn take(&self) -> Outcome {
        let name = output::visible(&self.name);
        let (mut taken, mut wait, mut first) = (0, FIRST_WAIT, true);
        while self.number.is_none_or(|number| taken < number) {
            let room = self.number.map_or(AT_A_TIME, |number| AT_A_TIME.min(number - taken));
            let text = match self.pull(room).await {
                Ok(ack_ids) => {
                    if first {
                        output::talk(&format!("taking from {name}"));
                    }
                    (first, wait) = (false, FIRST_WAIT);
                    taken += ack_ids.len() as u64;
                    match self.ack(&ack_ids).await {
                        Ok(()) => continue,
                        Err(Failure::Later(text)) => text,
                        Err(Failure::Failed(text)) => {
                            output::talk(&format!("{text}; what was printed may come again"));
                            continue;
                        }
                        Err(failure) => return Err(failure),
                    }
                }
                Err(Failure::Later(text)) if !first => text,
                Err(failure) => return Err(failure),
            };
            output::talk(&format!("{text}; trying again in {wait:?}"));
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        Ok(())
    }

    /// Prints what there is, and returns what acknowledges it.
    async fn pull(&self, room: u64) -> Result<Vec<String>, Failure> {
        let wish = json!({ "max_messages": room, "wait": format!("{}s", WAIT.as_secs()) });
        let body = self.post("pull", wish.to_string()).await?;
        let unreadable = |error| Failure::Failed(format!("the server's answer cannot be read: {error}"));
        let Pulled { messages } = serde_json::from_slice(&body).map_err(unreadable)?;
        let mut ack_ids = Vec::with_capacity(messages.len());
        for message in messages {
            let Leased { ack_id } = serde_json::from_str(message.get()).map_err(unreadable)?;
            self.show(message.get())?;
            ack_ids.push(ack_id);
        }
        Ok(ack_ids)
    }

    async fn ack(&self, ack_ids: &[String]) -> Outcome {
        if ack_ids.is_empty() {
            return Ok(());
        }
        self.post("ack", json!({ "ack_ids": ack_ids }).to_string()).await.map(drop)
    }

    async fn post(&self, verb: &str, body: String) -> Result<Bytes, Failure> {
        let request = json_request(&subscription_path(&self.name, verb), body)?;
        self.server.send(request, &self.token, WAIT + ANSWER).await?.body().await
    }
}

#[derive(Deserialize)]
struct Pulled<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Leased {
    ack_id: String,
}

const AT_A_TIME: u64 = 100;
/// How long the server waits for the first message.
const WAIT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(15);
