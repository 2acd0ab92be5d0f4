//! The contract point by point, with peers that are functions. Names say the point of `docs/streaming.md`.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gristmill_common::plan::PlannedStep;
use gristmill_common::program::{InputForm, Order, Partition, Streaming};
use gristmill_common::{Fence, JobId, Stage, TaskName};
use gristmill_runs::{RunFile, Source as _, part_text};

use super::*;
use crate::data::{self, NoCombiner, Shuffle};
use crate::log::AttemptLog;
use crate::position::Position;
use crate::program::{MapInput, MapTask, ReduceTask, Section};

/// What a program prints for its stdin.
type Script = fn(&[u8]) -> Vec<u8>;

/// Remembers its input and prints what a function makes of it, three bytes at a time.
struct Fake {
    program: Script,
    stdin: Vec<u8>,
    seen: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Peer for Fake {
    fn feed(&mut self, bytes: &[u8], _: &mut Take<'_>) -> Result<(), Reason> {
        self.stdin.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, take: &mut Take<'_>) -> Result<(), Reason> {
        self.seen.lock().expect("alone").extend_from_slice(&self.stdin);
        (self.program)(&self.stdin).chunks(3).try_for_each(take)
    }

    fn counters(&mut self) -> Vec<(String, i64)> {
        vec![("group:runs".to_owned(), 1)]
    }
}

/// One map and its reduces with fake programs.
struct Bench {
    streaming: Streaming,
    reduces: u32,
    dir: tempfile::TempDir,
    /// What programs read, in the order in which they ended.
    seen: Arc<std::sync::Mutex<Vec<u8>>>,
}

fn cat(stdin: &[u8]) -> Vec<u8> {
    stdin.to_vec()
}

impl Bench {
    fn new(streaming: Streaming) -> Self {
        let seen = Arc::default();
        Self { streaming, reduces: 1, dir: tempfile::tempdir().expect("a directory"), seen }
    }

    fn step(&self) -> PlannedStep {
        PlannedStep { sort_budget_bytes: 1 << 20, ..PlannedStep::native("test", 1, self.reduces) }
    }

    fn fake(&self, program: Script) -> Fake {
        Fake { program, stdin: Vec::new(), seen: Arc::clone(&self.seen) }
    }

    fn seen(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.seen.lock().expect("alone"))).expect("UTF-8")
    }

    fn map_input(&self, input: MapInput<'_>, mapper: Option<Script>, combine: bool) -> Option<RunFile> {
        let output = self.dir.path().join("map");
        let _ = std::fs::remove_file(&output);
        let step = self.step();
        let skips = crate::skip::Skips::none();
        let task = MapTask {
            job: JobId(uuid::Uuid::nil()),
            name: TaskName { step: 0, stage: Stage::Map, index: 0 },
            fence: Fence(1),
            step: &step,
            input,
            output: &output,
            scratch: self.dir.path(),
            packs: true,
            position: Arc::new(Position::in_memory()),
            cancel: Arc::new(AtomicBool::new(false)),
            log: AttemptLog::default(),
            skips: &skips,
        };
        let numbered = matches!(task.input, MapInput::Generated { .. });
        let peer = mapper.map(|program| self.fake(program));
        let mut mapper = StreamMap::new(peer, &self.streaming, self.reduces == 0, numbered).expect("made");
        let combiner = StreamCombine::new(Firsts { seen: Arc::clone(&self.seen) }, &self.streaming).expect("made");
        let combine = combine.then(|| Box::new(combiner) as Box<dyn data::CombineRun>);
        let partitioner = shuffle_partitioner(&self.streaming).expect("made");
        data::map_shuffled(task, &mut mapper, Shuffle { partitioner, combine }, write_line).expect("mapped");
        std::fs::File::open(&output).ok().map(|file| RunFile::open(file).expect("a run"))
    }

    fn map(&self, text: &str, mapper: Option<Script>, combine: bool) -> Option<RunFile> {
        let text = Box::new(Cursor::new(text.as_bytes().to_vec()));
        self.map_input(MapInput::Part { part: 0, text }, mapper, combine)
    }

    fn reduce<R: data::ReduceFunction>(&self, run: Option<&RunFile>, partition: u32, reducer: &mut R) -> String {
        let output = self.dir.path().join("part");
        let _ = std::fs::remove_file(&output);
        let step = self.step();
        let bytes = run.map(|run| run.section_bytes(partition)).filter(|bytes| !bytes.is_empty());
        let section = bytes.map(|bytes| Section { map: 0, fence: Fence(1), len: bytes.len(), bytes: Box::new(bytes) });
        let skips = crate::skip::Skips::none();
        let task = ReduceTask {
            job: JobId(uuid::Uuid::nil()),
            name: TaskName { step: 0, stage: Stage::Reduce, index: partition },
            fence: Fence(2),
            step: &step,
            sections: section.into_iter().collect(),
            output: &output,
            next: None,
            scratch: self.dir.path(),
            position: Arc::new(Position::in_memory()),
            cancel: Arc::new(AtomicBool::new(false)),
            log: AttemptLog::default(),
            skips: &skips,
        };
        data::reduce(task, reducer, None::<&NoCombiner>).expect("reduced");
        text_of(std::fs::File::open(&output).ok().map(|file| RunFile::open(file).expect("a part")).as_ref())
    }

    /// All parts of a job of one map, with `|` between them.
    fn run(&self, text: &str, mapper: Option<Script>, reducer: Option<Script>) -> String {
        let run = self.map(text, mapper, false);
        if self.reduces == 0 {
            return text_of(run.as_ref());
        }
        let parts = (0..self.reduces).map(|partition| {
            let peer = reducer.map(|program| self.fake(program));
            self.reduce(run.as_ref(), partition, &mut StreamReduce::new(peer, &self.streaming).expect("made"))
        });
        parts.collect::<Vec<_>>().join("|")
    }
}

fn text_of(run: Option<&RunFile>) -> String {
    let mut text = Vec::new();
    let Some(run) = run else { return String::new() };
    let mut reader = run.reader(0);
    while reader.advance().expect("sound") {
        let (head, tail) = part_text(reader.key(), reader.value()).expect("text");
        text.extend_from_slice(head);
        text.extend_from_slice(tail);
    }
    String::from_utf8(text).expect("UTF-8")
}

/// Combiners that print the first line they read.
struct Firsts {
    seen: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl PeerOfRun for Firsts {
    type Peer = Fake;

    fn start(&mut self) -> Result<Fake, Reason> {
        let first = |stdin: &[u8]| stdin.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default().to_vec();
        Ok(Fake { program: first, stdin: Vec::new(), seen: Arc::clone(&self.seen) })
    }

    fn count(&mut self, name: String, amount: i64) {
        assert_eq!((name.as_str(), amount), ("group:runs", 1));
    }
}

#[test]
fn p2_a_mapper_gets_lines_or_offsets_or_keys() {
    let stdin_of = |input, separator: &str| {
        let bench = Bench::new(Streaming { input, map_input_separator: separator.into(), ..Streaming::default() });
        bench.run("ab\tc\nd\n\ne", Some(cat), Some(cat));
        bench.seen().split("d\t\n").next().unwrap_or_default().lines().take(4).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(stdin_of(InputForm::Line, "\t"), ["ab\tc", "d", "", "e"]);
    assert_eq!(stdin_of(InputForm::OffsetLine, "\t"), ["0\tab\tc", "5\td", "7\t", "8\te"]);
    assert_eq!(stdin_of(InputForm::KeyValue, "="), ["ab=c", "d=", "=", "e="]);
}

#[test]
fn p2_generated_records_have_their_number_as_offset() {
    let bench = Bench::new(Streaming { input: InputForm::OffsetLine, ..Streaming::default() });
    bench.map_input(MapInput::Generated { first: 7, count: 2 }, Some(cat), false);
    assert_eq!(bench.seen(), "7\t7\n8\t8\n");
}

#[test]
fn p3_lines_end_at_lf_crlf_and_cr_and_bytes_pass_unchanged() {
    let bench = Bench::new(Streaming::default());
    bench.map("a\r\nb\rc\n\n\r\nlast", Some(cat), false);
    assert_eq!(bench.seen(), "a\nb\nc\n\n\nlast\n");
    bench.map("\u{0}é\u{7f}\n", Some(cat), false);
    assert_eq!(bench.seen(), "\u{0}é\u{7f}\n");
}

#[test]
fn p4_the_key_ends_at_the_nth_separator_or_with_the_line() {
    let of = |separator: &str, fields, text| {
        let streaming =
            Streaming { map_output_separator: separator.into(), map_output_key_fields: fields, ..Streaming::default() };
        let bench = Bench::new(Streaming { reduce_input_separator: "=".into(), ..streaming });
        bench.run(text, Some(cat), Some(cat))
    };
    assert_eq!(of("\t", 1, "k\tv\tw\nnone\n"), "k=v\tw\nnone=\n");
    assert_eq!(of("\t", 2, "k\tv\tw\none\ttwo\n"), "k\tv=w\none\ttwo=\n");
    assert_eq!(of("::", 1, "k::v::w\nk:v\n"), "k=v::w\nk:v=\n");
    assert_eq!(of("::", 2, "k::v::w\n"), "k::v=w\n");
}

#[test]
fn p5_a_reducer_reads_sorted_lines_and_values_keep_their_order() {
    let bench = Bench::new(Streaming { map_output_separator: ":".into(), ..Streaming::default() });
    bench.map("", None, false);
    let run = bench.map("b:2\na:9\nb:1\n\u{ff}:0\nB:3\n", None, false);
    let mut reducer = StreamReduce::new(Some(bench.fake(cat)), &bench.streaming).expect("made");
    bench.reduce(run.as_ref(), 0, &mut reducer);
    assert_eq!(bench.seen(), "B\t3\na\t9\nb\t2\nb\t1\n\u{ff}\t0\n");
}

#[test]
fn p6_lines_are_the_output_and_strict_splits_them_again() {
    let print = |_: &[u8]| b"plain\nkey\tvalue\nlast".to_vec();
    let lenient = Bench::new(Streaming::default());
    assert_eq!(lenient.run("x\n", None, Some(print)), "plain\nkey\tvalue\nlast\n");
    let strict = Streaming { strict: true, output_separator: "=".into(), ..Streaming::default() };
    assert_eq!(Bench::new(strict.clone()).run("x\n", None, Some(print)), "plain=\nkey=value\nlast=\n");
    let map_only = Bench { reduces: 0, ..Bench::new(strict) };
    assert_eq!(map_only.run("x\n", Some(print), None), "plain=\nkey=value\nlast=\n");
}

#[test]
fn p7_what_the_reducer_of_nothing_prints_is_dropped() {
    let bench = Bench::new(Streaming::default());
    let mut reducer = StreamReduce::new(Some(bench.fake(|_| b"junk\n".to_vec())), &bench.streaming).expect("made");
    assert_eq!(bench.reduce(None, 0, &mut reducer), "");
}

#[test]
fn p8_a_combiner_gets_each_partition_of_a_run_and_is_parsed_as_a_reducer() {
    let streaming =
        Streaming { reduce_output_separator: "\t".into(), map_output_separator: ":".into(), ..Streaming::default() };
    let bench = Bench::new(Streaming { partition: Partition::Java, ..streaming });
    let bench = Bench { reduces: 2, ..bench };
    let run = bench.map("a:1\na:2\nb:3\n", None, true);
    let mut read: Vec<_> = bench.seen().lines().map(str::to_owned).collect();
    read.sort();
    assert_eq!(read, ["a\t1", "a\t2", "b\t3"]);
    let identity = || StreamReduce::<Fake>::new(None, &bench.streaming).expect("made");
    let mut parts: Vec<_> = (0..2).map(|at| bench.reduce(run.as_ref(), at, &mut identity())).collect();
    parts.sort();
    assert_eq!(parts, ["a\t1\n", "b\t3\n"]);
}

#[test]
fn p9_the_aggregate_reducer_folds_every_type() {
    let bench = Bench::new(Streaming::default());
    let text = "LongValueSum:n\t2\nLongValueSum:n\t-5\nLongValueMax:n\t2\nLongValueMax:n\t9\nLongValueMin:n\t2\nLongValueMin:n\t-9\n\
                DoubleValueSum:d\t1.5\nDoubleValueSum:d\t1.5\nStringValueMax:s\tab\nStringValueMax:s\tb\nStringValueMin:s\tab\n\
                StringValueMin:s\tb\nUniqValueCount:u\tx\nUniqValueCount:u\tx\nuniqvaluecount:v\ty\n\
                ValueHistogram:h\tx\nValueHistogram:h\tx\nValueHistogram:h\ty\t4\n";
    let run = bench.map(text, None, false);
    let output = bench.reduce(run.as_ref(), 0, &mut Aggregate::new(&bench.streaming).expect("made"));
    assert_eq!(output, "d\t3.0\nn\t9\nn\t-9\nn\t-3\ns\tb\ns\tab\nu\t1\nh\t2\t2\t4\t4\t3.0\t1.0\nv\t1\n");
}

#[test]
fn p9_without_programs_records_pass() {
    let bench = Bench::new(Streaming::default());
    assert_eq!(bench.run("b\t2\na\nb\t1\n", None, None), "a\t\nb\t2\nb\t1\n");
    let map_only = Bench { reduces: 0, ..Bench::new(Streaming::default()) };
    assert_eq!(map_only.run("b\t2\na\n", None, None), "b\t2\na\n", "unsorted, as printed");
}

#[test]
fn p10_the_java_partition_is_that_of_hadoops_text() {
    // 31 + 'a' = 128, 31 + 'b' = 129.
    let bench = Bench { reduces: 2, ..Bench::new(Streaming { partition: Partition::Java, ..Streaming::default() }) };
    assert_eq!(bench.run("a\nb\nc\nd\n", None, None), "a\t\nc\t\n|b\t\nd\t\n");
}

#[test]
fn p11_partitions_by_fields_keep_equal_fields_together() {
    let partition = Partition::Fields { options: "-k2,2".into(), separator: ".".into() };
    let bench = Bench { reduces: 2, ..Bench::new(Streaming { partition, ..Streaming::default() }) };
    // 'x' is 120, 'y' 121.
    assert_eq!(bench.run("b.y\na.x\nc.x\na.y\nd\n", None, None), "a.x\t\nc.x\t\nd\t\n|a.y\t\nb.y\t\n");
}

#[test]
fn p12_keys_are_ordered_by_fields_and_come_back_as_they_were() {
    let order = Order::Fields { options: "-k2,2nr -k1,1".into(), separator: ".".into() };
    let bench = Bench::new(Streaming { order, ..Streaming::default() });
    assert_eq!(bench.run("a.2\tp\nb.10\tq\na.10\tr\nc\ts\n", None, Some(cat)), "a.10\tr\nb.10\tq\na.2\tp\nc\ts\n");
}

#[test]
fn p13_secondary_sort_partitions_by_the_first_field_and_sorts_by_both() {
    let streaming = Streaming {
        map_output_key_fields: 2,
        partition: Partition::Fields { options: "-k1,1".into(), separator: "\t".into() },
        ..Streaming::default()
    };
    let bench = Bench { reduces: 2, ..Bench::new(streaming) };
    // 'a' is 97, 'b' 98.
    let output = bench.run("b\t2\tx\na\t3\ty\nb\t1\tz\na\t1\tw\n", None, Some(cat));
    assert_eq!(output, "b\t1\tz\nb\t2\tx\n|a\t1\tw\na\t3\ty\n");
}

#[test]
fn p17_stderr_has_counters_status_and_log() {
    let text = "hello\nreporter:counter:g,c,5\nreporter:counter:g,c\nreporter:counter:g,c,x\nreporter:status: busy \nreporter:what\n.";
    for size in [1, 2, 7, 1000] {
        let (mut reporter, mut said) = (Reporter::default(), Vec::new());
        let mut note = |what: Said<'_>| match what {
            Said::Count(name, amount) => said.push(format!("count {name} {amount}")),
            Said::Status(status) => said.push(format!("status {status}")),
            Said::Unknown(line) => said.push(format!("unknown {}", String::from_utf8_lossy(line).trim_end())),
            Said::Log(_) => {}
        };
        text.as_bytes().chunks(size).for_each(|piece| reporter.take(piece, &mut note));
        reporter.finish(&mut note);
        let expected = [
            "count g:c 5",
            "unknown reporter:counter:g,c",
            "unknown reporter:counter:g,c,x",
            "status busy",
            "unknown reporter:what",
        ];
        assert_eq!(said, expected, "in pieces of {size}");
    }
}

#[test]
fn a_line_without_end_is_refused() {
    let mut cutter = lines::LineCutter::default();
    let block = vec![b'x'; 16 << 20];
    let ended = (0..5).try_for_each(|_| cutter.cut(&block, |_| ()));
    assert!(matches!(ended, Err(Reason::Limit { .. })), "{ended:?}");
}
