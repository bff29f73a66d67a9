//! Calls from one replica to another: signed, and so are the answers.
//!
//! A call has a code over the time and its body, the answer one over the code of the call and its body.
//! So nobody without the secret can ask, an old call cannot be sent again for long, and what answers at
//! an address that a replica once had is not taken for it.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::net::SocketAddr;
use tokio::time::{Instant, timeout_at};

use super::wire::{Ask, Told};
use crate::security::seal::Seal;

/// Where replicas take calls from each other.
pub const PATH: &str = "/replicas/v1";
/// Carries the code of a call, after the time, and that of an answer.
pub const CODE: &str = "sidespan-replica";

/// Calls other replicas.
pub(super) struct Line {
    client: Client<HttpConnector, Full<Bytes>>,
    seal: Seal,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody listens there any more.
    #[error("nobody listens there")]
    Gone,
    /// It got the call and did not answer, or not so that it can be understood.
    #[error("no answer: {0}")]
    Unanswered(String),
    /// It did not get the call, or did not take it.
    #[error("{0}")]
    Unreached(String),
}

impl Line {
    pub(super) fn new(seal: Seal) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(tcp);
        Self { client, seal }
    }

    /// Asks a replica, and waits for its answer until `until`.
    pub(super) async fn call(&self, to: SocketAddr, ask: &Ask, until: Instant) -> Result<Told, Trouble> {
        let body = serde_json::to_vec(ask).map_err(|error| Trouble::Unreached(error.to_string()))?;
        let code = sign(&self.seal, SystemTime::now(), &body);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{to}{PATH}"))
            .header(CODE, &code)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Trouble::Unreached(error.to_string()))?;
        let connection = capture_connection(&mut request);
        match timeout_at(until, self.exchange(request, &code)).await {
            Ok(told) => told,
            Err(_) if connection.connection_metadata().is_none() => {
                Err(Trouble::Unreached("no connection in time".into()))
            }
            Err(_) => Err(Trouble::Unanswered("it took too long".into())),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, code: &str) -> Result<Told, Trouble> {
        let answer = self.client.request(request).await.map_err(|error| trouble(&error))?;
        let (head, body) = answer.into_parts();
        let sealed = head.headers.get(CODE).and_then(|code| code.to_str().ok()).map(str::to_owned);
        // What is not signed was not written by a replica that took the call.
        let Some(sealed) = sealed else {
            return Err(Trouble::Unreached(match head.status {
                StatusCode::FORBIDDEN => "it takes no calls with our secret, or our clock".into(),
                status => format!("something else answers there ({status})"),
            }));
        };
        let unread = |error: Box<dyn StdError + Send + Sync>| Trouble::Unanswered(error.to_string());
        let body = Limited::new(body, MOST_ANSWERED).collect().await.map_err(unread)?.to_bytes();
        if !self.seal.is_text(&answered(code, &body), &sealed) {
            return Err(Trouble::Unreached("its answer has another secret".into()));
        }
        serde_json::from_slice(&body).map_err(|error| Trouble::Unanswered(error.to_string()))
    }
}

/// Signs a call: the value of its header.
pub(super) fn sign(seal: &Seal, now: SystemTime, body: &[u8]) -> String {
    let time = seconds(now).to_string();
    let code = seal.text(&[b"call", time.as_bytes(), body]);
    format!("{time}.{code}")
}

/// Tells whether a call is one of a replica, and was signed a moment ago.
pub(super) fn is_signed(seal: &Seal, now: SystemTime, header: &str, body: &[u8]) -> bool {
    let Some((time, code)) = header.split_once('.') else { return false };
    let is_fresh = time.parse::<u64>().is_ok_and(|signed| signed.abs_diff(seconds(now)) <= FRESH.as_secs());
    is_fresh && seal.is_text(&[b"call", time.as_bytes(), body], code)
}

/// Returns what the code of an answer is over.
pub(super) fn answered<'a>(code: &'a str, body: &'a [u8]) -> [&'a [u8]; 3] {
    [b"answer", code.as_bytes(), body]
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn trouble(error: &ClientError) -> Trouble {
    let mut cause: &(dyn StdError + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let refused = cause.downcast_ref::<io::Error>().map(io::Error::kind);
    match (error.is_connect(), refused) {
        (true, Some(io::ErrorKind::ConnectionRefused)) => Trouble::Gone,
        (true, _) => Trouble::Unreached(cause.to_string()),
        (false, _) => Trouble::Unanswered(cause.to_string()),
    }
}

const CONNECT: Duration = Duration::from_secs(2);
/// Shorter than any sensible `limits.idle_timeout`, so that we close before the other does.
const IDLE: Duration = Duration::from_secs(4);
/// How long after it was signed a call is taken, and how far clocks may differ.
const FRESH: Duration = Duration::from_secs(300);
/// As much as a pull may ask for, in base64, and what stands around it.
const MOST_ANSWERED: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_taken_for_some_minutes_and_as_it_was_signed() {
        let seal = Seal::of(&["secret".to_owned()], "calls");
        let now = SystemTime::now();
        let header = sign(&seal, now, b"body");
        assert!(is_signed(&seal, now, &header, b"body"));
        assert!(is_signed(&seal, now + Duration::from_secs(200), &header, b"body"));
        assert!(is_signed(&seal, now - Duration::from_secs(200), &header, b"body"));
        assert!(!is_signed(&seal, now + Duration::from_secs(400), &header, b"body"));
        assert!(!is_signed(&seal, now, &header, b"another"));
        let later = header.replace(&seconds(now).to_string(), &(seconds(now) + 1).to_string());
        assert!(!is_signed(&seal, now, &later, b"body"));
        for garbage in ["", ".", "1.", "x.y", &format!("{}.", seconds(now))] {
            assert!(!is_signed(&seal, now, garbage, b"body"), "{garbage}");
        }
    }
}
