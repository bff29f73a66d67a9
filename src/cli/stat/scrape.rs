//! What `/metrics` says, and what came between two of its answers.
//!
//! It reads what Sidespan itself writes: lines of `name{label="value",...} value` of Prometheus' text format.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What one line has: its name, its labels and its value.
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// All that a server has counted until now.
pub(super) struct Scrape(Vec<Sample>);

impl Scrape {
    /// Reads the lines that can be read.
    pub(super) fn read(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// Tells whether nothing is counted there.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What came between two scrapes.
pub(super) struct Window {
    /// The later one.
    now: Scrape,
    /// What each series of it has grown by.
    growth: Vec<f64>,
    length: Duration,
}

impl Window {
    /// Counts what came after `before` until `now`. What was not there yet has begun at 0, and so has what is less
    /// than before: the server was started anew.
    pub(super) fn between(before: &Scrape, now: Scrape, length: Duration) -> Self {
        let earlier: BTreeMap<_, _> =
            before.0.iter().map(|sample| ((&sample.name, &sample.labels), sample.value)).collect();
        let growth = now.0.iter().map(|sample| {
            let before = earlier.get(&(&sample.name, &sample.labels)).copied().unwrap_or(0.0);
            if before <= sample.value { sample.value - before } else { sample.value }
        });
        Self { growth: growth.collect(), now, length }
    }

    /// Returns how often a second a counter grew, over all series that have these labels. A label that a series does
    /// not have is empty.
    pub(super) fn rate(&self, name: &str, of: &[(&str, &str)]) -> f64 {
        let grown: f64 = self.of(name, of).map(|(_, growth)| growth).sum();
        grown / self.length.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Returns the largest value that a gauge has now.
    pub(super) fn now(&self, name: &str, of: &[(&str, &str)]) -> Option<f64> {
        self.of(name, of).map(|(sample, _)| sample.value).reduce(f64::max)
    }

    /// Returns the time within which the share `quantile` of a histogram's observations was, as Prometheus estimates
    /// it: evenly spread within a bucket.
    pub(super) fn quantile(&self, name: &str, of: &[(&str, &str)], quantile: f64) -> Option<f64> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        let name = format!("{name}_bucket");
        for (sample, growth) in self.of(&name, of) {
            let bound = match sample.labels.get("le").map(String::as_str) {
                Some("+Inf") => f64::INFINITY,
                Some(bound) => bound.parse().ok()?,
                None => return None,
            };
            match buckets.iter_mut().find(|(le, _)| *le == bound) {
                Some((_, count)) => *count += growth,
                None => buckets.push((bound, growth)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted = buckets.last().map(|(_, all)| all * quantile).filter(|wanted| *wanted > 0.0)?;
        let (mut below, mut counted) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= wanted {
                let share = (wanted - counted) / (count - counted);
                return Some(if bound.is_finite() { below + (bound - below) * share } else { below });
            }
            (below, counted) = (bound, count);
        }
        None
    }

    /// Returns the different values of these labels, in order.
    pub(super) fn labels<'a>(&self, name: &str, labels: &[&'a str]) -> BTreeSet<Vec<(&'a str, String)>> {
        let values = |sample: &Sample| {
            labels.iter().map(|label| (*label, sample.label(label).to_owned())).collect::<Vec<_>>()
        };
        self.of(name, &[]).map(|(sample, _)| values(sample)).collect()
    }

    /// Returns the different values that a label of a histogram's series has.
    pub(super) fn values(&self, name: &str, of: &[(&str, &str)], label: &str) -> Vec<String> {
        let name = format!("{name}_count");
        let values: BTreeSet<String> =
            self.of(&name, of).map(|(sample, _)| sample.label(label).to_owned()).collect();
        values.into_iter().filter(|value| !value.is_empty()).collect()
    }

    /// Returns the value of the label whose series is 1 now.
    pub(super) fn set(&self, name: &str, of: &[(&str, &str)], label: &str) -> Option<String> {
        let set = self.of(name, of).find(|(sample, _)| sample.value > 0.0);
        set.map(|(sample, _)| sample.label(label).to_owned())
    }

    fn of(&self, name: &str, of: &[(&str, &str)]) -> impl Iterator<Item = (&Sample, f64)> {
        self.now.0.iter().zip(self.growth.iter().copied()).filter(move |(sample, _)| {
            sample.name == name && of.iter().all(|(label, value)| sample.label(label) == *value)
        })
    }
}

impl Sample {
    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Reads a line; comments and what is no sample are none.
fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (head, mut rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while let Some((name, more)) = rest.split_once("=\"") {
            if rest.starts_with('}') {
                break;
            }
            let (value, more) = quoted(more)?;
            labels.insert(name.to_owned(), value);
            rest = more.strip_prefix(',').unwrap_or(more);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: head.to_owned(), labels, value })
}

/// Reads a value up to the quote that ends it; returns what stands behind.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return text.get(at + 1..).map(|rest| (value, rest)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_what_its_labels_hide() {
        let sample = sample(r#"up{a="x,y=\"1\"}",b="\\"} 3.5 # {trace_id="1"} 2"#).unwrap();
        assert_eq!((sample.label("a"), sample.label("b"), sample.value), (r#"x,y="1"}"#, "\\", 3.5));
    }

    #[test]
    fn what_is_less_than_before_began_anew() {
        let window = Window::between(&Scrape::read("a 10"), Scrape::read("a 4"), Duration::from_secs(2));
        assert!((window.rate("a", &[]) - 2.0).abs() < 1e-9);
    }
}
