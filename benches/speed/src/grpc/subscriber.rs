//! A subscriber on one stream, which gives credit once and acknowledges what comes.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use clap::Args;
use h2::{RecvStream, SendStream};

use super::{HEAD, connect, field, framed, read_varint, request, varint};
use crate::Failed;
use crate::sockets::Book;

/// Which subscription.
#[derive(Args, Clone, Debug)]
pub(crate) struct Which {
    /// `address:port` of Sidespan
    #[arg(long)]
    at: String,
    /// Its name
    #[arg(long)]
    subscription: String,
}

/// Opens the stream, and takes what comes until nobody asks any more.
pub(crate) async fn take(which: Which) -> Result<(), Failed> {
    let mut calls = connect(&which.at).await?.ready().await?;
    let (answer, mut requests) = calls.send_request(request(&which.at, "Subscriber/Subscribe")?, false)?;
    let mut credit = BytesMut::new();
    credit.extend_from_slice(&[1 << 3]);
    varint(&mut credit, 1_000_000_000);
    let (mut begin, mut first) = (BytesMut::new(), BytesMut::new());
    field(&mut begin, 1, which.subscription.as_bytes());
    field(&mut begin, 2, &credit);
    field(&mut first, BEGIN, &begin);
    requests.send_data(framed(&first), false)?;
    let answers = answer.await?.into_body();
    let book = Arc::<Book>::default();
    let counted = book.clone();
    tokio::spawn(async move {
        if let Err(error) = count(answers, requests, &counted).await {
            eprintln!("benches/run: the stream ended: {error}");
        }
    });
    book.serve().await
}

async fn count(mut answers: RecvStream, mut requests: SendStream<Bytes>, book: &Book) -> Result<(), Failed> {
    let mut kept = BytesMut::new();
    while let Some(data) = answers.data().await {
        let data = data?;
        answers.flow_control().release_capacity(data.len())?;
        kept.extend_from_slice(&data);
        let (mut messages, mut acks) = (0, BytesMut::new());
        while let Some(length) = kept.get(1..HEAD).map(|mut length| length.get_u32() as usize)
            && kept.len() >= HEAD + length
        {
            kept.advance(HEAD);
            let answer = kept.split_to(length);
            for (tag, value) in fields(&answer) {
                let message = fields(value);
                match tag {
                    MESSAGE => {
                        let (_, id) = message.into_iter().find(|(tag, _)| *tag == 2).ok_or("no ack id")?;
                        field(&mut acks, 1, id);
                        messages += 1;
                    }
                    // It has the ack id alone, unless it failed.
                    _ if message.len() > 1 => return Err("a message is not settled".into()),
                    _ => {}
                }
            }
        }
        if messages > 0 {
            let mut said = BytesMut::with_capacity(acks.len() + 8);
            field(&mut said, ACKNOWLEDGE, &acks);
            requests.send_data(framed(&said), false)?;
        }
        book.take(messages);
    }
    Err(format!("{:?}", answers.trailers().await?).into())
}

/// Reads the fields of a message that have a length.
fn fields(mut message: &[u8]) -> Vec<(u8, &[u8])> {
    let mut fields = Vec::new();
    while let Some((key, rest)) = message.split_first() {
        message = rest;
        let Some(number) = read_varint(&mut message) else { break };
        if key & 7 == 2 {
            let Some((value, rest)) = message.split_at_checked(number) else { break };
            fields.push((key >> 3, value));
            message = rest;
        }
    }
    fields
}

/// Of `SubscribeRequest`.
const BEGIN: u8 = 1;
const ACKNOWLEDGE: u8 = 3;
/// Of `SubscribeResponse`.
const MESSAGE: u8 = 1;
