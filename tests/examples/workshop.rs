//! Where the examples are run: a copy of them, with what their languages need, and the commands of
//! their READMEs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sidespan_test_support::{Process, Said, run};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{INSTALLING, PATIENCE, root};

/// The copy.
pub(crate) struct Workshop {
    folder: PathBuf,
    python: PathBuf,
}

/// A command of a README.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    command: String,
}

/// An example that goes on until it is stopped.
pub(crate) struct Running {
    command: String,
    process: Process,
    output: PathBuf,
    // Last: removed when the process is gone.
    _directory: TempDir,
}

impl Workshop {
    /// Returns the one workshop of this test run; what the languages need is installed if it is not there.
    pub(crate) async fn get() -> &'static Self {
        static WORKSHOP: OnceCell<Workshop> = OnceCell::const_new();
        let open = async || {
            let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
            let _ = fs::remove_dir_all(&place);
            let mut setup = Command::new(root().join("tests/examples/setup"));
            setup.arg(&place);
            let said = run("setup", &setup, INSTALLING).await;
            assert!(said.success, "the examples cannot be prepared:\n{}", said.errors);
            Self { folder: place.join("examples"), python: said.output.trim().into() }
        };
        WORKSHOP.get_or_init(open).await
    }

    /// Returns the folder of the examples, which commands are run in.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder of the libraries for Python.
    pub(crate) fn python(&self) -> &Path {
        &self.python
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, example: &Example, environment: &[(&str, &str)]) -> Said {
        run("example", &self.command(example, environment), PATIENCE).await
    }

    /// Starts a command.
    pub(crate) fn start(&self, example: &Example, environment: &[(&str, &str)]) -> Running {
        let directory = tempfile::tempdir().expect("a directory");
        let output = directory.path().join("output");
        let file = File::create(&output).expect("a file");
        let command = self.command(example, environment);
        let process = Process::start(&command, file.try_clone().expect("a file"), file, directory.path());
        let process = process.expect("a shell to start an example");
        Running { command: example.command.clone(), process, output, _directory: directory }
    }

    fn command(&self, example: &Example, environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&example.command).current_dir(&self.folder);
        command.env("PYTHONPATH", &self.python).env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(environment.iter().copied());
        command
    }
}

impl Example {
    /// Returns the commands of a door's README.
    pub(crate) fn of(door: &str) -> Vec<Self> {
        let readme = fs::read_to_string(root().join("examples").join(door).join("README.md")).unwrap();
        let blocks = readme.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
        blocks.flat_map(str::lines).map(|line| Self { command: line.to_owned() }).collect()
    }

    /// Tells whether the command runs a file with this ending.
    pub(crate) fn is(&self, ending: &str) -> bool {
        match ending {
            "go" => self.command.starts_with("go run"),
            _ => self.command.contains(&format!(".{ending}")),
        }
    }

    /// Tells whether the command runs this file.
    pub(crate) fn runs(&self, file: &str) -> bool {
        self.command.contains(file)
    }

    /// Replaces a part of the command, which must be there.
    pub(crate) fn with(&self, old: &str, new: &str) -> Self {
        assert!(self.command.contains(old), "{:?} has no {old:?}", self.command);
        Self { command: self.command.replace(old, new) }
    }
}

impl Running {
    /// Returns what it said until now.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.output).expect("what it said")
    }

    /// Waits until it has said all of these.
    pub(crate) async fn says(&mut self, wanted: &[String]) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !wanted.iter().all(|text| self.said().contains(text)) {
            let (command, ended, said) = (&self.command, self.process.exit_status(), self.said());
            assert!(ended.is_none(), "{command}: {ended:?} without {wanted:?}:\n{said}");
            assert!(tokio::time::Instant::now() < end, "{command} does not say {wanted:?}:\n{said}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// Nothing lies there that no command runs, and no language is missing.
#[test]
fn every_door_is_shown_in_every_language() {
    for (door, languages) in crate::doors::DOORS {
        let commands = Example::of(door);
        let mut shown = BTreeSet::new();
        for entry in fs::read_dir(root().join("examples").join(door)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let (_, ending) = name.rsplit_once('.').unwrap_or_default();
            if ["go", "java", "py", "sh", "ts"].contains(&ending) {
                let runs = |example: &&Example| {
                    example.command.contains(&format!("{door}/{name}"))
                        || (ending == "go" && example.command.starts_with(&format!("go run ./{door}")))
                };
                assert_eq!(commands.iter().filter(runs).count(), 1, "one command runs {door}/{name}");
                shown.insert(ending.to_owned());
            }
        }
        assert_eq!(shown, languages.iter().map(ToString::to_string).collect(), "{door}");
    }
}

#[tokio::test]
async fn the_languages_have_nothing_against_the_examples() {
    let workshop = Workshop::get().await;
    for check in ["npm run --silent check", "go vet ./...", "test -z \"$(gofmt -l */*.go)\""] {
        let said = workshop.run(&Example { command: check.to_owned() }, &[]).await;
        assert!(said.success, "{check}:\n{}{}", said.output, said.errors);
    }
}
