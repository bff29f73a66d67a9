//! The one writer of the log.
//!
//! A thread of its own takes everything that waits, puts it into one transaction, and answers once
//! that is on the disk: the more there is to do, the more goes with one flush, and when there is
//! little nobody waits for company.
//!
//! # When the disk fails
//!
//! Then the store is closed and opened anew, again and again until a commit works; publishes are
//! refused meanwhile. Whether the commit that failed has happened is looked up afterwards: if not,
//! its publishers are told that nothing was stored; if it has, that nobody knows, since a disk that
//! failed to flush may have lost what it still shows. The next flush would not tell: the system
//! takes those pages for written. So the whole file is written once more first.

mod answer;
mod draft;
mod floors;
mod keeping;
mod retention;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sidespan_bridge::{Fault, Topic};
use tokio::task;
use tracing::{debug, error, info, warn};

use self::answer::{Answer, Teller, answers, carry_out};
use self::draft::{Change, Draft};
pub(crate) use self::draft::{resolve, unknown_topic};
use crate::directory::Directory;
use crate::fault;
use crate::group::Group;
use crate::groups::Groups;
use crate::log::Log;
use crate::queue::Job;
use crate::reading::{Stretch, first};
use crate::saved::Saved;
use crate::store::RECORDS;

/// What the writer runs on. It ends after [`Queue::close`](crate::queue::Queue::close).
#[derive(Debug)]
pub(crate) struct Writer {
    /// Writes.
    pub(crate) thread: JoinHandle<()>,
    /// Tells callers what was written, and ends after the thread; `None` where there is no executor.
    pub(crate) teller: Option<task::JoinHandle<()>>,
}

/// Starts the writer.
pub(crate) fn start(log: Arc<Log>, groups: Arc<Groups>, directory: Directory) -> std::io::Result<Writer> {
    let tidy_at = Instant::now();
    let (teller, telling) = Teller::start();
    let committer = Committer { log, groups, teller, trouble: None, tidy_at, recovered: None, discarded: 0 };
    let thread =
        thread::Builder::new().name("embedded-log".to_owned()).spawn(move || committer.run(directory))?;
    Ok(Writer { thread, teller: telling })
}

struct Committer {
    log: Arc<Log>,
    groups: Arc<Groups>,
    teller: Teller,
    trouble: Option<Trouble>,
    /// When age is looked at next.
    tidy_at: Instant,
    /// When the last trouble ended, and how long its pauses were by then: a disk without space may
    /// take a small commit and fail at the next large one.
    recovered: Option<(Instant, Duration)>,
    /// Unsettled messages given up since the start.
    discarded: u64,
}

/// The disk has failed, and no commit has worked since.
struct Trouble {
    fault: Fault,
    /// A commit that may have happened.
    doubt: Option<(u64, Vec<Answer>)>,
    /// A flush has failed: what the file shows may not be on the disk.
    adrift: bool,
    pause: Duration,
    /// That the store cannot be opened anew was said.
    said: bool,
}

/// What a transaction has come to.
struct Committed {
    change: Change,
    saved: Vec<(Arc<Group>, u64)>,
    more: bool,
}

impl Committer {
    fn run(mut self, directory: Directory) {
        loop {
            if self.trouble.is_some() {
                if self.recover() {
                    break;
                }
                continue;
            }
            let work = self.log.queue.wait(self.tidy_at);
            if work.broken {
                self.fall(Fault::Unavailable, None);
                work.jobs.into_iter().for_each(|job| job.fail(Fault::Unavailable, AWAY));
                continue;
            }
            self.commit(work.jobs, work.flush);
            if work.closing && self.trouble.is_none() {
                break;
            }
        }
        self.stop(directory);
    }

    /// Commits jobs, changed cursors, and what age asks for.
    fn commit(&mut self, jobs: Vec<Job>, flush: bool) -> bool {
        let tidy = self.tidy_at <= Instant::now();
        if tidy {
            self.tidy_at = Instant::now() + tidy_after(self.log.limits.age);
        }
        let cursors: Vec<_> = if flush { unsaved(&self.groups) } else { Vec::new() };
        let tidy = tidy && self.is_anything_old();
        if jobs.is_empty() && cursors.is_empty() && !tidy {
            return true;
        }
        self.transact(jobs, &cursors, tidy)
    }

    /// Looks, without writing, whether age asks for anything.
    fn is_anything_old(&self) -> bool {
        let Some(limit) = self.log.limits.age.and_then(|age| SystemTime::now().checked_sub(age)) else {
            return false;
        };
        let limit = limit.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let index = self.log.index();
        let stretches = index.rows().iter().filter(|row| row.messages > 0).map(Stretch::of);
        let found = self.log.store.read(|txn| {
            let table = txn.open_table(RECORDS)?;
            for stretch in stretches {
                if first(&table, stretch)?.is_some_and(|(_, stamp)| u128::from(stamp.time) < limit) {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        // Where looking fails, the transaction finds out why.
        found.unwrap_or(true)
    }

    fn transact(&mut self, jobs: Vec<Job>, cursors: &[Cursor], tidy: bool) -> bool {
        let (log, groups) = (Arc::clone(&self.log), Arc::clone(&self.groups));
        let mut committing = false;
        let mut outcomes = Vec::with_capacity(jobs.len());
        let weight = jobs.iter().map(|job| job.size().1).sum::<usize>() as u64;
        let result = log.store.write(
            |txn| {
                let mut draft = Draft::new(&log, &groups, txn)?;
                for job in &jobs {
                    outcomes.push(carry_out(&mut draft, job)?);
                }
                let mut saved = Vec::with_capacity(cursors.len());
                for (group, version, cursor) in cursors {
                    draft.save(cursor)?;
                    saved.push((Arc::clone(group), *version));
                }
                draft.forget_ids()?;
                let more = tidy && draft.expire()?;
                Ok(Committed { change: draft.finish()?, saved, more })
            },
            &mut committing,
        );
        match result {
            Ok(committed) => {
                if committed.more {
                    self.tidy_at = Instant::now();
                }
                self.take_over(committed);
                log.note_space(weight);
                self.log.queue.committed();
                self.teller.tell(answers(jobs, outcomes));
                true
            }
            Err(failure) => {
                match self.trouble {
                    None => {
                        error!(error = %failure, dir = %log.dir.display(), "the embedded log cannot be written")
                    }
                    Some(_) => debug!(error = %failure, "the embedded log still cannot be written"),
                }
                let fault = fault::fault(&failure);
                if fault == Fault::StorageFull && weight > 0 {
                    log.note_full(weight);
                }
                if committing {
                    let commits = log.index().meta.commits + 1;
                    self.fall(fault, Some((commits, answers(jobs, outcomes))));
                } else {
                    let detail = self.detail(fault);
                    jobs.into_iter().for_each(|job| job.fail(fault, &detail));
                    self.fall(fault, None);
                }
                false
            }
        }
    }

    /// Makes a commit known.
    fn take_over(&mut self, committed: Committed) {
        let Committed { change, saved, .. } = committed;
        let news: Vec<(Topic, u64)> = change
            .grown
            .iter()
            .filter_map(|id| change.rows.get(id))
            .map(|row| (row.topic.clone(), row.end))
            .collect();
        if change.discarded > 0 {
            self.discarded += change.discarded;
            warn!(
                messages = change.discarded,
                since_start = self.discarded,
                "retention discarded messages that were not settled"
            );
        }
        self.log.apply(change.meta, change.rows.into_values());
        change.founded.into_iter().for_each(|saved| self.groups.adopt(saved));
        saved.into_iter().for_each(|(group, version)| group.saved(version));
        change.moved.into_iter().for_each(|(group, saved)| group.put_down(saved));
        self.log.bulletin.announce(change.kept);
        if !news.is_empty() {
            self.groups.announce(&news);
        }
    }

    /// Takes nothing more until a commit works.
    fn fall(&mut self, fault: Fault, doubt: Option<(u64, Vec<Answer>)>) {
        self.log.queue.refuse(fault, &self.detail(fault));
        let old = self.trouble.take();
        let relapse = self.recovered.filter(|(at, _)| at.elapsed() < RELAPSE).map(|(_, pause)| pause);
        let before = old.as_ref().map(|old| old.pause).or(relapse);
        let pause = before.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        let said = old.as_ref().is_some_and(|old| old.said);
        // Where there was no space, nothing was lost of what had been written.
        let unflushed = doubt.is_some() && fault != Fault::StorageFull;
        let adrift = unflushed || old.as_ref().is_some_and(|old| old.adrift);
        let doubt = doubt.or(old.and_then(|old| old.doubt));
        self.trouble = Some(Trouble { fault, doubt, adrift, pause, said });
        // At once, so that reading goes on while nothing can be written.
        self.reopen();
    }

    /// Tries to get out of trouble once; tells whether the log is closing.
    fn recover(&mut self) -> bool {
        let pause = self.trouble.as_ref().map_or(FIRST_PAUSE, |trouble| trouble.pause);
        let closing = self.log.queue.pause(Instant::now() + pause);
        self.anchor();
        if !self.log.store.is_open() {
            self.reopen();
        }
        let adrift = self.trouble.as_ref().is_some_and(|trouble| trouble.adrift);
        if self.log.store.is_open() && !adrift && self.transact(Vec::new(), &unsaved(&self.groups), false) {
            self.trouble = None;
            self.recovered = Some((Instant::now(), pause));
            self.log.queue.accept();
            self.groups.resume();
            info!(dir = %self.log.dir.display(), "the embedded log can be written again");
            return false;
        }
        if closing {
            self.give_up();
        }
        closing
    }

    /// After a flush that failed, has the disk take everything once more before more is built on it.
    fn anchor(&mut self) {
        let Some(trouble) = self.trouble.as_mut().filter(|trouble| trouble.adrift) else { return };
        match self.log.store.renew() {
            Ok(()) => {
                trouble.adrift = false;
                self.look();
            }
            Err(error) => {
                debug!(%error, "the embedded log still cannot be flushed");
                trouble.pause = (trouble.pause * 2).min(LONGEST_PAUSE);
            }
        }
        self.groups.resume();
    }

    fn reopen(&mut self) {
        match self.log.store.reopen() {
            Ok(repaired) => {
                debug!(repaired, "opened the embedded log anew");
                self.look();
                self.groups.resume();
            }
            Err(failure) => {
                let Some(trouble) = &mut self.trouble else { return };
                if !std::mem::replace(&mut trouble.said, true) {
                    error!(error = %failure, dir = %self.log.dir.display(), "the embedded log cannot be opened anew");
                }
                trouble.pause = (trouble.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Takes over what is there once the store is open anew, whoever opened it, and tells those whose
    /// commit was in doubt whether it has happened.
    fn look(&mut self) {
        let (index, groups) = match self.log.store.reload() {
            Ok(found) => found,
            Err(failure) => {
                error!(error = %failure, "the embedded log cannot be read after it was opened anew");
                return self.log.store.shut();
            }
        };
        let there = index.meta.commits;
        if there != self.log.index().meta.commits {
            let news: Vec<_> = index.rows().iter().map(|row| (row.topic.clone(), row.end)).collect();
            self.log.replace(index);
            groups.into_iter().for_each(|saved| self.groups.adopt(saved));
            self.groups.announce(&news);
            // Nobody noted what that commit has changed: whoever watches begins again.
            self.log.bulletin.renew();
        }
        let Some(trouble) = &mut self.trouble else { return };
        let Some((commits, answers)) = trouble.doubt.take() else { return };
        if there >= commits {
            warn!("a commit that failed is there all the same; its publishers are told that it is unknown");
            answers.into_iter().for_each(|answer| answer.fail(Fault::Timeout, UNKNOWN));
        } else {
            let fault = trouble.fault;
            let detail = self.detail(fault);
            answers.into_iter().for_each(|answer| answer.fail(fault, &detail));
        }
    }

    fn give_up(&mut self) {
        if let Some((_, answers)) = self.trouble.as_mut().and_then(|trouble| trouble.doubt.take()) {
            answers.into_iter().for_each(|answer| answer.fail(Fault::Timeout, UNKNOWN));
        }
        self.log.queue.refuse(Fault::Unavailable, AWAY);
    }

    fn stop(self, directory: Directory) {
        self.groups.end();
        self.log.bulletin.close();
        self.log.store.shut();
        directory.release();
        self.log.stopped.send_replace(true);
    }

    fn detail(&self, fault: Fault) -> String {
        if fault == Fault::StorageFull {
            self.log.full()
        } else {
            let dir = self.log.dir.display();
            format!(
                "the embedded log in {dir} cannot be written: check the disk; publishing then goes on by itself"
            )
        }
    }
}

/// A cursor to be stored, its group and its version.
type Cursor = (Arc<Group>, u64, Saved);

fn unsaved(groups: &Groups) -> Vec<Cursor> {
    let groups = groups.all().into_iter();
    groups.filter_map(|group| group.unsaved().map(|(version, saved)| (group, version, saved))).collect()
}

/// What those are told who come while the disk has failed.
const AWAY: &str = "the embedded log is being opened anew after an error of the disk: try again soon";
/// What those are told whose commit is in doubt for good.
const UNKNOWN: &str = "the disk failed while the message was stored: it may or may not be there";
/// Returns how often age is looked at: a small part of what is asked for.
fn tidy_after(age: Option<Duration>) -> Duration {
    age.map_or(LEAST_OFTEN, |age| age / 20).clamp(MOST_OFTEN, LEAST_OFTEN)
}

/// Age is looked at no more often than this.
const MOST_OFTEN: Duration = Duration::from_secs(1);
/// Age is looked at at least this often.
const LEAST_OFTEN: Duration = Duration::from_secs(60);
/// Wait after the first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Trouble that comes again within this is the same trouble.
const RELAPSE: Duration = Duration::from_secs(10);
/// Longest wait between two attempts to write again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
