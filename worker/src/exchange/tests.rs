use gristmill_common::wire::{
    Ack, Done, Grant, Location, Outcome, Output, PollRequest, PollResponse, Relay, Report, Running, TaskResult,
    Verdict, WorkerAbout,
};
use gristmill_common::{
    Digest, Epoch, Fence, FenceRange, Generation, GrantName, JobId, Reason, SessionId, Stage, TaskRange, TokenSecret,
    WorkerId, limits,
};
use uuid::Uuid;

use super::*;

fn exchange(slots: u32) -> Exchange {
    Exchange::new(Identity {
        worker: WorkerId(Uuid::from_u128(1)),
        session: SessionId(Uuid::from_u128(2)),
        incarnation: 1,
        about: WorkerAbout {
            name: "w".into(),
            host: "h".into(),
            version: "0".into(),
            slots,
            programs: vec![],
            executable: Digest::of(b""),
            roots: vec![],
            ..WorkerAbout::default()
        },
    })
}

fn name(job: u128, first: u32, count: u32, fence: u64) -> GrantName {
    GrantName {
        job: JobId(Uuid::from_u128(job)),
        step: 0,
        stage: Stage::Map,
        tasks: TaskRange { first, count },
        first_fence: Fence(fence),
        generation: Generation(0),
    }
}

fn token(name: GrantName) -> String {
    TokenSecret::new([0; 32]).sign(&name)
}

/// An answer that keeps everything and says nothing else.
fn answer_to(request: &PollRequest) -> PollResponse {
    PollResponse {
        epoch: epoch(1),
        seq: request.seq,
        acks: vec![],
        keep: request.running.iter().map(|running| running.fences).collect(),
        grants: vec![],
        relay: vec![],
        drop: vec![],
        lease_ms: 30_000,
        next_poll_ms: 1_000,
        drain: false,
    }
}

fn epoch(counter: u64) -> Epoch {
    Epoch { cluster: Uuid::from_u128(9), counter }
}

fn granting(request: &PollRequest, grants: &[GrantName]) -> PollResponse {
    let grants = grants.iter().map(|&name| Grant { token: token(name) }).collect();
    PollResponse { grants, ..answer_to(request) }
}

fn acking(request: &PollRequest, fences: FenceRange, verdict: Verdict) -> PollResponse {
    PollResponse { acks: vec![Ack { fences, verdict }], ..answer_to(request) }
}

fn nothing() -> Outcome {
    Outcome::Done(Done {
        output: Output::default(),
        records_in: 1,
        took_ms: 0,
        counters: Default::default(),
        ..Done::default()
    })
}

fn inline(bytes: usize) -> Outcome {
    let output = Output { at: Location::Inline("x".repeat(bytes)), ..Output::default() };
    Outcome::Done(Done { output, records_in: 1, took_ms: 0, counters: Default::default(), ..Done::default() })
}

fn fences(first: u64, count: u32) -> FenceRange {
    FenceRange { first: Fence(first), count }
}

/// Gets the grants and hands out the first batch.
fn with_grants(slots: u32, grants: &[GrantName]) -> Exchange {
    let mut exchange = exchange(slots);
    let request = exchange.next_request(0);
    assert_eq!(exchange.on_answer(granting(&request, grants)), Ok(vec![]));
    exchange
}

/// Runs everything that is handed out, and returns how many batches it was.
fn run_all(exchange: &mut Exchange, took_us: u64) -> usize {
    let mut batches = 0;
    while let Some(work) = exchange.start(0) {
        assert!(!exchange.on_finished(&work, nothing(), took_us).is_empty());
        batches += 1;
    }
    batches
}

#[test]
fn a_task_is_granted_run_reported_and_forgotten() {
    let mut exchange = with_grants(1, &[name(7, 3, 1, 100)]);
    let work = exchange.start(0).expect("granted");
    assert_eq!((work.tasks, work.grant.name.job), (TaskRange::one(3), JobId(Uuid::from_u128(7))));
    assert_eq!(exchange.start(0), None);
    let request = exchange.next_request(0);
    assert_eq!((request.seen, request.free_slots), (1, 0));
    assert_eq!(
        request.running,
        [Running { fences: fences(100, 1), progress_permille: Some(0), status: None }],
        "it has begun"
    );

    assert_eq!(exchange.on_finished(&work, nothing(), 5_000_000), std::slice::from_ref(&work));
    let request = exchange.next_request(0);
    assert_eq!((request.free_slots, request.running.len()), (1, 0));
    assert_eq!(request.finished[0].token, work.grant.token);
    assert_eq!(request.finished[0].results[0].tasks, TaskRange::one(3));
    let told = exchange.on_answer(acking(&request, fences(100, 1), Verdict::Accepted)).expect("taken");
    assert_eq!(told, [Instruction::Acked { work, verdict: Verdict::Accepted }]);
    assert!(exchange.is_empty() && !exchange.has_news());
}

#[test]
fn the_same_request_is_repeated_until_there_is_news() {
    let mut exchange = exchange(1);
    let first = exchange.next_request(0);
    assert!(Arc::ptr_eq(&first, &exchange.next_request(0)));
    exchange.drain();
    let second = exchange.next_request(0);
    assert_eq!((second.seq, second.draining, second.free_slots), (2, true, 0));
}

#[test]
fn an_answer_of_an_older_request_changes_nothing() {
    let mut exchange = exchange(1);
    let first = exchange.next_request(0);
    exchange.drain();
    let second = exchange.next_request(0);
    assert_eq!(exchange.on_answer(granting(&first, &[name(7, 0, 1, 100)])), Ok(vec![]));
    assert!(exchange.is_empty());
    // The coordinator sees from `seen` that the answer got lost, and sends the grant again.
    assert_eq!(second.seen, 0);
    // An answer that comes twice changes nothing the second time.
    let answer = answer_to(&second);
    assert_eq!(exchange.on_answer(answer.clone()), Ok(vec![]));
    assert_eq!(exchange.on_answer(PollResponse { drain: true, drop: vec![JobId(Uuid::nil())], ..answer }), Ok(vec![]));
}

#[test]
fn a_grant_that_is_sent_again_is_not_run_again() {
    let grant = name(7, 0, 4, 100);
    let mut exchange = with_grants(2, &[grant]);
    let first = exchange.start(0).expect("granted");
    exchange.on_finished(&first, nothing(), 1_000_000);
    exchange.start(0).expect("granted");
    let request = exchange.next_request(0);
    exchange.on_answer(granting(&request, &[grant])).expect("taken");
    let mut rest = Vec::new();
    while let Some(work) = exchange.start(0) {
        rest.extend(work.tasks.iter());
    }
    assert_eq!(rest, [2, 3]);
    assert_eq!((exchange.running(), exchange.unacked()), (3, 1));
}

#[test]
fn what_is_not_kept_is_stopped_and_its_result_refused() {
    let mut exchange = with_grants(2, &[name(7, 0, 3, 100)]);
    let work = exchange.start(0).expect("granted");
    let request = exchange.next_request(0);
    let told = exchange.on_answer(PollResponse { keep: vec![fences(102, 1)], ..answer_to(&request) }).expect("taken");
    assert_eq!(told, [Instruction::Stop(work.clone())]);
    assert_eq!(exchange.on_finished(&work, nothing(), 1), []);
    assert_eq!(
        exchange.start(0).map(|work| work.tasks),
        Some(TaskRange::one(2)),
        "the queued one went, the kept one is run"
    );
}

#[test]
fn attempts_granted_after_the_request_are_not_stopped_by_its_answer() {
    let mut exchange = with_grants(2, &[name(7, 0, 1, 100)]);
    let request = exchange.next_request(0);
    exchange.on_answer(granting(&request, &[name(7, 5, 1, 200)])).expect("taken");
    assert_eq!(exchange.queued(), 2);
}

#[test]
fn other_clusters_older_epochs_and_unreadable_tokens_are_refused() {
    let mut exchange = exchange(1);
    let request = exchange.next_request(0);
    exchange.on_answer(PollResponse { epoch: epoch(3), ..answer_to(&request) }).expect("the first is believed");
    exchange.drain();
    let request = exchange.next_request(0);
    let foreign = Epoch { cluster: Uuid::from_u128(10), counter: 9 };
    for (answer, refusal) in [
        (
            PollResponse { epoch: foreign, ..answer_to(&request) },
            Refusal::ForeignCluster { known: epoch(0).cluster, found: foreign.cluster },
        ),
        (PollResponse { epoch: epoch(2), ..answer_to(&request) }, Refusal::OldEpoch { known: 3, found: 2 }),
        (
            PollResponse { epoch: epoch(4), grants: vec![Grant { token: "g2".into() }], ..answer_to(&request) },
            Refusal::UnreadableToken,
        ),
    ] {
        assert_eq!(exchange.on_answer(answer), Err(refusal));
        assert_eq!(exchange.epoch(), Some(epoch(3)), "nothing has changed");
    }
    exchange
        .on_answer(PollResponse { epoch: epoch(4), ..answer_to(&request) })
        .expect("a restarted coordinator is fine");
}

#[test]
fn results_that_are_alike_travel_as_one_range() {
    let mut exchange = with_grants(1, &[name(7, 0, 1, 100)]);
    run_all(&mut exchange, 1);
    let request = exchange.next_request(0);
    assert!(request.free_slots > 1_000, "no-op tasks go by thousands: {}", request.free_slots);
    exchange.on_answer(granting(&request, &[name(7, 1, 4_096, 101)])).expect("taken");
    assert!(run_all(&mut exchange, 1) < 10);
    let request = exchange.next_request(0);
    let shape: Vec<_> = request.finished.iter().map(|report| report.results.len()).collect();
    assert_eq!(shape, [1, 1], "one for each token");
    assert_eq!(request.finished[1].results[0].tasks, TaskRange { first: 1, count: 4_096 });
}

#[test]
fn reports_beyond_the_limit_wait_and_stay_held() {
    assert_eq!(polls_to_report(|task| inline(16_000 + task as usize % 2), 0), 3);
}

#[test]
fn reports_weigh_what_their_json_does() {
    // A control character is six bytes of it.
    let garbage = |task| "\u{1}".repeat(limits::MESSAGE_BYTES - task as usize % 2);
    assert_eq!(polls_to_report(|task| Outcome::Failed(Reason::Worker { message: garbage(task) }), 0), 4);
}

#[test]
fn a_request_that_is_too_large_for_its_way_is_made_smaller() {
    assert_eq!(polls_to_report(|task| inline(16_000 + task as usize % 2), 2), 10);
    assert_eq!(polls_to_report(|task| inline(16_000 + task as usize % 2), 100), 600, "one at a time at the end");
}

/// Reports 600 tasks that end each in its own way, and returns how many polls it took after some were too large.
fn polls_to_report(outcome: impl Fn(u32) -> Outcome, too_large: u32) -> u32 {
    let count = 600;
    let mut exchange = with_grants(1, &[name(7, 0, count, 100)]);
    let mut tasks = 0;
    while let Some(work) = exchange.start(0) {
        // Each a little different, so that none can travel with its neighbour.
        for task in work.tasks.iter() {
            let one = Work { tasks: TaskRange::one(task), ..work.clone() };
            exchange.on_finished(&one, outcome(task), 1_000_000);
            tasks += 1;
        }
    }
    assert_eq!(tasks, count);
    for _ in 0..too_large {
        let refused = exchange.next_request(0);
        exchange.on_too_large();
        assert!(exchange.next_request(0).seq > refused.seq, "it is another one");
    }
    let mut polls = 0;
    while exchange.unacked() > 0 {
        let request = exchange.next_request(0);
        let said: u32 =
            request.finished.iter().flat_map(|report| &report.results).map(|result| result.tasks.count).sum();
        let held: u32 = request.running.iter().map(|running| running.fences.count).sum();
        assert_eq!(u64::from(said + held), exchange.unacked(), "each is either reported or held");
        assert!(serde_json::to_vec(&*request).expect("JSON").len() < limits::POLL_BYTES);
        let acks: Vec<Ack> = request
            .finished
            .iter()
            .flat_map(|report| {
                let grant = HeldGrant::of(&report.token).expect("its own token");
                report.results.iter().map(move |result| grant.fences(result.tasks)).collect::<Vec<_>>()
            })
            .map(|fences| Ack { fences, verdict: Verdict::Accepted })
            .collect();
        // Attempts of which the coordinator knows nothing but that they run are not stopped once they have ended.
        let told = exchange.on_answer(PollResponse { acks, keep: vec![], ..answer_to(&request) }).expect("taken");
        assert!(told.iter().all(|told| matches!(told, Instruction::Acked { .. })), "{told:?}");
        assert_eq!(exchange.has_news(), exchange.unacked() > 0, "the rest is said at once");
        polls += 1;
    }
    polls
}

#[test]
fn a_stage_nobody_has_timed_gets_no_prefetch_and_its_excess_goes_back() {
    let mut exchange = with_grants(2, &[name(7, 0, 2, 100)]);
    run_all(&mut exchange, 1);
    let request = exchange.next_request(0);
    exchange.on_answer(granting(&request, &[name(8, 0, 500, 1_000)])).expect("taken");
    assert!(exchange.start(0).is_some() && exchange.start(0).is_some());
    let request = exchange.next_request(0);
    assert_eq!(request.returned, [fences(1_004, 496)], "two run, one more waits for each slot");
    // Given back until answered, and not taken for lost or held meanwhile.
    assert_eq!(request.running.iter().map(|running| running.fences.count).sum::<u32>(), 4);
    assert_eq!(request.free_slots, 0, "what goes back must not be asked for in the same breath");
    exchange.on_answer(answer_to(&request)).expect("taken");
    let request = exchange.next_request(0);
    assert_eq!((request.returned.len(), request.free_slots), (0, 0), "nor in the next");
}

#[test]
fn tasks_behind_a_slow_one_go_back() {
    let mut exchange = with_grants(1, &[name(7, 0, 1, 100)]);
    run_all(&mut exchange, 10_000);
    let request = exchange.next_request(0);
    assert_eq!(request.free_slots, 11);
    exchange.on_answer(granting(&request, &[name(7, 1, 10, 101)])).expect("taken");
    let running = exchange.start(1_000).expect("granted").tasks.count;
    assert_eq!(exchange.next_request(1_100).returned, []);
    let request = exchange.next_request(2_000);
    assert_eq!(request.returned.iter().map(|fences| fences.count).sum::<u32>(), 10 - running);
    assert_eq!(request.free_slots, 0, "and no others come instead");
}

#[test]
fn a_drain_gives_back_the_queue_and_finishes_what_runs() {
    let mut exchange = with_grants(1, &[name(7, 0, 2, 100)]);
    let work = exchange.start(0).expect("granted");
    exchange.drain();
    let request = exchange.next_request(0);
    assert_eq!((&*request.returned, request.draining, request.free_slots), (&[fences(101, 1)][..], true, 0));
    exchange.on_answer(answer_to(&request)).expect("taken");
    assert!(!exchange.is_empty());
    exchange.on_finished(&work, nothing(), 1);
    let request = exchange.next_request(0);
    exchange.on_answer(acking(&request, fences(100, 1), Verdict::Superseded)).expect("taken");
    assert!(exchange.is_empty());
}

#[test]
fn a_full_outbox_takes_no_more_work() {
    let mut exchange = exchange(3);
    exchange.set_full(true);
    assert_eq!(exchange.next_request(0).free_slots, 0);
    exchange.set_full(false);
    assert_eq!(exchange.next_request(0).free_slots, 3);
}

#[test]
fn reports_of_an_earlier_life_are_sent_and_unreadable_ones_dropped() {
    let name = name(7, 0, 4, 100);
    let result = |first, count| TaskResult { tasks: TaskRange { first, count }, outcome: nothing() };
    let mut exchange = exchange(1);
    exchange.restore([
        Report { token: token(name), results: vec![result(1, 2), result(3, 2)] },
        Report { token: "nonsense".into(), results: vec![result(0, 1)] },
    ]);
    assert_eq!(exchange.unacked(), 2, "tasks 3 and 4 are not all in the grant");
    let request = exchange.next_request(0);
    assert_eq!(request.finished[0].results[0].tasks, TaskRange { first: 1, count: 2 });
}

#[test]
fn an_executor_that_dies_in_a_batch_leaves_the_rest_to_be_run_here() {
    let mut exchange = with_grants(1, &[name(7, 0, 1, 100)]);
    run_all(&mut exchange, 1);
    let request = exchange.next_request(0);
    exchange.on_answer(granting(&request, &[name(7, 1, 10, 200)])).expect("taken");
    let work = exchange.start(0).expect("granted");
    assert_eq!(work.tasks.count, 10);
    let crashed = Work { tasks: TaskRange::one(4), ..work.clone() };
    let reason = Reason::Crashed { message: "signal 6".into(), at: None };
    assert_eq!(exchange.on_finished(&crashed, Outcome::Failed(reason), 1).len(), 1);
    exchange.requeue(&work);
    assert_eq!((exchange.running(), exchange.queued()), (0, 9));
    let mut again = Vec::new();
    while let Some(work) = exchange.start(0) {
        again.extend(work.tasks.iter());
    }
    again.sort_unstable();
    assert_eq!(again, [1, 2, 3, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn relays_drops_and_drains_are_passed_on() {
    let mut exchange = exchange(1);
    let request = exchange.next_request(0);
    let relay = token(name(7, 2, 1, 55));
    let job = JobId(Uuid::from_u128(3));
    let told = exchange
        .on_answer(PollResponse {
            relay: vec![Relay { token: relay.clone() }],
            drop: vec![job],
            drain: true,
            ..answer_to(&request)
        })
        .expect("taken");
    let relay = Arc::new(HeldGrant::of(&relay).expect("a token"));
    assert_eq!(told, [Instruction::Relay(relay), Instruction::DropJob(job), Instruction::Drain]);
}
