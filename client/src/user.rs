//! What users ask a coordinator: jobs, their outputs, files in its store, its workers.

use std::time::Duration;

use gristmill_common::api::{
    About, EventsPage, Explanation, JobState, JobView, JobsPage, ReplayView, StoredFile, TaskState, TasksPage,
    WorkersPage,
};
use gristmill_common::{JobSpec, Stage, TaskName, WorkerId, limits};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, Method, RequestBuilder};
use serde::Deserialize;

use crate::download::Download;
use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::http::Http;

/// A user's connection to a coordinator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobsFilter {
    /// Only jobs in this state.
    pub state: Option<JobState>,
    /// Only jobs of this name.
    pub name: Option<String>,
    /// How many at a time; the coordinator's default when absent.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default)]
pub struct TasksFilter {
    /// Only tasks of this step.
    pub step: Option<u16>,
    /// Only tasks of this stage.
    pub stage: Option<Stage>,
    /// Only tasks in this state.
    pub state: Option<TaskState>,
    /// How many at a time; the coordinator's default when absent.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

#[derive(Deserialize)]
struct FilesAnswer {
    files: Vec<StoredFile>,
}

#[derive(Deserialize)]
struct RemovedAnswer {
    removed: u64,
}

impl Client {
    /// Makes a client; nothing is connected yet.
    ///
    /// # Errors
    /// When the endpoint cannot be used.
    pub fn new(endpoint: Endpoint) -> Result<Self, ClientError> {
        // A call may wait on the coordinator's side; half as long again is silence.
        let silence = Duration::from_millis(limits::WAIT_MAX_MS + limits::WAIT_MAX_MS / 2);
        Ok(Self { http: Http::new(endpoint, silence)? })
    }

    /// Returns whom it talks to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.http.endpoint()
    }

    fn get<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Result<RequestBuilder, ClientError> {
        self.http.call(Method::GET, segments, self.http.own_token())
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    pub(crate) fn call<'a>(
        &self,
        method: Method,
        segments: impl IntoIterator<Item = &'a str>,
    ) -> Result<RequestBuilder, ClientError> {
        self.http.call(method, segments, self.http.own_token())
    }

    /// Asks whom this is.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn about(&self) -> Result<About, ClientError> {
        self.http.json(self.get(["v1", "about"])?).await
    }

    /// Submits a job. The same key with the same spec names the same job, so it may be sent again.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with a pointer when the spec is wrong.
    pub async fn submit(&self, spec: &JobSpec, key: &str, wait: Option<Duration>) -> Result<JobView, ClientError> {
        let request = self.call(Method::POST, ["v1", "jobs"])?.header("idempotency-key", key).json(spec);
        self.http.json(waiting(request, wait)).await
    }

    /// Lists jobs, newest first.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn jobs(&self, filter: &JobsFilter) -> Result<JobsPage, ClientError> {
        let request = self.get(["v1", "jobs"])?;
        let request = option(request, "state", filter.state.map(JobState::word));
        let request = option(request, "name", filter.name.as_deref());
        self.http.json(page(request, filter.limit, filter.cursor.as_deref())).await
    }

    /// Shows a job, by its id, the beginning of its id, or `last`. With `wait`, answers when it is over or the time is.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn job(&self, id: &str, wait: Option<Duration>) -> Result<JobView, ClientError> {
        self.http.json(waiting(self.get(["v1", "jobs", id])?, wait)).await
    }

    /// Lists tasks of a job, in task order.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn tasks(&self, id: &str, filter: &TasksFilter) -> Result<TasksPage, ClientError> {
        let request = self.get(["v1", "jobs", id, "tasks"])?;
        let request = option(request, "step", filter.step.map(|step| step.to_string()).as_deref());
        let request = option(request, "stage", filter.stage.map(|stage| stage.to_string()).as_deref());
        let request = option(request, "state", filter.state.map(task_word));
        self.http.json(page(request, filter.limit, filter.cursor.as_deref())).await
    }

    /// Asks why a job or one of its tasks is where it is.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn explain(&self, id: &str, task: Option<TaskName>) -> Result<Explanation, ClientError> {
        let request = self.get(["v1", "jobs", id, "explain"])?;
        self.http.json(option(request, "task", task.map(|task| task.to_string()).as_deref())).await
    }

    /// Lists a job's history, oldest first.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn events(
        &self,
        id: &str,
        limit: Option<usize>,
        cursor: Option<&str>,
    ) -> Result<EventsPage, ClientError> {
        self.http.json(page(self.get(["v1", "jobs", id, "events"])?, limit, cursor)).await
    }

    /// Reads logs of attempts as text: of a task, of one attempt, or of the failed attempts when neither is given. Only
    /// those that came after the cursor `after`; the answer's header `x-log-cursor` is the next one.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn logs(
        &self,
        id: &str,
        task: Option<TaskName>,
        fence: Option<u64>,
        after: Option<u64>,
    ) -> Result<Download, ClientError> {
        let request = self.get(["v1", "jobs", id, "logs"])?;
        let request = option(request, "task", task.map(|task| task.to_string()).as_deref());
        let request = option(request, "fence", fence.map(|fence| fence.to_string()).as_deref());
        let request = option(request, "after", after.map(|after| after.to_string()).as_deref());
        self.http.download(request, None).await
    }

    /// Ends a job without a result.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with `conflict` when it is already committing or over.
    pub async fn cancel(&self, id: &str) -> Result<JobView, ClientError> {
        self.http.json(self.call(Method::POST, ["v1", "jobs", id, "cancel"])?).await
    }

    /// Takes a job up again that failed or was cancelled: what was won stays won.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with `conflict` when it did not end so, or what it had is not kept any more.
    pub async fn retry(&self, id: &str) -> Result<JobView, ClientError> {
        self.http.json(self.call(Method::POST, ["v1", "jobs", id, "retry"])?).await
    }

    /// Makes the coordinator forget a job that is over, and its output in the store.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with `conflict` when it is not over.
    pub async fn remove(&self, id: &str) -> Result<(), ClientError> {
        self.http.send(self.call(Method::DELETE, ["v1", "jobs", id])?).await.map(drop)
    }

    /// Reads a job's output as text: its parts one after the other, or `merged` into one order by key. `range` is in bytes.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn output(
        &self,
        id: &str,
        merged: bool,
        range: Option<(u64, Option<u64>)>,
    ) -> Result<Download, ClientError> {
        let request = self.get(["v1", "jobs", id, "output"])?;
        self.http.download(option(request, "merge", merged.then_some("key")), range).await
    }

    /// Reads one part of a job's output as text.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn output_part(&self, id: &str, part: u32) -> Result<Download, ClientError> {
        self.http.download(self.get(["v1", "jobs", id, "output", &part.to_string()])?, None).await
    }

    /// Asks for what it takes to run a task once more here.
    ///
    /// # Errors
    /// [`ClientError`], as all calls; `conflict` when what the task read is not kept.
    pub async fn replay(&self, id: &str, task: TaskName) -> Result<ReplayView, ClientError> {
        let request = self.call(Method::POST, ["v1", "jobs", id, "replay"])?;
        self.http.json(request.query(&[("task", task.to_string())])).await
    }

    /// Writes a file into the coordinator's store, where jobs find it as `store://PATH`.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn put_file(
        &self,
        path: &str,
        body: impl Into<Body>,
        bytes: Option<u64>,
    ) -> Result<StoredFile, ClientError> {
        let request = self.http.upload(stored(path), self.http.own_token())?.body(body);
        let request = match bytes {
            Some(bytes) => request.header(CONTENT_LENGTH, bytes),
            None => request,
        };
        self.http.json(request).await
    }

    /// Reads a file of the coordinator's store. `range` is in bytes.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn get_file(&self, path: &str, range: Option<(u64, Option<u64>)>) -> Result<Download, ClientError> {
        self.http.download(self.get(stored(path))?, range).await
    }

    /// Deletes a file of the coordinator's store.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn delete_file(&self, path: &str) -> Result<(), ClientError> {
        self.http.send(self.call(Method::DELETE, stored(path))?).await.map(drop)
    }

    /// Deletes the files of a directory of the coordinator's store, given as a prefix that ends in `/`; returns how many.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn delete_files(&self, prefix: &str) -> Result<u64, ClientError> {
        let request = option(self.call(Method::DELETE, ["v1", "store"])?, "prefix", Some(prefix));
        self.http.json::<RemovedAnswer>(request).await.map(|answer| answer.removed)
    }

    /// Lists the files of the coordinator's store whose path starts with `prefix`.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn list_files(&self, prefix: &str) -> Result<Vec<StoredFile>, ClientError> {
        let request = option(self.get(["v1", "store"])?, "prefix", Some(prefix));
        self.http.json::<FilesAnswer>(request).await.map(|answer| answer.files)
    }

    /// Lists the workers.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn workers(&self) -> Result<WorkersPage, ClientError> {
        self.http.json(self.get(["v1", "workers"])?).await
    }

    /// Lets a worker finish what it runs and stop.
    ///
    /// # Errors
    /// [`ClientError`], as all calls.
    pub async fn drain_worker(&self, worker: WorkerId) -> Result<(), ClientError> {
        let request = self.call(Method::POST, ["v1", "workers", &worker.to_string(), "drain"])?;
        self.http.send(request).await.map(drop)
    }
}

fn option(request: RequestBuilder, name: &str, value: Option<&str>) -> RequestBuilder {
    match value {
        Some(value) => request.query(&[(name, value)]),
        None => request,
    }
}

fn page(request: RequestBuilder, limit: Option<usize>, cursor: Option<&str>) -> RequestBuilder {
    let request = option(request, "limit", limit.map(|limit| limit.to_string()).as_deref());
    option(request, "cursor", cursor)
}

/// Asks the coordinator to hold the answer, never longer than it allows.
fn waiting(request: RequestBuilder, wait: Option<Duration>) -> RequestBuilder {
    let wait = wait.map(|wait| wait.min(Duration::from_millis(limits::WAIT_MAX_MS)));
    option(request, "wait", wait.map(|wait| format!("{}s", wait.as_millis().div_ceil(1000))).as_deref())
}

fn stored(path: &str) -> impl Iterator<Item = &str> {
    ["v1", "store"].into_iter().chain(path.split('/').filter(|segment| !segment.is_empty()))
}

fn task_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Blocked => "blocked",
        TaskState::Queued => "queued",
        TaskState::Running => "running",
        TaskState::Won => "won",
        TaskState::Failed => "failed",
    }
}
