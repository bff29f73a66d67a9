//! What every request passes: is the caller meant to reach this door, who is it, and does every failure
//! leave in one form.
//!
//! A page in a browser can reach loopback. Its requests carry the page's `Origin`, and a name that
//! was rebound to loopback is in `Host`; both are refused unless listed.

use std::convert::Infallible;
use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{ALLOW, CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use tokio_util::task::TaskTracker;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use super::request;
use super::upload::Upload;
use crate::error::Error;
use crate::grpc;
use crate::listen::{self, Service};
use crate::security::caller::Callers;

/// Who may call: by the names under which the door is addressed, the pages that may, and the callers.
#[derive(Clone, Debug)]
pub struct Guard {
    own: Option<SocketAddr>,
    /// How a client names this listener that has no reason to do otherwise.
    usual: Option<String>,
    hosts: Vec<String>,
    origins: Vec<String>,
    /// Without it nobody is asked.
    asking: Option<Asking>,
}

/// How everybody is asked who they are.
#[derive(Clone, Debug)]
struct Asking {
    callers: Arc<Callers>,
    /// Paths where nobody is asked.
    open: &'static [&'static str],
    /// Has the bodies of those who are refused.
    tasks: TaskTracker,
}

/// Who sent a request that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// A page of a listed origin, in a browser.
    Page,
    /// Any other program.
    Program,
}

/// A door with its guard.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    guard: Arc<Guard>,
    door: S,
}

impl Guard {
    /// Guards a listener: its bound TCP address (`None` for a Unix socket, which no page can
    /// reach), other names it goes by, with or without a port, and the pages that may call.
    pub fn new(own: Option<SocketAddr>, hosts: Vec<String>, origins: Vec<String>) -> Self {
        let usual = own.map(|own| own.to_string());
        Self { own, usual, hosts, origins, asking: None }
    }

    /// Asks everybody who they are, but for requests of the `open` paths. What is left of the bodies of
    /// those who are refused is read by `tasks`.
    pub fn ask(self, callers: Arc<Callers>, open: &'static [&'static str], tasks: TaskTracker) -> Self {
        Self { asking: Some(Asking { callers, open, tasks }), ..self }
    }

    /// Puts the guard before a door.
    pub fn protect<S: Service>(self, door: S) -> Guarded<S> {
        Guarded { guard: Arc::new(self), door }
    }

    /// Lets a request pass that is meant for this door; says whether a page sent it.
    fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<Sender, Error> {
        self.host(uri, headers)?;
        let stranger = || {
            Err(Error::Forbidden("pages of this origin may not call: list it under `allowed_origins`".into()))
        };
        let Some(origin) = headers.get(ORIGIN) else {
            // An image or a link of a page has no `Origin`, and browsers say whose page it is.
            let cross = headers.get(FETCH_SITE).is_some_and(|site| site == "cross-site");
            return if cross { stranger() } else { Ok(Sender::Program) };
        };
        let listed = |known: &String| known.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        if headers.get_all(ORIGIN).iter().count() == 1 && self.origins.iter().any(listed) {
            return Ok(Sender::Page);
        }
        stranger()
    }

    /// Finds out who calls, and leaves that with the request.
    fn identify(&self, request: &mut Request<Body>) -> Result<(), Error> {
        let Some(Asking { callers, open, tasks }) = &self.asking else { return Ok(()) };
        if open.contains(&request.uri().path()) {
            return Ok(());
        }
        let caller = match callers.authenticate(request.headers()) {
            Ok(caller) => caller,
            Err(error) => {
                let body = std::mem::take(request.body_mut());
                drop(Upload::new(request.headers(), body, tasks));
                return Err(error);
            }
        };
        if let Some(sender) = request.extensions().get::<listen::Sender>() {
            sender.is(&caller);
        }
        request.extensions_mut().insert(caller);
        Ok(())
    }

    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        let Some(own) = self.own else { return Ok(()) };
        if self.is_usual(uri, headers) {
            return Ok(());
        }
        // HTTP/2 has the host in the URI (`:authority`); where both are there, both must be ours.
        let given = headers.get_all(HOST).iter().map(|value| Authority::try_from(value.as_bytes()).ok());
        let mut any = false;
        for host in given.chain(uri.authority().cloned().map(Some)) {
            let known = host.is_some_and(|host| self.is_listed(&host) || is_own(own, &host));
            if !known {
                return Err(Error::Forbidden(
                    "the header Host is not a name of this listener: list it under `allowed_hosts`".into(),
                ));
            }
            any = true;
        }
        if any { Ok(()) } else { Err(Error::Invalid("the header Host is missing".into())) }
    }

    /// Tells whether a request names the listener by its address, and by nothing else.
    fn is_usual(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        let usual = self.usual.as_ref().map(String::as_bytes);
        uri.authority().is_none() && usual.is_some() && hosts.next() == usual && hosts.next().is_none()
    }

    fn is_listed(&self, host: &Authority) -> bool {
        let same = |known: &String| {
            known.eq_ignore_ascii_case(host.as_str()) || known.eq_ignore_ascii_case(host.host())
        };
        self.hosts.iter().any(same)
    }
}

/// Fetch Metadata, 2.4.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// How long a browser need not ask again whether a page may call.
const REMEMBERED: Duration = Duration::from_secs(600);

impl<S: Service> Service for Guarded<S> {
    /// Refuses strangers, and answers listed pages so that their browser lets them read it.
    fn answer(self, request: Request<Body>) -> impl Future<Output = Response> + Send + 'static {
        match self.guard.admit(request.uri(), request.headers()) {
            Ok(Sender::Program) => self.pass(request).left_future(),
            // In a box, as room for it would be needed in every request otherwise.
            Ok(Sender::Page) => self.answer_page(request).boxed().right_future(),
            Err(error) => ready(refusal(&request)(error)).boxed().right_future(),
        }
    }
}

impl<S: Service> Guarded<S> {
    /// Answers whoever may call.
    fn pass(self, mut request: Request<Body>) -> impl Future<Output = Response> + Send + 'static {
        let refused = refusal(&request);
        if let Err(error) = self.guard.identify(&mut request) {
            return ready(refused(error)).left_future();
        }
        let answered = AssertUnwindSafe(self.door.answer(request)).catch_unwind();
        answered.map(move |answered| in_one_form(answered, refused)).right_future()
    }

    /// As the Fetch standard says. What a browser asks before it lets a page call is answered here: it
    /// does not say yet who the caller is.
    async fn answer_page(self, request: Request<Body>) -> Response {
        let preflight = request.method() == Method::OPTIONS;
        let pass = service_fn(|request| self.clone().pass(request).map(Ok::<_, Infallible>));
        let answered = pages().layer(pass).oneshot(request).await;
        let mut response = answered.unwrap_or_else(|never| match never {});
        if preflight {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        response
    }
}

/// What a page may send and read; its origin is listed.
fn pages() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .allow_private_network(true)
        .expose_headers(Any)
        .max_age(REMEMBERED)
}

/// How a failure is told.
type Refuse = fn(Error) -> Response;

/// Returns how a failure is told to whom this request is from.
fn refusal(request: &Request<Body>) -> Refuse {
    if grpc::is_call(request) { |error| grpc::refusal(&error) } else { Error::into_response }
}

/// The router answers with bare statuses where it finds no handler. A panic is in the log already.
fn in_one_form<P>(answered: Result<Response, P>, refused: Refuse) -> Response {
    let Ok(response) = answered else { return refused(Error::Internal) };
    let error = match response.status() {
        // Whole as it is, or somebody else's.
        _ if response.headers().contains_key(CONTENT_TYPE) || request::is_reply(&response) => {
            return response;
        }
        StatusCode::NOT_FOUND => Error::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Error::MethodNotAllowed,
        StatusCode::INTERNAL_SERVER_ERROR => Error::Internal,
        _ => return response,
    };
    let mut problem = error.into_response();
    if let Some(allow) = response.headers().get(ALLOW) {
        problem.headers_mut().insert(ALLOW, allow.clone());
    }
    problem
}

/// An address or `localhost` cannot be rebound, so it is ours where it can lead to the listener.
fn is_own(own: SocketAddr, host: &Authority) -> bool {
    let name = host.host();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let leads_here = match address {
        Ok(address) => {
            own.ip().is_unspecified()
                || address == own.ip()
                || (own.ip().is_loopback() && address.is_loopback())
        }
        Err(_) => {
            name.eq_ignore_ascii_case("localhost") && (own.ip().is_loopback() || own.ip().is_unspecified())
        }
    };
    leads_here && !host.as_str().contains('@') && host.port_u16().unwrap_or(80) == own.port()
}

#[cfg(test)]
mod tests;
