//! The real mrjob from PyPI runs its own examples with `-r hadoop` and gets what `-r inline` gets: a combiner, several
//! steps with a file, sorted values.
//!
//! mrjob is installed once, into `~/.cache/gristmill-mrjob-VERSION`. Where that cannot be done the test says so and
//! passes, unless `GRISTMILL_REQUIRE_MRJOB` is set.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use gristmill_tests::Cluster;

use crate::fixture;

/// What is installed: mrjob, and what it needs of Python's former standard library.
const PACKAGES: [&str; 2] = ["mrjob==0.7.4", "setuptools<81"];

/// Returns the Python of a virtual environment that has mrjob.
fn python() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("there is no HOME")?;
    let venv = Path::new(&home).join(".cache/gristmill-mrjob-0.7.4");
    let python = venv.join("bin/python");
    if has_mrjob(&python) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))?;
    if has_mrjob(&python) { Ok(python) } else { bail!("mrjob is installed and cannot be imported") }
}

fn has_mrjob(python: &Path) -> bool {
    Command::new(python).args(["-c", "import mrjob.job"]).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

fn sorted(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_give_what_inline_gives() -> Result<()> {
    let python = match python() {
        Ok(python) => python,
        Err(error) if std::env::var_os("GRISTMILL_REQUIRE_MRJOB").is_none() => {
            // Not by a macro, whose output of a test that passes is kept from everybody.
            let skipped = "SKIPPED: mrjob cannot be installed, so `mrjob -r hadoop` IS NOT TESTED HERE";
            writeln!(std::io::stderr(), "{skipped}: {error:#}")?;
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(2, "worker", &["--allow-commands"])?;
    let conf = cluster.path("mrjob.conf");
    let hadoop = serde_json::json!({ "runners": { "hadoop": {
        "hadoop_bin": [fixture::BINARY, "hadoop"], "hadoop_streaming_jar": "hadoop-streaming.jar",
    } } });
    std::fs::write(&conf, hadoop.to_string())?;
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/texts/pg-being_ernest.txt");
    let place = run(Command::new(&python).args(["-c", "import mrjob.examples as e; print(e.__path__[0])"]))?;
    let examples = PathBuf::from(String::from_utf8(place)?.trim());

    for example in ["mr_word_freq_count.py", "mr_most_used_word.py", "mr_next_word_stats.py"] {
        let mrjob = |runner: &str| -> Result<Vec<u8>> {
            let mut command = cluster.command_of(&python);
            command.env("USER", "ann").arg(examples.join(example)).args(["-r", runner, "-c"]).arg(&conf).arg(&text);
            run(&mut command)
        };
        let (inline, hadoop) = (mrjob("inline")?, mrjob("hadoop")?);
        assert!(!inline.is_empty(), "{example}");
        assert!(sorted(&inline) == sorted(&hadoop), "{example}: {}", String::from_utf8_lossy(&hadoop));
    }
    let left = cluster.client()?.list_files("hadoop/user/ann/").await?;
    assert_eq!(left, [], "mrjob removes its temporary directory");
    Ok(())
}
