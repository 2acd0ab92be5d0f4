//! `strace` ends the coordinator or a worker at the N-th call that syncs, renames, deletes or truncates, or makes that call
//! fail: what was acknowledged stays, and the job ends as the sequential run.
//!
//! A sample of N in every run; `GRISTMILL_EVERY_CALL=1` takes each N until the call is not reached any more.

use std::time::Duration;

use anyhow::{Context, Result};
use gristmill_common::JobSpec;
use gristmill_common::api::JobView;
use gristmill_common::spec::{Input, StepSpec};
use gristmill_tests::{Cluster, asked, oracle};

use crate::fixture;

const CALLS: &str = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,link,linkat,ftruncate";
const TEXT: &[u8] = b"the quick brown fox\njumps over the lazy dog\nthe end\nand the fox\n";

/// Says loudly when there is no `strace` that may inject.
#[expect(clippy::print_stdout, reason = "a suite that is skipped must not look like one that passed")]
pub(crate) fn has_strace() -> bool {
    let mut probe = std::process::Command::new("strace");
    let probe = probe.args(["-D", "-o", "/dev/null", "-e", "inject=sync:error=EIO", "true"]).status();
    let has = probe.is_ok_and(|status| status.success());
    if !has {
        println!("SKIPPED: there is no strace, or it may not trace; as root, `apt-get install strace`");
    }
    has
}

/// Who is hit, and by what.
struct Fault {
    on_worker: bool,
    inject: String,
    /// Only calls on the journal's files.
    on_journal: bool,
}

struct Case {
    cluster: Cluster,
    deaths: usize,
}

impl Case {
    async fn start(fault: &Fault) -> Result<Self> {
        let mut case = Self { cluster: Cluster::new(fixture::BINARY, &["--lease-ms", "2000"])?, deaths: 0 };
        let out = case.cluster.path("out");
        std::fs::create_dir_all(&out)?;
        case.cluster.allow(&out);
        let journal: Vec<String> = ["journal.db", "journal.db-wal"]
            .iter()
            .map(|file| case.cluster.path("data").join(file).display().to_string())
            .collect();
        let mut wrapper = vec!["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &fault.inject];
        if fault.on_journal {
            journal.iter().for_each(|path| wrapper.extend(["-P", path]));
        }
        if fault.on_worker {
            case.cluster.start_coordinator().await?;
            let port = case.cluster.port();
            case.cluster.start_worker_under(&wrapper, port, 1, "state", &[])?;
        } else {
            if case.cluster.start_coordinator_under(&wrapper).await.is_err() {
                case.revive().await?;
            }
            case.cluster.start_worker(1, "state", &[])?;
        }
        Ok(case)
    }

    async fn revive(&mut self) -> Result<()> {
        self.deaths += usize::from(self.cluster.revive().await?);
        if self.cluster.workers.first_mut().is_some_and(gristmill_tests::Process::has_ended) {
            self.deaths += 1;
            self.cluster.workers.clear();
            self.cluster.start_worker(1, "state", &[])?;
        }
        Ok(())
    }

    /// Does it until it works, starting again what is gone.
    async fn insist<T>(
        &mut self,
        what: &str,
        mut attempt: impl AsyncFnMut(&Cluster) -> Result<Option<T>>,
    ) -> Result<T> {
        let mut last = None;
        for _ in 0..1_500 {
            match attempt(&self.cluster).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                Err(error) => last = Some(error),
            }
            self.revive().await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = self.cluster.coordinator_log();
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no error"))).context(format!("{what} never worked\n{log}"))
    }

    async fn run(mut self) -> Result<usize> {
        let urls =
            self.insist("the upload", async |cluster| Ok(Some(cluster.upload(&[("a.txt", TEXT)]).await?))).await?;
        let mut step = StepSpec::native("word-count");
        step.partitions = Some(2);
        let mut spec = JobSpec::new("small", urls.into_iter().map(Input::Url).collect(), vec![step]);
        (spec.split.bytes, spec.attempts) = (Some(16), 20);
        let to_file = {
            let mut spec = spec.clone();
            spec.output.url = Some(format!("file://{}/counts.tsv", self.cluster.path("out").canonicalize()?.display()));
            spec
        };
        for (key, spec) in [("stored", spec), ("to-a-file", to_file)] {
            let submit = async |cluster: &Cluster| Ok(Some(cluster.client()?.submit(&spec, key, None).await?));
            let job = self.insist("the submit", submit).await?;
            let over = async |cluster: &Cluster| {
                let view = cluster.client()?.job(&job.id.to_string(), None).await?;
                Ok(view.state.is_over().then_some(view))
            };
            let view = self.insist("the job", over).await?;
            assert_eq!((view.state.word(), view.id), ("succeeded", job.id), "{view:#?}");
            self.check(&view, spec.output.url.is_some()).await?;
        }
        // And once more from the disk alone.
        let jobs = self.cluster.client()?.jobs(&gristmill_client::JobsFilter::default()).await?.jobs;
        self.cluster.kill_coordinator();
        self.cluster.start_coordinator().await?;
        assert_eq!(jobs.len(), 2, "one key, one job");
        for job in jobs {
            self.check(&job, job.spec.output.url.is_some()).await?;
        }
        Ok(self.deaths)
    }

    async fn check(&mut self, job: &JobView, to_file: bool) -> Result<()> {
        let output = if to_file {
            std::fs::read(self.cluster.path("out").join("counts.tsv"))?
        } else {
            self.insist("the output", async |cluster| Ok(Some(cluster.output(job).await?))).await?
        };
        assert!(output == oracle::word_count(&[TEXT]), "{job:#?}");
        Ok(())
    }
}

/// Runs a case for each N; in the long form until nothing happens any more.
#[expect(clippy::print_stdout, reason = "how much was proven")]
async fn each(sample: &[u32], on_worker: bool, on_journal: bool, inject: impl Fn(u32) -> String) -> Result<()> {
    if !has_strace() {
        return Ok(());
    }
    let all = asked("GRISTMILL_EVERY_CALL", 0) > 0;
    let every: Vec<u32> = (1..400).collect();
    let (mut cases, mut deaths, mut quiet) = (0, 0, 0);
    for &nth in if all { &every } else { sample } {
        let fault = Fault { on_worker, inject: inject(nth), on_journal };
        let died = Case::start(&fault).await?.run().await.with_context(|| fault.inject.clone())?;
        (cases, deaths) = (cases + 1, deaths + died);
        quiet = if died == 0 { quiet + 1 } else { 0 };
        if all && quiet == 12 {
            break;
        }
    }
    println!("{cases} cases, {deaths} processes ended by them: {}", inject(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_is_killed() -> Result<()> {
    each(&[3, 9, 14, 19, 24], false, false, |nth| format!("inject={CALLS}:signal=SIGKILL:when={nth}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_is_killed() -> Result<()> {
    each(&[2, 5], true, false, |nth| format!("inject={CALLS}:signal=SIGKILL:when={nth}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_the_journal_fails() -> Result<()> {
    each(&[4, 5, 6, 7, 8, 9, 10], false, false, |nth| format!("inject=fsync,fdatasync:error=EIO:when={nth}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_the_journal_is_full_for_a_while() -> Result<()> {
    each(&[6, 15], false, true, |nth| format!("inject=pwrite64,ftruncate:error=ENOSPC:when={nth}..{}", nth + 3)).await
}
