//! `run --memory`: a budget for the process makes fewer tasks run at a time, and never another byte; what is too little for one
//! task is refused with the least that works.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;

use crate::fixture;

fn run(directory: &Path, args: &[&str]) -> Result<Output> {
    let job = ["run", "--mapper", "awk -f pairs.awk", "--file", "pairs.awk", "--combiner", "awk -f sum.awk", "--file"];
    let job = [&job[..], &["sum.awk", "--reducer", "awk -f sum.awk", "numbers.txt", "--quiet"]].concat();
    Ok(Command::new(fixture::BINARY).args(job).args(args).current_dir(directory).output()?)
}

fn printed(directory: &Path, args: &[&str]) -> Result<String> {
    let output = run(directory, args)?;
    anyhow::ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn sums_of_floats_are_the_same_with_16_and_with_512_megabytes() -> Result<()> {
    let home = tempfile::tempdir()?;
    let file = |name: &str, text: &str| std::fs::write(home.path().join(name), text);
    file("pairs.awk", r#"{ printf "%d\t%.17g\n", $1 % 50, 1 / ($1 + 1) }"#)?;
    let sum = r#"BEGIN { FS = "\t" }
$1 != key { if (NR > 1) printf "%s\t%.17g\n", key, sum; key = $1; sum = 0 }
{ sum += $2 }
END { if (NR > 0) printf "%s\t%.17g\n", key, sum }"#;
    file("sum.awk", sum)?;
    let numbers: String = (0..60_000_u32).map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761) % 1_000_003)).collect();
    file("numbers.txt", &numbers)?;
    let with = |memory: &str, budget: &str| printed(home.path(), &["--memory", memory, "--sort-budget", budget]);
    let small = with("16M", "256K")?;
    assert_eq!(small.lines().count(), 50);
    assert_eq!(small, with("512M", "256K")?, "memory is not part of the plan");
    // The budget is: it says where sums are made, and sums of floats show it.
    assert_ne!(small, with("512M", "32M")?, "the test would not notice other groups");
    Ok(())
}

#[test]
fn too_little_for_one_task_is_refused_with_the_least_that_works() -> Result<()> {
    let home = tempfile::tempdir()?;
    std::fs::write(home.path().join("lines"), "b\na\n")?;
    let sort = |args: &[&str]| -> Result<Output> {
        let sort = ["run", "sort", "lines", "--quiet"];
        Ok(Command::new(fixture::BINARY).args(sort).args(args).current_dir(home.path()).output()?)
    };
    let refused = sort(&["--memory", "64M"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(2) && said.contains("with a sort budget of 128M the least is 174M"),
        "{:?}: {said}",
        refused.status
    );
    for args in [&["--memory", "174M"][..], &["--memory", "16M", "--sort-budget", "1M"]] {
        let output = sort(args)?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a\nb\n", "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
