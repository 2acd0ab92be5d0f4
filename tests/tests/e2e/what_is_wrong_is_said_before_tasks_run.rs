//! What can be known to be wrong before a task runs is said then: names of columns, arguments in specs, an output among the inputs.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::Result;
use gristmill_common::JobSpec;
use gristmill_common::spec::{Input, StepSpec};
use gristmill_tests::Cluster;

use crate::fixture;

fn run(directory: &Path, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(fixture::BINARY);
    Ok(command.arg("run").args(args).current_dir(directory).stdin(Stdio::null()).output()?)
}

fn refused(directory: &Path, args: &[&str], parts: &[&str]) -> Result<()> {
    let output = run(directory, args)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{args:?} ends with {:?}: {said}", output.status.code());
    for part in parts {
        assert!(said.contains(part), "{args:?} does not say `{part}`: {said}");
    }
    assert_eq!(output.stdout, b"", "{args:?}");
    Ok(())
}

#[test]
fn a_column_that_no_row_has() -> Result<()> {
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("people.csv"), "name,city\nAda,London\n")?;
    let csv = ["--input-format", "csv", "--header", "people.csv"];
    let has = ["people.csv has no column `nope`", "it has name, city"];
    refused(home.path(), &[&["sort", "-k", "nope"], &csv[..]].concat(), &has)?;
    refused(home.path(), &[&["count-by-field", "-f", "nope"], &csv[..]].concat(), &has)?;
    refused(home.path(), &[&["distinct", "-f", "name,nope"], &csv[..]].concat(), &has)?;
    refused(home.path(), &[&["top-k", "-f", "nope"], &csv[..]].concat(), &has)?;
    refused(home.path(), &["sort", "-k", "name", "--input-format", "csv", "people.csv"], &["without a header"])?;
    let output = run(home.path(), &[&["sort", "-k", "city"], &csv[..]].concat())?;
    assert_eq!(String::from_utf8(output.stdout)?, "{\"name\":\"Ada\",\"city\":\"London\"}\n");
    Ok(())
}

#[test]
fn an_output_that_is_an_input() -> Result<()> {
    let home = tempfile::tempdir()?;
    std::fs::create_dir(home.path().join("in"))?;
    std::fs::write(home.path().join("in/a"), "to be\n")?;
    let counted = |output: &str| ["word-count", "in/", "-o", output, "--overwrite"].map(str::to_owned);
    for output in ["in/counts.tsv", "in/parts/"] {
        let args = counted(output);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert!(run(home.path(), &args)?.status.success());
        refused(home.path(), &args, &["would be read as an input", "write the output elsewhere"])?;
        let path = home.path().join(output);
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}

#[test]
fn a_spec_that_its_programs_do_not_take() -> Result<()> {
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("in"), "b\na\n")?;
    let cases = [
        (r#"{"native": "top-k", "args": ["--field=0"]}"#, "top-k: `0`: a number from 1"),
        (r#"{"native": "grep", "args": []}"#, "/steps/0/args: grep: one argument is expected"),
        (r#"{"native": "no-such-thing"}"#, "no program `no-such-thing` here"),
        (r#"{"native": "sort"}"#, "the ready-made `sort` needs an `order`"),
        (r#"{"native": "top-k", "partitions": 4}"#, "leave `partitions` out"),
    ];
    let spec =
        |step: &str| std::fs::write(home.path().join("job.json"), format!(r#"{{"name": "job", "steps": [{step}]}}"#));
    for (step, part) in cases {
        spec(step)?;
        refused(home.path(), &["--spec", "job.json", "in"], &[part])?;
    }
    spec(r#"{"native": "top-k", "args": ["--text", "--count=1"]}"#)?;
    let output = run(home.path(), &["--spec", "job.json", "in"])?;
    assert_eq!(String::from_utf8(output.stdout)?, "b\n", "of all parts together");
    Ok(())
}

#[test]
fn a_join_of_standard_input_with_itself() -> Result<()> {
    let home = tempfile::tempdir()?;
    refused(home.path(), &["join", "-", "--with", "-"], &["`-` is standard input, and can be named once"])
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_only_a_worker_can_check_fail_once() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let urls = cluster.upload(&[("in", b"b\na\n")]).await?;
    let mut step = StepSpec::native("top-k");
    step.args = vec!["--field=0".to_owned()];
    let spec = JobSpec::new("job", urls.into_iter().map(Input::Url).collect(), vec![step]);
    let job = cluster.submit(&spec).await?;
    cluster.start_worker(1, "worker", &[])?;
    let job = cluster.until(&job, "it fails", |job| job.state.is_over()).await?;
    let failure = job.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default();
    assert!(failure.contains("bad arguments: `0`: a number from 1"), "{failure}");
    assert_eq!(fixture::count(&cluster.events(&job).await?, "failed"), 1, "another attempt takes them no better");
    Ok(())
}

#[test]
fn a_line_with_other_fields_than_a_join_says_fails_once_or_is_left_out() -> Result<()> {
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("left"), "a\t1\nb\nc\t3\n")?;
    std::fs::write(home.path().join("right"), "a\nb\nc\n")?;
    let join = ["join", "left", "--with", "right", "--columns", "2,1"];
    refused_by_a_task(home.path(), &join, "cannot succeed: bad record: the line has 1 fields, --columns says 2")?;
    let output = run(home.path(), &[&join[..], &["--skip-bad-records", "1"]].concat())?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a\t1\nc\t3\n", "{said}");
    Ok(())
}

fn refused_by_a_task(directory: &Path, args: &[&str], part: &str) -> Result<()> {
    let output = run(directory, args)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && said.contains(part), "{args:?}: {said}");
    Ok(())
}
