use futures_util::TryStreamExt as _;
use gristmill_common::JobSpec;
use gristmill_common::spec::{Generated, Input, StepSpec};
use gristmill_common::wire::{Location, Output};
use gristmill_common::{Fence, Stage};
use gristmill_runs::Source as _;
use proptest::prelude::*;

use super::*;
use crate::commit::commit;
use crate::store::fixture::{Record, World};

const PARTS: [&[Record]; 4] = [
    &[("a", "a\t1\n"), ("c", "c\t3\n"), ("c", "c\t4\n")],
    &[],
    &[("b", "b\t2\n"), ("c", "c\t5\n")],
    &[("", "\n"), ("aa", "other text\n"), ("z", "")],
];
const CONCATENATED: &str = "a\t1\nc\t3\nc\t4\nb\t2\nc\t5\n\nother text\n";
const MERGED: &str = "\na\t1\nother text\nb\t2\nc\t3\nc\t4\nc\t5\n";

async fn committed(reduce: bool) -> World {
    let world = World::new();
    let mut spec = JobSpec::new("job", vec![Input::Generated(Generated { generate: 1 })], vec![StepSpec::native("p")]);
    spec.steps[0].reduce = reduce;
    let stage = if reduce { Stage::Reduce } else { Stage::Map };
    let mut parts = Vec::new();
    for (index, records) in PARTS.iter().enumerate() {
        parts.push(world.part(stage, index as u32, records, index % 2 == 0).await);
    }
    let view = commit(world.job, &spec, parts, Vec::new(), &world.store, &world.roots).await.expect("committed");
    assert_eq!((view.bytes, view.records, view.parts), (CONCATENATED.len() as u64, 8, 4));
    assert_eq!(view.url, format!("/v1/jobs/{}/output", world.job));
    world
}

async fn text(world: &World, wanted: Wanted, range: Option<&str>) -> Result<String, Problem> {
    let range = range.map(|range| ByteRange::parse(&format!("bytes={range}")).expect("a range"));
    let rendered = output(&world.store, world.job, wanted, range).await?;
    let chunks: Vec<Bytes> = rendered.body.try_collect().await.expect("rendered");
    let text = String::from_utf8(chunks.concat()).expect("text");
    assert_eq!(text.len() as u64, rendered.range.end - rendered.range.start);
    Ok(text)
}

#[tokio::test]
async fn parts_are_rendered_one_after_the_other_merged_and_alone() {
    let world = committed(true).await;
    assert_eq!(text(&world, Wanted::Concatenated, None).await.expect("text"), CONCATENATED);
    assert_eq!(text(&world, Wanted::Merged, None).await.expect("text"), MERGED);
    assert_eq!(text(&world, Wanted::Part(1), None).await.expect("text"), "");
    assert_eq!(text(&world, Wanted::Part(2), None).await.expect("text"), "b\t2\nc\t5\n");
    assert_eq!(text(&world, Wanted::Part(4), None).await.expect_err("none").code, Code::NotFound);
}

#[tokio::test]
async fn every_range_is_that_of_the_whole_text() {
    let world = committed(true).await;
    for (wanted, whole) in [(Wanted::Concatenated, CONCATENATED), (Wanted::Merged, MERGED)] {
        for first in 0..whole.len() {
            for last in [first, first + 3, first + 9, whole.len() * 2] {
                let end = (last + 1).min(whole.len());
                let found = text(&world, wanted, Some(&format!("{first}-{last}"))).await.expect("text");
                assert_eq!(found, whole[first..end], "{wanted:?} {first}-{last}");
            }
        }
        assert_eq!(text(&world, wanted, Some("-4")).await.expect("text"), whole[whole.len() - 4..]);
        let problem = text(&world, wanted, Some("1000-")).await.expect_err("outside");
        assert_eq!(problem.code, Code::Range);
    }
}

#[tokio::test]
async fn unsorted_parts_are_not_merged() {
    let world = committed(false).await;
    assert_eq!(text(&world, Wanted::Concatenated, None).await.expect("text"), CONCATENATED);
    let problem = text(&world, Wanted::Merged, None).await.expect_err("unsorted");
    assert_eq!(problem.code, Code::Conflict);
    assert!(problem.detail.contains("merge=key"), "{problem}");
}

#[tokio::test]
async fn a_damaged_part_is_found_and_named() {
    for wanted in [Wanted::Concatenated, Wanted::Merged, Wanted::Part(2)] {
        let world = committed(true).await;
        let blob = world.blob(Stage::Reduce, 2, Fence(102));
        let whole = std::fs::read(&blob).expect("read");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&blob, &bytes).expect("damaged");
            let rendered = output(&world.store, world.job, wanted, None).await;
            let problem = rendered.err().unwrap_or_else(|| panic!("byte {at} was changed and nobody saw it"));
            assert!(problem.detail.contains("part-00002"), "{at}: {problem}");
        }
        std::fs::write(&blob, &whole[..whole.len() - 7]).expect("cut");
        assert!(output(&world.store, world.job, wanted, None).await.is_err());
        std::fs::remove_file(&blob).expect("removed");
        let problem = output(&world.store, world.job, wanted, None).await.err().expect("gone");
        assert!(problem.detail.contains("part-00002"), "{problem}");
    }
}

#[tokio::test]
async fn damage_far_into_a_text_ends_the_stream_with_an_error() {
    let world = World::new();
    // A line of this length is a block of its own, and a chunk.
    let long: &'static str = Box::leak(format!("{}\n", "x".repeat(600_000)).into_boxed_str());
    let (index, fence, output) = world.part(Stage::Reduce, 0, &[("a", long), ("b", long), ("c", long)], true).await;
    let blob = world.blob(Stage::Reduce, 0, fence);
    let mut bytes = std::fs::read(&blob).expect("read");
    let at = bytes.len() * 4 / 5;
    bytes[at] ^= 1;
    std::fs::write(&blob, &bytes).expect("damaged");
    let source = PartSource::new(world.job, 0, Stage::Reduce, index, fence, output);
    let mut rendered = part(&world.store, source, None).await.expect("the start is fine");
    let mut good = 0;
    let error = loop {
        match rendered.body.try_next().await {
            Ok(Some(chunk)) => good += chunk.len(),
            Ok(None) => panic!("a short text without an error"),
            Err(error) => break error,
        }
    };
    assert!(good >= long.len() && error.to_string().contains("part-00000"), "{good}: {error}");
}

#[tokio::test]
async fn a_part_that_is_not_what_was_reported_is_refused() {
    let world = World::new();
    let (index, fence, output) = world.part(Stage::Reduce, 0, PARTS[0], true).await;
    let changes: [fn(&mut Output); 5] = [
        |output| output.records += 1,
        |output| output.text_bytes -= 1,
        |output| output.digest = "0".repeat(16),
        |output| output.at = Location::Nothing,
        |output| output.at = Location::Inline("AAAA".into()),
    ];
    for change in changes {
        let mut output = output.clone();
        change(&mut output);
        let source = PartSource::new(world.job, 0, Stage::Reduce, index, fence, output.clone());
        let problem = part(&world.store, source, None).await.err();
        assert_eq!(problem.map(|problem| problem.code), Some(Code::Internal), "{output:?}");
    }
}

#[tokio::test]
async fn many_parts_are_merged_in_passes_with_the_same_result() {
    let world = World::new();
    let mut parts = Vec::new();
    for index in 0..11 {
        let text: &'static str = Box::leak(format!("same {index}\n").into_boxed_str());
        let own: &'static str = Box::leak(format!("{:02}", 20 - index).into_boxed_str());
        let records = [(own, own), ("same", text)];
        let records = if index == 5 { &[][..] } else { &records[..] };
        let (index, fence, output) = world.part(Stage::Reduce, index, records, index % 3 == 0).await;
        parts.push(PartSource::new(world.job, 0, Stage::Reduce, index, fence, output));
    }
    let merged = |width| {
        let runs = narrow::open_narrow(&world.store, &parts, width).expect("opened");
        assert!(runs.len() <= width);
        let mut merge = gristmill_runs::Merge::new(runs.iter().map(|(_, run)| run.reader(0)).collect());
        let mut text = Vec::new();
        while merge.advance().expect("read") {
            let (head, tail) = gristmill_runs::part_text(merge.key(), merge.value()).expect("text");
            text.extend_from_slice(head);
            text.extend_from_slice(tail);
        }
        String::from_utf8(text).expect("text")
    };
    let one_pass = merged(11);
    assert!(one_pass.starts_with("101112") && one_pass.ends_with("same 9\nsame 10\n"), "{one_pass}");
    for width in 2..11 {
        assert_eq!(merged(width), one_pass, "{width}");
    }
    let left = std::fs::read_dir(world.home.path().join("data/store/tmp")).expect("listed").count();
    assert_eq!(left, 0, "temporary runs have no names");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn chunks_of_any_size_make_the_same_text(enough in 1..40_usize, start in 0..20_u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let world = runtime.block_on(committed(true));
        let manifest = Manifest::of_store(&world.store, world.job).expect("there");
        let parts = manifest.stored_parts().expect("stored");
        let total = CONCATENATED.len() as u64;
        let mut texts = [
            (Text::concatenated(world.store.clone(), parts.clone(), start..total), CONCATENATED),
            (Text::merged(world.store.clone(), &parts, start..total).expect("opened"), MERGED),
        ];
        for (text, whole) in &mut texts {
            let mut found = Vec::new();
            loop {
                let mut chunk = Vec::new();
                let more = text.fill(&mut chunk, enough).expect("text");
                found.extend(chunk);
                if !more {
                    break;
                }
            }
            prop_assert_eq!(String::from_utf8_lossy(&found), &whole[start as usize..]);
        }
    }
}
