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

#[test]
fn rows_objects_and_binary_records_are_sorted_too() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let number = |i: u32| i.wrapping_mul(2_654_435_761) % 9_973;
    let rows: String = (0..20_000).map(|i| format!("{i},\"c,{}\",{}\n", i % 3, number(i))).collect();
    std::fs::write(path("in.csv"), format!("id,country,amount\n{rows}"))?;
    let mut expected: Vec<(u32, u32, u32)> = (0..20_000).map(|i| (i % 3, number(i), i)).collect();
    expected.sort_by_key(|(country, amount, _)| (*country, std::cmp::Reverse(*amount)));
    let json: String = expected
        .iter()
        .map(|(country, amount, id)| {
            format!("{{\"id\":\"{id}\",\"country\":\"c,{country}\",\"amount\":\"{amount}\"}}\n")
        })
        .collect();
    let by_name = ["-k", "country", "-k", "amount:nr", "--input-format", "csv", "--header", "--no-multiline"];
    let args = [&["run", "sort", "--split-bytes", "50K", "--partitions", "4"][..], &by_name].concat();
    let directory = path("parts") + "/";
    gristmill(&[&args[..], &[&path("in.csv"), "-o", &directory]].concat())?;
    let part = |index: usize| std::fs::read_to_string(dir.path().join(format!("parts/part-{index:05}")));
    let parts = [part(0)?, part(1)?, part(2)?, part(3)?];
    assert!(parts.concat() == json, "{}", &parts[0][..200]);
    assert!(parts.iter().all(|part| part.len() > json.len() / 10), "split points are found in rows too");

    std::fs::write(path("in.ndjson"), &json)?;
    let output = gristmill(&["run", "sort", "--input-format", "ndjson", "-k", "id", "-n", &path("in.ndjson")])?;
    let ids: Vec<String> =
        String::from_utf8(output.stdout)?.lines().map(|line| line.split('"').nth(3).unwrap_or("").to_owned()).collect();
    assert!(ids == (0..20_000).map(|id| id.to_string()).collect::<Vec<_>>());

    let records: Vec<[u8; 5]> = (0..9_000)
        .map(|i| {
            let n = number(i).to_be_bytes();
            [n[2], n[3], b'\n', 0, i as u8]
        })
        .collect();
    std::fs::write(path("in.bin"), records.concat())?;
    let mut sorted = records;
    sorted.sort_by_key(|record| [record[0], record[1]]);
    gristmill(&[
        "run",
        "sort",
        "--records-of",
        "5",
        "--key-bytes",
        "2",
        "--split-bytes",
        "7K",
        &path("in.bin"),
        "-o",
        &path("out.bin"),
    ])?;
    assert!(std::fs::read(path("out.bin"))? == sorted.concat());

    std::fs::write(path("names"), "b\nc\0a\0b\n")?;
    let output = gristmill(&["run", "sort", "--delimiter", "\\0", &path("names")])?;
    assert_eq!(String::from_utf8(output.stdout)?, "a\0b\n\0b\nc\0");
    let refused =
        Command::new(fixture::BINARY).args(["run", "sort", "--input-format", "whole-file", &path("names")]).output()?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing to sort"), "{refused:?}");
    Ok(())
}
