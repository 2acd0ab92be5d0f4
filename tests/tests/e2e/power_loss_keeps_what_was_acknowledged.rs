//! Power loss at the worst moment, right after a 2xx: of all that the coordinator wrote only what it had synced is left
//! (`gristmill_tests::power` says what is modelled), and everything that was acknowledged is there.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use gristmill_common::JobSpec;
use gristmill_common::api::JobView;
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_tests::{Cluster, oracle, power};

use super::stops_at_any_system_call::has_strace;
use crate::fixture;

const TEXT: &[u8] = b"the quick brown fox\njumps over the lazy dog\nthe end\nand the fox\n";
const NUMBERS: u64 = 6;

#[expect(clippy::disallowed_methods, reason = "a trace has wall-clock times")]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// What a client knew at a moment.
#[derive(Clone, Default)]
struct Known {
    at: f64,
    /// Uploads that were acknowledged, by URL.
    uploads: Vec<String>,
    /// Jobs, and how many of their tasks were shown as won.
    jobs: Vec<(String, String, u32)>,
}

impl Known {
    fn see(&mut self, view: &JobView, moments: &mut Vec<Self>) {
        let won = view.stages.iter().map(|stage| stage.won).sum();
        let seen = (view.id.to_string(), view.state.word().to_owned(), won);
        self.jobs.retain(|(id, ..)| *id != seen.0);
        self.jobs.push(seen);
        self.at = now();
        moments.push(self.clone());
    }
}

fn expected(job: &JobView) -> Vec<u8> {
    let numbers: String = (0..NUMBERS).map(|number| format!("{number}\n")).collect();
    let is_generated = matches!(job.spec.inputs.first(), Some(Input::Generated(_)));
    oracle::word_count(&[if is_generated { numbers.as_bytes() } else { TEXT }])
}

/// Runs jobs on a traced coordinator and returns what was known when.
async fn run(cluster: &mut Cluster) -> Result<Vec<Known>> {
    cluster.start_worker(1, "state", &[])?;
    let (mut known, mut moments) = (Known::default(), Vec::new());
    let mut step = StepSpec::native("paced-word-count");
    (step.args, step.partitions) = (vec!["60".to_owned()], Some(2));
    for number in 0..3 {
        let urls = cluster.upload(&[(&format!("{number}.txt"), TEXT)]).await?;
        known.uploads.extend(urls.iter().cloned());
        let mut spec = JobSpec::new("small", urls.into_iter().map(Input::Url).collect(), vec![step.clone()]);
        spec.split.bytes = Some(16);
        if number == 2 {
            // Its inputs are the same after the cut: files that are written anew are other files.
            spec.inputs = vec![Input::Generated(Generated { generate: NUMBERS })];
            (spec.split.bytes, spec.split.records) = (None, Some(1));
        }
        if number == 1 {
            spec.output.url = Some(format!("file://{}/out/counts.tsv", cluster.path("disk").display()));
        }
        let mut view = cluster.submit(&spec).await?;
        known.see(&view, &mut moments);
        while !view.state.is_over() {
            let next = cluster.client()?.job(&view.id.to_string(), None).await?;
            if next.stages != view.stages || next.state != view.state {
                known.see(&next, &mut moments);
            }
            view = next;
        }
        assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    }
    Ok(moments)
}

async fn check(cluster: &Cluster, known: &Known) -> Result<()> {
    let client = cluster.client()?;
    let stored = client.list_files("").await?;
    for url in &known.uploads {
        assert!(
            stored.iter().any(|file| file.url == *url && file.bytes == TEXT.len() as u64),
            "{url} is gone: {stored:?}"
        );
        let path = url.strip_prefix("store://").context("a path")?;
        assert!(client.get_file(path, None).await?.whole(1 << 20).await? == TEXT);
    }
    for (id, state, won) in &known.jobs {
        let view = client.job(id, None).await.with_context(|| format!("{id} was acknowledged"))?;
        let there: u32 = view.stages.iter().map(|stage| stage.won).sum();
        assert!(there >= *won, "{won} tasks were won, {there} are: {view:#?}");
        if state == "succeeded" {
            assert_eq!(view.state.word(), "succeeded", "{view:#?}");
            let output = if view.spec.output.url.is_some() {
                std::fs::read(cluster.path("disk/out/counts.tsv"))?
            } else {
                cluster.output(&view).await?
            };
            assert!(output == expected(&view), "{view:#?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn at_every_acknowledgement() -> Result<()> {
    if !has_strace() {
        return Ok(());
    }
    let mut cluster = Cluster::new(fixture::BINARY, &["--lease-ms", "2000"])?;
    cluster.use_data("disk/data");
    let (disk, before, trace) = (cluster.path("disk"), cluster.path("before"), cluster.path("trace"));
    std::fs::create_dir_all(disk.join("out"))?;
    cluster.allow(&disk.join("out"));
    cluster.start_coordinator().await?;
    cluster.kill_coordinator();
    fixture::copy(&disk, &before)?;

    let (trace_path, calls) = (trace.display().to_string(), format!("trace={}", power::CALLS));
    let strace = ["strace", "-D", "-f", "-qq", "-ttt", "-y", "-xx", "-s", "4194304", "-e", &calls, "-o", &trace_path];
    cluster.start_coordinator_under(&strace).await?;
    let moments = run(&mut cluster).await?;
    cluster.kill_coordinator();
    cluster.workers.clear();
    let trace = std::fs::read_to_string(&trace)?;
    for known in &moments {
        power::cut(&trace, &before, &disk, known.at)?;
        cluster.start_coordinator().await.context("after a loss of power")?;
        check(&cluster, known).await?;
        cluster.kill_coordinator();
    }
    println!("{} losses of power, each right after something was acknowledged: all of it was there", moments.len());
    assert!(moments.len() >= 12);

    // A job that was cut in the middle goes on.
    let middle = moments.iter().find(|known| known.jobs.len() == 3 && known.jobs[2].2 == 2).context("a middle")?;
    power::cut(&trace, &before, &disk, middle.at)?;
    cluster.start_coordinator().await?;
    cluster.start_worker(1, "another machine", &[])?;
    let job = cluster.client()?.job(&middle.jobs.last().context("a job")?.0, None).await?;
    let view = cluster.finish(&job).await?;
    assert_eq!(view.state.word(), "succeeded", "{view:#?}");
    assert!(cluster.output(&view).await? == expected(&view));
    Ok(())
}
