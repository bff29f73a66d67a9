//! One question to the management API.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use sidespan_bridge::{Error, Fault, Tls, tls};

use crate::settings::{AmqpSettings, Management};

/// The API of one virtual host.
pub(super) struct Api {
    base: String,
    encrypted: bool,
    tls: Tls,
    vhost: String,
    authorization: String,
}

impl Api {
    /// Reads secrets as they are now.
    pub(super) fn new(settings: &AmqpSettings, management: &Management) -> Result<Self, Error> {
        let unusable = |detail: String| Error::new(Fault::Unavailable).detail(detail);
        let url = management.url().ok_or_else(|| unusable("`management.url` is no address".to_owned()))?;
        let node = settings.url.all().first().ok_or_else(|| unusable("`url` names no node".to_owned()))?;
        let credentials = match (&management.username, &management.password) {
            (Some(username), Some(password)) => {
                username.reveal().and_then(|username| Ok((username, password.reveal()?)))
            }
            _ => settings.credentials(node),
        };
        let (username, password) = credentials.map_err(|error| unusable(error.to_string()).because(error))?;
        Ok(Self {
            base: url.as_str().trim_end_matches('/').to_owned(),
            encrypted: url.scheme() == "https",
            tls: settings.tls.clone().unwrap_or_default(),
            vhost: encoded(&node.vhost),
            authorization: format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))),
        })
    }

    /// Lists things of a kind, with these of their properties.
    pub(super) async fn list<T: DeserializeOwned>(&self, kind: &str, columns: &str) -> Result<Vec<T>, Error> {
        let path = format!("/api/{kind}/{}?columns={columns}", self.vhost);
        let listed = self.get(&path).await?;
        listed.ok_or_else(|| {
            let detail = "rabbitmq's management API does not have the virtual host, or is no such API: check \
                          `management.url`";
            Error::new(Fault::Unavailable).detail(detail)
        })
    }

    /// Looks one thing up; `None` if there is none.
    pub(super) async fn one<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Option<T>, Error> {
        self.get(&format!("/api/{kind}/{}/{}", self.vhost, encoded(name))).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let builder = Client::builder(TokioExecutor::new());
        if !self.encrypted {
            return self.ask(&builder.build_http(), path).await;
        }
        // Certificates may have changed since the last time.
        let config = self
            .tls
            .client()
            .map_err(|error| Error::new(Fault::Unavailable).detail(error.to_string()).because(error))?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config);
        self.ask(&builder.build(connector.https_only().enable_http1().build()), path).await
    }

    async fn ask<C, T>(&self, client: &Client<C, Empty<Bytes>>, path: &str) -> Result<Option<T>, Error>
    where
        C: Connect + Clone + Send + Sync + 'static,
        T: DeserializeOwned,
    {
        let request = Request::get(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|error| failed("`management.url` is no address for a request").because(error))?;
        let answer = client.request(request).await.map_err(|error| {
            let detail = match tls::explain(&error) {
                Some(line) => format!("rabbitmq's management API: {line}"),
                None => "rabbitmq's management API cannot be reached: is the plugin `rabbitmq_management` on, and \
                         is `management.url` right?"
                    .to_owned(),
            };
            Error::new(Fault::Unavailable).detail(detail).because(error)
        })?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let detail = "rabbitmq's management API refuses: check `management.username` and \
                              `management.password`, and that the user has the tag `management` or `monitoring`";
                return Err(Error::new(Fault::Denied).detail(detail));
            }
            status => {
                let status = status.as_u16();
                return Err(failed(&format!(
                    "rabbitmq's management API answers {status}: check `management.url`"
                )));
            }
        }
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| {
            Error::new(Fault::Unavailable)
                .detail("the answer of rabbitmq's management API is cut off, or too large")
                .because(error)
        })?;
        let read = serde_json::from_slice(&body.to_bytes());
        read.map(Some).map_err(|error| {
            failed("what answers is not rabbitmq's management API: check `management.url`").because(error)
        })
    }
}

fn failed(detail: &str) -> Error {
    Error::new(Fault::Unavailable).detail(detail)
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// As much as an answer may hold: about 100,000 queues.
const LARGEST: usize = 16 << 20;
