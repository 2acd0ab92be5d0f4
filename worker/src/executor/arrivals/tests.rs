//! Sections from a store that is slow, breaks off, or says something else the second time.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use gristmill_common::wire::{FetchRequest, Location, OutputRef, OutputsAnswer};
use gristmill_common::{Code, Fence, Generation, Problem, Reason, Stage};
use gristmill_runs::NOT_THERE;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::super::fetch::Peers;
use super::super::sections::Sections;
use super::super::tests::{Scripted, breaking, grant};
use super::*;

/// The sections of maps 4 and 6.
fn sections(scripted: &Scripted) -> Result<(Vec<Section>, Option<Transfers>), Reason> {
    sections_of(scripted, &[4, 6])
}

fn sections_of(scripted: &Scripted, maps: &[u32]) -> Result<(Vec<Section>, Option<Transfers>), Reason> {
    let mut finder = Sections {
        feeding: (0, Stage::Map),
        coordinator: &scripted.coordinator,
        state_dir: scripted.dir.path(),
        scratch: scripted.dir.path(),
        holders: &mut BTreeMap::new(),
        peers: &mut Peers::default(),
    };
    let output = |&map: &u32| OutputRef { map, fence: Fence(9), bytes: 100, at: vec![Location::Store] };
    let outputs = maps.iter().map(output).collect();
    let table = OutputsAnswer { generation: Generation(0), outputs, holders: BTreeMap::new() };
    finder.all("token", &grant(Stage::Reduce), 2, &table)
}

fn text(section: &mut Section) -> io::Result<String> {
    let mut text = String::new();
    section.bytes.read_to_string(&mut text).map(|_| text)
}

fn reason(section: &mut Section) -> Reason {
    text(section).expect_err("does not come").downcast::<ReadFailed>().expect("with its reason").0
}

fn lengths(lengths: [u64; 2], rest: &'static str) -> Bytes {
    let head = lengths.map(u64::to_le_bytes);
    [head.as_flattened(), rest.as_bytes()].concat().into()
}

#[test]
fn a_fetch_that_breaks_off_goes_on_where_it_was() {
    let scripted = Scripted::start(|number| match number {
        0 => breaking(StatusCode::OK, b"\x03\0\0\0"),
        1 => breaking(StatusCode::OK, b"\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0ab"),
        2 => lengths([3, 2], "cde").into_response(),
        _ => unreachable!("everything came"),
    });
    let (mut found, _transfers) = sections(&scripted).expect("fetched");
    let texts = found.iter_mut().map(|section| (section.map, section.len, text(section).expect("read")));
    assert_eq!(texts.collect::<Vec<_>>(), [(4, 3, "abc".to_owned()), (6, 2, "de".to_owned())]);
    let from = scripted.asked().into_iter().map(|asked| {
        let request: FetchRequest = serde_json::from_slice(&asked.body).expect("a fetch");
        request.from
    });
    assert_eq!(from.collect::<Vec<_>>(), [Some(0), Some(0), Some(2)]);
}

#[test]
fn a_scratch_file_that_cannot_be_read_is_the_workers_failure() {
    let scripted = Scripted::start(|_| lengths([3, 2], "abcde").into_response());
    let (mut found, _transfers) = sections(&scripted).expect("fetched");
    fs::remove_file(scripted.dir.path().join("fetched-0")).expect("removed");
    assert!(matches!(reason(&mut found[0]), Reason::Worker { .. }));
}

/// A store whose answer goes on as it is told to.
fn slow(head: Bytes) -> (Scripted, UnboundedSender<Bytes>) {
    let (send, rest) = unbounded_channel();
    send.send(head).expect("received");
    let rest = Arc::new(Mutex::new(Some(rest)));
    let answer = move |_| {
        let rest = rest.lock().expect("no panic").take().expect("asked once");
        let body = stream::unfold(rest, |mut rest| async move {
            let next: Bytes = rest.recv().await?;
            Some((Ok::<_, io::Error>(next), rest))
        });
        Response::new(Body::from_stream(body))
    };
    (Scripted::start(answer), send)
}

#[test]
fn what_has_come_is_read_before_the_rest_comes() {
    let (scripted, send) = slow(lengths([3, 2], "ab"));
    let (mut found, _transfers) = sections(&scripted).expect("fetched");
    let mut two = [0; 2];
    found[0].bytes.read_exact(&mut two).expect("two bytes are there");
    send.send(Bytes::from_static(b"cde")).expect("received");
    assert_eq!(two, *b"ab");
    assert_eq!((text(&mut found[0]).expect("read"), text(&mut found[1]).expect("read")), ("c".into(), "de".into()));
}

#[test]
fn transfers_end_with_the_attempt() {
    let (scripted, _send) = slow(lengths([3, 2], "a"));
    let (mut found, transfers) = sections(&scripted).expect("fetched");
    // The answer never ends: this would wait for ever.
    drop(transfers);
    assert!(matches!(reason(&mut found[1]), Reason::Worker { .. }));
}

#[test]
fn a_connection_whose_answer_nobody_wants_is_closed_at_once() {
    let (scripted, send) = slow(lengths([3, 2], "a"));
    let (_found, transfers) = sections(&scripted).expect("fetched");
    drop(transfers);
    // Nobody runs what the attempt's calls run on.
    let is_closed = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        send.is_closed()
    });
    assert!(is_closed, "whoever sends still waits for somebody who reads");
}

#[test]
fn a_store_that_says_something_else_the_second_time_ends_the_attempt() {
    let second = |answer: fn() -> Response| {
        let scripted = Scripted::start(move |number| match number {
            0 => breaking(StatusCode::OK, b"\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0ab"),
            _ => answer(),
        });
        let (mut found, _transfers) = sections(&scripted).expect("fetched");
        (reason(&mut found[0]), reason(&mut found[1]))
    };
    let (first, last) = second(|| lengths([3, NOT_THERE], "").into_response());
    assert_eq!(first, last);
    assert!(matches!(first, Reason::LostOutput { map, fence: Fence(9), .. } if map.index == 6), "{first}");
    assert!(matches!(second(|| lengths([3, 4], "").into_response()).0, Reason::Worker { .. }));
    assert!(matches!(second(|| lengths([3, 2], "").into_response()).1, Reason::Worker { .. }));
    let refused = second(|| (StatusCode::CONFLICT, Json(Problem::new(Code::Stale, "no"))).into_response());
    assert!(matches!(refused.0, Reason::Worker { .. }));
}

#[test]
fn lengths_that_make_no_sense_are_refused() {
    for wrong in [[NOT_THERE - 1, 5], [1 << 60, 0]] {
        let scripted = Scripted::start(move |_| lengths(wrong, "").into_response());
        assert!(matches!(sections(&scripted), Err(Reason::Worker { .. })), "{wrong:?}");
    }
    let scripted = Scripted::start(|_| lengths([1, NOT_THERE], "").into_response());
    assert!(matches!(sections(&scripted), Err(Reason::LostOutput { map, .. }) if map.index == 6));
}

#[test]
fn answers_beyond_those_received_at_once_wait_for_the_ones_before() {
    // The first section of each answer has a byte.
    let answer = |_| {
        let mut bytes = vec![0; limits::OUTPUTS_PER_FETCH * 8 + 1];
        (bytes[0], bytes[limits::OUTPUTS_PER_FETCH * 8]) = (1, b'x');
        bytes.into_response()
    };
    let scripted = Scripted::start(answer);
    let answers = limits::ANSWERS_AT_ONCE + 2;
    let maps: Vec<u32> = (0..(answers * limits::OUTPUTS_PER_FETCH) as u32).collect();
    let (mut found, transfers) = sections_of(&scripted, &maps).expect("fetched");
    let texts: Vec<_> = found.iter_mut().map(|section| text(section).expect("read")).collect();
    assert_eq!((texts, scripted.asked().len()), (vec!["x".to_owned(); answers], answers));
    assert_eq!(transfers.map(|transfers| transfers.arriving.len()), Some(2), "the others were received before");
}
