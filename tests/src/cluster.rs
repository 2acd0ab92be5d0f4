//! A coordinator and workers as processes of their own, on a free port of 127.0.0.1.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gristmill_client::endpoint_file::{self, EndpointFile};
use gristmill_client::{Client, Endpoint};
use gristmill_common::JobSpec;
use gristmill_common::api::{EventView, JobView};

/// How long anything may take to come up before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a job of a test may take before the test fails.
const JOB_PATIENCE: Duration = Duration::from_secs(120);

/// A child process that dies with its owner.
pub struct Process {
    child: Child,
    /// Where its stderr goes.
    pub log: PathBuf,
}

impl Process {
    /// Starts a command with its output in `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log })
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the ids of its child processes, such as a worker's executors.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let of = |pid: u32| -> Option<u32> {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
            (fields.nth(1)?.parse::<u32>().ok()? == self.pid()).then_some(pid)
        };
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter_map(|entry| of(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// Says whether it is gone.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal by name, such as `TERM`, `STOP` or `CONT`.
    ///
    /// # Errors
    /// If there is no `kill` command.
    pub fn signal(&self, name: &str) -> Result<()> {
        signal(self.pid(), name)
    }

    /// Waits until it ends by itself and returns its exit code.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn wait(&mut self) -> Result<Option<i32>> {
        let steps = PATIENCE.as_millis() / 50;
        for _ in 0..steps {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("process {} did not end; its log:\n{}", self.pid(), self.log())
    }

    /// Returns what it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A coordinator and its workers.
pub struct Cluster {
    /// Holds all state; goes with the cluster.
    pub dir: tempfile::TempDir,
    binary: PathBuf,
    port: u16,
    coordinator: Option<Process>,
    coordinator_args: Vec<String>,
    /// The coordinator's data directory.
    data: PathBuf,
    /// The workers that were started and not stopped.
    pub workers: Vec<Process>,
    started: usize,
}

impl Cluster {
    /// Starts a coordinator; `binary` is the program under test.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start(binary: &str, args: &[&str]) -> Result<Self> {
        Self::start_after(binary, args, |_| Ok(())).await
    }

    /// As [`Cluster::start`], in a directory that is made ready first.
    ///
    /// # Errors
    /// If that fails, or the coordinator does not come up.
    pub async fn start_after(binary: &str, args: &[&str], ready: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let mut cluster = Self::new(binary, args)?;
        ready(cluster.dir.path())?;
        cluster.start_coordinator().await?;
        Ok(cluster)
    }

    /// Makes a cluster without a coordinator yet.
    ///
    /// # Errors
    /// If there is no directory or no port.
    pub fn new(binary: &str, args: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("gristmill-e2e-").tempdir()?;
        Ok(Self {
            data: dir.path().join("data"),
            dir,
            binary: binary.into(),
            port: free_port()?,
            coordinator: None,
            coordinator_args: args.iter().map(|&arg| arg.to_owned()).collect(),
            workers: Vec::new(),
            started: 0,
        })
    }

    /// Starts the coordinator, the first time or again on the same data and port.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start_coordinator(&mut self) -> Result<()> {
        self.start_coordinator_under(&[]).await
    }

    /// As [`Cluster::start_coordinator`], under another command, such as `strace`.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start_coordinator_under(&mut self, wrapper: &[&str]) -> Result<()> {
        let mut command = self.command_under(wrapper);
        command.arg("coordinator").args(["--port", &self.port.to_string(), "--data-dir"]).arg(&self.data);
        command.args(&self.coordinator_args);
        self.coordinator = Some(Process::start(&mut command, self.path("coordinator.log"))?);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            if let Ok(client) = self.client()
                && client.about().await.is_ok()
            {
                return Ok(());
            }
            if self.has_coordinator_ended() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the coordinator does not come up; its log:\n{}", self.coordinator_log())
    }

    /// Returns the port on which the coordinator listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the coordinator with SIGKILL.
    pub fn kill_coordinator(&mut self) {
        self.coordinator = None;
    }

    /// Puts the coordinator's data elsewhere in the cluster's directory; before it is started.
    pub fn use_data(&mut self, name: &str) {
        self.data = self.path(name);
    }

    /// Allows the coordinator a directory; before it is started.
    pub fn allow(&mut self, directory: &Path) {
        self.coordinator_args.extend(["--allow-path".to_owned(), directory.display().to_string()]);
    }

    /// Says whether the coordinator's process is gone.
    pub fn has_coordinator_ended(&mut self) -> bool {
        self.coordinator.as_mut().is_none_or(Process::has_ended)
    }

    /// Returns the coordinator's process.
    ///
    /// # Errors
    /// If it is not running.
    pub fn coordinator(&mut self) -> Result<&mut Process> {
        self.coordinator.as_mut().context("the coordinator was killed")
    }

    /// Returns what the coordinator wrote so far, over all its lives.
    #[must_use]
    pub fn coordinator_log(&self) -> String {
        std::fs::read_to_string(self.path("coordinator.log")).unwrap_or_default()
    }

    /// Starts a worker with this many slots on the state directory `state`; workers with one state directory share a host.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_worker(&mut self, slots: u32, state: &str, args: &[&str]) -> Result<usize> {
        self.start_worker_under(&[], self.port, slots, state, args)
    }

    /// As [`Cluster::start_worker`], under another command, such as `strace`, and by way of another port.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_worker_under(
        &mut self,
        wrapper: &[&str],
        port: u16,
        slots: u32,
        state: &str,
        args: &[&str],
    ) -> Result<usize> {
        let token = std::fs::read_to_string(self.data.join("worker.token"))?;
        let join = Endpoint::local(port, Some(token.trim().to_owned())).join_line();
        let mut command = self.command_under(wrapper);
        command.args(["worker", "--join", &join, "--slots", &slots.to_string(), "--state-dir"]).arg(self.path(state));
        command.args(args);
        self.started += 1;
        let log = self.path(&format!("worker-{}.log", self.started));
        self.workers.push(Process::start(&mut command, log)?);
        Ok(self.workers.len() - 1)
    }

    /// Returns a command of the program under test in the cluster's environment.
    #[must_use]
    pub fn command(&self) -> Command {
        self.command_under(&[])
    }

    fn command_under(&self, wrapper: &[&str]) -> Command {
        let mut command = self.command_of(wrapper.first().map_or(&self.binary, Path::new));
        command.args(wrapper.iter().skip(1));
        if !wrapper.is_empty() {
            command.arg(&self.binary);
        }
        command
    }

    /// Returns a command of another program in the cluster's environment.
    #[must_use]
    pub fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("XDG_STATE_HOME", self.path("xdg")).env("HOME", self.dir.path());
        command.env("GRISTMILL_URL", format!("http://127.0.0.1:{}", self.port)).env("TMPDIR", std::env::temp_dir());
        command
    }

    /// Returns a path in the cluster's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns a client with the token that the coordinator left for its user.
    ///
    /// # Errors
    /// If the coordinator is not up yet.
    pub fn client(&self) -> Result<Client> {
        let xdg = self.path("xdg");
        let directory = endpoint_file::directory(xdg.to_str(), None).context("no directory")?;
        let file = EndpointFile::read(&directory, self.port)?.context("no endpoint file")?;
        Ok(Client::new(file.endpoint()?)?)
    }

    /// Uploads texts and returns their URLs.
    ///
    /// # Errors
    /// If the coordinator does not take them.
    pub async fn upload(&self, texts: &[(&str, &[u8])]) -> Result<Vec<String>> {
        let client = self.client()?;
        let mut urls = Vec::with_capacity(texts.len());
        for (name, text) in texts {
            urls.push(client.put_file(name, text.to_vec(), Some(text.len() as u64)).await?.url);
        }
        Ok(urls)
    }

    /// Submits a job.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn submit(&self, spec: &JobSpec) -> Result<JobView> {
        Ok(self.client()?.submit(spec, &fresh_key(), None).await?)
    }

    /// Submits a job under a key until it is acknowledged, starting the coordinator again when it is gone.
    ///
    /// # Errors
    /// If nothing helps.
    pub async fn submit_until_acked(&mut self, spec: &JobSpec, key: &str) -> Result<JobView> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let error = match self.client() {
                Ok(client) => match client.submit(spec, key, None).await {
                    Ok(view) => return Ok(view),
                    Err(error) => error.into(),
                },
                Err(error) => error,
            };
            if tokio::time::Instant::now() > deadline {
                return Err(error.context("the submit was never acknowledged"));
            }
            self.revive().await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts the coordinator again if it is gone; says whether it was.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn revive(&mut self) -> Result<bool> {
        let is_gone = self.has_coordinator_ended();
        if is_gone {
            self.start_coordinator().await?;
        }
        Ok(is_gone)
    }

    /// Waits until the job is over.
    ///
    /// # Errors
    /// If it takes too long.
    pub async fn finish(&self, job: &JobView) -> Result<JobView> {
        self.until(job, "over", |view| view.state.is_over()).await
    }

    /// Waits until the job is as `done` wants it, through restarts of the coordinator.
    ///
    /// # Errors
    /// If it takes too long.
    pub async fn until(&self, job: &JobView, what: &str, done: impl Fn(&JobView) -> bool) -> Result<JobView> {
        let deadline = tokio::time::Instant::now() + JOB_PATIENCE;
        let mut last = None;
        while tokio::time::Instant::now() < deadline {
            match self.client()?.job(&job.id.to_string(), None).await {
                Ok(view) if done(&view) => return Ok(view),
                Ok(view) => last = Some(view),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let explained = self.client()?.explain(&job.id.to_string(), None).await;
        bail!("the job is not {what}: {last:#?}\n{explained:#?}\n{}", self.coordinator_log())
    }

    /// Reads a job's output, merged by key.
    ///
    /// # Errors
    /// If there is none.
    pub async fn output(&self, job: &JobView) -> Result<Vec<u8>> {
        Ok(self.client()?.output(&job.id.to_string(), true, None).await?.whole(1 << 30).await?)
    }

    /// Reads a job's whole history.
    ///
    /// # Errors
    /// If the coordinator is out of reach.
    pub async fn events(&self, job: &JobView) -> Result<Vec<EventView>> {
        let client = self.client()?;
        let mut events = Vec::new();
        let mut cursor = None;
        loop {
            let page = client.events(&job.id.to_string(), None, cursor.as_deref()).await?;
            events.extend(page.events);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(events);
            }
        }
    }
}

/// Sends a process a signal by name.
///
/// # Errors
/// If there is no `kill` command.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status()?;
    Ok(())
}

/// Finds a port that is free now.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[expect(clippy::disallowed_methods, reason = "a test submits each job once")]
fn fresh_key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Reads a text of the repository.
///
/// # Errors
/// If it is not there.
pub fn text(name: &str) -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/texts").join(name);
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}
