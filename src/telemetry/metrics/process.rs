//! What the process takes up, as the kernel tells it (proc(5)).

use std::fs;
use std::sync::LazyLock;

use super::snapshot::Snapshot;
use crate::telemetry::names;

/// Puts memory, processor time and files into a snapshot; what cannot be read is left out.
pub fn process(out: &mut Snapshot) {
    let status = read("/proc/self/status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    if let Some(kibibytes) = resident.and_then(|text| text.parse::<u64>().ok()) {
        out.put(&names::RESIDENT_MEMORY, &[], kibibytes * 1024);
    }
    let stat = read("/proc/self/stat");
    // User and system time.
    let times: Vec<u64> = fields(&stat).skip(11).take(2).collect();
    if times.len() == 2 {
        out.put(&names::CPU_SECONDS, &[], times.iter().sum::<u64>() as f64 / TICKS);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        out.put(&names::OPEN_FDS, &[], files.count().saturating_sub(1));
    }
    let limits = read("/proc/self/limits");
    let most = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    if let Some(most) = most.and_then(|text| text.parse::<u64>().ok()) {
        out.put(&names::MAX_FDS, &[], most);
    }
    if let Some(start) = *START {
        out.put(&names::START_TIME, &[], start);
    }
}

/// When the process began, in seconds since the Unix epoch.
static START: LazyLock<Option<f64>> = LazyLock::new(|| {
    let stat = read("/proc/stat");
    let boot: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let ticks = fields(&read("/proc/self/stat")).nth(19)?;
    Some(boot as f64 + ticks as f64 / TICKS)
});

/// Returns the numbers behind the name, which stands in parentheses and may hold blanks; the state, which is no
/// number, counts as 0.
fn fields(stat: &str) -> impl Iterator<Item = u64> + '_ {
    let behind = stat.rsplit(')').next().unwrap_or_default();
    behind.split_whitespace().map(|field| field.parse().unwrap_or(0))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Linux tells times to programs in hundredths of a second on every machine.
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::super::text::Format;
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_a_beginning() {
        let mut snapshot = Snapshot::default();
        process(&mut snapshot);
        let text = snapshot.write(Format::Plain);
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e6, "{text}");
        assert!(value("process_open_fds ") >= 3.0 && value("process_max_fds ") > 3.0, "{text}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((0.0..86_400.0).contains(&(now - value("process_start_time_seconds "))), "{text}");
    }
}
