//! A strict reader of both text formats: what it takes, Prometheus takes.

use std::collections::{BTreeMap, BTreeSet};

/// What was told, checked.
#[derive(Debug)]
pub(crate) struct Exposition {
    /// By series as it was written: `name{label="value"}`, labels sorted.
    series: BTreeMap<String, f64>,
    /// Traces that are examples, by the name of their metric.
    exemplars: Vec<(String, String)>,
    text: String,
}

impl Exposition {
    /// Reads a whole text, and panics where it breaks a rule.
    pub(crate) fn parse(text: &str, is_openmetrics: bool) -> Self {
        let mut read = Self { series: BTreeMap::new(), exemplars: Vec::new(), text: text.to_owned() };
        let (mut kinds, mut helped) = (BTreeMap::<String, String>::new(), BTreeSet::new());
        let body = match text.strip_suffix("# EOF\n") {
            Some(body) => {
                assert!(is_openmetrics, "0.0.4 has no end");
                body
            }
            None => {
                assert!(!is_openmetrics && text.ends_with('\n'), "no end in\n{text}");
                text
            }
        };
        let mut current = String::new();
        for line in body.lines() {
            let Some(comment) = line.strip_prefix("# ") else {
                let name = read.sample(line, is_openmetrics);
                let kind = kinds.get(&current).unwrap_or_else(|| panic!("no TYPE before {line}"));
                let of = family(&name, kind, is_openmetrics);
                assert_eq!(of, current, "{line} stands in the family of another");
                continue;
            };
            let (word, rest) = comment.split_once(' ').expect("a word");
            let (name, what) = rest.split_once(' ').expect("a name and what is said of it");
            match word {
                "HELP" => assert!(helped.insert(name.to_owned()), "a second HELP of {name}"),
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram"].contains(&what), "{line}");
                    assert!(helped.contains(name), "no HELP of {name}");
                    assert!(kinds.insert(name.to_owned(), what.to_owned()).is_none(), "twice: {line}");
                    name.clone_into(&mut current);
                }
                "UNIT" => assert!(is_openmetrics && name.ends_with(&format!("_{what}")), "{line}"),
                _ => panic!("{line}"),
            }
        }
        read.check_histograms(&kinds);
        read
    }

    /// Returns a series' value.
    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    /// Returns the value of the one series that is of this metric and has these labels.
    #[track_caller]
    pub(crate) fn one(&self, name: &str, labels: &[&str]) -> f64 {
        let found: Vec<_> =
            self.all(name).filter(|(series, _)| labels.iter().all(|l| series.contains(l))).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?} in\n{}", self.text);
        found[0].1
    }

    /// Returns the series of a metric.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let of = move |series: &str| series.split('{').next() == Some(name);
        self.series
            .iter()
            .filter(move |(series, _)| of(series))
            .map(|(series, value)| (series.as_str(), *value))
    }

    /// Tells how many series there are.
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Returns the traces that are examples of a metric.
    pub(crate) fn exemplars(&self, name: &str) -> Vec<&str> {
        self.exemplars.iter().filter(|(of, _)| of == name).map(|(_, trace)| trace.as_str()).collect()
    }

    fn sample(&mut self, line: &str, is_openmetrics: bool) -> String {
        let (line, exemplar) = match line.split_once(" # ") {
            Some((line, exemplar)) => (line, Some(exemplar)),
            None => (line, None),
        };
        let at = line.find(['{', ' ']).expect("a name");
        let (name, mut rest) = line.split_at(at);
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
        let mut labels = BTreeMap::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = labels_of(inner, &mut labels);
        }
        let value = rest.strip_prefix(' ').expect("one blank");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        if let Some(exemplar) = exemplar {
            assert!(is_openmetrics && name.ends_with("_bucket"), "no place for an exemplar: {line}");
            let inner = exemplar.strip_prefix("{trace_id=\"").expect("a trace");
            let (trace, rest) = inner.split_once("\"} ").expect("its end");
            assert!(rest.split(' ').all(|number| number.parse::<f64>().is_ok()), "{exemplar}");
            self.exemplars.push((name.trim_end_matches("_bucket").to_owned(), trace.to_owned()));
        }
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let series =
            if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
        assert!(self.series.insert(series.clone(), value).is_none(), "twice: {series}");
        name.to_owned()
    }

    fn check_histograms(&self, kinds: &BTreeMap<String, String>) {
        for name in kinds.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            for (series, count) in self.all(&format!("{name}_count")) {
                let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
                let of: BTreeSet<&str> = labels.split("\",").filter(|label| !label.is_empty()).collect();
                let mut buckets: Vec<(f64, f64)> = Vec::new();
                for (bucket, value) in self.all(&format!("{name}_bucket")) {
                    let labels = bucket.split_once('{').expect("labels").1.trim_end_matches('}');
                    let (le, others): (Vec<&str>, Vec<&str>) =
                        labels.split("\",").partition(|label| label.starts_with("le=\""));
                    let trim = |label: &&str| label.trim_end_matches('"').to_owned();
                    let others: BTreeSet<String> = others.iter().map(trim).collect();
                    if others == of.iter().map(trim).collect() {
                        let bound = trim(&le[0]).trim_start_matches("le=\"").parse().expect("a bound");
                        buckets.push((bound, value));
                    }
                }
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{series}: {buckets:?}");
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{series}");
            }
        }
    }
}

/// Reads labels up to the brace that ends them, and returns what follows.
fn labels_of<'a>(mut rest: &'a str, labels: &mut BTreeMap<String, String>) -> &'a str {
    loop {
        let (name, value) = rest.split_once("=\"").expect("a label");
        let mut end = 0;
        let bytes = value.as_bytes();
        while bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        assert!(labels.insert(name.to_owned(), value[..end].to_owned()).is_none(), "{name} twice");
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return rest.strip_prefix('}').expect("the end of the labels"),
        }
    }
}

/// Returns the family that a sample belongs to.
fn family(name: &str, kind: &str, is_openmetrics: bool) -> String {
    match kind {
        "counter" => {
            let stem = name.strip_suffix("_total").expect("a counter's end");
            if is_openmetrics { stem.to_owned() } else { name.to_owned() }
        }
        "histogram" => {
            let ends = ["_bucket", "_count", "_sum"];
            ends.iter().find_map(|end| name.strip_suffix(end)).expect("a histogram's end").to_owned()
        }
        _ => name.to_owned(),
    }
}
