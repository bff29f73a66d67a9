//! The embedded log: here the client is the library that stores it, which commits together what has
//! come meanwhile, as the bridge does.

use redb::{Database, TableDefinition};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use super::Broker;
use crate::Failed;
use crate::load::{Message, Publish};

pub(crate) struct Embedded;

impl Broker for Embedded {
    const KIND: &'static str = "embedded";
    const TAILS: bool = false;

    async fn start() -> Result<Self, Failed> {
        Ok(Self)
    }

    fn at(&self) -> String {
        "here".to_owned()
    }

    fn bridge(&self) -> String {
        "{ kind: embedded, dir: ./sidespan-data }".to_owned()
    }
}

#[derive(Clone)]
pub(super) struct Raw(mpsc::UnboundedSender<Job>);

struct Job {
    key: String,
    body: Vec<u8>,
    stored: oneshot::Sender<()>,
}

impl Raw {
    /// Begins a log in a directory of its own, with a thread that writes it.
    pub(super) fn open() -> Result<Self, Failed> {
        let (jobs, mut inbox) = mpsc::unbounded_channel();
        let directory = tempfile::Builder::new().prefix("sidespan-speed-").tempdir()?;
        let database = Database::create(directory.path().join("raw"))?;
        std::thread::spawn(move || {
            if let Err(error) = write(&database, &mut inbox, &directory) {
                eprintln!("benches/run: redb: {error}");
            }
        });
        Ok(Self(jobs))
    }
}

fn write(
    database: &Database,
    inbox: &mut mpsc::UnboundedReceiver<Job>,
    _directory: &TempDir,
) -> Result<(), Failed> {
    let (mut group, mut number) = (Vec::new(), 0);
    while inbox.blocking_recv_many(&mut group, MOST) > 0 {
        let mut writing = database.begin_write()?;
        writing.set_quick_repair(true);
        {
            let mut table = writing.open_table(MESSAGES)?;
            for Job { key, body, .. } in &group {
                number += 1;
                table.insert(number, (key.as_str(), body.as_slice()))?;
            }
        }
        writing.commit()?;
        for job in group.drain(..) {
            // Who does not wait any more needs no answer.
            let _ = job.stored.send(());
        }
    }
    Ok(())
}

impl Publish for Raw {
    async fn publish(&mut self, message: &Message) -> Result<(), Failed> {
        let (stored, answer) = oneshot::channel();
        self.0.send(Job { key: message.key.clone(), body: message.body.clone(), stored })?;
        Ok(answer.await?)
    }
}

const MESSAGES: TableDefinition<'_, u64, (&str, &[u8])> = TableDefinition::new("messages");
const MOST: usize = 1024;
