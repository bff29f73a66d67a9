//! A receiver of webhooks, in this process and on a real socket.
//!
//! It writes down what it gets, and a script says how to answer each request: well, badly, late,
//! not at all, or by cutting the connection.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

pub use answer::Answer;
use answer::{Body, CutError};

mod answer;

/// A receiver. Dropping it closes its port and its connections.
pub struct Webhook {
    address: SocketAddr,
    book: Arc<Book>,
    task: JoinHandle<()>,
}

/// A request that the receiver got.
#[derive(Clone, Debug)]
pub struct Received {
    /// The place among all requests, from 0.
    pub number: usize,
    /// The connection that it came on, from 0.
    pub connection: usize,
    /// When its last byte was there.
    pub at: Instant,
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub path: String,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The status that it was answered with; `None` before that, and for ever if it was cut off.
    pub answered: Option<StatusCode>,
}

/// What all connections write into.
struct Book {
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
    running: Mutex<Running>,
    news: Notify,
}

struct Script(Box<dyn FnMut(&Received) -> Answer + Send>);

#[derive(Clone, Copy, Default)]
struct Running {
    now: usize,
    peak: usize,
}

impl Webhook {
    /// Starts a receiver on a port of its own; `script` answers its requests, one at a time.
    pub async fn start(script: impl FnMut(&Received) -> Answer + Send + 'static) -> Self {
        Self::start_on(0, script).await
    }

    /// Starts a receiver on a given loopback port: one that comes back after it was closed.
    pub async fn start_on(port: u16, script: impl FnMut(&Received) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a port for the webhook");
        let address = listener.local_addr().expect("a bound socket has an address");
        let book = Arc::new(Book {
            script: Mutex::new(Script(Box::new(script))),
            received: Mutex::default(),
            running: Mutex::default(),
            news: Notify::new(),
        });
        let task = tokio::spawn(accept(listener, book.clone()));
        Self { address, book, task }
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of a path such as `/events`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns what was received until now.
    pub fn received(&self) -> Vec<Received> {
        self.book.received().clone()
    }

    /// Returns how many requests were under way at once, at most.
    pub fn peak(&self) -> usize {
        self.book.running().peak
    }

    /// Answers by another script from here on.
    pub fn follow(&self, script: impl FnMut(&Received) -> Answer + Send + 'static) {
        *lock(&self.book.script) = Script(Box::new(script));
    }

    /// Waits until `condition` holds for what was received, and returns that. Panics after 30
    /// seconds, naming `what` was waited for.
    pub async fn wait_until(&self, what: &str, condition: impl FnMut(&[Received]) -> bool) -> Vec<Received> {
        self.wait_until_within(DEADLINE, what, condition).await
    }

    /// Waits like [`Webhook::wait_until`], with another deadline.
    pub async fn wait_until_within(
        &self,
        deadline: Duration,
        what: &str,
        mut condition: impl FnMut(&[Received]) -> bool,
    ) -> Vec<Received> {
        let end = Instant::now() + deadline;
        loop {
            let news = self.book.news.notified();
            let seen = {
                let received = self.book.received();
                if condition(&received) {
                    return received.clone();
                }
                received.len()
            };
            if timeout_at(end, news).await.is_err() {
                panic!("after {deadline:?} and {seen} requests still not: {what}");
            }
        }
    }

    /// Closes its port and its connections, and returns when they are closed.
    pub async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Received {
    /// Returns a header's value as text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header that is text"))
    }

    /// Returns the body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body that is text")
    }
}

impl Book {
    fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        lock(&self.received)
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        lock(&self.running)
    }

    /// Writes a request down and asks the script; returns its number too.
    fn write(&self, mut request: Received) -> (usize, Answer) {
        let mut script = lock(&self.script);
        request.number = self.received().len();
        let (number, answer) = (request.number, (script.0)(&request));
        self.received().push(request);
        self.news.notify_waiters();
        (number, answer)
    }

    fn wrote_answer(&self, number: usize, status: StatusCode) {
        if let Some(request) = self.received().get_mut(number) {
            request.answered = Some(status);
        }
        self.news.notify_waiters();
    }
}

/// Counts a request for as long as it is under way, also when its connection goes away.
struct UnderWay<'a>(&'a Book);

impl<'a> UnderWay<'a> {
    fn new(book: &'a Book) -> Self {
        let mut running = book.running();
        running.now += 1;
        running.peak = running.peak.max(running.now);
        drop(running);
        Self(book)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.running().now -= 1;
    }
}

async fn accept(listener: TcpListener, book: Arc<Book>) {
    let mut connections = JoinSet::new();
    let mut count = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted.expect("a connection");
                connections.spawn(serve(socket, count, book.clone()));
                count += 1;
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(socket: TcpStream, connection: usize, book: Arc<Book>) {
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| answer(request, connection, book.clone()));
    // A connection that ends badly is the client's to report, or was asked for by the script.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(
    request: Request<Incoming>,
    connection: usize,
    book: Arc<Book>,
) -> Result<Response<Body>, CutError> {
    let (head, body) = request.into_parts();
    // A request that did not arrive whole is none.
    let body = body.collect().await.map_err(|_| CutError)?.to_bytes();
    let _under_way = UnderWay::new(&book);
    let (number, answer) = book.write(Received {
        number: 0,
        connection,
        at: Instant::now(),
        method: head.method,
        path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        version: head.version,
        headers: head.headers,
        body,
        answered: None,
    });
    let response = answer.give().await?;
    book.wrote_answer(number, response.status());
    Ok(response)
}

/// A script that panicked has failed its test already.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const DEADLINE: Duration = Duration::from_secs(30);
