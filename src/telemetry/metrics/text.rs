//! A snapshot as text: OpenMetrics 1.0, which has units and exemplars, and Prometheus' own 0.0.4.

use std::fmt::{self, Write};
use std::time::UNIX_EPOCH;

use super::histogram::{BOUNDS, Exemplar, Reading};
use super::snapshot::{Family, Number, Point, Snapshot, Value};
use crate::telemetry::names::Kind;

/// How a snapshot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text`.
    OpenMetrics,
    /// `text/plain`.
    Plain,
}

impl Format {
    /// Returns what a client likes best of the two, by its `Accept`; without one it gets plain text.
    pub fn asked(accept: Option<&str>) -> Self {
        let likes = |wanted: &str| {
            let ranges = accept.unwrap_or_default().split(',');
            let matching = ranges.filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                parts.next().filter(|essence| essence.eq_ignore_ascii_case(wanted))?;
                let quality = parts.find_map(|parameter| parameter.strip_prefix("q="));
                Some(quality.map_or(1.0, |quality| quality.parse::<f64>().unwrap_or(0.0)))
            });
            matching.fold(0.0, f64::max)
        };
        let openmetrics = likes("application/openmetrics-text");
        if openmetrics > 0.0 && openmetrics >= likes("text/plain") { Self::OpenMetrics } else { Self::Plain }
    }

    /// Returns its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Snapshot {
    /// Writes it down.
    pub fn write(&self, format: Format) -> String {
        let mut text = String::with_capacity(16 << 10);
        // Writing to a text never fails.
        let _ = self.write_to(&mut text, format);
        text
    }

    fn write_to(&self, text: &mut String, format: Format) -> fmt::Result {
        for family in self.families() {
            let Family { metric, points } = family;
            // OpenMetrics calls a counter by its name without the end that its samples have.
            let name = match format {
                Format::OpenMetrics => metric.name.strip_suffix("_total").unwrap_or(metric.name),
                Format::Plain => metric.name,
            };
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            writeln!(text, "# HELP {name} {}", metric.help)?;
            writeln!(text, "# TYPE {name} {kind}")?;
            let unit = match metric.unit {
                "s" => Some("seconds"),
                "By" => Some("bytes"),
                _ => None,
            };
            if let Some(unit) = unit.filter(|_| format == Format::OpenMetrics) {
                writeln!(text, "# UNIT {name} {unit}")?;
            }
            for Point { labels, value } in points {
                let line = Line { name: metric.name, labels };
                match value {
                    Value::Number(number) => line.number(text, *number)?,
                    Value::Histogram(reading) => line.histogram(text, reading, format)?,
                }
            }
        }
        if format == Format::OpenMetrics {
            text.push_str("# EOF\n");
        }
        Ok(())
    }
}

/// The series that lines are written of.
struct Line<'a> {
    name: &'static str,
    labels: &'a [(&'static str, String)],
}

impl Line<'_> {
    fn number(&self, text: &mut String, number: Number) -> fmt::Result {
        self.head(text, "", None)?;
        match number {
            Number::Whole(number) => writeln!(text, "{number}"),
            Number::Real(number) => writeln!(text, "{number}"),
        }
    }

    fn histogram(&self, text: &mut String, reading: &Reading, format: Format) -> fmt::Result {
        let mut count = 0;
        for (index, bucket) in reading.buckets.iter().enumerate() {
            count += bucket;
            let bound = BOUNDS.get(index).map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
            self.head(text, "_bucket", Some(&bound))?;
            write!(text, "{count}")?;
            let exemplar = reading.exemplars.get(index).copied().flatten();
            if let Some(Exemplar { trace, value, time }) = exemplar.filter(|_| format == Format::OpenMetrics)
            {
                let time = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                let (seconds, millis) = (time / 1000, time % 1000);
                write!(text, " # {{trace_id=\"{}\"}} {value} {seconds}.{millis:03}", trace.as_str())?;
            }
            text.push('\n');
        }
        self.head(text, "_sum", None)?;
        writeln!(text, "{}", reading.sum)?;
        self.head(text, "_count", None)?;
        writeln!(text, "{count}")
    }

    /// Writes everything up to the value.
    fn head(&self, text: &mut String, suffix: &str, bound: Option<&str>) -> fmt::Result {
        write!(text, "{}{suffix}", self.name)?;
        let labels = self.labels.iter().map(|(name, value)| (*name, value.as_str()));
        let mut mark = '{';
        for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            write!(text, "{mark}{name}=\"")?;
            for letter in value.chars() {
                match letter {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    letter => text.push(letter),
                }
            }
            text.push('"');
            mark = ',';
        }
        text.push_str(if mark == ',' { "} " } else { " " });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sidespan_bridge::{Header, Message};

    use super::super::histogram::{Histogram, TraceId};
    use super::*;
    use crate::telemetry::names;

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.put(&names::DEAD_LETTERS, &[(names::SUBSCRIPTION, "a\"b\\c\nd")], 3_u64);
        snapshot.put(&names::DRAIN_PHASE, &[], 1_u64);
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = vec![Header::new("traceparent", parent)];
        let histogram = Histogram::default();
        let traced = TraceId::sampled(&Message { headers, ..Message::default() });
        histogram.observe(Duration::from_millis(2), traced);
        snapshot.put(&names::PROCESS_DURATION, &[], histogram.read());
        snapshot
    }

    #[test]
    fn openmetrics_has_units_exemplars_and_an_end() {
        let text = snapshot().write(Format::OpenMetrics);
        for line in [
            "# TYPE sidespan_dead_letters counter",
            "sidespan_dead_letters_total{sidespan_subscription=\"a\\\"b\\\\c\\nd\"} 3",
            "sidespan_drain_phase 1",
            "# UNIT messaging_process_duration_seconds seconds",
            "messaging_process_duration_seconds_bucket{le=\"0.001\"} 0",
            "messaging_process_duration_seconds_bucket{le=\"1.0\"} 1",
            "messaging_process_duration_seconds_sum 0.002",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        let exemplar = "_bucket{le=\"0.0025\"} 1 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.002 ";
        assert!(text.contains(exemplar) && text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn plain_text_has_counters_by_their_whole_name_and_nothing_newer() {
        let text = snapshot().write(Format::Plain);
        assert!(text.contains("# TYPE sidespan_dead_letters_total counter\n"), "{text}");
        assert!(!text.contains(" # {") && !text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }

    #[test]
    fn a_client_gets_what_it_likes_best() {
        for (accept, format) in [
            (None, Format::Plain),
            (Some("*/*"), Format::Plain),
            (Some("text/plain"), Format::Plain),
            (Some("application/openmetrics-text; version=1.0.0"), Format::OpenMetrics),
            (Some("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3"), Format::OpenMetrics),
            (Some("application/openmetrics-text;q=0.1, text/plain;version=0.0.4"), Format::Plain),
            (Some("application/openmetrics-text;q=0"), Format::Plain),
        ] {
            assert_eq!(Format::asked(accept), format, "{accept:?}");
        }
    }
}
