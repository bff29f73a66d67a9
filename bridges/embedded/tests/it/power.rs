//! The power fails: what was not flushed is lost, in part, and what was said still holds.
//!
//! A process that is killed leaves all it has written to the system. So a run is recorded with
//! every write and every flush, and replayed up to random instants: what a file held at the start
//! of the last flush that had ended by then is there, and of what was written since any pages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sidespan_test_support::Random;

use crate::life::{Said, command, live};
use crate::shim::Shim;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_survives_the_power_failing_at_any_instant() {
    fail(30).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn what_was_said_survives_the_power_failing_three_hundred_times() {
    fail(300).await;
}

async fn fail(times: usize) {
    let Some(shim) = Shim::compile() else { return };
    let mut random = Random::from_env();
    let dir = tempfile::TempDir::new().unwrap();
    let trace = shim.path("trace");
    let mut process = command(dir.path(), 0);
    shim.stand_between(&mut process, dir.path());
    process.env("SHIM_TRACE", &trace);
    let lines = 600 + times;
    live(process, move |said| said.receipts.len() + said.confirmed.len() > lines).await;

    let trace = fs::read(trace).unwrap();
    let events = parse(&trace);
    let mut instants: Vec<usize> = (0..times).map(|_| random.below(events.len() as u64) as usize).collect();
    instants.sort_unstable();
    let mut disk = Disk::new(dir.path());
    let mut done = 0;
    let mut held = (0, 0);
    for instant in instants {
        disk.replay(&events[done..instant]);
        done = instant;
        let left = tempfile::TempDir::new().unwrap();
        disk.fail(left.path(), &mut random);
        let mut said = Said::default();
        String::from_utf8_lossy(&disk.output).lines().for_each(|line| said.hear(line));
        held = (said.receipts.len(), said.confirmed.len());
        // Deliveries are those of a process before this one.
        let mut all = Said::default();
        all.go_on(said);
        all.check(left.path()).await;
    }
    println!("{times} power failures among {} events: {held:?} receipts and settlements held", events.len());
    assert!(held.0 > 100 && held.1 > 100, "the process did too little to tell: {held:?}");
}

/// A record of the trace: see `shim.c`.
struct Record<'a> {
    kind: u8,
    file: u64,
    number: u64,
    bytes: &'a [u8],
}

fn parse(mut trace: &[u8]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    while let Some(end) = trace.iter().position(|byte| *byte == b'\n') {
        let line = std::str::from_utf8(&trace[..end]).unwrap();
        let parts: Vec<&str> = line.split(' ').collect();
        let length: usize = parts[3].parse().unwrap();
        // The process was killed while it wrote this one.
        let Some(bytes) = trace.get(end + 1..end + 1 + length) else { break };
        let (file, number) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
        records.push(Record { kind: parts[0].as_bytes()[0], file, number, bytes });
        trace = &trace[end + 1 + length..];
    }
    records
}

/// A directory as it is now, and as it is sure to be after the power has failed.
struct Disk {
    dir: PathBuf,
    files: Vec<File>,
    /// What is open, by its number in the trace; the directory itself is no file.
    open: BTreeMap<u64, Option<usize>>,
    names: Names,
    safe_names: Names,
    /// Names that a flush of the directory under way makes safe.
    flushing_names: Names,
    /// What the process has said.
    output: Vec<u8>,
}

/// The names of the directory, with the file that each stands for.
type Names = BTreeMap<String, usize>;

#[derive(Debug, Default)]
struct File {
    now: Vec<u8>,
    safe: Vec<u8>,
    /// What has happened to it since it was safe.
    since: Vec<Change>,
    /// How much of that a flush under way makes safe.
    flushing: usize,
}

#[derive(Debug)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Disk {
    fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            files: Vec::new(),
            open: BTreeMap::new(),
            names: Names::new(),
            safe_names: Names::new(),
            flushing_names: Names::new(),
            output: Vec::new(),
        }
    }

    fn replay(&mut self, records: &[Record<'_>]) {
        for record in records {
            let number = record.number as usize;
            match record.kind {
                b'P' => self.output.extend(record.bytes),
                b'O' => self.opened(record),
                b'U' => drop(self.names.remove(&self.name(record.bytes))),
                b'R' => {
                    let mut names = record.bytes.split(|byte| *byte == b'\n').map(|name| self.name(name));
                    let (from, to) = (names.next().unwrap(), names.next().unwrap());
                    let file = self.names.remove(&from).unwrap();
                    self.names.insert(to, file);
                }
                kind => match (kind, self.open[&record.file].map(|file| &mut self.files[file])) {
                    (b'W', Some(file)) => file.change(Change::Write(number, record.bytes.to_vec())),
                    (b'T', Some(file)) => file.change(Change::Length(number)),
                    (b'S', Some(file)) => file.flushing = file.since.len(),
                    (b'E', Some(file)) => file.flushed(),
                    (b'S', None) => self.flushing_names = self.names.clone(),
                    (b'E', None) => self.safe_names = self.flushing_names.clone(),
                    (kind, _) => panic!("a record of kind {kind}"),
                },
            }
        }
    }

    fn opened(&mut self, record: &Record<'_>) {
        if record.bytes == self.dir.as_os_str().as_encoded_bytes() {
            self.open.insert(record.file, None);
            return;
        }
        let file = *self.names.entry(self.name(record.bytes)).or_insert(self.files.len());
        if file == self.files.len() {
            self.files.push(File::default());
        }
        if record.number == 1 {
            self.files[file].change(Change::Length(0));
        }
        self.open.insert(record.file, Some(file));
    }

    fn name(&self, path: &[u8]) -> String {
        let path = Path::new(std::str::from_utf8(path).unwrap());
        path.strip_prefix(&self.dir).unwrap().to_str().unwrap().to_owned()
    }

    /// Writes what is left when the power fails now.
    fn fail(&self, dir: &Path, random: &mut Random) {
        let names = if random.chance(50) { &self.names } else { &self.safe_names };
        for (name, file) in names {
            fs::write(dir.join(name), self.files[*file].left(random)).unwrap();
        }
    }
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.since.push(change);
    }

    fn flushed(&mut self) {
        let safe = std::mem::take(&mut self.flushing);
        self.since.drain(..safe).for_each(|change| change.apply(&mut self.safe));
    }

    /// Returns what is safe, and as many of the later writes to each page as chance has it, in their
    /// order: what is written is in the memory of the system, which writes whole pages at any time.
    fn left(&self, random: &mut Random) -> Vec<u8> {
        let mut left = self.safe.clone();
        let mut kept = BTreeMap::new();
        let (share, keeps_length) = (random.below(101), random.chance(50));
        for change in &self.since {
            match change {
                Change::Length(_) if keeps_length => change.apply(&mut left),
                Change::Length(_) => {}
                Change::Write(at, bytes) => {
                    let mut at = *at;
                    let mut bytes = &bytes[..];
                    while !bytes.is_empty() {
                        let (page, rest) = bytes.split_at(bytes.len().min(PAGE - at % PAGE));
                        let is_kept = kept.entry(at / PAGE).or_insert(true);
                        *is_kept &= random.chance(share);
                        if *is_kept {
                            write(&mut left, at, page);
                        }
                        at += page.len();
                        bytes = rest;
                    }
                }
            }
        }
        left
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Write(at, bytes) => write(to, *at, bytes),
        }
    }
}

fn write(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    to.resize(to.len().max(at + bytes.len()), 0);
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

const PAGE: usize = 4096;
