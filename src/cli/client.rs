//! Speaks HTTP to a running Sidespan.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::failure::Failure;
use super::token::Token;

/// Where a server listens, as `--server` and `--admin` name it.
#[derive(Clone, Debug)]
pub(super) enum Server {
    /// `http://host:port`, by host, port, and what goes into `Host`.
    Tcp(String, u16, HeaderValue),
    /// `unix:/path`.
    Unix(PathBuf),
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let advice = "write it as http://host:port or unix:/path";
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let uri: Uri = text.parse().map_err(|_| advice.to_owned())?;
        let plain =
            uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
        match uri.authority() {
            Some(authority) if plain && !authority.as_str().contains('@') => {
                let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = HeaderValue::from_str(authority.as_str()).map_err(|_| advice.to_owned())?;
                Ok(Self::Tcp(host, authority.port_u16().unwrap_or(80), name))
            }
            Some(_) | None => Err(advice.to_owned()),
        }
    }
}

impl From<SocketAddr> for Server {
    #[expect(clippy::expect_used, reason = "an address is made of digits, dots, colons and brackets")]
    fn from(address: SocketAddr) -> Self {
        let name = HeaderValue::from_str(&address.to_string()).expect("letters that a header may have");
        Self::Tcp(address.ip().to_string(), address.port(), name)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, _, name) => write!(f, "http://{}", name.to_str().unwrap_or_default()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An answer whose body is still to be read. Dropping it closes the connection.
pub(super) struct Answer {
    response: Response<Incoming>,
    connection: AbortOnDropHandle<()>,
}

impl Server {
    /// Sends a request on a connection of its own and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        token: &Token,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        request.headers_mut().insert(HOST, self.host());
        if let Some(bearer) = token.header()? {
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        let answered = exchange(self.connect().await?, request);
        match timeout(patience, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::Later(format!(
                "{self} hung up before it answered ({error}): the outcome is not known"
            ))),
            Err(_) => Err(Failure::Later(format!(
                "no answer from {self} in {patience:?}: the outcome is not known"
            ))),
        }
    }

    /// Tells whether nobody listens there.
    pub(super) async fn is_gone(&self) -> bool {
        let connected = match self {
            Self::Tcp(host, port, _) => {
                timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await.map(|it| it.map(drop))
            }
            Self::Unix(path) => timeout(CONNECT, UnixStream::connect(path)).await.map(|it| it.map(drop)),
        };
        let absent = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
        matches!(connected, Ok(Err(error)) if absent.contains(&error.kind()))
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        let connected = async {
            let stream: Box<dyn Stream> = match self {
                Self::Tcp(host, port, _) => {
                    let socket = TcpStream::connect((host.as_str(), *port)).await?;
                    socket.set_nodelay(true)?;
                    Box::new(socket)
                }
                Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            };
            Ok::<_, io::Error>(stream)
        };
        match timeout(CONNECT, connected).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&"no answer")),
        }
    }

    /// Returns what goes into `Host`.
    pub(super) fn host(&self) -> HeaderValue {
        match self {
            Self::Tcp(_, _, name) => name.clone(),
            Self::Unix(_) => HeaderValue::from_static("localhost"),
        }
    }

    fn unreachable(&self, error: &dyn fmt::Display) -> Failure {
        Failure::Later(format!(
            "cannot reach {self} ({error}): start `sidespan` there, or say where it is with --server or --admin"
        ))
    }
}

impl Answer {
    /// Returns the head.
    pub(super) fn head(&self) -> &Response<Incoming> {
        &self.response
    }

    /// Reads the body of an answer that says that all is well, or what the problem is.
    pub(super) async fn body(self) -> Result<Bytes, Failure> {
        let (status, body) = self.read().await?;
        if status.is_success() { Ok(body) } else { Err(problem(status, &body)) }
    }

    /// Reads the body, whatever it says.
    pub(super) async fn read(self) -> Result<(StatusCode, Bytes), Failure> {
        let Self { response, connection } = self;
        let status = response.status();
        let read = Limited::new(response.into_body(), MOST_BODY).collect();
        let body = match timeout(BODY, read).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return Err(Failure::Later(format!("the answer broke off ({error})"))),
            Err(_) => return Err(Failure::Later("the answer did not come to its end in time".into())),
        };
        drop(connection);
        Ok((status, body))
    }

    /// Waits for the next piece of the body; `None` is its end.
    pub(super) async fn piece(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match self.response.body_mut().frame().await? {
                Ok(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        return Some(Ok(piece));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Makes the path of a topic's resource.
pub(super) fn topic_path(topic: &str, resource: &str) -> String {
    format!("/v1/topics/{}/{resource}", utf8_percent_encode(topic, SEGMENT))
}

/// Makes the path of what is done with a subscription.
pub(super) fn subscription_path(subscription: &str, verb: &str) -> String {
    format!("/v1/subscriptions/{}/{verb}", utf8_percent_encode(subscription, SEGMENT))
}

/// Makes a request that posts JSON.
pub(super) fn json_request(path: &str, body: String) -> Result<Request<Full<Bytes>>, Failure> {
    Request::post(path)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failure::Usage(format!("error: this cannot be asked: {error}")))
}

/// Words the failure that a server answered.
pub(super) fn problem(status: StatusCode, body: &[u8]) -> Failure {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let title = problem.title.as_deref().or(status.canonical_reason()).unwrap_or("the server refused");
    let mut text = format!("{title} ({})", status.as_u16());
    if let Some(detail) = &problem.detail {
        text.push_str(": ");
        text.push_str(detail);
    }
    let advice = match problem.outcome.as_deref() {
        _ if status == StatusCode::UNAUTHORIZED => Some("name a file that holds the token with --token-file"),
        Some("unknown") => Some(
            "it may have been stored: look with `sidespan sub` before you send it again, or send it with an \
             --idempotency-key where the broker deduplicates",
        ),
        Some("partial") => Some("send again only what is not stored, or repeats are stored too"),
        Some("not_stored") if problem.retryable => {
            Some("nothing was stored, and the same command may succeed later")
        }
        Some(_) | None => None,
    };
    if let Some(advice) = advice {
        text.push('\n');
        text.push_str(advice);
    }
    let later = problem.retryable || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
    if later { Failure::Later(text) } else { Failure::Failed(text) }
}

/// What is read of `application/problem+json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    outcome: Option<String>,
    retryable: bool,
}

/// A byte stream, whichever socket it came by.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn exchange(stream: Box<dyn Stream>, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How the connection ends is told by the answer and its body.
    let connection = AbortOnDropHandle::new(tokio::spawn(async {
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await?;
    Ok(Answer { response, connection })
}

/// RFC 3986, 3.3; a topic's own slashes are not the path's.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const CONNECT: Duration = Duration::from_secs(5);
const BODY: Duration = Duration::from_secs(30);
const MOST_BODY: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_without_a_path_or_a_socket() {
        for text in ["http://127.0.0.1:7400", "http://[::1]:7400/", "unix:/run/sidespan.sock"] {
            let server: Server = text.parse().unwrap();
            assert_eq!(server.to_string(), text.trim_end_matches('/'));
        }
        for text in ["https://h", "127.0.0.1:7400", "http://h/path", "http://me@h", "unix:", ""] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_topic_stays_one_segment_of_the_path() {
        assert_eq!(topic_path("a/b c.ü", "messages"), "/v1/topics/a%2Fb%20c.%C3%BC/messages");
    }

    #[test]
    fn what_may_succeed_later_is_told_apart() {
        let told = |status: u16, body: &str| problem(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert!(matches!(told(404, r#"{"title": "t", "outcome": "not_stored"}"#), Failure::Failed(_)));
        assert!(matches!(told(429, r#"{"retryable": true}"#), Failure::Later(_)));
        assert!(matches!(told(503, "not json"), Failure::Later(_)));
        assert!(matches!(told(501, "{}"), Failure::Failed(_)));
        let Failure::Later(text) = told(504, r#"{"title": "Slow", "detail": "d", "outcome": "unknown"}"#)
        else {
            panic!("an unknown outcome may be known later");
        };
        assert!(text.starts_with("Slow (504): d\nit may have been stored"), "{text}");
    }
}
