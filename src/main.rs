//! Arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidespan::cli::run(std::env::args_os())
}
