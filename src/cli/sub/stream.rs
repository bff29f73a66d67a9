//! Takes the messages of a subscription over a WebSocket, as they come.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, HOST, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Response};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{FIRST_WAIT, LONGEST_WAIT, Sub};
use crate::cli::client::{Stream, problem, subscription_path};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;

type Socket = WebSocketStream<Box<dyn Stream>>;

impl Sub {
    /// Takes messages until there were enough. What is printed and not acknowledged comes again.
    pub(super) async fn stream(&self) -> Outcome {
        let (mut taken, mut wait, mut first) = (0, FIRST_WAIT, true);
        while self.number.is_none_or(|number| taken < number) {
            let text = match self.open().await {
                Ok(socket) => {
                    let talk = if first { "taking from" } else { "connected again; taking from" };
                    output::talk(&format!("{talk} {}", output::visible(&self.name)));
                    let before = taken;
                    let lost = self.consume(socket, &mut taken).await;
                    first = false;
                    if taken > before {
                        wait = FIRST_WAIT;
                    }
                    match lost {
                        Ok(()) => continue,
                        Err(Failure::Later(text)) => text,
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

    async fn open(&self) -> Result<Socket, Failure> {
        let usage = |error| Failure::Usage(format!("error: this cannot be asked: {error}"));
        let url = format!("ws://localhost{}", subscription_path(&self.name, "stream"));
        let mut request = url.into_client_request().map_err(usage)?;
        let headers = request.headers_mut();
        headers.insert(HOST, self.server.host());
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("sidespan.v1.json"));
        headers.extend(self.token.header()?.map(|token| (AUTHORIZATION, token)));
        let stream = self.server.connect().await?;
        match timeout(ANSWER, client_async(request, stream)).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(Error::Http(refusal))) => {
                let (head, body) = Response::into_parts(*refusal);
                Err(problem(head.status, &body.unwrap_or_default()))
            }
            Ok(Err(error)) => Err(Failure::Later(format!("the server broke off ({error})"))),
            Err(_) => Err(Failure::Later(format!("no answer in {ANSWER:?}"))),
        }
    }

    /// Prints and acknowledges; ends well when there were enough.
    async fn consume(&self, mut socket: Socket, taken: &mut u64) -> Outcome {
        let lost = || Failure::Later("the connection was lost".into());
        let window = self.number.map_or(WINDOW, |number| WINDOW.min(number - *taken));
        say(&mut socket, &json!({ "type": "credit", "messages": window })).await?;
        let mut given = *taken + window;
        loop {
            let frame = match timeout(SILENCE, socket.next()).await {
                Ok(Some(Ok(Message::Text(frame)))) => frame,
                Ok(Some(Ok(Message::Close(_)))) => {
                    return Err(Failure::Later("the server closed the stream".into()));
                }
                Ok(Some(Ok(_))) => continue,
                Ok(Some(Err(_)) | None) => return Err(lost()),
                Err(_) => return Err(Failure::Later(format!("nothing was heard for {SILENCE:?}"))),
            };
            let told: Told<'_> = serde_json::from_str(&frame)
                .map_err(|error| Failure::Failed(format!("the server cannot be understood: {error}")))?;
            match (told.kind, told.message) {
                ("message", Some(message)) => {
                    let Leased { ack_id } = serde_json::from_str(message.get())
                        .map_err(|error| Failure::Failed(format!("a message cannot be read: {error}")))?;
                    self.show(message.get())?;
                    *taken += 1;
                    let is_last = self.number.is_some_and(|number| *taken >= number);
                    // The last one is waited for; with the others a failure is told.
                    let seq = is_last.then_some(1);
                    say(&mut socket, &json!({ "type": "ack", "ack_ids": [ack_id], "seq": seq })).await?;
                    if self.number.is_none_or(|number| given < number) {
                        say(&mut socket, &json!({ "type": "credit", "messages": 1 })).await?;
                        given += 1;
                    }
                }
                ("settled", _) => {
                    for outcome in told.outcomes {
                        if let Some(detail) = outcome.detail {
                            let detail = output::visible(&detail);
                            output::talk(&format!("{detail}; what was printed may come again"));
                        }
                    }
                    if self.number.is_some_and(|number| *taken >= number) && told.seq.is_some() {
                        return Ok(());
                    }
                }
                ("error", _) => {
                    let detail =
                        output::visible(told.detail.as_deref().unwrap_or("the server ended the stream"));
                    return Err(if told.retryable {
                        Failure::Later(detail)
                    } else {
                        Failure::Failed(detail)
                    });
                }
                ("draining", _) => return Err(Failure::Later("the server is stopping".into())),
                _ => {}
            }
        }
    }
}

async fn say(socket: &mut Socket, what: &serde_json::Value) -> Outcome {
    let sent = timeout(ANSWER, socket.send(Message::text(what.to_string()))).await;
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Failure::Later("the connection was lost".into())),
    }
}

/// What is read of a frame.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    seq: Option<u64>,
    #[serde(default)]
    outcomes: Vec<Verdict>,
    detail: Option<String>,
    #[serde(default)]
    retryable: bool,
}

#[derive(Deserialize)]
struct Verdict {
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Leased {
    ack_id: String,
}

/// Messages that may be on their way.
const WINDOW: u64 = 100;
const ANSWER: Duration = Duration::from_secs(15);
/// The server pings more often than that.
const SILENCE: Duration = Duration::from_secs(60);
