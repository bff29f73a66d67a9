//! The bridge: an open log, and how it is closed.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use sidespan_bridge::{
    Bridge, Error, Fault, Guarantee, Guarantees, Lag, Message, Pattern, Position, Publisher, Registry, Start,
    Subscribe, Subscription, Topic, TopicInfo, Unsupported,
};
use tokio::sync::oneshot;
use tokio::task;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use crate::committer::{self, Writer, resolve, unknown_topic};
use crate::directory::Directory;
use crate::fault;
use crate::group::Group;
use crate::groups::Groups;
use crate::index::check_name;
use crate::log::{self, Log};
use crate::publisher::EmbeddedPublisher;
use crate::queue::Job;
use crate::registry::EmbeddedRegistry;
use crate::replies::Replies;
use crate::saved::Saved;
use crate::settings::EmbeddedSettings;
use crate::store::{RECORDS, Store, read_meta};
use crate::subscription::{Inbox, lag};

/// An open log.
#[derive(Debug)]
pub(crate) struct EmbeddedBridge {
    log: Arc<Log>,
    groups: Arc<Groups>,
    publisher: Arc<EmbeddedPublisher>,
    replies: Replies,
    writer: Mutex<Option<JoinHandle<()>>>,
    teller: Mutex<Option<task::JoinHandle<()>>>,
}

impl EmbeddedBridge {
    /// Opens the log in its directory, which no other process may have open.
    pub(crate) fn open(settings: &EmbeddedSettings) -> Result<Self, Error> {
        let directory = Directory::claim(&settings.dir)?;
        let dir = directory.path().to_owned();
        let opened = Store::open(&directory.database());
        let opened = opened.map_err(|error| fault::opening(&dir, error))?;
        directory.sync().map_err(|error| fault::directory(&dir, error))?;
        if opened.repaired {
            warn!(dir = %dir.display(), "the embedded log was not closed, and its end had to be repaired");
        } else if directory.unclean {
            warn!(dir = %dir.display(), "the embedded log was not closed; it goes on from its last commit");
        }
        let mut groups = opened.groups;
        for name in opened.damaged {
            error!(
                group = &*name,
                "a stored cursor is damaged: the subscription begins again at the beginning"
            );
            let all = Pattern::parse(">").map_err(|error| Error::new(Fault::Invalid).because(error))?;
            groups.push(Saved::new(name, all, 0));
        }
        info!(
            dir = %dir.display(),
            topics = opened.index.rows().len(),
            subscriptions = groups.len(),
            bytes = opened.index.bytes(),
            "opened the embedded log"
        );
        let log = Log::new(dir.clone(), log::Limits::new(settings), opened.store, opened.index);
        let groups = Groups::new(&log, groups);
        let writer = committer::start(Arc::clone(&log), Arc::clone(&groups), directory);
        let Writer { thread, teller } = writer.map_err(|error| fault::directory(&dir, error))?;
        let publisher = Arc::new(EmbeddedPublisher::new(Arc::clone(&log)));
        let (writer, teller) = (Mutex::new(Some(thread)), Mutex::new(teller));
        let replies = Replies::new(log.limits.message);
        Ok(Self { log, groups, publisher, replies, writer, teller })
    }

    /// Queues a job and waits until it is done.
    async fn store(&self, job: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Job) -> Result<(), Error> {
        let (answer, outcome) = oneshot::channel();
        self.log.queue.push(job(answer))?;
        outcome.await.unwrap_or_else(|_| Err(fault::closed()))
    }

    async fn create(&self, topic: &Topic) -> Result<(), Error> {
        check_name(topic)?;
        if self.log.index().find(topic).is_some() {
            return Ok(());
        }
        if !self.log.limits.create_topics {
            return Err(unknown_topic(topic));
        }
        self.store(|answer| Job::Create { topic: topic.clone(), answer }).await
    }

    /// Returns a durable group, making it if it is new.
    async fn found(&self, name: &str, to: &Subscribe) -> Result<Arc<Group>, Error> {
        let exists = |topic: Topic| self.log.index().find(&topic).is_some();
        if self.groups.find(name).is_none() || !to.pattern.literal().is_none_or(exists) {
            let (pattern, start) = (to.pattern.clone(), to.start.clone());
            self.store(|answer| Job::Found { name: name.into(), pattern, start, answer }).await?;
        }
        self.groups.find(name).ok_or_else(fault::closed)
    }

    /// Moves a durable group, once it has no members.
    async fn put_elsewhere(&self, name: &str, to: &Subscribe, deadline: Instant) -> Result<(), Error> {
        let group = self.found(name, to).await?;
        let lifted = timeout_at(deadline, group.lift()).await.map_err(|_| {
            Error::new(Fault::Conflict)
                .detail(format!("{name} has members, and is moved only without: pause it everywhere first"))
        })?;
        let (pattern, start) = (to.pattern.clone(), to.start.clone());
        let moved = self.store(|answer| Job::Move { lifted, pattern, start, answer });
        let late = || Error::new(Fault::Timeout).detail("the embedded log did not store the move in time");
        timeout_at(deadline, moved).await.unwrap_or_else(|_| Err(late()))
    }

    /// Joins a durable group.
    async fn join(&self, name: &str, to: &Subscribe) -> Result<Inbox, Error> {
        let group = self.found(name, to).await?;
        Inbox::join(group, self.log.number(), to, None).await
    }

    /// Opens a cursor that is stored nowhere.
    async fn follow(&self, to: &Subscribe) -> Result<Inbox, Error> {
        if let Some(topic) = to.pattern.literal() {
            self.create(&topic).await?;
        }
        let (log, pattern, start) = (Arc::clone(&self.log), to.pattern.clone(), to.start.clone());
        let next = self.read(move || begin(&log, &pattern, &start)).await??;
        let group = self.groups.cursor(to.pattern.clone(), next);
        let topic = self
            .log
            .index()
            .rows()
            .iter()
            .find(|row| to.pattern.matches(&row.topic))
            .map(|row| row.topic.clone());
        // A sequence runs through all topics, so one says it for all. Without any, all is yet to come.
        let begun =
            topic.map(|topic| (topic, Position { partition: 0, sequence: next })).into_iter().collect();
        Inbox::join(group, self.log.number(), to, Some(begun)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let failed =
            || Error::new(Fault::Unavailable).detail("the embedded log cannot be read at the moment");
        match task::spawn_blocking(read).await {
            Ok(value) => value.map_err(|error| failed().because(error)),
            Err(error) => Err(failed().because(error)),
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        if *self.log.stopped.borrow() { Err(fault::closed()) } else { Ok(()) }
    }
}

#[async_trait]
impl Bridge for EmbeddedBridge {
    fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::clone(&self.publisher) as Arc<dyn Publisher>
    }

    async fn subscribe(&self, to: Subscribe) -> Result<Box<dyn Subscription>, Error> {
        self.check_open()?;
        if let Some(topic) = to.pattern.literal() {
            check_name(&topic)?;
        }
        let inbox = match &to.group {
            Some(name) => self.join(name, &to).await?,
            None => self.follow(&to).await?,
        };
        Ok(Box::new(inbox))
    }

    async fn probe(&self, deadline: Instant) -> Result<(), Error> {
        self.check_open()?;
        if let Some(refusal) = self.log.queue.refusal() {
            return Err(refusal);
        }
        let log = Arc::clone(&self.log);
        let looked = self.read(move || {
            log.store.read(read_meta)?;
            Ok(log.has_space()?)
        });
        match timeout_at(deadline, looked).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Error::new(Fault::StorageFull).detail(self.log.full())),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                Err(Error::new(Fault::Timeout).detail("the disk of the embedded log does not answer in time"))
            }
        }
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            delivery: Guarantee::AtLeastOnce,
            deduplicates: true,
            ordered: true,
            start: true,
            seek: true,
            requests: true,
        }
    }

    async fn topics(&self, pattern: &Pattern, _: Instant) -> Result<Vec<TopicInfo>, Error> {
        self.check_open()?;
        let index = self.log.index();
        let matching = index.rows().iter().filter(|row| pattern.matches(&row.topic));
        let info = |row: &crate::index::Row| TopicInfo {
            topic: row.topic.clone(),
            partitions: 1,
            messages: Some(row.messages),
            bytes: Some(row.bytes),
        };
        Ok(matching.map(info).collect())
    }

    async fn ensure(&self, topic: &Topic, deadline: Instant) -> Result<(), Error> {
        self.check_open()?;
        let late = || Error::new(Fault::Timeout).detail("the embedded log did not store the topic in time");
        timeout_at(deadline, self.create(topic)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn request(
        &self,
        topic: &Topic,
        mut message: Message,
        deadline: Instant,
    ) -> Result<Message, Error> {
        self.check_open()?;
        check_name(topic)?;
        if !self.groups.read(topic) {
            let detail = "nobody answers requests here: no subscription reads this topic";
            return Err(Error::new(Fault::Unroutable).detail(detail));
        }
        let mut awaited = self.replies.await_one(&mut message)?;
        for outcome in self.publisher.publish(topic, vec![message], deadline).await {
            outcome?;
        }
        awaited.reply(deadline).await
    }

    async fn reply(&self, to: &str, reply: Message, _: Instant) -> Result<(), Error> {
        self.check_open()?;
        self.replies.deliver(to, reply)
    }

    async fn seek(&self, to: &Subscribe, deadline: Instant) -> Result<(), Error> {
        self.check_open()?;
        if let Some(topic) = to.pattern.literal() {
            check_name(&topic)?;
        }
        let Some(name) = &to.group else {
            return Err(Error::new(Fault::Invalid).detail("only a group can be moved: name one"));
        };
        self.put_elsewhere(name, to, deadline).await
    }

    async fn lag(&self, to: &Subscribe, deadline: Instant) -> Result<Option<Lag>, Error> {
        self.check_open()?;
        let Some(name) = &to.group else {
            let detail = "a cursor of its own settles nothing, so nothing is left to settle";
            return Err(Error::new(Fault::Unsupported).detail(detail));
        };
        let Some(group) = self.groups.find(name) else { return Ok(None) };
        let late = || Error::new(Fault::Unavailable).detail("the embedded log was not read in time");
        let counted = timeout_at(deadline, lag(group)).await.unwrap_or_else(|_| Err(late()));
        counted.map(Some)
    }

    fn registry(&self, name: &str) -> Result<Arc<dyn Registry>, Unsupported> {
        Ok(Arc::new(EmbeddedRegistry::new(Arc::clone(&self.log), name)))
    }

    async fn close(&self, deadline: Instant) {
        self.log.queue.close();
        let mut stopped = self.log.stopped.subscribe();
        if timeout_at(deadline, stopped.wait_for(|stopped| *stopped)).await.is_err() {
            warn!(dir = %self.log.dir.display(), "the embedded log did not close in time");
        }
        // Whoever waits is told what was stored before the executor may end.
        let teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(teller) = teller
            && let Ok(Err(error)) = timeout_at(deadline, teller).await
        {
            error!(%error, "callers of the embedded log may not have been told what was stored");
        }
        let damaged = self.log.damaged();
        if damaged > 0 {
            warn!(damaged, "messages of the embedded log were damaged and skipped");
        }
    }
}

impl Drop for EmbeddedBridge {
    fn drop(&mut self) {
        self.log.queue.close();
        // Without this the directory could not be opened again at once.
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            error!(dir = %self.log.dir.display(), "the writer of the embedded log has panicked");
        }
    }
}

/// Finds where a reader begins that is stored nowhere. Blocks.
fn begin(log: &Log, pattern: &Pattern, start: &Start) -> Result<Result<u64, Error>, redb::Error> {
    // The index first: what it knows, the snapshot that is taken afterwards holds.
    let index = log.index();
    let head = index.meta.head;
    log.store.read(|txn| resolve(index.rows().iter(), head, pattern, start, &txn.open_table(RECORDS)?))
}
