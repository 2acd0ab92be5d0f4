//! A coordinator that is scripted: grants what it is given, believes every report, and forgets nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use gristmill_common::grant::name_of;
use gristmill_common::plan::{PlanHead, PlannedStep, SplitInput};
use gristmill_common::wire::{Ack, Grant, Outcome, PlanAnswer, PollRequest, PollResponse, SplitsAnswer, Verdict};
use gristmill_common::{
    Code, Epoch, Fence, FenceRange, Generation, GrantName, JobId, Problem, SessionId, Stage, TaskRange, TokenSecret,
    limits,
};
use uuid::Uuid;

/// A map-only job of one generated record a task.
pub(crate) struct Job {
    pub(crate) tasks: u32,
    pub(crate) args: Vec<String>,
    pub(crate) progress_timeout_ms: u64,
}

/// What it knows.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) polls: u64,
    pub(crate) results: u64,
    /// Granted and not reported.
    pub(crate) granted: BTreeSet<Fence>,
    jobs: BTreeMap<JobId, Job>,
    /// Tasks to grant.
    queue: Vec<(JobId, TaskRange)>,
    next_fence: u64,
    outcomes: BTreeMap<u32, Vec<Outcome>>,
    names: BTreeMap<Fence, GrantName>,
    reported: BTreeSet<Fence>,
    epoch: u64,
    cluster: u128,
    away: bool,
    refusal: Option<Code>,
    session: Option<SessionId>,
    /// Answers that the worker may not have seen, by their seq.
    unseen: BTreeMap<u64, Vec<Grant>>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) url: String,
    seen: Arc<Mutex<Seen>>,
}

fn secret() -> TokenSecret {
    TokenSecret::new([7; 32])
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let fake = Self { url, seen: Arc::default() };
        fake.lock().epoch = 1;
        let router = Router::new()
            .route("/v1/worker/poll", post(poll))
            .route("/v1/worker/plan", get(plan))
            .route("/v1/worker/splits", get(splits))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    pub(crate) fn submit(&self, job: Job) -> JobId {
        let mut seen = self.lock();
        let id = JobId(Uuid::from_u128(100 + seen.jobs.len() as u128));
        let mut first = 0;
        while first < job.tasks {
            let count = (job.tasks - first).min(limits::TASKS_PER_GRANT);
            seen.queue.push((id, TaskRange { first, count }));
            first += count;
        }
        seen.jobs.insert(id, job);
        id
    }

    /// Lets go of everything that was granted of the job.
    pub(crate) fn forget(&self, job: JobId) {
        let mut seen = self.lock();
        let of: BTreeSet<Fence> =
            seen.names.iter().filter(|(_, name)| name.job == job).map(|(&fence, _)| fence).collect();
        seen.granted.retain(|fence| !of.contains(fence));
    }

    pub(crate) fn be_away(&self, away: bool) {
        self.lock().away = away;
    }

    pub(crate) fn restart(&self) {
        self.lock().epoch += 1;
    }

    pub(crate) fn become_another_cluster(&self) {
        self.lock().cluster += 1;
    }

    pub(crate) fn refuse(&self, code: Option<Code>) {
        self.lock().refusal = code;
    }

    pub(crate) fn outcomes(&self) -> BTreeMap<u32, Vec<Outcome>> {
        self.lock().outcomes.clone()
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        let seen = self.lock();
        (seen.polls, seen.results)
    }

    /// Waits until this many tasks are reported.
    pub(crate) async fn wait_for(&self, tasks: usize) {
        self.wait_until("all tasks are reported", |seen| seen.outcomes.len() >= tasks).await;
    }

    pub(crate) async fn wait_until(&self, what: &str, is_so: impl Fn(&Seen) -> bool) {
        for _ in 0..20_000 {
            if is_so(&self.lock()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("not after 20 s: {what}");
    }
}

fn refuse(code: Code) -> Response {
    let problem = Problem::new(code, "not you, because of a test");
    let status = StatusCode::from_u16(code.status()).expect("a status");
    (status, Json(problem)).into_response()
}

async fn poll(State(fake): State<Fake>, Json(request): Json<PollRequest>) -> Response {
    let mut waited = 0;
    loop {
        {
            let mut seen = fake.lock();
            if let Some(code) = seen.refusal {
                return refuse(code);
            }
            if seen.away {
                // The connection breaks without an answer.
                let broken = futures_util::stream::iter([Err::<String, _>(std::io::Error::other("away"))]);
                return Body::from_stream(broken).into_response();
            }
            let answer = seen.answer(&request, waited == 0);
            if !answer.is_idle() || waited >= 40 || request.draining {
                seen.polls += 1;
                return Json(answer).into_response();
            }
        }
        waited += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Seen {
    fn answer(&mut self, request: &PollRequest, first: bool) -> PollResponse {
        let mut acks = Vec::new();
        if self.session.replace(request.session) != Some(request.session) {
            self.unseen.clear();
        }
        for report in &request.finished {
            let name = secret().verify(&report.token).expect("its own token");
            for result in &report.results {
                self.results += u64::from(first);
                for task in result.tasks.iter() {
                    let fence = name.fence_of(task).expect("of its grant");
                    self.granted.remove(&fence);
                    if self.reported.insert(fence) {
                        self.outcomes.entry(task).or_default().push(result.outcome.clone());
                    }
                    acks.push(Ack { fences: FenceRange::one(fence), verdict: Verdict::Accepted });
                }
            }
        }
        for fence in request.returned.iter().flat_map(|fences| fences.iter()) {
            self.granted.remove(&fence);
        }
        let running: Vec<FenceRange> = request.running.iter().map(|running| running.fences).collect();
        let keep = running.into_iter().filter(|fences| self.granted.contains(&fences.first)).collect();
        self.unseen.retain(|&seq, _| seq > request.seen);
        let mut grants: Vec<Grant> = self.unseen.values().flatten().cloned().collect();
        if grants.is_empty() {
            grants = self.grant(request.free_slots);
            if !grants.is_empty() {
                self.unseen.insert(request.seq, grants.clone());
            }
        }
        PollResponse {
            epoch: Epoch { cluster: Uuid::from_u128(self.cluster), counter: self.epoch },
            seq: request.seq,
            acks,
            keep,
            grants,
            relay: vec![],
            drop: vec![],
            lease_ms: limits::LEASE_MS,
            next_poll_ms: 50,
            drain: false,
        }
    }

    fn grant(&mut self, mut free: u32) -> Vec<Grant> {
        let mut grants = Vec::new();
        while free > 0 && !self.queue.is_empty() {
            let (job, tasks) = self.queue.remove(0);
            let count = tasks.count.min(free);
            if count < tasks.count {
                self.queue.insert(0, (job, TaskRange { first: tasks.first + count, count: tasks.count - count }));
            }
            let name = GrantName {
                job,
                step: 0,
                stage: Stage::Map,
                tasks: TaskRange { first: tasks.first, count },
                first_fence: Fence(self.next_fence),
                generation: Generation(0),
            };
            for fence in name.fences().iter() {
                self.granted.insert(fence);
                self.names.insert(fence, name);
            }
            self.next_fence += u64::from(count);
            free -= count;
            grants.push(Grant { token: secret().sign(&name) });
        }
        grants
    }
}

fn bearer(headers: &HeaderMap) -> GrantName {
    let text = headers[header::AUTHORIZATION].to_str().expect("text");
    name_of(text.strip_prefix("Bearer ").expect("a bearer")).expect("an attempt token, not the worker's")
}

async fn plan(State(fake): State<Fake>, headers: HeaderMap) -> Json<PlanAnswer> {
    let name = bearer(&headers);
    let seen = fake.lock();
    let job = &seen.jobs[&name.job];
    let step = PlannedStep { args: job.args.clone(), ..PlannedStep::native("behaviour", job.tasks, 0) };
    let head = PlanHead { files: vec![], steps: vec![step], progress_timeout_ms: job.progress_timeout_ms };
    Json(PlanAnswer { head, may_skip: false })
}

async fn splits(headers: HeaderMap) -> Json<SplitsAnswer> {
    let tasks = bearer(&headers).tasks;
    let splits = tasks.iter().map(|task| SplitInput::Generated { first: u64::from(task), count: 1 }).collect();
    Json(SplitsAnswer { splits, files: vec![] })
}
