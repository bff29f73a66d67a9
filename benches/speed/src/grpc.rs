//! gRPC with as little as it takes: frames of HTTP/2 by the library that everybody uses, and messages
//! that are written and read here.
//!
//! All publishers share one connection, as the calls of one client do: each makes calls of its own
//! ([`publish`]), or all of them share one stream ([`stream`]). What comes is taken by [`subscriber`].

pub(crate) mod subscriber;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Request, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::Failed;
use crate::load::{self, Message, Publish, Target};

/// Is a load of calls, each with one message.
pub(crate) async fn publish(target: Target) -> Result<(), Failed> {
    let calls = connect(&target.at).await?;
    let publisher = Calls { calls, target: target.clone() };
    load::serve(vec![publisher; target.publishers], &target).await
}

/// Is a load on one stream.
pub(crate) async fn stream(target: Target) -> Result<(), Failed> {
    let calls = connect(&target.at).await?;
    let mut calls = calls.ready().await?;
    let (answer, requests) = calls.send_request(request(&target.at, "Publisher/PublishStream")?, false)?;
    let waiting: Waiting = Arc::new(Mutex::new((0..target.publishers).map(|_| None).collect()));
    let (queue, queued) = mpsc::unbounded_channel();
    tokio::spawn(write(requests, queued));
    let answers = answer.await?.into_body();
    let told = waiting.clone();
    tokio::spawn(async move {
        if let Err(error) = read(answers, &told).await {
            eprintln!("benches/run: the stream ended: {error}");
        }
        // Nobody is to wait for ever.
        told.lock().unwrap_or_else(PoisonError::into_inner).clear();
    });
    let publisher =
        |number| Streamed { number, queue: queue.clone(), waiting: waiting.clone(), target: target.clone() };
    load::serve((0..target.publishers).map(publisher).collect(), &target).await
}

async fn connect(at: &str) -> Result<SendRequest<Bytes>, Failed> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let (calls, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .handshake(stream)
        .await?;
    tokio::spawn(connection);
    Ok(calls)
}

fn request(at: &str, method: &str) -> Result<Request<()>, Failed> {
    let request = Request::post(format!("http://{at}/sidespan.v1.{method}"));
    Ok(request.header("content-type", "application/grpc").header("te", "trailers").body(())?)
}

/// Publishes by calls.
#[derive(Clone)]
struct Calls {
    calls: SendRequest<Bytes>,
    target: Target,
}

impl Publish for Calls {
    async fn publish(&mut self, message: &Message) -> Result<(), Failed> {
        let mut encoded = BytesMut::with_capacity(512);
        field(&mut encoded, 1, &written(&self.target.topic, message));
        let mut calls = self.calls.clone().ready().await?;
        let (answer, mut body) = calls.send_request(request(&self.target.at, "Publisher/Publish")?, false)?;
        body.send_data(framed(&encoded), true)?;
        let answer = answer.await?;
        let status = answer.status();
        let mut said = answer.headers().get("grpc-status").cloned();
        let mut body = answer.into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        if let Some(trailers) = body.trailers().await? {
            said = trailers.get("grpc-status").cloned();
        }
        if status == StatusCode::OK && said.as_ref().is_some_and(|said| said == "0") {
            return Ok(());
        }
        Err(format!("{status}, gRPC {said:?}").into())
    }
}

/// Publishes by a stream. The number is the sequence: a publisher has one message on its way.
struct Streamed {
    number: usize,
    queue: mpsc::UnboundedSender<Bytes>,
    waiting: Waiting,
    target: Target,
}

impl Streamed {
    fn expect(&self, told: oneshot::Sender<bool>) -> Result<(), Failed> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting.get_mut(self.number).ok_or("the stream has ended")? = Some(told);
        Ok(())
    }
}

/// Who waits for an outcome: `true` is a receipt.
type Waiting = Arc<Mutex<Vec<Option<oneshot::Sender<bool>>>>>;

impl Publish for Streamed {
    async fn publish(&mut self, message: &Message) -> Result<(), Failed> {
        let mut encoded = BytesMut::with_capacity(512);
        encoded.put_u8(1 << 3);
        varint(&mut encoded, self.number);
        field(&mut encoded, 2, &written(&self.target.topic, message));
        let (told, outcome) = oneshot::channel();
        self.expect(told)?;
        self.queue.send(framed(&encoded))?;
        if outcome.await? { Ok(()) } else { Err("a message was not stored".into()) }
    }
}

/// Writes what has been queued together.
async fn write(
    mut requests: SendStream<Bytes>,
    mut queued: mpsc::UnboundedReceiver<Bytes>,
) -> Result<(), h2::Error> {
    let mut all = Vec::new();
    while queued.recv_many(&mut all, 1024).await > 0 {
        let together: BytesMut = all.drain(..).flatten().collect();
        requests.send_data(together.freeze(), false)?;
    }
    Ok(())
}

async fn read(mut answers: RecvStream, waiting: &Waiting) -> Result<(), Failed> {
    let mut kept = BytesMut::new();
    while let Some(data) = answers.data().await {
        let data = data?;
        answers.flow_control().release_capacity(data.len())?;
        kept.extend_from_slice(&data);
        while let Some(length) = kept.get(1..HEAD).map(|mut length| length.get_u32() as usize)
            && kept.len() >= HEAD + length
        {
            kept.advance(HEAD);
            let (sequence, stored) = outcome(&kept.split_to(length)).ok_or("an answer is not understood")?;
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(told) = waiting.get_mut(sequence).and_then(Option::take) {
                // Who was told to stop does not wait.
                let _ = told.send(stored);
            }
        }
    }
    Err(format!("{:?}", answers.trailers().await?).into())
}

/// Reads `PublishStreamResponse`: its sequence, and whether there is a receipt in it.
fn outcome(mut answer: &[u8]) -> Option<(usize, bool)> {
    let (mut sequence, mut stored) = (0, false);
    while let Some((tag, rest)) = answer.split_first() {
        answer = rest;
        let number = read_varint(&mut answer)?;
        match tag {
            0x08 => sequence = number,
            0x12 => {
                let (outcome, rest) = answer.split_at_checked(number)?;
                stored = outcome.first() == Some(&0x0a);
                answer = rest;
            }
            _ => return None,
        }
    }
    Some((sequence, stored))
}

/// Writes `Message`.
fn written(topic: &str, message: &Message) -> Bytes {
    let mut encoded = BytesMut::with_capacity(512);
    field(&mut encoded, 1, topic.as_bytes());
    field(&mut encoded, 3, message.key.as_bytes());
    field(&mut encoded, 5, b"application/octet-stream");
    field(&mut encoded, 7, &message.body);
    encoded.freeze()
}

fn field(encoded: &mut BytesMut, tag: u8, value: &[u8]) {
    encoded.put_u8(tag << 3 | 2);
    varint(encoded, value.len());
    encoded.put_slice(value);
}

fn varint(encoded: &mut BytesMut, mut number: usize) {
    while number > 0x7f {
        encoded.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    encoded.put_u8(number as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<usize> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= usize::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEAD + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

const HEAD: usize = 5;
