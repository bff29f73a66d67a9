//! What processes use, as the kernel counts it.

use std::fs;
use std::io;
use std::time::Duration;

/// A running process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage(u32);

impl Usage {
    /// Watches another process.
    pub(crate) fn of(process: u32) -> Self {
        Self(process)
    }

    /// Returns the processor time used until now, in user and kernel mode.
    pub(crate) fn time(self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name in parentheses may hold blanks; utime and stime are the 12th and 13th behind it.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
        Ok(Duration::from_millis(ticks * TICK))
    }

    /// Returns the memory in use.
    pub(crate) fn memory(self) -> io::Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let mebibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
            line.and_then(|kibibytes| kibibytes.parse::<f64>().ok()).unwrap_or_default() / 1024.0
        };
        Ok(Memory {
            resident: mebibytes("VmRSS:"),
            anonymous: mebibytes("RssAnon:"),
            peak: mebibytes("VmHWM:"),
        })
    }
}

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What is there, files included.
    pub(crate) resident: f64,
    /// What is its own.
    pub(crate) anonymous: f64,
    /// The most that was ever resident.
    pub(crate) peak: f64,
}

/// In milliseconds: Linux tells times to programs in hundredths of a second on every machine.
const TICK: u64 = 10;
