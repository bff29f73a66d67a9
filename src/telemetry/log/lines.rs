//! The lines that are to be written, and the thread that writes them.
//!
//! # Why not a crate
//!
//! Whoever reads standard error may stop reading, and nothing else may stop for that. `tracing-appender` has such a
//! queue, but it is bounded by lines and not by bytes (128,000 of them), says nowhere that lines were lost, and holds
//! the lock of standard error while it waits, for which the end of the process would wait in turn.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::OWN;
use super::throttle::Throttle;
use crate::telemetry::counts::LOG_DROPPED;

/// Lines that wait to be written. Bounded in bytes: further ones are dropped, and counted.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: Mutex<State>,
    /// There is something to do.
    wake: Condvar,
    /// Everything is written.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    is_writing: bool,
    /// Not said yet.
    dropped: u64,
}

impl Lines {
    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > ROOM {
            state.dropped += 1;
            LOG_DROPPED.count();
            return;
        }
        state.waiting.extend_from_slice(line);
        drop(state);
        self.wake.notify_one();
    }

    /// Waits until there are lines, or for some time, and takes them; and how many were dropped meanwhile.
    fn take(&self) -> (Vec<u8>, u64) {
        let idle = |state: &mut State| state.waiting.is_empty();
        let waited = self.wake.wait_timeout_while(self.lock(), NOW_AND_THEN, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        (mem::take(&mut state.waiting), mem::take(&mut state.dropped))
    }

    /// Notes that what was taken is written.
    fn written(&self) {
        self.lock().is_writing = false;
        self.done.notify_all();
    }

    /// Waits until all is written, but not for ever; tells whether it is.
    pub(super) fn end(&self) -> bool {
        let unwritten = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        let waited = self.done.wait_timeout_while(self.lock(), PATIENCE, unwritten);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !timeout.timed_out()
    }

    /// Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes lines to standard error in a thread of its own for as long as the process lasts, and has `throttle` tell now and then what it
/// has left out.
///
/// # Errors
///
/// The system has no thread or no file for it.
pub(super) fn write(lines: Arc<Lines>, throttle: Arc<Throttle>) -> io::Result<()> {
    // Another handle, as who waits for `io::stderr()` keeps everybody else from it.
    let mut out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let run = move || {
        let mut reported = Instant::now();
        loop {
            let (batch, dropped) = lines.take();
            write_all(&mut out, &batch);
            if dropped > 0 {
                tracing::warn!(target: OWN, dropped, "lines were dropped: nobody read standard error");
            }
            if reported.elapsed() >= NOW_AND_THEN {
                throttle.report();
                reported = Instant::now();
            }
            lines.written();
        }
    };
    // It may wait for ever for somebody who reads; the process ends all the same.
    thread::Builder::new().name("log".into()).spawn(run).map(drop)
}

/// Writes all of it, or as much as anybody takes.
fn write_all(out: &mut File, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever started us shares a pipe with us that never waits.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(SHORTLY),
            // There is nobody to tell.
            Err(_) => return,
        }
    }
}

impl Write for &Lines {
    /// Takes whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that may wait; as many may be on their way.
const ROOM: usize = 1 << 20;
/// How often the thread looks after what was left out.
const NOW_AND_THEN: Duration = Duration::from_secs(5);
/// How long the end of a process waits for whoever reads.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait for a pipe that does not.
const SHORTLY: Duration = Duration::from_millis(10);
