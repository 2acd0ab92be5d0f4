//! Records that failed before are named exactly and left out, whatever the mapper is given at a time.

use gristmill_common::Place;
use gristmill_common::wire::Skipped;

use super::*;

/// Emits every line that does not say `bad`; fails at one that does.
struct Picky<const BLOCK: bool>;

impl<const BLOCK: bool> MapFunction for Picky<BLOCK> {
    const UNIT: Unit = if BLOCK { Unit::Block } else { Unit::Record };

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, bytes: &[u8], out: &mut Collector) -> Result<()> {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            anyhow::ensure!(line != b"bad", "a bad line");
            out.emit(|key| key.extend_from_slice(line), |_| {});
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Collector) -> Result<()> {
        Ok(())
    }
}

const TEXT: &[u8] = b"one\ntwo\nbad\nthree\nbad\nfour";
const NONE: Option<NoCombiner> = None;

fn try_map<const BLOCK: bool>(skips: Skips) -> Result<(u64, u64, Vec<Skipped>), Reason> {
    let files = Files::of(&[TEXT]);
    let input = MapInput::Pieces { pieces: files.whole(), inputs: &files };
    let bench = Bench { skips, ..Bench::new() };
    let done = bench.map(&step(1), input, &mut Picky::<BLOCK>, NONE)?;
    Ok((done.records_in, done.summary.records, bench.skips.left_out()))
}

fn narrowed<const BLOCK: bool>() {
    let offset = |result: Result<(u64, u64, Vec<Skipped>), Reason>| {
        let reason = result.expect_err("a bad line");
        reason.place().expect("a place").clone()
    };
    assert_eq!(offset(try_map::<BLOCK>(Skips::none())).offset, if BLOCK { 0 } else { 8 });
    let mut left_out = Vec::new();
    for expected in [8, 18] {
        let at = offset(try_map::<BLOCK>(Skips::careful(left_out.clone())));
        assert_eq!((at.file.as_str(), at.offset), ("file:///in/0", expected));
        left_out.push(Skipped { at, why: String::new(), by_reader: false });
    }
    let done = try_map::<BLOCK>(Skips::careful(left_out.clone())).expect("all bad lines are left out");
    assert_eq!(done, (4, 4, left_out));
}

#[test]
fn a_mapper_of_records_is_given_all_but_the_bad_ones() {
    narrowed::<false>();
}

#[test]
fn a_mapper_of_blocks_is_given_records_singly_until_the_bad_ones_are_known() {
    narrowed::<true>();
}

#[test]
fn generated_records_are_named_and_left_out_by_their_number() {
    let at = Place { file: "generated records".to_owned(), offset: 3 };
    let skips = Skips::careful(vec![Skipped { at, why: String::new(), by_reader: false }]);
    let bench = Bench { skips, ..Bench::new() };
    let input = MapInput::Generated { first: 2, count: 3 };
    let done = bench.map(&step(1), input, &mut Picky::<true>, NONE).expect("done");
    assert_eq!((done.records_in, done.summary.records), (2, 2));
}

/// Knows only at the end that something was wrong, as a command does at the other end of a pipe.
#[derive(Default)]
struct Late(bool);

impl MapFunction for Late {
    const UNIT: Unit = Unit::Record;

    fn start(&mut self, _: &Start<'_>, _: &mut Collector) -> Result<()> {
        Ok(())
    }

    fn map(&mut self, bytes: &[u8], out: &mut Collector) -> Result<()> {
        self.0 |= bytes == b"bad";
        out.emit(|key| key.extend_from_slice(bytes), |_| {});
        Ok(())
    }

    fn finish(&mut self, _: &mut Collector) -> Result<()> {
        anyhow::ensure!(!self.0, "something was bad");
        Ok(())
    }
}

#[test]
fn records_of_a_program_that_cannot_say_where_it_failed_are_found_by_running_it_again() {
    let files = Files::of(&[TEXT]);
    let bench = Bench::new();
    let run = |skips: &Skips| {
        let _ = std::fs::remove_file(&bench.output);
        let input = MapInput::Pieces { pieces: files.whole(), inputs: &files };
        bench.map_with(skips, &step(1), input, &mut Late::default(), NONE)
    };
    let mut left_out = Vec::new();
    for expected in [8, 18] {
        let whole = Skips::careful(left_out.clone()).rough();
        let reason = run(&whole).expect_err("bad");
        assert_eq!(reason.place(), None);
        let at = crate::skip::narrowed(&whole, reason, run).place().expect("found").clone();
        assert_eq!((at.file.as_str(), at.offset), ("file:///in/0", expected));
        left_out.push(Skipped { at, why: String::new(), by_reader: false });
    }
    let whole = Skips::careful(left_out.clone()).rough();
    assert_eq!(run(&whole).expect("done").records_in, 4);
    assert_eq!(whole.left_out(), left_out);
}
