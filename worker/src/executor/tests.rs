//! What an executor does with outputs and with a coordinator that breaks off, against one that is scripted.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use futures_util::{StreamExt, stream};
use gristmill_common::plan::{Compression, PartForm, Piece, PinnedFile, PlanHead, PlannedStep, SplitInput};
use gristmill_common::wire::{Location, NamedFile, Outcome, PlanAnswer, SplitsAnswer, output_name_in, placed_name};
use gristmill_common::{
    Code, Fence, Generation, GrantName, JobId, Problem, Reason, Stage, TaskRange, TokenSecret, WorkerId, limits,
};
use gristmill_runs::RunSummary;
use gristmill_storage::{Inbox, Roots};
use uuid::Uuid;

use super::coordinator::Coordinator;
use super::inputs::GrantInputs;
use super::outputs::{Made, Outputs};
use super::pipe::Link;
use super::protocol::{Hello, Order, Reply};
use crate::position::Position;
use crate::program::{Inputs, MapInput, MapTask, Program, Programs, ReadFailed, ReduceTask, TaskDone};

/// What was asked for: method and path, the `Range` header, and the body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    call: String,
    range: Option<String>,
    pub(super) body: Bytes,
}

/// A coordinator that answers by a function of the number of the request, from 0.
pub(super) struct Scripted {
    url: String,
    pub(super) coordinator: Coordinator,
    position: Arc<Position>,
    asked: Arc<Mutex<Vec<Asked>>>,
    pub(super) dir: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Scripted {
    pub(super) fn start(answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let router = Router::new().fallback(any(move |request: axum::extract::Request| {
            let (seen, answer) = (Arc::clone(&seen), answer.clone());
            async move {
                let call = format!("{} {}", request.method(), request.uri());
                let range = header(request.headers(), "range");
                let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.expect("a body");
                let number = {
                    let mut seen = seen.lock().expect("no panic");
                    seen.push(Asked { call, range, body });
                    seen.len() - 1
                };
                answer(number)
            }
        }));
        runtime.spawn(async move { axum::serve(listener, router).await });
        let dir = tempfile::tempdir().expect("a directory");
        let position = Arc::new(Position::in_memory());
        let coordinator = Coordinator::connect(&hello(url.clone(), &dir), Arc::clone(&position)).expect("a client");
        Self { url, coordinator, position, asked, dir, _runtime: runtime }
    }

    /// Places outputs in a directory of its own.
    fn outputs(&self, inbox: Option<Inbox>) -> Outputs {
        let directory = self.dir.path().join("outputs");
        Outputs { worker: WorkerId(Uuid::nil()), directory, jobs: BTreeSet::new(), inbox }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().expect("text").to_owned())
}

fn hello(url: String, dir: &tempfile::TempDir) -> Hello {
    Hello {
        groups: None,
        url,
        pin: None,
        plain_allowed: false,
        direct: false,
        packs: true,
        worker: WorkerId(Uuid::nil()),
        roots: vec![],
        state_dir: dir.path().to_owned(),
        outputs: dir.path().join("outputs"),
        scratch: dir.path().join("scratch"),
        sandbox: None,
    }
}

pub(super) fn grant(stage: Stage) -> GrantName {
    GrantName {
        job: JobId(Uuid::nil()),
        step: 0,
        stage,
        tasks: TaskRange { first: 0, count: 10 },
        first_fence: Fence(100),
        generation: Generation(0),
    }
}

fn token(name: &GrantName) -> String {
    TokenSecret::new([0; 32]).sign(name)
}

/// A large part of task 3.
fn part<'a>(grant: &'a GrantName, path: &'a Path, summary: RunSummary) -> Made<'a> {
    Made { token: "token", grant, index: 3, is_kept: true, form: PartForm::Run, tasks: 1, path, summary }
}

fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

#[test]
fn small_outputs_of_many_tasks_are_kept_as_files() {
    let scripted = Scripted::start(|_| no_content());
    let mut outputs = scripted.outputs(None);
    let mut place = |grant: &GrantName, is_kept, tasks| {
        let path = scripted.dir.path().join("made");
        fs::write(&path, "small").expect("written");
        let summary = RunSummary { records: 1, bytes: 5, ..RunSummary::default() };
        let made =
            Made { token: &token(grant), grant, index: 3, is_kept, form: PartForm::Run, tasks, path: &path, summary };
        let at = outputs.place(&scripted.coordinator, &made).expect("placed").at;
        assert!(!path.exists());
        at
    };
    let (map, reduce) = (grant(Stage::Map), grant(Stage::Reduce));
    let (few, many) = (limits::INLINE_TASKS, limits::INLINE_TASKS + 1);
    for (grant, is_kept) in [(&map, false), (&map, true), (&reduce, true)] {
        assert_eq!(place(grant, is_kept, few), Location::Inline("c21hbGw=".into()));
    }
    assert_eq!(place(&map, false, many), Location::Worker(WorkerId(Uuid::nil())));
    let kept = scripted.dir.path().join("outputs").join(output_name_in(&map, 3).expect("a name"));
    assert_eq!(fs::read_to_string(kept).expect("kept"), "small");
    assert_eq!(place(&reduce, true, many), Location::Store);
    let asked = scripted.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].call.as_str(), &asked[0].body[..]), ("PUT /v1/worker/output/3", &b"small"[..]));
}

#[test]
fn a_long_upload_and_a_slow_coordinator_are_signs_of_life() {
    let scripted = Scripted::start(|_| {
        std::thread::sleep(Duration::from_millis(350));
        no_content()
    });
    let path = scripted.dir.path().join("made");
    fs::write(&path, vec![b'x'; 2 << 20]).expect("written");
    let summary = RunSummary { records: 1, bytes: 2 << 20, ..RunSummary::default() };
    let grant = grant(Stage::Reduce);
    let made = part(&grant, &path, summary);
    let mut outputs = scripted.outputs(None);
    let before = scripted.position.snapshot().ticks;
    assert_eq!(outputs.place(&scripted.coordinator, &made).expect("placed").at, Location::Store);
    let ticks = scripted.position.snapshot().ticks - before;
    assert_eq!(scripted.asked()[0].body.len(), 2 << 20);
    assert!(ticks >= 8 + 3, "eight chunks and three tenths of a second, but {ticks} ticks");
}

#[test]
fn a_part_that_was_cut_or_taken_away_before_it_was_sent_fails_the_attempt_at_once() {
    let scripted = Scripted::start(|_| no_content());
    let path = scripted.dir.path().join("made");
    let summary = RunSummary { records: 1, bytes: 2 << 20, ..RunSummary::default() };
    let grant = grant(Stage::Reduce);
    let made = part(&grant, &path, summary);
    let mut outputs = scripted.outputs(None);
    for left in [None, Some(0), Some(1 << 20), Some(3 << 20)] {
        if let Some(bytes) = left {
            fs::write(&path, vec![b'x'; bytes]).expect("written");
        }
        let failed = outputs.place(&scripted.coordinator, &made).expect_err("it is not what was made");
        assert!(matches!(&failed, Reason::Worker { message } if message.contains("read back a part")), "{failed}");
    }
    assert_eq!(scripted.asked().len(), 0, "nothing of it was sent");
}

#[test]
fn a_finished_part_is_laid_into_the_inbox_and_sent_where_nobody_looks_there() {
    let gone = || (StatusCode::NOT_FOUND, Json(Problem::new(Code::NotFound, "no such file"))).into_response();
    let scripted = Scripted::start(move |number| if number == 1 { gone() } else { no_content() });
    let inbox = Inbox::of_store(&scripted.dir.path().join("store"));
    inbox.make_empty().expect("made");
    let mut outputs = scripted.outputs(Some(inbox.clone()));
    let path = scripted.dir.path().join("made");
    let bytes = 20_000;
    let summary = RunSummary { records: 1, bytes, digest: 0xab, text_bytes: bytes };
    let grant = grant(Stage::Reduce);
    let name = placed_name(&output_name_in(&grant, 3).expect("a name"));
    let mut place = || {
        fs::write(&path, vec![b'x'; 20_000]).expect("written");
        let made = Made { form: PartForm::File, ..part(&grant, &path, summary) };
        let output = outputs.place(&scripted.coordinator, &made).expect("placed");
        assert_eq!(
            (output.at, output.form, output.digest.as_str()),
            (Location::Store, PartForm::File, "00000000000000ab")
        );
        assert!(!path.exists());
    };
    place();
    assert!(inbox.find(&name, bytes).is_some(), "it waits to be taken");
    place();
    assert!(inbox.find(&name, bytes).is_none(), "it was withdrawn and sent");
    fs::remove_dir_all(scripted.dir.path().join("store")).expect("removed");
    place();
    let (laid, sent) = (
        "PUT /v1/worker/output/3?bytes=20000&placed=true",
        "PUT /v1/worker/output/3?bytes=20000&checksum=00000000000000ab",
    );
    let calls: Vec<_> = scripted.asked().into_iter().map(|asked| (asked.call, asked.body.len())).collect();
    let expected = [(laid, 0), (laid, 0), (sent, 20_000), (sent, 20_000)];
    assert_eq!(calls, expected.map(|(call, bytes)| (call.to_owned(), bytes)));
}

/// A link without another end: orders that were given before, and the replies.
struct Script {
    orders: std::vec::IntoIter<Order>,
    replies: Vec<Reply>,
}

impl Link for Script {
    fn receive(&mut self) -> Option<Order> {
        self.orders.next()
    }

    fn send(&mut self, reply: Reply) -> bool {
        self.replies.push(reply);
        true
    }
}

/// Serves one order for tasks of the grant, and returns the replies.
fn serve_one(scripted: &Scripted, grant: &GrantName, programs: &Programs) -> Vec<Reply> {
    let order = Order::Run { token: token(grant), tasks: grant.tasks };
    let mut link = Script { orders: vec![order].into_iter(), replies: Vec::new() };
    let (position, cancel) = (Arc::clone(&scripted.position), Arc::default());
    super::serve(&mut link, &hello(scripted.url.clone(), &scripted.dir), programs, position, cancel, None)
        .expect("served");
    link.replies
}

fn plan_of(reduces: u32) -> PlanAnswer {
    let step = PlannedStep::native("test", 1, reduces);
    PlanAnswer { head: PlanHead { files: vec![], steps: vec![step], progress_timeout_ms: 1_000 }, may_skip: false }
}

#[test]
fn reduces_whose_maps_are_made_again_are_given_back() {
    let stale = || (StatusCode::PRECONDITION_FAILED, Json(Problem::new(Code::Stale, "being made again")));
    let scripted = Scripted::start(move |number| match number {
        0 => Json(plan_of(10)).into_response(),
        _ => stale().into_response(),
    });
    let grant = grant(Stage::Reduce);
    let replies = serve_one(&scripted, &grant, &Programs::default());
    assert_eq!(replies, [Reply::Returned(grant.tasks), Reply::Idle]);
}

/// A body of these bytes that breaks off.
pub(super) fn breaking(status: StatusCode, bytes: &'static [u8]) -> Response {
    let end = async {
        // What was sent before is to arrive.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(io::Error::other("killed"))
    };
    let body = stream::iter([Ok(Bytes::from_static(bytes))]).chain(stream::once(end));
    (status, Body::from_stream(body)).into_response()
}

fn stored(bytes: u64) -> PinnedFile {
    let (url, version, compression) = ("store://in/a".into(), "1".into(), Compression::None);
    PinnedFile { url, bytes, version, compression, tag: None }
}

fn read_stored(scripted: &Scripted, bytes: u64) -> io::Result<String> {
    let roots = Roots::new(&[] as &[PathBuf], [scripted.dir.path()]).expect("roots");
    let files = [NamedFile { index: 7, file: stored(bytes) }];
    let inputs = GrantInputs::new(&scripted.coordinator, &roots, "token", &files);
    let mut text = String::new();
    inputs.open(&files[0].file, 0).expect("opened").read_to_string(&mut text).map(|_| text)
}

#[test]
fn an_input_that_breaks_off_is_continued_as_long_as_bytes_come() {
    let scripted = Scripted::start(|number| match number {
        0 => breaking(StatusCode::OK, b"0"),
        1..12 => breaking(StatusCode::PARTIAL_CONTENT, b"1"),
        _ => (StatusCode::PARTIAL_CONTENT, "2").into_response(),
    });
    assert_eq!(read_stored(&scripted, 13).expect("read"), "0111111111112");
    assert_eq!(scripted.asked()[12].range.as_deref(), Some("bytes=12-"));
    // At the very end there is nothing to go on with.
    let scripted = Scripted::start(|_| breaking(StatusCode::OK, b"whole"));
    assert_eq!((read_stored(&scripted, 5).expect("read"), scripted.asked().len()), ("whole".to_owned(), 1));
}

#[test]
fn an_input_that_cannot_be_continued_is_not_user_codes_fault() {
    let reason_after = |code: Code| {
        let scripted = Scripted::start(move |number| match number {
            0 => breaking(StatusCode::OK, b"0"),
            _ => {
                let status = StatusCode::from_u16(code.status()).expect("a status");
                (status, Json(Problem::new(code, "no"))).into_response()
            }
        });
        let error = read_stored(&scripted, 9).expect_err("refused");
        error.downcast::<ReadFailed>().expect("with its reason").0
    };
    assert!(matches!(reason_after(Code::Stale), Reason::InputChanged { .. }));
    assert!(matches!(reason_after(Code::Internal), Reason::Worker { .. }));
}

/// Fails with what it is to read.
struct Tell;

impl Program for Tell {
    fn check(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }

    fn map(&self, _: &[String], task: MapTask<'_>) -> Result<TaskDone, Reason> {
        let MapInput::Pieces { pieces, .. } = task.input else { panic!("only files") };
        let told = pieces.iter().map(|piece| format!("{}={}", piece.index, piece.file.version));
        Err(Reason::Worker { message: told.collect::<Vec<_>>().join(" ") })
    }

    fn reduce(&self, _: &[String], _: ReduceTask<'_>) -> Result<TaskDone, Reason> {
        unreachable!("map-only")
    }

    fn map_fed(&self, _: &[String], _: MapTask<'_>) -> Result<Box<dyn crate::program::Feed>, Reason> {
        unreachable!("map-only")
    }
}

#[test]
fn a_split_finds_its_files_in_whatever_order_they_come() {
    let scripted = Scripted::start(|number| match number {
        0 => Json(plan_of(0)).into_response(),
        _ => {
            let piece = |file| Piece::new(file, 0, 1);
            let file = |index: u32| PinnedFile { version: format!("v{index}"), ..stored(1) };
            let files = [9, 3, 40, 5].map(|index| NamedFile { index, file: file(index) });
            let splits = vec![SplitInput::Files(vec![piece(5), piece(40), piece(3)])];
            Json(SplitsAnswer { splits, files: files.into() }).into_response()
        }
    });
    let grant = GrantName { tasks: TaskRange { first: 0, count: 1 }, ..grant(Stage::Map) };
    let replies = serve_one(&scripted, &grant, &Programs::default().with("test", Arc::new(Tell)));
    let Reply::Ended(results) = &replies[1] else { panic!("{replies:?}") };
    let told = Reason::Worker { message: "5=v5 40=v40 3=v3".into() };
    assert_eq!(results[0].outcome, Outcome::Failed(told));
}
