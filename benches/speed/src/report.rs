//! The figures, as Markdown and as JSON.

use std::fmt;

use serde::Serialize;

use crate::load::Speed;

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    notes: Vec<Note>,
}

/// One kind of load on one broker.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) broker: &'static str,
    pub(crate) what: &'static str,
    /// Messages that are on their way.
    pub(crate) at_a_time: usize,
    pub(crate) rounds: Vec<Round>,
    /// Sidespan's largest resident memory until then, in MiB.
    pub(crate) memory: Option<f64>,
}

/// Loads that followed one another.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Round {
    pub(crate) raw: Option<Speed>,
    pub(crate) echo: Option<Speed>,
    pub(crate) sidespan: Option<Speed>,
    /// Sidespan's processor time for a message, in microseconds.
    pub(crate) cpu: Option<f64>,
}

/// One figure.
#[derive(Debug, Serialize)]
struct Note {
    broker: &'static str,
    what: String,
    value: f64,
}

impl Report {
    /// Adds a row, and shows it.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{row}");
        self.rows.push(row);
    }

    /// Adds a figure, and shows it.
    pub(crate) fn note(&mut self, broker: &'static str, what: &str, value: f64) {
        eprintln!("{broker} {what}: {value:.1}");
        self.notes.push(Note { broker, what: what.to_owned(), value });
    }
}

impl Round {
    /// Returns what the HTTP stack and the client leave when they share the processors.
    fn limit(&self) -> Option<f64> {
        Some(1.0 / (1.0 / self.echo?.rate + 1.0 / self.raw?.rate))
    }
}

impl Row {
    /// Returns the median of what rounds have.
    fn median(&self, figure: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        let mut figures: Vec<f64> = self.rounds.iter().filter_map(figure).collect();
        figures.sort_unstable_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().filter(|figure| *figure > 0.0)
    }

    fn failed(&self) -> usize {
        let all = self.rounds.iter().flat_map(|round| [round.raw, round.echo, round.sidespan]);
        all.flatten().map(|speed| speed.failed).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        writeln!(f, "Load average at the end: {}.\n", load.split(' ').next().unwrap_or_default())?;
        if !self.rows.is_empty() {
            writeln!(f, "{HEAD}")?;
            self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "\n| broker | | |\n|---|---|--:|")?;
        }
        self.notes.iter().try_for_each(|note| {
            let Note { broker, what, value } = note;
            writeln!(f, "| {broker} | {what} | {value:.1} |")
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { broker, what, at_a_time, memory, .. } = self;
        write!(f, "| {broker} | {what} | {at_a_time} |")?;
        let thousands = |rate: f64| rate / 1e3;
        for (figure, digits) in [
            (self.median(|round| Some(round.raw?.rate)).map(thousands), 1),
            (self.median(|round| Some(round.raw?.p50)), 0),
            (self.median(|round| Some(round.raw?.p99)), 0),
            (self.median(|round| Some(round.echo?.rate)).map(thousands), 1),
            (self.median(Round::limit).map(thousands), 1),
            (self.median(|round| Some(round.sidespan?.rate)).map(thousands), 1),
            (self.median(|round| Some(round.sidespan?.p50)), 0),
            (self.median(|round| Some(round.sidespan?.p99)), 0),
            (self.median(|round| Some(round.sidespan?.rate / round.raw?.rate)), 2),
            (self.median(|round| Some(round.sidespan?.rate / round.limit()?)), 2),
            (self.median(|round| round.cpu), 1),
            (*memory, 1),
        ] {
            match figure {
                Some(figure) => write!(f, " {figure:.digits$} |")?,
                None => write!(f, " |")?,
            }
        }
        write!(f, " {} |", self.failed())
    }
}

const HEAD: &str = "\
Medians of the rounds. Rates in thousands a second, times in microseconds, memory in MiB. `at a time`:
messages on their way. `cpu`: Sidespan's processor time for a message. `peak`: Sidespan's largest
resident memory so far.

| broker | what | at a time | raw | p50 | p99 | echo | L | Sidespan | p50 | p99 | to raw | to L | cpu | peak | failed |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";
