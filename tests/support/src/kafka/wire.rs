//! What tests need of Kafka's protocol: a tool in Java takes a second for each,
//! and this crate must not depend on the client library that is under test.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::eventually::PAUSE;

/// Returns how many brokers of its cluster a broker knows, itself among them.
pub(super) async fn brokers(address: &str) -> io::Result<i32> {
    // Metadata v4: no topics, create none.
    let mut request = Vec::new();
    request.extend(0_i32.to_be_bytes());
    request.push(0);
    let answer = call(address, METADATA, 4, &request).await?;
    let mut answer = Reader(&answer);
    let _throttled = answer.i32()?;
    answer.i32()
}

/// Creates a topic, and returns when its partitions have a leader.
pub(super) async fn create_topic(
    address: &str,
    name: &str,
    partitions: u32,
    settings: &[(&str, &str)],
) -> io::Result<()> {
    // CreateTopics v4: as many copies as the cluster makes by default.
    let mut request = Vec::new();
    request.extend(1_i32.to_be_bytes());
    put(&mut request, name);
    request.extend(partitions.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend(0_i32.to_be_bytes());
    request.extend((settings.len() as i32).to_be_bytes());
    for (setting, value) in settings {
        put(&mut request, setting);
        put(&mut request, value);
    }
    request.extend((DEADLINE.as_millis() as i32).to_be_bytes());
    request.push(0);
    let answer = call(address, CREATE_TOPICS, 4, &request).await?;
    let mut answer = Reader(&answer);
    let (_throttled, _topics) = (answer.i32()?, answer.i32()?);
    let _name = answer.text()?;
    match answer.i16()? {
        0 => {}
        code => return Err(io::Error::other(format!("{} (code {code})", answer.text()?))),
    }

    let end = Instant::now() + DEADLINE;
    while self::partitions(address, name).await? < partitions {
        if Instant::now() > end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "its partitions have no leader"));
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Returns how many partitions with a leader a topic has.
pub(super) async fn partitions(address: &str, topic: &str) -> io::Result<u32> {
    Ok(leaders(address, topic).await?.len() as u32)
}

/// Returns the node that leads each partition that has a leader.
pub(super) async fn leaders(address: &str, topic: &str) -> io::Result<BTreeMap<i32, i32>> {
    let mut request = Vec::new();
    request.extend(1_i32.to_be_bytes());
    put(&mut request, topic);
    request.push(0);
    let answer = call(address, METADATA, 4, &request).await?;
    let mut answer = Reader(&answer);
    let _throttled = answer.i32()?;
    for _ in 0..answer.i32()? {
        let (_node, _host, _port, _rack) = (answer.i32()?, answer.text()?, answer.i32()?, answer.text()?);
    }
    let (_cluster, _controller, _topics) = (answer.text()?, answer.i32()?, answer.i32()?);
    let (_error, _name, _internal) = (answer.i16()?, answer.text()?, answer.take::<1>()?);
    let mut led = BTreeMap::new();
    for _ in 0..answer.i32()? {
        let (error, partition, leader) = (answer.i16()?, answer.i32()?, answer.i32()?);
        if error == 0 && leader >= 0 {
            led.insert(partition, leader);
        }
        for _replicas_then_in_sync in 0..2 {
            for _ in 0..answer.i32()? {
                answer.i32()?;
            }
        }
    }
    Ok(led)
}

/// Sends one request on a connection of its own, and returns the body of the answer.
async fn call(address: &str, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let exchange = async {
        let mut request = Vec::new();
        request.extend(api.to_be_bytes());
        request.extend(version.to_be_bytes());
        request.extend(CORRELATION.to_be_bytes());
        put(&mut request, "sidespan-tests");
        request.extend(body);

        let mut socket = TcpStream::connect(address).await?;
        socket.write_i32(request.len() as i32).await?;
        socket.write_all(&request).await?;
        let length = socket.read_u32().await? as usize;
        let mut answer = vec![0; length];
        socket.read_exact(&mut answer).await?;
        let mut reader = Reader(&answer);
        match reader.i32()? {
            CORRELATION => Ok(reader.0.to_vec()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    };
    timeout(DEADLINE, exchange).await?
}

fn put(request: &mut Vec<u8>, text: &str) {
    request.extend((text.len() as i16).to_be_bytes());
    request.extend(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn i16(&mut self) -> io::Result<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> io::Result<i32> {
        self.take().map(i32::from_be_bytes)
    }

    /// A null is an empty text.
    fn text(&mut self) -> io::Result<String> {
        let length = self.i16()?.max(0) as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(*taken)
    }
}

const METADATA: i16 = 3;
const CREATE_TOPICS: i16 = 19;
const CORRELATION: i32 = 7;
const DEADLINE: Duration = Duration::from_secs(10);
