use std::fs;

use bytes::Bytes;
use futures_util::stream;
use gristmill_common::plan::{Plan, PlanHead, Splits};
use gristmill_common::wire::{output_name, placed_name};
use gristmill_common::{Code, Digest, Fence, JobId, Stage};
use gristmill_runs::{Checksum, RunHeader, RunWriter, Source as _};
use gristmill_storage::{Inbox, StorageError, StorePath};

use super::fixture::{World, body, part_bytes};
use super::*;

fn plan(steps: u64) -> Plan {
    let head = PlanHead { files: Vec::new(), steps: Vec::new(), progress_timeout_ms: steps };
    Plan { version: Plan::VERSION, head, splits: Splits::Generated { records: 5, each: 2 } }
}

#[tokio::test]
async fn a_plan_is_the_one_that_the_journal_names() {
    let mut world = World::new();
    let blob = plan(1).to_blob();
    let digest = Digest::of(&blob);
    world.store.put_plan(world.job, blob.clone()).await.expect("written");
    for _ in 0..2 {
        assert_eq!(*world.store.plan(world.job, digest).await.expect("read"), plan(1));
        world.reopen();
    }
    let other = world.store.plan(world.job, Digest::of(b"other")).await.expect_err("another");
    assert!(matches!(other, StoreError::Damaged { .. }), "{other}");
    let path = world.home.path().join(format!("data/store/plans/{}.json", world.job));
    fs::write(&path, &blob[1..]).expect("damaged");
    let damaged = world.store.plan(world.job, digest).await.expect_err("damaged");
    assert!(damaged.to_string().contains(&world.job.to_string()), "{damaged}");
    world.store.drop_job(world.job).await.expect("dropped");
    assert!(matches!(world.store.plan(world.job, digest).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn an_output_appears_only_when_it_is_whole_and_of_its_attempt() {
    let world = World::new();
    let (bytes, summary) = part_bytes(Fence(9), &[("a", "a\t1\n"), ("b", "b\t2\n")]);
    for cut in [0, 5, bytes.len() / 2, bytes.len() - 1] {
        let error = world.put(Stage::Reduce, 0, Fence(9), &bytes[..cut]).await.expect_err("cut");
        assert!(matches!(error, StoreError::Damaged { .. }), "{cut}: {error}");
    }
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    assert!(world.put(Stage::Reduce, 0, Fence(9), &flipped).await.is_err(), "a flipped bit");
    let error = world.put(Stage::Reduce, 0, Fence(8), &bytes).await.expect_err("another attempt");
    assert!(error.to_string().contains("attempt a9"), "{error}");
    let broken = stream::iter([Ok(Bytes::copy_from_slice(&bytes[..9])), Err("connection reset")]);
    let name = output_name(world.job, 0, Stage::Reduce, 0, Fence(9));
    let error = world.store.put_output(&name, broken).await.expect_err("broken off");
    assert!(error.to_string().contains("connection reset"), "{error}");
    assert_eq!(world.store.usage(world.job), 0);
    assert!(matches!(world.store.open_output(&name), Err(StoreError::NotFound { .. })));

    // Twice: the worker did not hear the first answer.
    for _ in 0..2 {
        assert_eq!(world.put(Stage::Reduce, 0, Fence(9), &bytes).await.expect("whole"), summary);
        assert_eq!(world.store.usage(world.job), bytes.len() as u64);
    }
    let mut reader = world.store.open_output(&name).expect("there").reader(0);
    assert!(reader.advance().expect("read") && reader.key() == b"a");
    assert_eq!(fs::read_dir(world.home.path().join("data/store/tmp")).expect("listed").count(), 0);
}

#[tokio::test]
async fn a_finished_part_appears_only_when_it_is_what_was_announced() {
    let world = World::new();
    let name = output_name(world.job, 0, Stage::Reduce, 0, Fence(9));
    let text = b"a\t1\n".repeat(1_000);
    let whole = Checksum::of(&text);
    let mut flipped = text.clone();
    flipped[2_000] ^= 1;
    for wrong in [&text[1..], &flipped, &[&text[..], b"x"].concat()] {
        let error = world.store.put_finished(&name, whole, body(wrong)).await.expect_err("another text");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
    assert_eq!(world.store.usage(world.job), 0);
    for _ in 0..2 {
        world.store.put_finished(&name, whole, body(&text)).await.expect("whole");
        assert_eq!(world.store.usage(world.job), text.len() as u64);
    }
    let (path, _) = world.store.open_file(&name, text.len() as u64).expect("there");
    assert!(fs::read(path).expect("read") == text);
    assert!(matches!(world.store.open_file(&name, 1), Err(StoreError::Damaged { .. })));
    assert!(world.store.open_output(&name).is_err(), "it is no run");
}

#[tokio::test]
async fn a_part_that_was_laid_into_the_inbox_is_taken_once_and_what_nobody_takes_is_swept() {
    let mut world = World::new();
    let (job, inbox) = (world.job, Inbox::of_store(&world.home.path().join("data/store")));
    let name = |fence| output_name(job, 0, Stage::Reduce, 0, Fence(fence));
    let mine = world.home.path().join("made");
    fs::write(&mine, "text").expect("written");
    for fence in [9, 10, 11] {
        inbox.lay(&mine, &placed_name(&name(fence))).expect("laid");
    }
    let error = world.store.take_laid(&name(9), 5).await.expect_err("another length");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    world.store.take_laid(&name(9), 4).await.expect("taken");
    assert_eq!((world.store.usage(world.job), world.store.open_file(&name(9), 4).is_ok()), (4, true));
    let error = world.store.take_laid(&name(9), 4).await.expect_err("it is no longer there");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    assert!(matches!(world.store.take_laid("../x", 4).await, Err(StoreError::BadName { .. })));
    let error = world.store.take_laid(&name(10), 2 << 20).await.expect_err("past the share");
    assert!(matches!(error, StoreError::Quota { .. }), "{error}");
    world.store.drop_job(world.job).await.expect("dropped");
    assert!(inbox.find(&placed_name(&name(10)), 4).is_none(), "it goes with its job");
    inbox.lay(&mine, "of another job").expect("laid");
    world.reopen();
    assert!(inbox.find("of another job", 4).is_none(), "it goes at the next start");
}

#[tokio::test]
async fn names_from_peers_are_not_paths() {
    let world = World::new();
    let job = world.job;
    let names = [
        String::new(),
        "..".into(),
        format!("{job}"),
        format!("{job}/"),
        format!("{job}/_SUCCESS"),
        format!("{job}/../x"),
        format!("{job}/s0-m1-a1/x"),
        format!("{job}/../{job}-a1"),
        format!("{job}/s0-m1-a"),
        format!("{job}/s0-m1-ax"),
        format!("{job}/s0--a1"),
        format!("{}/s0-m1-a1", job.to_string().to_uppercase().replace('0', "A")),
        format!("{{{job}}}/s0-m1-a1"),
        format!("/{job}/s0-m1-a1"),
    ];
    for name in names {
        let error = world.store.put_output(&name, body(b"x")).await.expect_err(&name);
        assert!(
            matches!(error, StoreError::BadName { .. }) && error.problem().code == Code::Invalid,
            "{name}: {error}"
        );
        assert!(matches!(world.store.open_output(&name), Err(StoreError::BadName { .. })), "{name}");
    }
}

#[tokio::test]
async fn a_job_has_its_share_and_the_disk_its_reserve() {
    let (bytes, _) = part_bytes(Fence(9), &[("a", "a\t1\n")]);
    let size = bytes.len() as u64;
    let world = World::with_limits(StoreLimits { quota_bytes: size * 2, reserve_bytes: 0, is_durable: true });
    for index in 0..2 {
        world.put(Stage::Map, index, Fence(9), &bytes).await.expect("fits");
    }
    let error = world.put(Stage::Map, 2, Fence(9), &bytes).await.expect_err("past the share");
    assert!(matches!(error, StoreError::Quota { .. }) && error.problem().code == Code::StorageFull, "{error}");
    assert!(error.to_string().contains("--relay-quota"), "{error}");
    assert_eq!(world.store.usage(world.job), size * 2);

    let world = World::with_limits(StoreLimits { quota_bytes: 1 << 20, reserve_bytes: u64::MAX, is_durable: true });
    let error = world.put(Stage::Map, 0, Fence(9), &bytes).await.expect_err("no room");
    assert_eq!(error.problem().code, Code::StorageFull);
    let path = StorePath::parse("a").expect("a path");
    let error = world.store.put_file(&path, body(b"x")).await.expect_err("no room");
    assert_eq!(error.problem().code, Code::StorageFull);
    assert!(world.store.put_plan(world.job, Vec::new()).await.is_err());
}

#[tokio::test]
async fn a_restart_counts_what_is_there_and_sweeps_what_is_half_written() {
    let mut world = World::new();
    let (bytes, _) = part_bytes(Fence(9), &[("a", "a\t1\n")]);
    world.put(Stage::Reduce, 0, Fence(9), &bytes).await.expect("stored");
    world.upload("dir/kept#1", b"text").await;
    let store = world.home.path().join("data/store");
    fs::write(store.join("tmp/17"), "half").expect("left");
    fs::write(store.join("files/dir/upload#1"), "half").expect("left");
    world.reopen();
    assert_eq!(world.store.usage(world.job), bytes.len() as u64);
    assert_eq!(fs::read_dir(store.join("tmp")).expect("listed").count(), 0);
    assert!(!store.join("files/dir/upload#1").exists());
    let listed = world.store.files().list("", 10).await.expect("listed");
    assert_eq!(listed.iter().map(|facts| facts.path.as_str()).collect::<Vec<_>>(), ["dir/kept#1"]);
}

#[tokio::test]
async fn what_no_journal_knows_is_dropped_and_what_came_since_is_not() {
    let mut world = World::new();
    let unknown = JobId(uuid::Uuid::from_u128(8));
    let fresh = JobId(uuid::Uuid::from_u128(9));
    for job in [world.job, unknown] {
        world.store.put_plan(job, plan(1).to_blob()).await.expect("written");
    }
    let (bytes, _) = part_bytes(Fence(9), &[("a", "a\t1\n")]);
    let name = output_name(unknown, 0, Stage::Map, 1, Fence(9));
    world.store.put_output(&name, body(&bytes)).await.expect("stored");
    world.reopen();
    world.store.put_plan(fresh, plan(1).to_blob()).await.expect("written");
    let known = world.job;
    world.store.drop_unknown_jobs(move |job| job == known).await.expect("dropped");
    let digest = Digest::of(&plan(1).to_blob());
    world.store.plan(world.job, digest).await.expect("known");
    world.store.plan(fresh, digest).await.expect("accepted after the start");
    assert!(world.store.plan(unknown, digest).await.is_err());
    assert!(world.store.open_output(&name).is_err());
    assert_eq!(world.store.usage(unknown), 0);
}

#[tokio::test]
async fn map_outputs_are_kept_by_partition() {
    let world = World::new();
    let mut bytes = Vec::new();
    let header = RunHeader { fence: Fence(5), partitions: 3, compress: true };
    let mut writer = RunWriter::new(&mut bytes, header).expect("started");
    writer.push(0, b"a", b"1").expect("pushed");
    writer.push(2, b"b", b"2").expect("pushed");
    writer.finish().expect("finished");
    world.put(Stage::Map, 4, Fence(5), &bytes).await.expect("stored");
    let run = world.store.open_output(&output_name(world.job, 0, Stage::Map, 4, Fence(5))).expect("there");
    assert_eq!((run.records_in(0), run.records_in(1), run.records_in(2)), (1, 0, 1));
}

#[tokio::test]
async fn a_broken_upload_is_the_senders_fault() {
    let world = World::new();
    let path = StorePath::parse("a").expect("a path");
    let broken = stream::iter([Ok(Bytes::from_static(b"half")), Err("connection reset")]);
    let error = world.store.put_file(&path, broken).await.expect_err("broken");
    assert!(matches!(error, StoreError::Storage(StorageError::Broken { .. })), "{error}");
    assert!(world.store.files().head(&path).await.is_err());
}
