//! `gristmill job replay`: a task runs here with its own input and code and fails as it did; its job learns nothing; what is
//! left behind runs again by hand, so that the program can be mended there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use gristmill_common::spec::{Input, StepSpec};
use gristmill_common::{JobSpec, api::JobView};
use gristmill_tests::Cluster;

use crate::{fixture, wasm_counts_as_everything_else_does};

/// Fails at one line, and says so.
const MAPPER: &str = "#!/bin/sh\nwhile read -r line; do\n  [ \"$line\" != bad ] || { echo \"cannot do $line with $HOW\" >&2; exit 7; }\n  printf '%s\\t1\\n' \"$line\"\ndone\n";
/// Fails at one key.
const REDUCER: &str = "#!/bin/sh\nwhile read -r line; do case $line in odd*) exit 9 ;; esac; echo \"$line\"; done\n";

async fn with_job(mapper: &str, reducer: &str, lines: &str, attempts: &str) -> Result<(Cluster, JobView)> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &["--allow-commands"])?;
    for (name, text) in [("map.sh", mapper), ("reduce.sh", reducer), ("lines.txt", lines)] {
        std::fs::write(cluster.path(name), text)?;
    }
    let args = ["submit", "--detach", "--mapper", "./map.sh", "--reducer", "./reduce.sh", "--env", "HOW=care"];
    let mut submit = cluster.command();
    submit.args(args).args(["--attempts", attempts, "--partitions", "1", "lines.txt"]);
    let output = submit.current_dir(cluster.dir.path()).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let job = cluster.client()?.job("last", None).await?;
    let fails =
        |job: &JobView| job.stages.iter().any(|stage| stage.failures > 0) && (attempts != "1" || job.state.is_over());
    let job = cluster.until(&job, "failing", fails).await?;
    Ok((cluster, job))
}

fn replay(cluster: &Cluster, args: &[&str]) -> Result<(Output, String)> {
    let mut command = cluster.command();
    command.args(["job", "replay", "last"]).args(args).current_dir(cluster.dir.path());
    let output = command.output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output, said))
}

fn path(said: &str, what: &str) -> Result<PathBuf> {
    let line = said.lines().find_map(|line| line.strip_prefix(what));
    Ok(line.with_context(|| format!("no {what}: {said}"))?.trim().into())
}

fn by_hand(script: &Path) -> Result<Output> {
    Ok(Command::new(script).output()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_fails_as_it_did_and_runs_again_by_hand_when_it_is_mended() -> Result<()> {
    let (cluster, job) = with_job(MAPPER, "#!/bin/sh\ncat\n", "fine\nalso\nbad\nlast\n", "1").await?;
    let (output, said) = replay(&cluster, &[])?;
    assert_eq!(output.status.code(), Some(3), "{said}");
    let why = "m0 failed here: crashed: `./map.sh` ended with exit code 7: cannot do bad with care";
    assert!(said.contains(why) && said.contains("stderr:\n  cannot do bad"), "{said}");
    let (work, script) = (path(&said, "working directory")?, path(&said, "again by hand")?);
    assert_eq!(std::fs::read_to_string(path(&said, "stdin")?)?, "fine\nalso\nbad\nlast\n", "all, though it read less");
    assert_eq!(std::fs::read_to_string(path(&said, "stdout")?)?, "fine\t1\nalso\t1\n");
    assert_eq!(std::fs::read_to_string(work.join("map.sh"))?, MAPPER);

    let again = by_hand(&script)?;
    assert_eq!(again.status.code(), Some(7));
    assert_eq!(String::from_utf8(again.stderr)?, "cannot do bad with care\n");
    std::fs::write(work.join("map.sh"), MAPPER.replace("exit 7", "continue"))?;
    let mended = by_hand(&script)?;
    assert_eq!((mended.status.code(), mended.stdout.as_slice()), (Some(0), b"fine\t1\nalso\t1\nlast\t1\n".as_slice()));

    let (output, said) = replay(&cluster, &["m0", "--dir", "."])?;
    assert_eq!(output.status.code(), Some(2), "{said}");
    let (_, said) = replay(&cluster, &["m9"])?;
    assert!(said.contains("no task m9"), "{said}");
    let view = cluster.client()?.job(&job.id.to_string(), None).await?;
    assert_eq!(view.state.word(), "failed", "{view:#?}");
    std::fs::remove_dir_all(script.parent().context("a parent")?)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reduce_reads_what_the_maps_made() -> Result<()> {
    let (cluster, _) = with_job("#!/bin/sh\ncat\n", REDUCER, "odd\t1\nb\t2\na\t3\n", "100").await?;
    let (output, said) = replay(&cluster, &["m0"])?;
    assert!(output.status.success() && said.contains("m0 ended well here, after 3 records"), "{said}");
    std::fs::remove_dir_all(path(&said, "again by hand")?.parent().context("a parent")?)?;
    let (output, said) = replay(&cluster, &["r0", "--dir", "here"])?;
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("`./reduce.sh` ended with exit code 9"), "{said}");
    assert_eq!(std::fs::read_to_string(cluster.path("here/stdin"))?, "a\t3\nb\t2\nodd\t1\n");
    assert_eq!(std::fs::read_to_string(cluster.path("here/stdout"))?, "a\t3\nb\t2\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_ends_as_it_did() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &["--allow-commands"])?;
    std::fs::write(cluster.path("lines.txt"), "one\ntwo\n")?;
    let hangs = "read line; echo got $line; echo then nothing >&2; sleep 1000";
    let args = ["submit", "--mapper", &format!("sh -c '{hangs}'"), "--map-only", "--attempts", "1"];
    let mut submit = cluster.command();
    submit.args(args).args(["--progress-timeout", "1500ms", "lines.txt"]).current_dir(cluster.dir.path());
    let said = String::from_utf8_lossy(&submit.output()?.stderr).into_owned();
    assert!(said.contains("timed out"), "{said}");
    let (output, said) = replay(&cluster, &["--dir", "here"])?;
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("m0 failed here: timed out: no progress for 1500 ms"), "{said}");
    assert!(said.contains("stderr:\n  then nothing\n"), "{said}");
    assert_eq!(std::fs::read_to_string(cluster.path("here/stdout"))?, "got one\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wasm_module_names_its_record() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &[])?;
    std::fs::write(cluster.path("lines.txt"), "fine\nwell\nbad !\n")?;
    std::fs::write(cluster.path("traps.wasm"), wat::parse_str(wasm_counts_as_everything_else_does::TRAPS)?)?;
    let mut submit = cluster.command();
    submit.args(["submit", "--mapper-wasm", "traps.wasm", "--map-only", "--attempts", "1", "lines.txt"]);
    let said = String::from_utf8_lossy(&submit.current_dir(cluster.dir.path()).output()?.stderr).into_owned();
    assert!(said.contains("lines.txt:10"), "{said}");
    let (output, said) = replay(&cluster, &[])?;
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("m0 failed here: panicked") && said.contains("lines.txt:10"), "{said}");
    let (_, said) = replay(&cluster, &["m7"])?;
    assert!(said.contains("no task m7"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_program_names_its_record() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(1, "state", &[])?;
    let urls = cluster.upload(&[("in.txt", b"fine\nboom\n")]).await?;
    let mut step = StepSpec::native("faulty");
    step.args = vec!["panic".to_owned(), "boom".to_owned()];
    let mut spec = JobSpec::new("faulty", urls.into_iter().map(Input::Url).collect(), vec![step]);
    spec.attempts = 100;
    let job = cluster.submit(&spec).await?;
    cluster.until(&job, "failing", |job| job.stages.iter().any(|stage| stage.failures > 0)).await?;
    let (output, said) = replay(&cluster, &["m0"])?;
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("m0 failed here: panicked: the test's panic") && said.contains("in.txt:5"), "{said}");
    Ok(())
}
