//! Sends snapshots to an OpenTelemetry collector.
//!
//! A collector that is away costs nothing but a counter: nothing is kept for it, as the next export says all that
//! the last one would have said.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::otlp::{self, Attributes};
use super::snapshot::Snapshot;
use crate::config::Otlp;
use crate::telemetry::collector::{Collector, CollectorError, Signal};
use crate::telemetry::counts::FAILED_METRICS_EXPORTS;

/// Sends what is counted and measured, for ever.
pub struct Exporter {
    otlp: Otlp,
    resource: Attributes,
    start: SystemTime,
    /// Opened anew after a failure: secrets may have changed.
    collector: Option<Collector>,
    /// Whether the last export failed, which is said once.
    is_failing: bool,
}

impl Exporter {
    /// Prepares to send to a collector, as the service of this name; connects to nothing.
    pub fn new(otlp: Otlp, service: &str) -> Self {
        let resource = vec![
            ("service.name", service.to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", uuid::Uuid::now_v7().to_string()),
        ];
        Self { otlp, resource, start: SystemTime::now(), collector: None, is_failing: false }
    }

    /// Sends what `read` sees at each interval, and once more when `stop` comes.
    pub async fn run(mut self, read: impl Fn() -> Snapshot, stop: impl Future<Output = ()>) {
        let every = self.otlp.interval;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.export(&read()).await,
                () = &mut stop => break,
            }
        }
        let _ = timeout(LAST, self.export(&read())).await;
    }

    async fn export(&mut self, snapshot: &Snapshot) {
        let failed = match self.send(snapshot).await {
            Ok(()) => {
                if self.is_failing {
                    tracing::info!("the collector takes metrics again");
                }
                false
            }
            Err(error) => {
                FAILED_METRICS_EXPORTS.count();
                self.collector = None;
                if !self.is_failing {
                    tracing::warn!(%error, "metrics are not exported: check telemetry.otlp; trying again");
                }
                true
            }
        };
        self.is_failing = failed;
    }

    async fn send(&mut self, snapshot: &Snapshot) -> Result<(), CollectorError> {
        let collector = match &mut self.collector {
            Some(collector) => collector,
            none => none.insert(Collector::open(&self.otlp)?),
        };
        let request = otlp::export(snapshot, &self.resource, self.start);
        collector.call::<_, ExportMetricsServiceResponse>(Signal::Metrics, request).await.map(drop)
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("endpoint", &self.otlp.endpoint).finish_non_exhaustive()
    }
}

/// What the last export may take while the server stops.
const LAST: Duration = Duration::from_secs(2);
