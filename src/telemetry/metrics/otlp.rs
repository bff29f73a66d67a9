//! A snapshot as OTLP has it (opentelemetry-proto, metrics/v1).

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::{metrics, resource::v1::Resource};

use super::histogram::{self, BOUNDS, Reading};
use super::snapshot::{Family, Number, Point, Snapshot, Value};
use crate::telemetry::names::{self, Kind};

/// Whose metrics they are: attributes of the resource.
pub(super) type Attributes = Vec<(&'static str, String)>;

/// Puts a snapshot into an export; everything that is counted is counted since `start`.
pub(super) fn export(
    snapshot: &Snapshot,
    resource: &Attributes,
    start: SystemTime,
) -> ExportMetricsServiceRequest {
    let clock = Clock { start: nanos(start), now: nanos(SystemTime::now()) };
    let attributes = resource.iter().map(|(name, value)| attribute((*name).to_owned(), value)).collect();
    let scope = ScopeMetrics {
        scope: Some(InstrumentationScope {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..InstrumentationScope::default()
        }),
        metrics: snapshot.families().map(|family| clock.metric(family)).collect(),
        ..ScopeMetrics::default()
    };
    let resource = Resource { attributes, ..Resource::default() };
    let all = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![all] }
}

/// The stretch of time that an export is about.
#[derive(Clone, Copy)]
struct Clock {
    start: u64,
    now: u64,
}

impl Clock {
    fn metric(self, family: &Family) -> Metric {
        let cumulative = AggregationTemporality::Cumulative.into();
        let numbers = || family.points.iter().filter_map(|point| self.number(point)).collect();
        let data = match family.metric.kind {
            Kind::Counter => metric::Data::Sum(Sum {
                data_points: numbers(),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            Kind::Gauge => metric::Data::Gauge(Gauge { data_points: numbers() }),
            Kind::Histogram => metric::Data::Histogram(metrics::v1::Histogram {
                data_points: family.points.iter().filter_map(|point| self.histogram(point)).collect(),
                aggregation_temporality: cumulative,
            }),
        };
        Metric {
            name: family.metric.otlp_name(),
            description: family.metric.help.into(),
            unit: family.metric.unit.into(),
            data: Some(data),
            ..Metric::default()
        }
    }

    fn number(self, point: &Point) -> Option<NumberDataPoint> {
        let value = match &point.value {
            Value::Number(Number::Whole(number)) => {
                number_data_point::Value::AsInt(i64::try_from(*number).unwrap_or(i64::MAX))
            }
            Value::Number(Number::Real(number)) => number_data_point::Value::AsDouble(*number),
            Value::Histogram(_) => return None,
        };
        Some(NumberDataPoint {
            attributes: attributes(point),
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            value: Some(value),
            ..NumberDataPoint::default()
        })
    }

    fn histogram(self, point: &Point) -> Option<HistogramDataPoint> {
        let Value::Histogram(reading) = &point.value else { return None };
        let Reading { buckets, sum, exemplars } = reading;
        Some(HistogramDataPoint {
            attributes: attributes(point),
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            count: reading.count(),
            sum: Some(*sum),
            bucket_counts: buckets.clone(),
            explicit_bounds: BOUNDS.to_vec(),
            exemplars: exemplars.iter().flatten().map(example).collect(),
            ..HistogramDataPoint::default()
        })
    }
}

fn example(exemplar: &histogram::Exemplar) -> Exemplar {
    let digits = exemplar.trace.as_str().as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    Exemplar {
        time_unix_nano: nanos(exemplar.time),
        trace_id: digits.filter_map(byte).collect(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
        ..Exemplar::default()
    }
}

fn attributes(point: &Point) -> Vec<KeyValue> {
    point.labels.iter().map(|(name, value)| attribute(names::otlp_label(name), value)).collect()
}

fn attribute(key: String, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
