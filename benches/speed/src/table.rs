//! The table, printed line by line as figures come in.

use std::time::Duration;

use crate::load::Speed;

/// One round of publishing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    /// By the client library.
    pub(crate) raw: Speed,
    /// This process's time for a message, which is the library's and the load's.
    pub(crate) raw_cpu: Duration,
    /// Through Sidespan.
    pub(crate) through: Speed,
    /// Sidespan's time for a message.
    pub(crate) through_cpu: Duration,
    /// This process's time for a message, which is the load's.
    pub(crate) load_cpu: Duration,
}

/// One round of deliveries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    /// Messages a second.
    pub(crate) rate: f64,
    /// Sidespan's time for a message.
    pub(crate) cpu: Duration,
    /// This process's time for a message, which is the webhook's.
    pub(crate) sink_cpu: Duration,
}

/// What was measured, and around it.
pub(crate) struct Row<T> {
    pub(crate) broker: &'static str,
    /// Connections, or deliveries at a time.
    pub(crate) connections: usize,
    pub(crate) rounds: Vec<T>,
    /// Sidespan's resident memory afterwards, in bytes.
    pub(crate) memory: u64,
    /// The load average of the machine.
    pub(crate) load: f64,
}

/// Prints what stands above the figures.
pub(crate) fn head() {
    println!(
        "Medians of the rounds. cpu: processor time of a message in microseconds, of the process that has"
    );
    println!("the client library, of Sidespan, and of the load (for `deliver`: of the webhook).");
    println!();
    println!("{:<24}{:^34}{:^34}", "", "the broker's client", "through Sidespan");
    println!(
        "{:<9}{:<8}{:>5}  {:>9}{:>8}{:>8}{:>7}  {:>9}{:>8}{:>8}{:>7}  {:>5}{:>10}{:>8}{:>9}",
        "broker",
        "",
        "conns",
        "msg/s",
        "p50 ms",
        "p99 ms",
        "cpu",
        "msg/s",
        "p50 ms",
        "p99 ms",
        "cpu",
        "ratio",
        "load cpu",
        "MiB",
        "loadavg"
    );
}

/// Prints a line of publishing.
pub(crate) fn published(row: &Row<Published>) {
    let median = |figure: &dyn Fn(&Published) -> f64| median(&row.rounds, figure);
    let speed = |of: fn(&Published) -> (Speed, Duration)| {
        format!(
            "{:>9.0}{:>8.2}{:>8.2}{:>7.1}",
            median(&|round| of(round).0.rate),
            median(&|round| millis(of(round).0.median)),
            median(&|round| millis(of(round).0.p99)),
            median(&|round| micros(of(round).1)),
        )
    };
    println!(
        "{:<9}{:<8}{:>5}  {}  {}  {:>5.2}{:>10.1}{}",
        row.broker,
        "publish",
        row.connections,
        speed(|round| (round.raw, round.raw_cpu)),
        speed(|round| (round.through, round.through_cpu)),
        median(&|round| round.through.rate / round.raw.rate),
        median(&|round| micros(round.load_cpu)),
        around(row)
    );
}

/// Prints a line of deliveries.
pub(crate) fn delivered(row: &Row<Delivered>) {
    let median = |figure: &dyn Fn(&Delivered) -> f64| median(&row.rounds, figure);
    println!(
        "{:<9}{:<8}{:>5}  {:32}  {:>9.0}{:>16}{:>7.1}  {:>5}{:>10.1}{}",
        row.broker,
        "deliver",
        row.connections,
        "",
        median(&|round| round.rate),
        "",
        median(&|round| micros(round.cpu)),
        "",
        median(&|round| micros(round.sink_cpu)),
        around(row)
    );
}

fn around<T>(row: &Row<T>) -> String {
    format!("{:>8.1}{:>9.1}", row.memory as f64 / f64::from(1 << 20), row.load)
}

fn median<T>(rounds: &[T], figure: &dyn Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
