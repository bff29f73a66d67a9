//! A bare server on the stack that Sidespan's door stands on: it reads a body and answers a little
//! JSON, and does nothing else. It passes for a collector of traces as well.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use crate::Failed;
use crate::part::{Orders, say};

/// Serves until nobody needs it.
pub(crate) async fn serve() -> Result<(), Failed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say(&listener.local_addr()?)?;
    tokio::spawn(async move {
        // To a collector nothing is an answer, too.
        let router = Router::new()
            .route("/v1/topics/{topic}/messages", post(answer))
            .route("/v1/traces", post(async |_: Bytes| ()));
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let mut builder = auto::Builder::new(TokioExecutor::new());
                builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(60));
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    let mut orders = Orders::new();
    while orders.next::<()>().await?.is_some() {}
    Ok(())
}

async fn answer(body: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], format!("{{\"bytes\":{},\"stored\":false}}\n", body.len()))
        .into_response()
}
