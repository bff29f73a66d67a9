//! One look at everything that is counted and measured.

use std::collections::BTreeMap;

use super::histogram::Reading;
use crate::telemetry::names::Metric;

/// What there is at one moment, by metric.
#[derive(Debug, Default)]
pub struct Snapshot(BTreeMap<&'static str, Family>);

/// The series of a metric.
#[derive(Debug)]
pub struct Family {
    /// Which metric.
    pub metric: &'static Metric,
    /// Its series.
    pub points: Vec<Point>,
}

/// A series.
#[derive(Debug)]
pub struct Point {
    /// What tells it from the others.
    pub labels: Vec<(&'static str, String)>,
    /// What it is now.
    pub value: Value,
}

/// What a series is now.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count, or what there is of something.
    Number(Number),
    /// Observations.
    Histogram(Reading),
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Exact.
    Whole(u64),
    /// In seconds, mostly.
    Real(f64),
}

impl Snapshot {
    /// Adds a series.
    pub fn put(&mut self, metric: &'static Metric, labels: &[(&'static str, &str)], value: impl Into<Value>) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let family = self.0.entry(metric.name).or_insert_with(|| Family { metric, points: Vec::new() });
        family.points.push(Point { labels, value: value.into() });
    }

    /// Returns the metrics that have a series, by name.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.0.values()
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(Number::Whole(number))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(Number::Whole(number as u64))
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Number(Number::Whole(is.into()))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(Number::Real(number))
    }
}

impl From<Reading> for Value {
    fn from(reading: Reading) -> Self {
        Self::Histogram(reading)
    }
}
