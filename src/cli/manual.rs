//! `sidespan man`: the manual, made of what `--help` says.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;

use super::failure::{Failure, Outcome};
use super::output;

/// Print the manual page.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sidespan man | man -l -
  sidespan man --dir /usr/local/share/man/man1")]
pub(super) struct Manual {
    /// Write a page for each command into this directory, instead of printing the first.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Manual {
    /// Prints the page of the whole, or writes all.
    pub(super) fn run(self, program: Command) -> Outcome {
        let Some(dir) = self.dir else {
            let mut page = Vec::new();
            Man::new(program).render(&mut page)?;
            return output::print_bytes(&page);
        };
        clap_mangen::generate_to(program, &dir).map_err(|error| {
            Failure::Failed(format!("the manual cannot be written to {}: {error}", dir.display()))
        })
    }
}
