//! The shipped binary: every command with the ready-made jobs.

use std::process::ExitCode;

fn main() -> ExitCode {
    gristmill_cli::main(gristmill_sdk::jobs::all())
}
