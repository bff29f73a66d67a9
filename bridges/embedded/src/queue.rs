//! What waits for the committer.
//!
//! # Why the committer waits for company
//!
//! A commit costs about as much with one message as with a hundred. Callers who publish again as soon
//! as they are answered come back one after the other, and whoever took the first of them would commit
//! it alone while all the others wait. So as many as were at work at once are waited for, while they
//! keep coming, and never longer than the last commit took. A caller who is alone waits for nobody.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sidespan_bridge::{Error, Fault, Message, Pattern, Receipt, Revision, Start, Topic};
use tokio::sync::oneshot;

use crate::bulletin::Wish;
use crate::group::Lifted;

/// A bounded queue of jobs, and the reasons to commit without one.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    bell: Condvar,
}

/// Something to be stored.
#[derive(Debug)]
pub(crate) enum Job {
    /// Makes a topic.
    Create {
        /// Its name.
        topic: Topic,
        /// Told once it is stored.
        answer: oneshot::Sender<Result<(), Error>>,
    },
    /// Makes a durable group.
    Found {
        /// Its name.
        name: Box<str>,
        /// What it reads.
        pattern: Pattern,
        /// Where it begins.
        start: Start,
        /// Told once it is stored.
        answer: oneshot::Sender<Result<(), Error>>,
    },
    /// Changes a record of a registry.
    Keep {
        /// Which, and to what.
        wish: Wish,
        /// Told once it is stored.
        answer: oneshot::Sender<Result<Revision, Error>>,
    },
    /// Moves a durable group.
    Move {
        /// Which: nobody joins it meanwhile.
        lifted: Lifted,
        /// What it reads from now on.
        pattern: Pattern,
        /// Where it goes on.
        start: Start,
        /// Told once it is stored.
        answer: oneshot::Sender<Result<(), Error>>,
    },
    /// Stores messages.
    Publish {
        /// Where.
        topic: Topic,
        /// What.
        messages: Vec<Message>,
        /// What they weigh.
        weight: usize,
        /// Told once they are stored: one outcome a message.
        answer: oneshot::Sender<Vec<Result<Receipt, Error>>>,
    },
}

/// What the committer is to do next.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Jobs in the order in which they came.
    pub(crate) jobs: Vec<Job>,
    /// Cursors are to be stored.
    pub(crate) flush: bool,
    /// A reader found that the store must be opened anew.
    pub(crate) broken: bool,
    /// No more work will come, and none is left.
    pub(crate) closing: bool,
}

#[derive(Debug, Default)]
struct State {
    /// How many jobs wake the committer, if it sleeps.
    wanted: Option<usize>,
    /// Jobs that were there at once when the last commit was complete.
    company: usize,
    /// How long that took.
    spent: Duration,
    /// When its jobs were taken.
    taken: Option<Instant>,
    jobs: VecDeque<Job>,
    messages: usize,
    weight: usize,
    /// Why nothing is taken.
    refusal: Option<(Fault, Box<str>)>,
    /// Since when a cursor has changed.
    stirred: Option<Instant>,
    urged: bool,
    broken: bool,
    closing: bool,
}

impl Queue {
    /// Begins empty.
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::default()), bell: Condvar::new() }
    }

    /// Takes a job, or says at once why not.
    pub(crate) fn push(&self, job: Job) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some((fault, detail)) = &state.refusal {
            return Err(Error::new(*fault).detail(detail.clone()));
        }
        let (messages, weight) = job.size();
        let is_full = state.messages + messages > MESSAGES || state.weight + weight > WEIGHT;
        if is_full && !state.jobs.is_empty() {
            return Err(Error::new(Fault::Overloaded)
                .detail("the embedded log has too much to store: try again soon"));
        }
        state.messages += messages;
        state.weight += weight;
        state.jobs.push_back(job);
        if state.wanted.is_some_and(|wanted| state.jobs.len() >= wanted) {
            self.ring(&mut state);
        }
        Ok(())
    }

    /// Asks for cursors to be stored soon.
    pub(crate) fn stir(&self) {
        let mut state = self.lock();
        if state.stirred.is_none() {
            state.stirred = Some(Instant::now());
            self.ring(&mut state);
        }
    }

    /// Asks for cursors to be stored now.
    pub(crate) fn urge(&self) {
        let mut state = self.lock();
        state.urged = true;
        self.ring(&mut state);
    }

    /// Tells that the store must be opened anew.
    pub(crate) fn report_broken(&self) {
        let mut state = self.lock();
        state.broken = true;
        self.ring(&mut state);
    }

    /// Notes that what was taken is committed, before those who wait for it are told and come back.
    pub(crate) fn committed(&self) {
        let mut state = self.lock();
        state.company += state.jobs.len();
        state.spent = state.taken.take().map_or(Duration::ZERO, |taken| taken.elapsed());
    }

    /// Takes nothing more until [`Queue::accept`], and gives up what waits.
    pub(crate) fn refuse(&self, fault: Fault, detail: &str) {
        let mut state = self.lock();
        if !state.closing {
            state.refusal = Some((fault, detail.into()));
        }
        (state.messages, state.weight) = (0, 0);
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        jobs.into_iter().for_each(|job| job.fail(fault, detail));
    }

    /// Takes jobs again.
    pub(crate) fn accept(&self) {
        let mut state = self.lock();
        if !state.closing {
            state.refusal = None;
        }
    }

    /// Takes nothing more for ever; what is queued is still done.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.refusal = Some((Fault::Unavailable, CLOSED.into()));
        self.ring(&mut state);
    }

    /// Tells whether the log is closing, or closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Returns why nothing is taken, if so.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.lock().refusal.as_ref().map(|(fault, detail)| Error::new(*fault).detail(detail.clone()))
    }

    /// Waits until there is something to do, or until then. Blocks; for the committer.
    pub(crate) fn wait(&self, until: Instant) -> Work {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let flush_at = state.stirred.map(|since| since + FLUSH);
            let is_due = state.urged || flush_at.is_some_and(|at| at <= now);
            if !state.jobs.is_empty() || is_due || state.broken || state.closing || until <= now {
                state = self.gather(state);
                return state.take(is_due);
            }
            let wait = flush_at.map_or(until, |at| at.min(until)).saturating_duration_since(now);
            state = self.sleep(state, 1, wait);
        }
    }

    /// Waits for a moment in which nothing can be stored; tells whether the log is closing.
    pub(crate) fn pause(&self, until: Instant) -> bool {
        let mut state = self.lock();
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            if state.closing || wait.is_zero() {
                return state.closing;
            }
            state = self.sleep(state, usize::MAX, wait);
        }
    }

    /// Waits for jobs that come with the one that is there.
    fn gather<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let until = Instant::now() + state.spent;
        let mut there = 0;
        while (there + 1..state.company).contains(&state.jobs.len())
            && state.messages < BATCH
            && !state.closing
            && !state.broken
            && Instant::now() < until
        {
            there = state.jobs.len();
            let company = state.company;
            state = self.sleep(state, company, GAP);
        }
        state
    }

    /// Sleeps until so many jobs are there, something else is wanted, or the time is over.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wanted: usize,
        time: Duration,
    ) -> MutexGuard<'a, State> {
        state.wanted = Some(wanted);
        let (mut state, _) = self.bell.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner);
        state.wanted = None;
        state
    }

    /// Wakes the committer, if it sleeps: a call of the system for each job would be a large part of it.
    fn ring(&self, state: &mut State) {
        if state.wanted.take().is_some() {
            self.bell.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes as much as one transaction should hold.
    fn take(&mut self, flush: bool) -> Work {
        let mut work = Work::default();
        let (mut messages, mut weight) = (0, 0);
        while messages < BATCH && weight < BATCH_WEIGHT {
            let Some(job) = self.jobs.pop_front() else { break };
            let size = job.size();
            messages += size.0;
            weight += size.1;
            work.jobs.push(job);
        }
        self.messages -= messages;
        self.weight -= weight;
        work.closing = self.closing && self.jobs.is_empty();
        work.flush = flush || work.closing;
        if work.flush {
            self.urged = false;
            self.stirred = None;
        }
        work.broken = std::mem::take(&mut self.broken);
        self.company = work.jobs.len();
        self.taken = Some(Instant::now());
        work
    }
}

impl Job {
    /// Tells whoever waits that nothing was stored.
    pub(crate) fn fail(self, fault: Fault, detail: &str) {
        let error = || Error::new(fault).detail(detail);
        match self {
            // Whoever went away does not want to know.
            Self::Create { answer, .. } | Self::Found { answer, .. } | Self::Move { answer, .. } => {
                drop(answer.send(Err(error())));
            }
            Self::Keep { answer, .. } => drop(answer.send(Err(error()))),
            Self::Publish { messages, answer, .. } => {
                drop(answer.send(messages.iter().map(|_| Err(error())).collect()));
            }
        }
    }

    /// Returns how many messages, and how many bytes, this stores.
    pub(crate) fn size(&self) -> (usize, usize) {
        match self {
            Self::Create { .. } | Self::Found { .. } | Self::Move { .. } => (1, 0),
            Self::Keep { wish, .. } => (1, wish.value.as_ref().map_or(0, Bytes::len)),
            Self::Publish { messages, weight, .. } => (messages.len(), *weight),
        }
    }
}

/// What a closed log says.
const CLOSED: &str = "the embedded log is closed";
/// A cursor is stored at the latest this long after it has changed.
const FLUSH: Duration = Duration::from_millis(100);
/// Callers who come back follow one another more closely than this.
const GAP: Duration = Duration::from_micros(100);
/// Most messages that wait.
const MESSAGES: usize = 16_384;
/// Most bytes that wait.
const WEIGHT: usize = 64 << 20;
/// Messages after which a transaction takes no further job.
const BATCH: usize = 4096;
/// Bytes after which a transaction takes no further job.
const BATCH_WEIGHT: usize = 8 << 20;
