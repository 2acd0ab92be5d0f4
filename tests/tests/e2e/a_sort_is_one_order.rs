//! The ready-made `sort`: what it writes is what a stable sort of the whole input makes, as one file and as parts.

use std::process::{Command, Output};

use anyhow::Result;

use crate::fixture;

fn gristmill(args: &[&str]) -> Result<Output> {
    let output = Command::new(fixture::BINARY).args(args).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

fn words(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_file_and_parts_one_after_the_other_are_sorted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (input, file, parts) = (dir.path().join("in.csv"), dir.path().join("out.csv"), dir.path().join("parts"));
    let lines: Vec<String> =
        (0..30_000_u32).map(|i| format!("{},{},{i}\n", i.wrapping_mul(2_654_435_761) % 997, i % 7)).collect();
    std::fs::write(&input, lines.concat())?;
    let mut sorted = lines.clone();
    sorted.sort();
    gristmill(&["run", "sort", words(&input), "-o", words(&file)])?;
    assert!(std::fs::read_to_string(&file)? == sorted.concat());

    let number = |line: &str| line.split(',').next().and_then(|field| field.parse::<u32>().ok()).expect("a number");
    sorted = lines;
    sorted.sort_by_key(|line| std::cmp::Reverse(number(line)));
    let directory = format!("{}/", words(&parts));
    gristmill(&["run", "sort", "-t", ",", "-k1,1nr", "--partitions", "3", words(&input), "-o", &directory])?;
    let part = |index: usize| std::fs::read_to_string(parts.join(format!("part-{index:05}")));
    let texts = [part(0)?, part(1)?, part(2)?];
    assert!(texts.iter().all(|text| text.len() > 100_000), "the parts share the input");
    assert!(texts.concat() == sorted.concat());

    let output = gristmill(&["run", "sort", "-t", ",", "-k1,1nr", words(&input), "--split-bytes", "40K"])?;
    assert!(output.stdout == sorted.concat().into_bytes(), "on stdout too, however the input is cut");
    let help = String::from_utf8(gristmill(&["run", "sort", "--help"])?.stdout)?;
    assert!(help.contains("--key-bytes") && help.contains("Examples:"), "{help}");
    Ok(())
}
