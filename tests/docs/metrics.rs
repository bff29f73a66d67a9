//! Whether the page of metrics tells what the names tell. With `SIDESPAN_DOCS_WRITE=1` its table is written anew.

use std::fs;
use std::path::Path;

use sidespan::telemetry::names::{ALL, Kind, Metric};

use crate::{read, root};

#[test]
fn the_table_of_metrics_tells_what_the_names_tell() {
    let told = read(Path::new(PAGE));
    let (before, _) = told.split_once(HEADING).expect("the heading of the table");
    let rows: String = ALL.iter().map(|metric| row(metric)).collect();
    let page =
        format!("{before}{HEADING}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n{rows}");
    if std::env::var_os("SIDESPAN_DOCS_WRITE").is_some() {
        fs::write(root().join(PAGE), &page).expect("the page");
        return;
    }
    let advice = "write it anew: SIDESPAN_DOCS_WRITE=1 cargo test --test docs metrics";
    let strange: Vec<&str> =
        told.lines().filter(|line| !page.lines().any(|wanted| wanted == *line)).collect();
    assert!(told == page, "{PAGE} is another than the names make it; {advice}\n{}", strange.join("\n"));
}

fn row(metric: &Metric) -> String {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    format!("| `{}` | {kind} | {} | {} |\n", metric.name, labels.join(", "), metric.help)
}

const PAGE: &str = "docs/metrics.md";
const HEADING: &str = "## All metrics";
