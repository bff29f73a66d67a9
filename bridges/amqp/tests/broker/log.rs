//! What the bridge and its client library write to the log, to be looked at by tests.

use std::io::{self, Write};
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Begins to keep all that is logged; a test that fails shows what `RUST_LOG` names.
pub(crate) fn keep() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let shown = fmt::layer().with_test_writer().with_filter(EnvFilter::from_default_env());
        let kept = fmt::layer().with_ansi(false).with_writer(|| Kept).with_filter(EnvFilter::new(KEPT));
        tracing_subscriber::registry().with(shown).with(kept).init();
    });
}

/// Returns the lines so far that hold all of these words.
pub(crate) fn lines(words: &[&str]) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = String::from_utf8_lossy(&log);
    let all = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(all).map(ToOwned::to_owned).collect()
}

struct Kept;

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
const KEPT: &str = "info,sidespan_bridge_amqp=debug,lapin=debug";
