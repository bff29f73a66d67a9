//! The programs that the tests run, and what is kept in the repository of what they make.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{env, fs};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Returns what it printed, if it succeeded.
    #[track_caller]
    pub(crate) fn printed(self) -> String {
        assert!(self.succeeded, "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            succeeded: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a program to its end.
pub(crate) fn run(program: impl AsRef<Path>, arguments: &[&str]) -> Done {
    run_with(program, arguments, &[])
}

/// Runs a program to its end, with variables.
pub(crate) fn run_with(program: impl AsRef<Path>, arguments: &[&str], variables: &[(&str, &str)]) -> Done {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).envs(variables.iter().copied());
    Done::from(command.output().unwrap_or_else(|error| panic!("{}: {error}", program.as_ref().display())))
}

/// Runs Helm, which keeps its own files in the cache.
pub(crate) fn helm(arguments: &[&str]) -> Done {
    let home = schemas().join("home");
    let home = home.to_str().unwrap();
    let homes = ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|variable| (variable, home));
    run_with(tool("helm"), arguments, &homes)
}

/// Returns where a program is that `setup` has installed.
pub(crate) fn tool(name: &str) -> PathBuf {
    schemas().with_file_name("tools").join("bin").join(name)
}

/// Returns where schemas are, below the cache, and installs what is missing.
pub(crate) fn schemas() -> &'static Path {
    static SCHEMAS: OnceLock<PathBuf> = OnceLock::new();
    SCHEMAS.get_or_init(|| PathBuf::from(run(root().join("tests/helm/setup"), &[]).printed().trim()))
}

/// Returns the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares with what is kept in a file of the repository, or keeps it.
#[track_caller]
pub(crate) fn assert_kept(path: &Path, now: &str) {
    if env::var_os("SIDESPAN_RENEW").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, now).unwrap();
        return;
    }
    let shown = path.strip_prefix(root()).unwrap().display();
    let kept = fs::read_to_string(path).unwrap_or_default();
    let differs = kept.lines().zip(now.lines()).position(|(kept, now)| kept != now);
    let line = differs.unwrap_or_else(|| kept.lines().count().min(now.lines().count()));
    let at = |text: &str| text.lines().nth(line).unwrap_or("(its end)").to_owned();
    assert!(
        kept == now,
        "{shown}:{} is {:?}, and now {:?}. Look at it, and if it is right: SIDESPAN_RENEW=1 tests/run helm",
        line + 1,
        at(&kept),
        at(now)
    );
}
