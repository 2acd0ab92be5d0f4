//! `cargo run --release -p gristmill-bench -- W1 --against yardstick,duckdb`: workloads side by side with other programs.
//!
//! Every contender runs in turn, round after round, on the same generated input; outputs must agree by hash; medians and
//! ratios are printed as a table and written as JSON. This binary is also the `gristmill` that it measures, so one build is
//! all that is needed. What the workloads are is in `docs/performance.md`.

use std::process::ExitCode;

mod bench;
mod contender;
mod data;
mod measure;
mod random;
mod report;
mod typed;
mod workloads;
mod yard;

fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    // Started as the program that is measured: a command of it, or one of its executors.
    let is_bench = first.is_empty() || first.starts_with('-') || first.starts_with(['W', 'w']) && first != "worker";
    if !is_bench && first != bench::YARDSTICK {
        return gristmill_cli::main(gristmill_sdk::jobs::all().with(typed::NAME, typed::program()));
    }
    match bench::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the error of a command line")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
