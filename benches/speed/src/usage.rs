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

    /// Watches this process.
    pub(crate) fn own() -> Self {
        Self(std::process::id())
    }

    /// Returns the processor time used until now, in user and kernel mode.
    pub(crate) fn time(self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name in parentheses may hold blanks; utime and stime are the 12th and 13th behind it.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
        Ok(Duration::from_millis(ticks * TICK))
    }

    /// Returns the resident memory, in bytes.
    pub(crate) fn memory(self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kilobytes.unwrap_or(0) << 10)
    }
}

/// Returns how many processes wanted a processor, on average in the last minute.
pub(crate) fn load_average() -> io::Result<f64> {
    let load = fs::read_to_string("/proc/loadavg")?;
    load.split(' ').next().unwrap_or_default().parse().map_err(io::Error::other)
}

/// In milliseconds: Linux tells times to programs in hundredths of a second on every machine.
const TICK: u64 = 10;
