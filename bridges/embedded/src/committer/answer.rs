//! What becomes of jobs, and how those who wait for them are told.

use sidespan_bridge::{Error, Fault, Receipt, Revision};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::draft::Draft;
use crate::queue::Job;

/// Who waits for a transaction, and what to say once it is committed.
pub(super) enum Answer {
    Done(oneshot::Sender<Result<(), Error>>, Result<(), Error>),
    Kept(oneshot::Sender<Result<Revision, Error>>, Result<Revision, Error>),
    Receipts(oneshot::Sender<Vec<Result<Receipt, Error>>>, Vec<Result<Receipt, Error>>),
}

impl Answer {
    /// Says how it went.
    pub(super) fn tell(self) {
        // Whoever went away does not want to know.
        match self {
            Self::Done(answer, outcome) => drop(answer.send(outcome)),
            Self::Kept(answer, outcome) => drop(answer.send(outcome)),
            Self::Receipts(answer, outcomes) => drop(answer.send(outcomes)),
        }
    }

    /// Says that it failed; what had failed before the commit did has failed for its own reason.
    pub(super) fn fail(self, fault: Fault, detail: &str) {
        let error = || Error::new(fault).detail(detail);
        match self {
            Self::Done(answer, outcome) => drop(answer.send(outcome.and_then(|()| Err(error())))),
            Self::Kept(answer, outcome) => drop(answer.send(outcome.and_then(|_| Err(error())))),
            Self::Receipts(answer, outcomes) => {
                let outcomes = outcomes.into_iter().map(|outcome| outcome.and_then(|_| Err(error())));
                drop(answer.send(outcomes.collect()));
            }
        }
    }
}

/// Tells all that waited for one commit, and wakes their executor once for that instead of once for each.
pub(super) struct Teller(Option<mpsc::UnboundedSender<Vec<Answer>>>);

impl Teller {
    /// Begins to tell from a task of the executor that this is called on, if it is. The task ends with
    /// the teller, once all is told; what it has yet to tell is bounded as the callers who wait for it are.
    pub(super) fn start() -> (Self, Option<JoinHandle<()>>) {
        let (sender, mut commits) = mpsc::unbounded_channel::<Vec<Answer>>();
        let tell = async move {
            while let Some(answers) = commits.recv().await {
                answers.into_iter().for_each(Answer::tell);
            }
        };
        match Handle::try_current() {
            Ok(executor) => (Self(Some(sender)), Some(executor.spawn(tell))),
            Err(_) => (Self(None), None),
        }
    }

    /// Says how it went.
    pub(super) fn tell(&self, answers: Vec<Answer>) {
        let untold = match &self.0 {
            Some(sender) if answers.len() > 1 => sender.send(answers).err().map(|unsent| unsent.0),
            Some(_) | None => Some(answers),
        };
        untold.into_iter().flatten().for_each(Answer::tell);
    }
}

/// What a job has come to, before the commit.
pub(super) enum Outcome {
    Done(Result<(), Error>),
    Kept(Result<Revision, Error>),
    Receipts(Vec<Result<Receipt, Error>>),
}

/// Puts a job into a transaction.
pub(super) fn carry_out(draft: &mut Draft<'_>, job: &Job) -> Result<Outcome, redb::Error> {
    match job {
        Job::Create { topic, .. } => Ok(Outcome::Done(draft.create(topic).map(drop))),
        Job::Found { name, pattern, start, .. } => draft.found(name, pattern, start).map(Outcome::Done),
        Job::Keep { wish, .. } => draft.keep(wish).map(Outcome::Kept),
        Job::Move { lifted, pattern, start, .. } => {
            draft.put_down(lifted.group(), pattern, start).map(Outcome::Done)
        }
        Job::Publish { topic, messages, .. } => {
            let mut full: Option<String> = None;
            let outcomes = messages.iter().map(|message| {
                // None may overtake one that there was no room for.
                if let Some(full) = &full {
                    return Ok(Err(Error::new(Fault::StorageFull).detail(full.as_str())));
                }
                let outcome = match draft.create(topic) {
                    Ok(id) => draft.publish(id, message)?,
                    Err(error) => Err(error),
                };
                full = outcome
                    .as_ref()
                    .err()
                    .filter(|error| error.fault == Fault::StorageFull)
                    .map(ToString::to_string);
                Ok(outcome)
            });
            outcomes.collect::<Result<_, _>>().map(Outcome::Receipts)
        }
    }
}

/// Brings jobs and their outcomes together.
pub(super) fn answers(jobs: Vec<Job>, outcomes: Vec<Outcome>) -> Vec<Answer> {
    let pairs = jobs.into_iter().zip(outcomes);
    pairs
        .filter_map(|pair| match pair {
            (
                Job::Create { answer, .. } | Job::Found { answer, .. } | Job::Move { answer, .. },
                Outcome::Done(outcome),
            ) => Some(Answer::Done(answer, outcome)),
            (Job::Keep { answer, .. }, Outcome::Kept(outcome)) => Some(Answer::Kept(answer, outcome)),
            (Job::Publish { answer, .. }, Outcome::Receipts(outcomes)) => {
                Some(Answer::Receipts(answer, outcomes))
            }
            // `carry_out` gives each kind of job its kind of outcome.
            (
                Job::Create { .. } | Job::Found { .. } | Job::Move { .. },
                Outcome::Kept(_) | Outcome::Receipts(_),
            )
            | (Job::Keep { .. }, Outcome::Done(_) | Outcome::Receipts(_))
            | (Job::Publish { .. }, Outcome::Done(_) | Outcome::Kept(_)) => None,
        })
        .collect()
}
