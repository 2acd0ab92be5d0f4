use std::fs;
use std::path::Path;

use gristmill_common::plan::{Compression, PartForm, Piece, SplitInput};
use gristmill_common::spec::StepSpec;
use gristmill_common::{Digest, JobSpec};

use super::*;
use crate::store::fixture::World;

fn spec(inputs: &[String]) -> JobSpec {
    let inputs = inputs.iter().map(|url| Input::Url(url.clone())).collect();
    JobSpec::new("job", inputs, vec![StepSpec::native("word-count")])
}

fn write(world: &World, name: &str, bytes: &[u8]) {
    let path = world.file(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, bytes).expect("written");
}

async fn planned(world: &World, spec: &JobSpec) -> Result<(Arc<Plan>, PlanSummary), Problem> {
    plan(world.job, spec, &world.store, &world.roots).await
}

fn urls(plan: &Plan) -> Vec<&str> {
    plan.head.files.iter().map(|file| file.url.rsplit("files/").next().unwrap_or_default()).collect()
}

async fn refused(world: &World, spec: &JobSpec, code: Code, pointer: &str, part: &str) {
    let problem = planned(world, spec).await.map(|(plan, _)| plan).expect_err(part);
    assert_eq!((problem.code, problem.pointer.as_deref()), (code, Some(pointer)), "{problem}");
    assert!(problem.detail.contains(part), "{problem}");
}

#[tokio::test]
async fn inputs_are_pinned_in_input_order() {
    let world = World::new();
    for name in ["b/2", "b/1", "b/_skip", "a", "c.gz"] {
        write(&world, name, name.as_bytes());
    }
    write(&world, "c.gz", b"\x1f\x8b\x08\0");
    world.upload("up/x", b"12345").await;
    world.upload("up/deep/y", b"\x1f\x8b\x08").await;
    world.upload("up/.hidden", b"x").await;
    world.upload("upper", b"x").await;
    let inputs = [world.url("b/"), world.url("a"), "store://up/**".into(), world.url("*.gz"), "store://up/x".into()];
    let (plan, summary) = planned(&world, &spec(&inputs)).await.expect("planned");
    assert_eq!(urls(&plan), ["b/1", "b/2", "a", "store://up/deep/y", "store://up/x", "c.gz", "store://up/x"]);
    let packed: Vec<_> = plan.head.files.iter().map(|file| file.compression == Compression::Gzip).collect();
    assert_eq!(packed, [false, false, false, true, false, true, false]);
    assert_eq!((summary.input_files, summary.input_bytes), (7, 3 + 3 + 1 + 3 + 5 + 4 + 5));
    assert_eq!(summary.roots, [world.home.path().join("files").display().to_string()]);
    assert_eq!(plan.head.steps[0].maps, 1);
    assert_eq!(summary.digest, Digest::of(&plan.to_blob()));
    let kept = world.store.plan(world.job, summary.digest).await.expect("written");
    assert_eq!(kept, plan);
    let again = planned(&world, &spec(&inputs)).await.expect("planned again");
    assert_eq!(again.1, summary, "the same inputs make the same plan");
}

#[tokio::test]
async fn files_carry_the_tags_of_their_inputs_and_older_workers_get_no_such_plan() {
    let world = World::new();
    for name in ["a/1", "a/2", "b"] {
        write(&world, name, b"text\n");
    }
    let mut spec = spec(&[world.url("a"), world.url("b")]);
    let (plan, summary) = planned(&world, &spec).await.expect("planned");
    assert_eq!((plan.head.steps[0].maps, summary.protocol), (1, 0));
    assert!(!String::from_utf8(plan.to_blob()).expect("JSON").contains("tag"), "older workers can read it");
    spec.inputs[1] = Input::of(world.url("b"), Some("people"));
    let (plan, summary) = planned(&world, &spec).await.expect("planned");
    let tags: Vec<_> = plan.head.files.iter().map(|file| file.tag.as_deref()).collect();
    assert_eq!(tags, [None, None, Some("people")]);
    assert_eq!((plan.head.steps[0].maps, summary.protocol), (2, limits::PROTOCOL_THAT_READS_TAGS));
}

#[tokio::test]
async fn only_inputs_in_files_need_roots() {
    let world = World::new();
    world.upload("a", b"text").await;
    let (_, summary) = planned(&world, &spec(&["store://a".into()])).await.expect("planned");
    assert_eq!(summary.roots, Vec::<String>::new());
}

#[tokio::test]
async fn ten_thousand_small_files_are_few_tasks() {
    let world = World::new();
    fs::create_dir(world.file("many")).expect("made");
    for index in 0..10_000 {
        fs::write(world.file(&format!("many/{index:05}")), [b'x'; 1_024]).expect("written");
    }
    let (plan, summary) = planned(&world, &spec(&[world.url("many")])).await.expect("planned");
    assert_eq!(summary.input_files, 10_000);
    assert_eq!(plan.head.steps[0].maps, 9);
    assert!(plan.to_blob().len() < 3 << 20, "{}", plan.to_blob().len());
}

#[tokio::test]
async fn large_files_are_cut_and_packed_ones_are_not() {
    let world = World::new();
    write(&world, "plain", &[b'x'; 10_000]);
    write(&world, "packed", &[b"\x1f\x8b".as_slice(), &[0; 9_998]].concat());
    let mut spec = spec(&[world.url("plain"), world.url("packed")]);
    spec.split.bytes = Some(2_500);
    let (plan, _) = planned(&world, &spec).await.expect("planned");
    let piece = |file, start, end| Some(SplitInput::Files(vec![Piece::new(file, start, end)]));
    assert_eq!(plan.head.steps[0].maps, 5);
    assert_eq!(plan.split(0, 0), piece(0, 0, 2_500));
    assert_eq!(plan.split(0, 3), piece(0, 7_500, 10_000));
    assert_eq!(plan.split(0, 4), piece(1, 0, 10_000));
}

#[tokio::test]
async fn files_are_cut_every_so_many_lines_here_and_in_the_store() {
    let world = World::new();
    let text = b"one\r\n\nthree\nfour\nfive";
    write(&world, "list", text);
    write(&world, "empty", b"");
    world.upload("list", text).await;
    let mut spec = spec(&[world.url("list"), world.url("empty"), "store://list".into()]);
    spec.split.lines = Some(2);
    let (plan, _) = planned(&world, &spec).await.expect("planned");
    let Splits::Files(splits) = &plan.splits else { panic!("{:?}", plan.splits) };
    let pieces: Vec<_> = splits.iter().flatten().map(|piece| (piece.file, piece.start, piece.end)).collect();
    assert_eq!(pieces, [(0, 0, 6), (0, 6, 17), (0, 17, 21), (2, 0, 6), (2, 6, 17), (2, 17, 21)]);
    assert_eq!(splits.len(), pieces.len(), "no split spans two files");
    spec.inputs.truncate(2);
    spec.inputs.remove(0);
    let (plan, _) = planned(&world, &spec).await.expect("planned");
    assert_eq!(plan.split(0, 0), Some(SplitInput::Files(Vec::new())), "no line is one empty split");
}

#[tokio::test]
async fn what_cannot_be_cut_by_lines_is_refused() {
    let world = World::new();
    write(&world, "c.gz", b"\x1f\x8b\x08\0");
    write(&world, "long", &vec![b'\n'; 1_000_002]);
    for (name, part) in [("c.gz", "unpack"), ("long", "more lines")] {
        let mut spec = spec(&[world.url(name)]);
        spec.split.lines = Some(1);
        refused(&world, &spec, Code::Invalid, "/split/lines", part).await;
    }
    let mut spec = spec(&[]);
    spec.inputs = vec![Input::Generated(Generated { generate: 100 })];
    spec.split.lines = Some(1);
    refused(&world, &spec, Code::Invalid, "/split/lines", "records").await;
}

#[tokio::test]
async fn an_input_of_nothing_is_one_empty_split() {
    let world = World::new();
    write(&world, "empty", b"");
    world.upload("empty", b"").await;
    let inputs = [world.url("empty"), "store://empty".into()];
    let (plan, summary) = planned(&world, &spec(&inputs)).await.expect("planned");
    assert_eq!(plan.split(0, 0), Some(SplitInput::Files(Vec::new())));
    assert_eq!((summary.input_files, summary.input_bytes, plan.head.steps[0].maps), (2, 0, 1));
}

#[tokio::test]
async fn generated_inputs_and_chains() {
    let world = World::new();
    let mut spec = spec(&[]);
    spec.inputs = vec![Input::Generated(Generated { generate: 100 })];
    let (plan, summary) = planned(&world, &spec).await.expect("planned");
    assert_eq!(plan.splits, Splits::Generated { records: 100, each: 7 });
    assert_eq!((plan.head.steps[0].maps, summary.input_files), (15, 0));
    spec.split.records = Some(1);
    let mut map_only = StepSpec::native("b");
    map_only.reduce = false;
    spec.steps.extend([map_only, StepSpec { partitions: Some(2), ..StepSpec::native("c") }]);
    let (_, summary) = planned(&world, &spec).await.expect("planned");
    let shapes: Vec<_> = summary.shapes.iter().map(|shape| (shape.maps, shape.reduces)).collect();
    assert_eq!(shapes, [(100, 4), (4, 0), (4, 2)]);
    spec.inputs = vec![Input::Generated(Generated { generate: u64::MAX })];
    refused(&world, &spec, Code::Invalid, "/split/records", "1000000").await;
    spec.split.records = None;
    spec.split.bytes = Some(5);
    refused(&world, &spec, Code::Invalid, "/split/bytes", "records").await;
}

#[tokio::test]
async fn mistakes_in_inputs_are_told_with_their_place() {
    let world = World::new();
    write(&world, "a", b"text");
    write(&world, "only/_hidden", b"text");
    write(&world, "z.txt", b"\xfd7zXZ\0....");
    let outside = tempfile::NamedTempFile::new().expect("a file");
    let outside = format!("file://{}", outside.path().display());
    let journal = format!("file://{}/data/store", world.home.path().display());
    let cases = [
        (world.url("missing"), Code::Invalid, "missing"),
        (world.url("*.log"), Code::Invalid, "names no file"),
        (world.url("only"), Code::Invalid, "names no file"),
        ("store://missing".into(), Code::Invalid, "store://missing"),
        ("store://up/*".into(), Code::Invalid, "names no file"),
        (outside, Code::Forbidden, "--allow-path"),
        (journal, Code::Forbidden, "--allow-path"),
        (world.url("../data/x"), Code::Invalid, "`..`"),
        (world.url("z.txt"), Code::Unsupported, "z.txt"),
        ("s3://bucket/a".into(), Code::Unsupported, "not built"),
    ];
    for (url, code, part) in cases {
        refused(&world, &spec(&[world.url("a"), url]), code, "/inputs/1", part).await;
    }
    let mut records = spec(&[world.url("a")]);
    records.split.records = Some(5);
    refused(&world, &records, Code::Invalid, "/split/records", "generated").await;
}

#[tokio::test]
async fn too_many_tasks_are_refused() {
    let world = World::new();
    write(&world, "a", &vec![b'x'; 1_000_001]);
    let mut tiny = spec(&[world.url("a")]);
    tiny.split.bytes = Some(1);
    refused(&world, &tiny, Code::Invalid, "/split/bytes", "1000001").await;
    let mut wide = spec(&[world.url("a")]);
    let step = StepSpec { partitions: Some(limits::PARTITIONS), fuse: false, ..StepSpec::native("a") };
    wide.steps = vec![step; 64];
    refused(&world, &wide, Code::Invalid, "/steps", "fewer").await;
}

#[tokio::test]
async fn outputs_that_cannot_be_are_refused_at_once() {
    let world = World::new();
    write(&world, "a", b"text");
    write(&world, "taken", b"text");
    write(&world, "mine/notes.txt", b"text");
    fs::create_dir(world.file("empty")).expect("made");
    std::os::unix::fs::symlink(world.file("a"), world.file("link")).expect("linked");
    let outside = tempfile::tempdir().expect("a directory");
    world.upload("stored/part-00000", b"x").await;
    let cases: [(String, bool, Option<Code>, &str); 21] = [
        ("store://new/out/".to_owned(), false, None, ""),
        ("store://stored/".to_owned(), false, Some(Code::Conflict), "store://stored/"),
        ("store://stored/".to_owned(), true, Some(Code::Forbidden), "part-00000"),
        ("store://stored/part-00000/x/".to_owned(), false, Some(Code::Conflict), "is a file"),
        ("store://a/*/".to_owned(), false, Some(Code::Invalid), "wildcards"),
        (world.url("new"), false, None, ""),
        (world.url("new/"), false, None, ""),
        (world.url("taken"), false, Some(Code::Conflict), "overwrite"),
        (world.url("taken"), true, None, ""),
        (world.url("taken/"), true, Some(Code::Conflict), "no directory"),
        (world.url("empty/"), false, Some(Code::Conflict), "overwrite"),
        (world.url("empty/"), true, None, ""),
        (world.url("empty"), true, Some(Code::Conflict), "no file"),
        (world.url("mine/"), true, Some(Code::Forbidden), "notes.txt"),
        (world.url("no/new"), false, Some(Code::Invalid), "does not exist"),
        (world.url("a/new"), false, Some(Code::Invalid), "is a file"),
        (world.url("link"), true, Some(Code::Forbidden), "symbolic link"),
        (world.url("*"), false, Some(Code::Invalid), "wildcards"),
        (world.url(""), true, Some(Code::Forbidden), "--allow-path"),
        (format!("file://{}/new", outside.path().display()), false, Some(Code::Forbidden), "--allow-path"),
        (
            format!("file://{}/new", outside.path().display()),
            false,
            Some(Code::Forbidden),
            "it is the coordinator that needs it",
        ),
    ];
    for (url, overwrite, code, part) in cases {
        let mut spec = spec(&[world.url("a")]);
        spec.output.url = Some(url.clone());
        spec.output.overwrite = overwrite;
        match code {
            None => drop(planned(&world, &spec).await.expect(&url)),
            Some(code) => refused(&world, &spec, code, "/output/url", part).await,
        }
    }
    assert!(Path::new(&world.file("mine/notes.txt")).exists());
}

#[tokio::test]
async fn parts_that_nobody_merges_by_key_are_finished_files() {
    let world = World::new();
    write(&world, "a", b"text\n");
    let form = async |output: Option<&str>, change: &dyn Fn(&mut JobSpec)| {
        let mut spec = spec(&[world.url("a")]);
        spec.output.url = output.map(|name| world.url(name));
        change(&mut spec);
        let (plan, summary) = planned(&world, &spec).await.expect("planned");
        let forms: Vec<_> = plan.head.steps.iter().map(|step| step.part_form).collect();
        let needed = if forms.contains(&PartForm::File) { limits::PROTOCOL_THAT_FINISHES_PARTS } else { 0 };
        assert_eq!(summary.protocol, needed, "older workers write runs");
        forms
    };
    let map_only = |spec: &mut JobSpec| spec.steps[0].reduce = false;
    let sort = |spec: &mut JobSpec| spec.steps[0].order = Some(Box::default());
    let one = |spec: &mut JobSpec| spec.steps[0].partitions = Some(1);
    let two = |spec: &mut JobSpec| spec.steps.push(StepSpec::native("word-count"));
    let (run, file) = (PartForm::Run, PartForm::File);
    assert_eq!(form(Some("out/"), &|_| ()).await, [file]);
    assert_eq!(form(Some("out"), &|_| ()).await, [run], "merged by key");
    assert_eq!(form(Some("out"), &map_only).await, [file]);
    assert_eq!(form(Some("out"), &sort).await, [file]);
    assert_eq!(form(Some("out"), &one).await, [file]);
    assert_eq!(form(Some("out/"), &two).await, [run, file], "the parts of the first step are read as text");
    assert_eq!(form(None, &sort).await, [run], "kept in the store, where it may be merged by key");
    let mut stored = spec(&[world.url("a")]);
    stored.output.url = Some("store://out/".to_owned());
    assert_eq!(planned(&world, &stored).await.expect("planned").0.head.steps[0].part_form, file);
}

#[tokio::test]
async fn a_sort_is_planned_with_points_from_all_of_its_input() {
    use gristmill_common::order::{SortKey, TotalOrder};
    let world = World::new();
    let lines = |from: u32| {
        (from..from + 20_000)
            .map(|i| format!("{:08}\n", i.wrapping_mul(2_654_435_761) % 100_000_000))
            .collect::<String>()
    };
    write(&world, "a", lines(0).as_bytes());
    world.upload("b", lines(20_000).as_bytes()).await;
    let mut spec = spec(&[world.url("a"), "store://b".into()]);
    let order = TotalOrder { key: SortKey::Bytes(4), ..TotalOrder::default() };
    spec.steps = vec![StepSpec { partitions: Some(8), order: Some(Box::new(order)), ..StepSpec::native("sort") }];
    let (plan, summary) = planned(&world, &spec).await.expect("planned");
    let planned_order = plan.head.steps[0].order.as_ref().expect("an order");
    let points: Vec<u32> = planned_order
        .points
        .iter()
        .map(|point| std::str::from_utf8(&point.0).expect("digits").parse().expect("a number"))
        .collect();
    assert_eq!(points.len(), 7);
    for (index, point) in points.iter().enumerate() {
        assert!(point.abs_diff((index as u32 + 1) * 1_250) < 200, "{points:?}");
    }
    assert_eq!(planned(&world, &spec).await.expect("again").1, summary, "the same input has the same points");
    spec.steps[0].partitions = None;
    let (plan, _) = planned(&world, &spec).await.expect("planned");
    assert_eq!(plan.head.steps[0].reduces, limits::DEFAULT_PARTITIONS);
    fs::remove_file(world.file("a")).expect("removed");
    refused(&world, &spec, Code::Invalid, "/inputs/0", "no").await;
    spec.inputs = vec![Input::Generated(Generated { generate: 1_000 })];
    let (plan, _) = planned(&world, &spec).await.expect("planned");
    let points = &plan.head.steps[0].order.as_ref().expect("an order").points;
    assert_eq!(points.iter().map(|point| String::from_utf8_lossy(&point.0)).collect::<Vec<_>>(), ["323", "549", "774"]);
}

#[tokio::test]
async fn packed_files_are_cut_where_their_blocks_are_known() {
    use gristmill_common::plan::Unpacked;
    let world = World::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/formats");
    for name in ["lines.bgzf", "lines.frames.zstd", "lines.seekable.zstd", "lines.pzstd", "lines.gzip"] {
        let bytes = fs::read(fixtures.join(name)).expect("a fixture");
        write(&world, name, &bytes);
        world.upload(name, &bytes).await;
        let mut spec = spec(&[world.url(name)]);
        spec.split.bytes = Some(300);
        let (plan, summary) = planned(&world, &spec).await.expect("planned");
        let Splits::Files(here) = plan.splits.clone() else { panic!("{:?}", plan.splits) };
        spec.inputs = vec![Input::Url(format!("store://{name}"))];
        let (stored, _) = planned(&world, &spec).await.expect("planned");
        assert_eq!(stored.splits, plan.splits, "{name}: here as in the store");
        let pieces: Vec<Piece> = here.iter().flatten().copied().collect();
        assert_eq!(pieces.first().map(|piece| piece.start), Some(0));
        assert_eq!(pieces.last().map(|piece| piece.end), Some(bytes.len() as u64));
        assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start), "{pieces:?}");
        if name == "lines.gzip" {
            assert_eq!((here.len(), summary.protocol, pieces[0].unpacked), (1, 0, None));
            continue;
        }
        assert!(here.len() >= 3, "{name} is cut into {}", here.len());
        assert_eq!(
            summary.protocol,
            limits::PROTOCOL_THAT_READS_BLOCKS,
            "older workers would read all of it for each piece"
        );
        assert_eq!(pieces[0].unpacked.map(|unpacked| unpacked.start), Some(0));
        let ends = |piece: &Piece| piece.unpacked.and_then(|unpacked: Unpacked| unpacked.end).is_some();
        assert!(name == "lines.pzstd" || pieces[..pieces.len() - 1].iter().all(ends), "{pieces:?}");
        spec.inputs = vec![Input::Url(world.url(name))];
        spec.on_bad_record = OnBadRecord::Skip(1);
        let (whole, _) = planned(&world, &spec).await.expect("planned");
        assert_eq!(whole.splits, Splits::Files(vec![vec![Piece::new(0, 0, bytes.len() as u64)]]), "{name}");
    }
}

#[tokio::test]
async fn parquet_files_are_cut_between_row_groups_and_must_be_alike() {
    use gristmill_common::format::Parquet;
    let world = World::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/formats");
    for name in ["typed.zstd.parquet", "typed.none.parquet", "duckdb.parquet", "nested.parquet"] {
        let bytes = fs::read(fixtures.join(name)).expect("a fixture");
        write(&world, name, &bytes);
        world.upload(name, &bytes).await;
    }
    write(&world, "text", b"no Parquet file");
    write(&world, "empty", b"");
    write(&world, "packed", b"\x1f\x8b and so on");
    let of = |names: &[&str], columns: &[&str]| {
        let mut spec = spec(&names.iter().map(|name| world.url(name)).collect::<Vec<_>>());
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        spec.input_format = InputFormat::Parquet(Parquet { columns, ..Parquet::default() });
        spec.split.bytes = Some(2_500);
        spec
    };
    let (plan, summary) = planned(&world, &of(&["typed.zstd.parquet"], &[])).await.expect("planned");
    assert_eq!((plan.head.steps[0].maps, summary.protocol), (3, limits::PROTOCOL_THAT_READS_BLOCKS));
    let mut stored = of(&[], &[]);
    stored.inputs = vec![Input::Url("store://typed.zstd.parquet".into())];
    assert_eq!(planned(&world, &stored).await.expect("planned").0.splits, plan.splits);
    planned(&world, &of(&["typed.zstd.parquet", "typed.none.parquet"], &[])).await.expect("alike");
    planned(&world, &of(&["duckdb.parquet", "typed.none.parquet"], &["name", "id"])).await.expect("alike in these");

    let at = "/input_format/parquet";
    let two = of(&["typed.none.parquet", "duckdb.parquet"], &[]);
    refused(&world, &two, Code::Invalid, at, "duckdb.parquet has the column `even` where the other one has `small`")
        .await;
    refused(&world, &two, Code::Invalid, at, "typed.none.parquet").await;
    let unknown = of(&["typed.none.parquet", "duckdb.parquet"], &["id", "price"]);
    refused(
        &world,
        &unknown,
        Code::Invalid,
        "/input_format/parquet/columns",
        "duckdb.parquet: it has no column `price`",
    )
    .await;
    refused(&world, &of(&["nested.parquet"], &[]), Code::Unsupported, at, "`tags` is nested").await;
    refused(
        &world,
        &of(&["duckdb.parquet", "text"], &["id"]),
        Code::Invalid,
        at,
        "text, at byte 7: it does not end as",
    )
    .await;
    refused(&world, &of(&["empty"], &[]), Code::Invalid, at, "empty, at byte 0: it is too short").await;
    refused(&world, &of(&["packed"], &[]), Code::Invalid, at, "packed is packed with gzip").await;
    let twice = of(&["duckdb.parquet"], &["id", "id"]);
    assert!(twice.check().is_err());
}

#[tokio::test]
async fn columns_that_a_file_lacks_are_refused_with_those_that_it_has() {
    use gristmill_common::columns::Column;
    use gristmill_common::format::{Csv, Parquet};
    use gristmill_common::order::{SortKey, TotalOrder};
    let world = World::new();
    write(&world, "all.csv", "\u{feff}\nname,\"the \"\"city\"\"\"\nAda,London\n".as_bytes());
    write(&world, "other.csv", b"name,town\n");
    write(&world, "no-end.csv", b"name,town");
    write(&world, "empty.csv", b"");
    let long: String = (0..9_000).map(|i| format!("column{i},")).collect();
    write(&world, "long.csv", format!("{long}last\n1").as_bytes());
    world.upload("stored.csv", b"a,b\n").await;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/formats/duckdb.parquet");
    write(&world, "rows.parquet", &fs::read(fixture).expect("a fixture"));
    let of = |inputs: &[String], column: Column, is_sort: bool| {
        let mut spec = spec(inputs);
        if is_sort {
            let order = TotalOrder { key: SortKey::Columns(vec![column]), ..TotalOrder::default() };
            spec.steps = vec![StepSpec { order: Some(Box::new(order)), ..StepSpec::native("sort") }];
        } else {
            spec.steps[0].columns = vec![column];
        }
        spec.input_format = InputFormat::Csv(Csv { header: true, ..Csv::default() });
        spec
    };
    let (order, step) = ("/steps/0/order/key/columns", "/steps/0/columns");
    for (is_sort, at) in [(true, order), (false, step)] {
        let sought = |name: &str, columns: Column| of(&[world.url(name), world.url("empty.csv")], columns, is_sort);
        planned(&world, &sought("all.csv", Column::named("the \"city\""))).await.expect("it has it");
        planned(&world, &sought("all.csv", Column::numbered(2))).await.expect("it has two");
        planned(&world, &sought("long.csv", Column::named("last"))).await.expect("it has it");
        let has = "all.csv has no column `nope`; it has name, the \"city\"";
        refused(&world, &sought("all.csv", Column::named("nope")), Code::Invalid, at, has).await;
        let has = "all.csv has 2 columns, and no column 3";
        refused(&world, &sought("all.csv", Column::numbered(3)), Code::Invalid, at, has).await;
        let has = "no-end.csv has no column `nope`; it has name, town";
        refused(&world, &sought("no-end.csv", Column::named("nope")), Code::Invalid, at, has).await;
        let has = "long.csv has no column `nope`; it has column0, column1,";
        refused(&world, &sought("long.csv", Column::named("nope")), Code::Invalid, at, has).await;
        let both = of(&[world.url("all.csv"), world.url("other.csv")], Column::named("the \"city\""), is_sort);
        refused(&world, &both, Code::Invalid, at, "other.csv has no column `the \"city\"`; it has name, town").await;
        let stored = of(&["store://stored.csv".to_owned()], Column::named("c"), is_sort);
        refused(&world, &stored, Code::Invalid, at, "stored.csv has no column `c`; it has a, b").await;
    }
    let mut parquet = of(&[world.url("rows.parquet")], Column::named("price"), false);
    parquet.input_format = InputFormat::Parquet(Parquet::default());
    refused(&world, &parquet, Code::Invalid, step, "rows.parquet has no column `price`; it has id, ").await;
}

#[tokio::test]
async fn an_output_among_the_inputs_is_not_read_and_replaced() {
    let world = World::new();
    write(&world, "in/a", b"text");
    write(&world, "in/out.tsv", b"the last result");
    write(&world, "elsewhere", b"the last result");
    std::os::unix::fs::symlink(world.file("elsewhere"), world.file("in/link")).expect("linked");
    world.upload("in/a", b"text").await;
    world.upload("in/out.tsv", b"the last result").await;
    let of = |input: &str, output: &str| {
        let mut spec = spec(&[input.to_owned()]);
        (spec.output.url, spec.output.overwrite) = (Some(output.to_owned()), true);
        spec
    };
    let cases = [
        (world.url("in/"), world.url("in/out.tsv"), "in/out.tsv"),
        (world.url("in/*"), world.url("in/out.tsv"), "in/out.tsv"),
        (world.url("in/"), world.url("elsewhere"), "in/link"),
        ("store://in/".to_owned(), "store://in/out.tsv".to_owned(), "in/out.tsv"),
    ];
    for (input, output, file) in cases {
        let found = format!("{file}) and then be replaced");
        refused(&world, &of(&input, &output), Code::Invalid, "/output/url", &found).await;
    }
    planned(&world, &of(&world.url("in/a"), &world.url("in/out.tsv"))).await.expect("it is no input");
    planned(&world, &of(&world.url("in/"), &world.url("in/new.tsv"))).await.expect("it is not there yet");
    planned(&world, &of("store://in/a", "store://in/out.tsv")).await.expect("it is no input");
}

#[tokio::test]
async fn an_output_that_needs_files_says_how_to_have_them() {
    use gristmill_common::output::{CsvOutput, OutputFormat, ParquetOutput};
    let world = World::new();
    write(&world, "a", b"text");
    let of = |url: Option<&str>, partitions, format: OutputFormat| {
        let mut spec = spec(&[world.url("a")]);
        (spec.output.url, spec.output.format) = (url.map(|name| world.url(name)), format);
        spec.steps[0].partitions = Some(partitions);
        spec
    };
    let (at, parquet) = ("/output/format", OutputFormat::Parquet(ParquetOutput::default()));
    let advice = "Parquet has to have files: give a directory (`-o DIR/`), or a file of one partition (`-o FILE";
    refused(&world, &of(None, 1, parquet.clone()), Code::Invalid, at, advice).await;
    let merged = "Parquet is not made of parts that are merged by key, line by line, into one file: give a directory";
    refused(&world, &of(Some("out"), 2, parquet.clone()), Code::Invalid, at, merged).await;
    let header = OutputFormat::Csv(CsvOutput { header: true, ..CsvOutput::default() });
    refused(&world, &of(None, 1, header), Code::Invalid, at, "an output with a header has to have files").await;
    planned(&world, &of(Some("out"), 1, parquet)).await.expect("one file");
}
