//! Tokens for OAUTHBEARER, fetched ahead of their need.
//!
//! The client library asks for a token from inside its own threads, and must not wait long. So a
//! task fetches tokens with the client's credentials (RFC 6749, section 4.4), each well before the
//! one before it expires, and the library gets what is there.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rdkafka::client::OAuthToken;
use serde::Deserialize;
use sidespan_bridge::tls;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use url::form_urlencoded;

use crate::sasl::Issuer;

/// The token of the moment. The task that fetches the next ends with this.
pub(crate) struct Tokens {
    shelf: Arc<Shelf>,
    principal: String,
    task: JoinHandle<()>,
}

/// What the task has brought.
struct Shelf {
    /// Or why there is none; nobody has said anything at first.
    token: Mutex<Result<Token, Option<String>>>,
    changed: Condvar,
}

struct Token {
    text: String,
    expires: SystemTime,
}

/// What an issuer answers (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Tokens {
    /// Begins to fetch tokens.
    pub(crate) fn fetch(issuer: Issuer) -> Self {
        let shelf = Arc::new(Shelf { token: Mutex::new(Err(None)), changed: Condvar::new() });
        let principal = issuer.client_id.clone();
        let task = tokio::spawn(keep(issuer, Arc::clone(&shelf)));
        Self { shelf, principal, task }
    }

    /// Returns a token that is good for now; waits for one as long as `patience` allows, which blocks.
    pub(crate) fn token(&self, patience: Duration) -> Result<OAuthToken, String> {
        let held = self.shelf.token.lock().unwrap_or_else(PoisonError::into_inner);
        let is_bad =
            |token: &mut Result<Token, Option<String>>| !matches!(token, Ok(token) if token.is_good());
        let waited = self.shelf.changed.wait_timeout_while(held, patience, is_bad);
        let (held, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Ok(token) if token.is_good() => {
                let lifetime = token.expires.duration_since(UNIX_EPOCH).unwrap_or_default();
                Ok(OAuthToken {
                    token: token.text.clone(),
                    principal_name: self.principal.clone(),
                    lifetime_ms: i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX),
                })
            }
            Ok(_) => Err("the token has expired, and there is no other yet".to_owned()),
            Err(Some(reason)) => Err(reason.clone()),
            Err(None) => Err("the token endpoint has not answered yet".to_owned()),
        }
    }

    /// Returns why there is no token, if that is known.
    pub(crate) fn trouble(&self) -> Option<String> {
        let held = self.shelf.token.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().err().cloned().flatten()
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shelf {
    fn put(&self, token: Result<Token, String>) {
        let mut held = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        // A token that is still good is worth more than the reason why there is no newer one.
        if token.is_ok() || !matches!(&*held, Ok(token) if token.is_good()) {
            *held = token.map_err(Some);
        }
        drop(held);
        self.changed.notify_all();
    }
}

impl Token {
    fn is_good(&self) -> bool {
        SystemTime::now() < self.expires
    }
}

/// Fetches one token after the other; goes on trying, ever more slowly, while there is none.
async fn keep(issuer: Issuer, shelf: Arc<Shelf>) {
    let (mut pause, mut said) = (PAUSE, None);
    loop {
        let begin = Instant::now();
        let fetched = match timeout(DEADLINE, fetch(&issuer)).await {
            Ok(fetched) => fetched,
            Err(_) => Err("the token endpoint does not answer in time".to_owned()),
        };
        match fetched {
            Ok((text, lifetime)) => {
                if said.take().is_some() {
                    info!("the token endpoint issues tokens again");
                }
                pause = PAUSE;
                let expires = SystemTime::now() + lifetime.saturating_sub(begin.elapsed());
                shelf.put(Ok(Token { text, expires }));
                sleep((lifetime * 3 / 4).max(PAUSE)).await;
            }
            Err(reason) => {
                if said.as_ref() != Some(&reason) {
                    warn!(reason, "no token for kafka can be had");
                    said = Some(reason.clone());
                }
                shelf.put(Err(reason));
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Asks for one token. What it says of a failure holds no secret, and nothing of the answer's body.
async fn fetch(issuer: &Issuer) -> Result<(String, Duration), String> {
    let request = request(issuer)?;
    // Certificates may have changed since the last time, which was long ago.
    let connector = hyper_rustls::HttpsConnectorBuilder::new();
    let connector = if issuer.endpoint.scheme() == "https" {
        connector.with_tls_config(issuer.tls.client().map_err(|error| error.to_string())?)
    } else {
        connector.with_tls_config(no_tls()?)
    };
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector.https_or_http().enable_http1().build());
    let answer = client.request(request).await.map_err(|error| match tls::explain(&error) {
        Some(line) => format!("the token endpoint: {line}").replace("the broker", "the endpoint"),
        None => "the token endpoint cannot be reached: is `sasl.token_endpoint` right?".to_owned(),
    })?;
    let status = answer.status();
    if !status.is_success() {
        return Err(match status {
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "the token endpoint refuses with {}: check `sasl.client_id`, `sasl.client_secret` and `sasl.scope`",
                status.as_u16()
            ),
            status => format!("the token endpoint answers {}: check `sasl.token_endpoint`", status.as_u16()),
        });
    }
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|_| "the token endpoint's answer is cut off or too large".to_owned())?.to_bytes();
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|_| "the token endpoint's answer is no token (RFC 6749): check its URL".to_owned())?;
    Ok((answer.access_token, answer.expires_in.map_or(LIFETIME, Duration::from_secs)))
}

fn request(issuer: &Issuer) -> Result<Request<Full<Bytes>>, String> {
    let secret = issuer.client_secret.reveal().map_err(|error| error.to_string())?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(scope) = &issuer.scope {
        form.append_pair("scope", scope);
    }
    // Both parts are encoded before they are joined (RFC 6749, section 2.3.1).
    let encode = |part: &str| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(&issuer.client_id), encode(&secret));
    Request::builder()
        .method(Method::POST)
        .uri(issuer.endpoint.as_str())
        .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(Full::from(form.finish()))
        .map_err(|_| "`sasl.token_endpoint` is no address for a request".to_owned())
}

/// For an address with http; the machine's authorities take megabytes.
fn no_tls() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

const DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a token is taken to be good whose issuer does not say.
const LIFETIME: Duration = Duration::from_secs(300);
/// As much as an answer may hold: tokens have some kilobytes.
const LARGEST: usize = 64 << 10;
