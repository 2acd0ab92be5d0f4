//! The whole worker against a coordinator that is scripted: what user code may do to an executor, and what becomes of it.
//!
//! This binary is its own executor, so it has no test harness: it re-executes itself like every worker does.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it is its own test harness, and measures time")]

mod fake;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fake::{Fake, Job};
use gristmill_client::Endpoint;
use gristmill_common::wire::{Done, Outcome};
use gristmill_common::{Code, Reason};
use gristmill_runs::{PartWriter, RunSummary};
use gristmill_worker::position::Spot;
use gristmill_worker::program::{Feed, MapInput, MapTask, ReduceTask, TaskDone};
use gristmill_worker::{Executors, Program, Programs, WorkerConfig, WorkerError, executor};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Does what its first argument says at the generated record that its second one names.
struct Behaviour;

impl Program for Behaviour {
    fn check(&self, _args: &[String]) -> Result<(), String> {
        Ok(())
    }

    fn map(&self, args: &[String], task: MapTask<'_>) -> Result<TaskDone, Reason> {
        let MapInput::Generated { first, count } = task.input else { panic!("only generated records") };
        let victim: u64 = args[1].parse().expect("a number");
        task.position.begin(task.fence, count);
        for record in first..first + count {
            task.position.enter(Spot::Generated, record);
            if record == victim {
                misbehave(&args[0], &task);
            }
            task.position.advance(record - first + 1);
        }
        let summary = match args[0].as_str() {
            "write" => {
                let file = std::fs::File::create(task.output).expect("an output");
                let mut part = PartWriter::new(file, task.fence, true).expect("a part");
                part.push(b"key", format!("record {first}\n").as_bytes()).expect("written");
                part.finish().expect("finished")
            }
            _ => RunSummary::default(),
        };
        Ok(TaskDone { summary, records_in: count, ..TaskDone::default() })
    }

    fn reduce(&self, _args: &[String], _task: ReduceTask<'_>) -> Result<TaskDone, Reason> {
        unreachable!("map-only")
    }

    fn map_fed(&self, _args: &[String], _task: MapTask<'_>) -> Result<Box<dyn Feed>, Reason> {
        unreachable!("map-only")
    }
}

fn misbehave(how: &str, task: &MapTask<'_>) {
    match how {
        "panic" => panic!("bad grain"),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "overflow" => {
            std::hint::black_box(overflow(1));
        }
        "loop" => loop {
            std::thread::sleep(Duration::from_millis(1));
            if task.cancel.load(std::sync::atomic::Ordering::Relaxed) {
                return;
            }
        },
        "slow" => std::thread::sleep(Duration::from_millis(400)),
        "print" => println!("{{\"ended\": \"this is not a reply\"}}"),
        "environment" => {
            let told: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
            assert!(!told.iter().any(|text| text.contains("worker-token")), "{told:?}");
        }
        _ => {}
    }
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 512]);
    frame[0] + overflow(depth + 1) + std::hint::black_box(frame[1])
}

fn programs() -> Programs {
    Programs::default().with("behaviour", Arc::new(Behaviour))
}

struct Worker {
    task: JoinHandle<Result<(), WorkerError>>,
    shutdown: CancellationToken,
    state: tempfile::TempDir,
}

impl Worker {
    fn start(fake: &Fake, slots: u32, executors: Executors) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), fake, slots, executors)
    }

    fn start_in(state: tempfile::TempDir, fake: &Fake, slots: u32, executors: Executors) -> Self {
        let endpoint: Endpoint = fake.url.parse().expect("a URL");
        let endpoint = endpoint.with_token(Some("worker-token".to_owned()));
        let mut config = WorkerConfig::new(endpoint, state.path().to_owned());
        config.slots = slots;
        config.executors = executors;
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(gristmill_worker::run(config, programs(), shutdown.clone()));
        Self { task, shutdown, state }
    }

    async fn stop(self) -> Result<(), WorkerError> {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it stops").expect("no panic")
    }
}

fn processes() -> Executors {
    Executors::this_executable().expect("an executable")
}

/// Runs a job of ten one-record tasks of which record 3 misbehaves; every other task must be done.
async fn reason_of(how: &str, executors: Executors) -> Reason {
    let fake = Fake::start().await;
    fake.submit(Job { tasks: 10, args: vec![how.to_owned(), "3".to_owned()], progress_timeout_ms: 300 });
    let worker = Worker::start(&fake, 2, executors);
    fake.wait_for(10).await;
    worker.stop().await.expect("a clean end");
    let mut reasons = Vec::new();
    for (task, outcomes) in fake.outcomes() {
        match outcomes.as_slice() {
            [Outcome::Done(_)] if task != 3 => {}
            [Outcome::Failed(reason)] if task == 3 => reasons.push(reason.clone()),
            other => panic!("task {task}: {other:?}"),
        }
    }
    reasons.pop().expect("task 3 failed")
}

fn is_at_record_3(reason: &Reason) -> bool {
    reason.place().is_some_and(|place| (place.file.as_str(), place.offset) == ("generated records", 3))
}

async fn a_panic_is_reported_with_its_record() {
    for executors in [processes(), Executors::Threads] {
        let reason = reason_of("panic", executors).await;
        let Reason::Panicked { message, .. } = &reason else { panic!("{reason}") };
        assert!(message.starts_with("bad grain (") && is_at_record_3(&reason), "{reason}");
    }
}

async fn an_abort_an_exit_and_a_stack_overflow_end_one_attempt() {
    for (how, ending) in [("abort", "signal 6 (SIGABRT)"), ("exit", "exit code 3"), ("overflow", "signal 6 (SIGABRT)")]
    {
        let reason = reason_of(how, processes()).await;
        let Reason::Crashed { message, .. } = &reason else { panic!("{how}: {reason}") };
        assert!(message == ending && is_at_record_3(&reason), "{how}: {reason}");
    }
}

async fn a_loop_is_ended_after_the_progress_timeout() {
    for executors in [processes(), Executors::Threads] {
        let reason = reason_of("loop", executors).await;
        assert!(matches!(reason, Reason::TimedOut { after_ms: 300, .. }) && is_at_record_3(&reason), "{reason}");
    }
}

async fn what_user_code_prints_does_not_disturb() {
    for how in ["print", "environment"] {
        let fake = Fake::start().await;
        fake.submit(Job { tasks: 5, args: vec![how.to_owned(), "3".to_owned()], progress_timeout_ms: 5_000 });
        let worker = Worker::start(&fake, 1, processes());
        fake.wait_for(5).await;
        worker.stop().await.expect("a clean end");
        assert!(fake.outcomes().values().flatten().all(|outcome| matches!(outcome, Outcome::Done(_))), "{how}");
    }
}

async fn no_op_tasks_go_by_thousands() {
    for (name, executors) in [("processes", processes()), ("threads", Executors::Threads)] {
        let fake = Fake::start().await;
        let tasks = 20_000;
        fake.submit(Job { tasks, args: vec!["nothing".to_owned(), "0".to_owned()], progress_timeout_ms: 5_000 });
        let begun = Instant::now();
        let worker = Worker::start(&fake, 1, executors);
        fake.wait_for(tasks as usize).await;
        println!("    {name}: {:.0} tasks/s", f64::from(tasks) / begun.elapsed().as_secs_f64());
        worker.stop().await.expect("a clean end");
        let (polls, results) = fake.counts();
        assert!(polls < 500 && results < 2_000, "{polls} polls, {results} results");
    }
}

async fn a_drain_finishes_what_runs_and_gives_back_the_rest() {
    let fake = Fake::start().await;
    fake.submit(Job { tasks: 50, args: vec!["slow".to_owned(), "0".to_owned()], progress_timeout_ms: 5_000 });
    let worker = Worker::start(&fake, 1, processes());
    fake.wait_until("task 0 runs", |seen| !seen.granted.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.stop().await.expect("a clean end");
    assert!(fake.outcomes().contains_key(&0), "what ran is reported");
    fake.wait_until("the rest is back", |seen| seen.granted.is_empty()).await;
}

async fn a_stopped_attempt_frees_its_slot() {
    let fake = Fake::start().await;
    let job = fake.submit(Job { tasks: 1, args: vec!["loop".to_owned(), "0".to_owned()], progress_timeout_ms: 60_000 });
    let worker = Worker::start(&fake, 1, processes());
    fake.wait_until("it runs", |seen| !seen.granted.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    fake.forget(job);
    fake.submit(Job { tasks: 3, args: vec!["nothing".to_owned(), "9".to_owned()], progress_timeout_ms: 5_000 });
    fake.wait_for(3).await;
    worker.stop().await.expect("a clean end");
}

async fn small_outputs_travel_in_their_reports() {
    let fake = Fake::start().await;
    fake.submit(Job { tasks: 2, args: vec!["write".to_owned(), "9".to_owned()], progress_timeout_ms: 5_000 });
    let worker = Worker::start(&fake, 1, processes());
    fake.wait_for(2).await;
    worker.stop().await.expect("a clean end");
    for outcome in fake.outcomes().values().flatten() {
        let Outcome::Done(Done { output, records_in: 1, .. }) = outcome else { panic!("{outcome:?}") };
        let gristmill_common::wire::Location::Inline(text) = &output.at else { panic!("{output:?}") };
        assert!(!text.is_empty() && output.records == 1 && output.text_bytes == 9, "{output:?}");
    }
}

async fn reports_outlive_a_coordinator_and_a_worker() {
    let fake = Fake::start().await;
    fake.submit(Job { tasks: 4, args: vec!["nothing".to_owned(), "9".to_owned()], progress_timeout_ms: 5_000 });
    let worker = Worker::start(&fake, 1, processes());
    fake.wait_for(1).await;
    // Away for longer than the rest of the job takes.
    fake.be_away(true);
    tokio::time::sleep(Duration::from_millis(300)).await;
    worker.task.abort();
    let _ = worker.task.await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    fake.restart();
    fake.be_away(false);
    let again = Worker::start_in(worker.state, &fake, 1, processes());
    fake.wait_for(4).await;
    again.stop().await.expect("a clean end");
    assert!(fake.outcomes().values().all(|outcomes| outcomes.len() == 1), "no task was reported twice as won");
}

async fn a_worker_that_is_refused_says_why() {
    let fake = Fake::start().await;
    for code in [Code::Unauthorized, Code::Forbidden, Code::Stale] {
        fake.refuse(Some(code));
        let worker = Worker::start(&fake, 1, processes());
        let ended =
            tokio::time::timeout(Duration::from_secs(10), worker.task).await.expect("it ends").expect("no panic");
        let error = ended.expect_err("refused");
        assert!(matches!(error, WorkerError::Rejected(_)) && error.to_string().contains("because"), "{error}");
    }
}

async fn another_cluster_is_refused() {
    let fake = Fake::start().await;
    let worker = Worker::start(&fake, 1, Executors::Threads);
    fake.wait_until("it polled", |seen| seen.polls > 1).await;
    fake.become_another_cluster();
    let ended = tokio::time::timeout(Duration::from_secs(10), worker.task).await.expect("it ends").expect("no panic");
    assert!(matches!(ended, Err(WorkerError::Refused(_))), "{ended:?}");
}

macro_rules! run_tests {
    ($filter:expr, $runtime:expr, $($test:ident),* $(,)?) => {
        $(
            let name = stringify!($test);
            if $filter.as_deref().is_none_or(|filter| name.contains(filter)) {
                let begun = Instant::now();
                $runtime.block_on($test());
                println!("test {name} ... ok ({} ms)", begun.elapsed().as_millis());
            }
        )*
    };
}

fn main() -> ExitCode {
    if let Some(code) = executor::run_if_asked(&programs()) {
        return code;
    }
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.find(|argument| !argument.starts_with('-'));
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    run_tests!(
        filter,
        runtime,
        a_panic_is_reported_with_its_record,
        an_abort_an_exit_and_a_stack_overflow_end_one_attempt,
        a_loop_is_ended_after_the_progress_timeout,
        what_user_code_prints_does_not_disturb,
        no_op_tasks_go_by_thousands,
        a_drain_finishes_what_runs_and_gives_back_the_rest,
        a_stopped_attempt_frees_its_slot,
        small_outputs_travel_in_their_reports,
        reports_outlive_a_coordinator_and_a_worker,
        a_worker_that_is_refused_says_why,
        another_cluster_is_refused,
    );
    runtime.shutdown_background();
    ExitCode::SUCCESS
}
