//! Runs cases and reports them as `cargo test` does.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::{CASES, Case, Harness};

/// Runs the cases that the command line asks for, each with a harness of its own, and reports them.
///
/// `harness` is called once a case, and not at all if nothing is to run: a broker that it starts
/// on the first call is not started in vain. Understands what `cargo test -- ` commonly passes:
/// words that names must hold, `--exact`, `--skip WORD`, `--list`, `--test-threads N`.
pub async fn main(harness: impl AsyncFn() -> Arc<dyn Harness>) -> ExitCode {
    let wish = Wish::read(std::env::args().skip(1));
    let cases: Vec<Case> = CASES.iter().filter(|case| wish.includes(case)).copied().collect();
    if wish.list {
        cases.iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    name_cases_in_panics();
    let begin = Instant::now();
    println!("\nrunning {} test{}", cases.len(), if cases.len() == 1 { "" } else { "s" });
    let mut tally = Tally { filtered: CASES.len() - cases.len(), ..Tally::default() };
    let (alone, together): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(|case| case.alone);
    run(&together, wish.threads, &harness, &mut tally).await;
    run(&alone, 1, &harness, &mut tally).await;
    tally.conclude(begin.elapsed())
}

/// Runs `cases`, at most `width` at a time.
async fn run(cases: &[Case], width: usize, harness: &impl AsyncFn() -> Arc<dyn Harness>, tally: &mut Tally) {
    let mut running = JoinSet::new();
    for case in cases {
        while running.len() >= width {
            tally.note(running.join_next().await);
        }
        let harness = harness().await;
        let (case, kind) = (*case, harness.kind());
        if let Some(lack) = case.needs.iter().find(|ability| !ability.of(kind)) {
            tally.ignore(case, &format!("{kind:?} lacks {lack:?}"));
        } else if case.needs.contains(&super::Ability::Broker) && harness.broker().is_none() {
            tally.ignore(case, "the broker is not ours to kill");
        } else {
            running.spawn(async move {
                let begin = Instant::now();
                let outcome =
                    tokio::spawn(CASE.scope(case.name, async move {
                        timeout(LIMIT, (case.run)(&*harness)).await.is_ok()
                    }));
                (case, outcome.await, begin.elapsed())
            });
        }
    }
    while !running.is_empty() {
        tally.note(running.join_next().await);
    }
}

/// What the command line asks for.
struct Wish {
    words: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
    threads: usize,
}

impl Wish {
    fn read(mut args: impl Iterator<Item = String>) -> Self {
        let mut wish =
            Self { words: Vec::new(), skip: Vec::new(), exact: false, list: false, threads: WIDTH };
        while let Some(arg) = args.next() {
            let (flag, value) = match arg.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
                _ => (arg, None),
            };
            let mut value = || value.clone().or_else(|| args.next()).unwrap_or_default();
            match flag.as_str() {
                "--exact" => wish.exact = true,
                "--list" => wish.list = true,
                "--skip" => wish.skip.push(value()),
                "--test-threads" => wish.threads = value().parse().unwrap_or(WIDTH).max(1),
                "--color" | "--format" | "--logfile" | "--report-time" | "-Z" => drop(value()),
                flag if flag.starts_with('-') => {}
                word => wish.words.push(word.to_owned()),
            }
        }
        wish
    }

    fn includes(&self, case: &Case) -> bool {
        let fits =
            |word: &String| if self.exact { case.name == word } else { case.name.contains(word.as_str()) };
        (self.words.is_empty() || self.words.iter().any(fits)) && !self.skip.iter().any(fits)
    }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    ignored: usize,
    filtered: usize,
    failures: Vec<(&'static str, String)>,
}

type Ended = (Case, Result<bool, JoinError>, Duration);

impl Tally {
    fn note(&mut self, ended: Option<Result<Ended, JoinError>>) {
        let Some(Ok((case, outcome, took))) = ended else {
            return self.failures.push(("the runner", "a case's task is gone".to_owned()));
        };
        let failure = match outcome {
            Ok(true) => None,
            Ok(false) => Some(format!("not done within {LIMIT:?}")),
            Err(error) => Some(what_panicked(error)),
        };
        match failure {
            None => {
                self.passed += 1;
                println!("test {} ... ok <{:.1}s>", case.name, took.as_secs_f64());
            }
            Some(why) => {
                println!("test {} ... FAILED <{:.1}s>", case.name, took.as_secs_f64());
                self.failures.push((case.name, why));
            }
        }
    }

    fn ignore(&mut self, case: Case, why: &str) {
        self.ignored += 1;
        println!("test {} ... ignored, {why}", case.name);
    }

    fn conclude(self, took: Duration) -> ExitCode {
        if !self.failures.is_empty() {
            println!("\nfailures:\n");
            for (name, why) in &self.failures {
                println!("---- {name} ----\n{why}\n");
            }
            println!("failures:");
            self.failures.iter().for_each(|(name, _)| println!("    {name}"));
        }
        println!(
            "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
            if self.failures.is_empty() { "ok" } else { "FAILED" },
            self.passed,
            self.failures.len(),
            self.ignored,
            self.filtered,
            took.as_secs_f64(),
        );
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
    }
}

/// Prints the case's name ahead of its panic, as several run at a time.
fn name_cases_in_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Ok(name) = CASE.try_with(|name| *name) {
            eprintln!("\n---- {name} ----");
        }
        print(info);
    }));
}

fn what_panicked(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => {
                panic.downcast::<&str>().map_or("it panicked".to_owned(), |text| (*text).to_owned())
            }
        },
        Err(error) => error.to_string(),
    }
}

tokio::task_local! {
    static CASE: &'static str;
}

/// How long a case may take in all.
const LIMIT: Duration = Duration::from_secs(90);

/// How many cases run at a time.
const WIDTH: usize = 4;
