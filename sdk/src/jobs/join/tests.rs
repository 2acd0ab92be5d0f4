use std::collections::BTreeSet;

use gristmill_worker::program::Program as _;

use super::*;
use crate::typed::tests::run_tagged;

const TAGS: [(&str, &str); 4] = [("l1", LEFT), ("l2", LEFT), ("r1", RIGHT), ("r2", RIGHT)];

/// Lines of three fields, the second of which is one of a few keys, some of them of one side only.
fn left(from: u32, count: u32) -> String {
    (from..from + count).map(|i| format!("l{i},k{},x{}\n", i.wrapping_mul(2_654_435_761) >> 28, i % 3)).collect()
}

/// Lines of two fields, the first of which is a key.
fn right(from: u32, count: u32) -> String {
    (from..from + count).map(|i| format!("k{},r{i}\n", (i.wrapping_mul(2_246_822_519) >> 27) % 20 + 4)).collect()
}

fn fields(line: &str) -> Vec<&str> {
    line.split(',').collect()
}

/// What nested loops find.
fn model(kind: &str, left: &[&str], right: &[&str]) -> Vec<String> {
    let all: BTreeSet<&str> =
        left.iter().map(|line| fields(line)[1]).chain(right.iter().map(|line| fields(line)[0])).collect();
    let mut out = Vec::new();
    for key in all {
        let lefts: Vec<_> = left.iter().map(|line| fields(line)).filter(|line| line[1] == key).collect();
        let rights: Vec<_> = right.iter().map(|line| fields(line)).filter(|line| line[0] == key).collect();
        for l in &lefts {
            let own = format!("{key},{},{}", l[0], l[2]);
            match kind {
                "semi" if !rights.is_empty() => out.push(own),
                "anti" if rights.is_empty() => out.push(own),
                "left" | "full" if rights.is_empty() => out.push(format!("{own},-")),
                "inner" | "left" | "right" | "full" => out.extend(rights.iter().map(|r| format!("{own},{}", r[1]))),
                _ => {}
            }
        }
        if lefts.is_empty() && ["right", "full"].contains(&kind) {
            out.extend(rights.iter().map(|r| format!("{key},-,-,{}", r[1])));
        }
    }
    out
}

#[test]
fn all_types_find_what_nested_loops_find() {
    let (texts_of_left, texts_of_right) = ([left(0, 120), left(120, 7)], [right(0, 30), right(30, 25)]);
    let files = [
        ("l1", texts_of_left[0].as_str()),
        ("r1", &texts_of_right[0]),
        ("l2", &texts_of_left[1]),
        ("r2", &texts_of_right[1]),
    ];
    let all_left: Vec<&str> = texts_of_left.iter().flat_map(|text| text.lines()).collect();
    let all_right: Vec<&str> = texts_of_right.iter().flat_map(|text| text.lines()).collect();
    for kind in ["inner", "left", "right", "full", "semi", "anti"] {
        let typed = format!("--type={kind}");
        let args = ["--left-key=2", "--right-key=1", "--field-separator=,", &typed, "--columns=3,2", "--empty=-"];
        let expected = model(kind, &all_left, &all_right);
        assert!(expected.len() > 10, "{kind}: {}", expected.len());
        for (reduces, budget, fan_in) in [(1, 1 << 20, 64), (1, 300, 2), (3, 1_000, 2)] {
            let parts = run_tagged(&join(), &args, &files, &TAGS, |step| {
                (step.reduces, step.sort_budget_bytes, step.fan_in) = (reduces, budget, fan_in);
            });
            let mut found: Vec<String> = parts.expect("joined").concat().lines().map(str::to_owned).collect();
            let key = |line: &String| line.split(',').next().unwrap_or_default().to_owned();
            // Stable: within a key the order is the job's.
            found.sort_by_key(key);
            assert_eq!(found, expected, "{kind}, {reduces} parts, budget {budget}");
        }
    }
}

fn joined(args: &[&str], left: &str, right: &str) -> Result<String, Reason> {
    let parts = run_tagged(&join(), args, &[("l1", left), ("r1", right)], &TAGS, |step| step.reduces = 1);
    parts.map(|parts| parts.concat())
}

#[test]
fn lines_are_taken_apart_as_join_does() {
    let text = |args: &[&str], left, right| joined(args, left, right).expect("joined");
    assert_eq!(text(&[], "a\t1\nb\n\t2\n", "a\tx\nb\ty\tz\n"), "a\t1\tx\nb\ty\tz\n");
    assert_eq!(text(&[], "a", "a"), "a\n");
    assert_eq!(text(&["--left-key=2"], "1\ta\t\n", "a\t\n"), "a\t1\t\t\n", "empty fields are fields");
    assert_eq!(text(&["--left-key=3"], "1\ta\n", "\tx\n"), "\t1\ta\tx\n", "a key that is not there is empty");
    assert_eq!(text(&["--left-key=2,1", "--right-key=1,3"], "b\ta\tc\n", "a\tx\tb\n"), "a\tb\tc\tx\n");
    assert_eq!(text(&["--field-separator=::"], "a::1::2", "a:::3"), "a::1::2:::3\n");
    assert_eq!(text(&["--type=left"], "a\t1\n", "b\t1\n"), "a\t1\n", "no columns are known");
}

#[test]
fn a_key_with_too_many_right_lines_is_named_and_nothing_else_is_kept() {
    let many: String = (0..1_000).map(|i| format!("hot\t{i:08}\n")).collect();
    let args = ["--buffer=4096"];
    let refused = joined(&args, "hot\t1\n", &many).expect_err("too many").to_string();
    assert!(refused.contains("`hot`") && refused.contains("4096 bytes") && refused.contains("--with"), "{refused}");
    let text = joined(&args, &many, "hot\t1\n").expect("left lines are not kept");
    assert_eq!(text.lines().count(), 1_000);
    for kind in ["--type=semi", "--type=anti"] {
        joined(&[&args[..], &[kind]].concat(), "hot\t1\n", &many).expect("nothing is kept");
    }
}

#[test]
fn mistakes_are_said() {
    let check = |args: &[&str]| join().check(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(check(&["--left-key=1,2", "--right-key=2,1"]), Ok(()));
    for (args, part) in [
        (&["--left-key=0"][..], "`0` is no key"),
        (&["--left-key=1,1", "--right-key=1,2"], "twice"),
        (&["--left-key=1,2"], "2 fields on the left and 1"),
        (&["--field-separator="], "empty separator"),
        (&["--columns=1,2", "--left-key=3"], "field 3"),
        (&["--columns=1"], "two numbers"),
        (&["--type=outer"], "outer"),
        (&["--empty=x"], "--columns"),
    ] {
        let why = check(args).expect_err(part);
        assert!(why.contains(part), "{why}");
    }
    let reason = run_tagged(&join(), &[], &[("l1", "a"), ("x", "b")], &TAGS, |_| ()).expect_err("no tag").to_string();
    assert!(reason.contains("x has no tag"), "{reason}");
    let reason = joined(&["--columns=2,1"], "a\t1\nb\n", "a").expect_err("one field");
    assert!(reason.is_final(), "no other attempt reads another line: {reason}");
    let reason = reason.to_string();
    assert!(reason.contains("1 fields") && reason.contains("l1:4"), "{reason}");
}

#[test]
fn flags_become_arguments_and_sides() {
    use clap::{Command, FromArgMatches as _};
    let command = JoinFlags::augment_args(Command::new("join").no_binary_name(true));
    let line = ["--with", "a", "b", "-1", "2", "-t", ",", "--type", "full"];
    let matches = command.try_get_matches_from(line).expect("flags");
    let flags = JoinFlags::from_arg_matches(&matches).expect("flags");
    assert_eq!(flags.right(), ["a", "b"]);
    let step = flags.steps(&InputFormat::default()).expect("a step").remove(0);
    assert_eq!(step.args, ["--left-key=2", "--right-key=1", "--field-separator=,", "--type=full"]);
}
