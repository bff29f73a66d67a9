//! Spans on their way to the collector: a bounded queue, and the one task that empties it.
//!
//! Whoever ends a span never waits. What has no room, or is not taken by the collector in a few tries, is dropped
//! and counted, and the log says when that begins and when it is over.
//!
//! # Why not the SDK's own batch processor
//!
//! It does not tell how many spans it dropped before it ends, and ends by blocking a thread that may be the only one.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::Otlp;
use crate::telemetry::collector::{Collector, CollectorError, Signal};
use crate::telemetry::counts::{DROPPED_SPANS, FAILED_TRACE_EXPORTS};

/// The task that tells the collector. Dropped, it ends at once.
#[derive(Debug)]
pub struct Exporting {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Tells what is left until the deadline. Spans that end later are dropped.
    pub async fn close(mut self, deadline: Instant) {
        self.stop.cancel();
        if timeout_at(deadline, &mut self.task).await.is_err() {
            tracing::warn!("the collector did not take the last spans in time");
        }
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to tell a collector what comes by the queue.
pub(super) fn start(otlp: Otlp, resource: &Resource) -> (Queue, Exporting) {
    let (sender, spans) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let exporter = Exporter {
        otlp,
        resource: resource.into(),
        spans,
        stop: stop.clone(),
        collector: None,
        failing: false,
    };
    (Queue(sender), Exporting { stop, task: tokio::spawn(exporter.run()) })
}

/// Takes spans that have ended.
#[derive(Debug)]
pub(super) struct Queue(mpsc::Sender<SpanData>);

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.0.try_send(span).is_err() {
            DROPPED_SPANS.count();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

struct Exporter {
    otlp: Otlp,
    resource: ResourceAttributesWithSchema,
    spans: mpsc::Receiver<SpanData>,
    stop: CancellationToken,
    /// Opened anew after a failure: secrets may have changed.
    collector: Option<Collector>,
    failing: bool,
}

impl Exporter {
    async fn run(mut self) {
        loop {
            let batch = self.gather().await;
            if batch.is_empty() {
                return;
            }
            self.export(batch).await;
        }
    }

    /// Waits for spans, and a little for more of them. None: the queue is closed and empty.
    async fn gather(&mut self) -> Vec<SpanData> {
        let (mut batch, mut until) = (Vec::new(), None);
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            let over = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = self.spans.recv_many(&mut batch, room) => {
                    if received == 0 {
                        break;
                    }
                    until.get_or_insert_with(|| Instant::now() + PAUSE);
                }
                () = over => break,
                () = self.stop.cancelled(), if !self.spans.is_closed() => self.spans.close(),
            }
        }
        batch
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        match self.send(ExportTraceServiceRequest { resource_spans }).await {
            Ok(refused) => {
                DROPPED_SPANS.add(refused);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.collector = None;
                DROPPED_SPANS.add(count);
                FAILED_TRACE_EXPORTS.count();
                if !std::mem::replace(&mut self.failing, true) {
                    let endpoint = self.otlp.endpoint.host();
                    tracing::warn!(%error, endpoint, "the collector takes no spans; they are dropped until it does");
                }
            }
        }
    }

    /// Returns how many of the spans the collector refused.
    async fn send(&mut self, request: ExportTraceServiceRequest) -> Result<u64, CollectorError> {
        for wait in WAITS {
            match self.try_to(request.clone()).await {
                Err(error) if error.is_passing() => {
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = self.stop.cancelled() => return Err(error),
                    }
                }
                tried => return tried,
            }
        }
        self.try_to(request).await
    }

    async fn try_to(&mut self, request: ExportTraceServiceRequest) -> Result<u64, CollectorError> {
        let collector = match &mut self.collector {
            Some(collector) => collector,
            none => none.insert(Collector::open(&self.otlp)?),
        };
        let told: ExportTraceServiceResponse = collector.call(Signal::Traces, request).await?;
        let refused = told.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or_default())
    }
}

/// Spans that may wait: some 3 MiB of them.
const QUEUE: usize = 2048;
/// Spans in one call.
const BATCH: usize = 512;
/// How long a span waits for others.
const PAUSE: Duration = Duration::from_secs(1);
/// Waits between the tries of one batch.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
