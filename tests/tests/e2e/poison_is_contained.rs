//! Programs that do all that a program should not: each ends with the right reason, leaves no process, harms no other job.
//!
//! Run as an ordinary user: the kernel's limits are not for root. A test that is run by root becomes `nobody`.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gristmill_tests::Process;
use serde_json::{Value, json};

use crate::fixture;

const NOBODY: u32 = 65_534;
/// How long processes may outlive their job: SIGTERM and 5 s lie between.
const GONE_WITHIN: Duration = Duration::from_secs(20);

const MEMORY: &str = "l=[]\nwhile True: l.append(b'x' * (1 << 20))";
const THREADS: &str = "import threading, time\nthreading.stack_size(65536)\nfor i in range(4000):\n threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\ntime.sleep(1000)";
/// The first waits, so that only the limit ends it; every other one starts two more.
const BOMB: &str = "f() { f | f & }; f; sleep 1000";
/// The bomb is in a session of its own and does not hear SIGTERM; the program itself ends at once.
const LEFT_BOMB: &str = "trap '' TERM; setsid sh -c 'f() { f | f & }; f; sleep 1000' & exit 0";
/// Succeeds with the environment that is promised: Hadoop's names, the job's own, nothing else of the worker's.
const ENVIRONMENT: &str = r#"cat > /dev/null
fail() { echo "$1" >&2; exit 1; }
case $mapreduce_job_id in job_*) ;; *) fail "job id $mapreduce_job_id" ;; esac
case $mapreduce_task_attempt_id in attempt_*_m_000000_*) ;; *) fail "attempt $mapreduce_task_attempt_id" ;; esac
[ "$mapreduce_task_ismap:$mapreduce_task_partition" = true:0 ] || fail "task"
[ "$mapreduce_map_input_start" = 0 ] || fail "input $mapreduce_map_input_start"
case $mapreduce_map_input_file in */input.txt) ;; *) fail "file $mapreduce_map_input_file" ;; esac
[ "$my_own_property:$OWN:$HOME" = "1:2:/mine" ] || fail "own $my_own_property:$OWN:$HOME"
[ -d "$TMPDIR" ] || fail "TMPDIR $TMPDIR"
[ -z "$SECRET" ] || fail "SECRET came through"
! env | grep -i token || fail "a token""#;
/// What is left behind ignores SIGTERM in a session of its own, from its first moment on.
const ESCAPES: &str = "trap '' TERM; setsid sh -c 'sleep 1000; sleep 1000' & trap - TERM; cat";
/// Neither its parent nor the worker's other processes are there for its signals.
const SIGNALS: &str = "cat > /dev/null; ! kill -0 $PPID 2> /dev/null";
/// Succeeds if nothing but the three streams came along.
const DESCRIPTORS: &str =
    "cat > /dev/null; for fd in /proc/$$/fd/*; do case $fd in */[012]) ;; *) [ ! -e $fd ] || exit 1 ;; esac; done";
const FILLS: &str = "i=0; while :; do head -c 500000 /dev/zero > f$i; i=$((i+1)); done";

/// Rows that only the sandbox contains.
const FENCED: [&str; 3] = ["looks around", "writes elsewhere", "signals its worker"];

/// Program, what it is given, what its job ends with. `elsewhere`: where its user may write and its sandbox does not let it.
fn corpus(elsewhere: &Path) -> Vec<(&'static str, Vec<&'static str>, Value, &'static str)> {
    let sh = |script| vec!["sh", "-c", script];
    let python = |script| vec!["/usr/bin/python3", "-c", script];
    let none = || json!({});
    let environment = json!({"env": {"OWN": "2", "HOME": "/mine"}, "properties": {"my.own.property": "1"}});
    vec![
        ("exit 1", sh("exit 1"), none(), "crashed: `sh` ended with exit code 1"),
        ("SIGSEGV", sh("kill -SEGV $$"), none(), "signal 11 (SIGSEGV)"),
        ("endless loop", sh("while :; do :; done"), none(), "timed out"),
        ("endless stdout", vec!["yes"], json!({"output_bytes": 1 << 20}), "printed more than output_bytes"),
        ("a line without end", vec!["head", "-c", "70000000", "/dev/zero"], none(), "a line of more than"),
        ("all memory", python(MEMORY), json!({"memory_bytes": 128 << 20}), "out of memory"),
        ("ignores SIGTERM", sh("trap '' TERM; while :; do sleep 1; done"), none(), "timed out"),
        ("double fork", sh("(setsid sleep 1000 &); cat"), none(), "succeeded"),
        ("fills the disk", sh(FILLS), json!({"directory_bytes": 4 << 20}), "more than directory_bytes"),
        ("closes its directory", sh("mkdir -p d/e && touch d/e/f && chmod 0 d/e d ."), none(), "succeeded"),
        ("closes stdin", sh("exec <&-; sleep 0.2"), none(), "succeeded"),
        ("exits without reading", vec!["true"], none(), "succeeded"),
        (
            "strict without reading",
            vec!["true"],
            json!({"streaming": {"strict": true}}),
            "without reading all its input",
        ),
        ("environment", sh(ENVIRONMENT), environment, "succeeded"),
        ("binary junk", vec!["head", "-c", "100000", "/dev/urandom"], none(), "succeeded"),
        ("deep recursion", sh("f() { f; }; f"), none(), "crashed"),
        ("kills its parent", sh("kill -9 $PPID; sleep 1; exit 3"), none(), "crashed"),
        ("kills its group", sh("kill -9 0"), none(), "signal 9 (SIGKILL)"),
        ("escapes by setsid", sh(ESCAPES), none(), "succeeded"),
        ("looks around", sh("! ls / 2> /dev/null && ls /usr > /dev/null && touch /tmp/. here"), none(), "succeeded"),
        (
            "writes elsewhere",
            sh("touch $ELSEWHERE/file"),
            json!({"env": {"ELSEWHERE": elsewhere}}),
            "little but their working directory",
        ),
        ("signals its worker", sh(SIGNALS), none(), "succeeded"),
        ("opens descriptors", sh(DESCRIPTORS), none(), "succeeded"),
        ("fork bomb", sh(BOMB), none(), "processes and threads"),
        ("fork bomb left behind", sh(LEFT_BOMB), none(), "processes and threads"),
        ("many threads", python(THREADS), none(), "processes and threads"),
        ("huge stderr", sh("head -c 30000000 /dev/zero >&2"), none(), "succeeded"),
        ("sleeps for ever", vec!["sleep", "1000000"], none(), "timed out"),
        ("missing interpreter", vec!["./lost.py"], none(), "interpreter that its first line names"),
        ("not executable", vec!["/etc/passwd"], none(), "it is not executable"),
        ("not there", vec!["no-such-program"], none(), "no program `no-such-program`"),
    ]
}

fn as_nobody(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(fixture::BINARY);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).env("XDG_STATE_HOME", home.join("xdg"));
    command.env("TMPDIR", home).env("SECRET", "of the worker").current_dir(home).args(args).stdin(Stdio::null());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0)
}

/// Command lines of processes whose working directory or arguments show that they came from here.
fn strays(home: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(directory) = std::fs::read_link(entry.path().join("cwd")) else { continue };
        let directory = directory.to_string_lossy().into_owned();
        if directory.starts_with(&*home.to_string_lossy()) && directory.contains("/work") {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    found
}

fn start_cluster(home: &Path) -> Result<(Process, String)> {
    let mut dev = as_nobody(home, &["dev", "--port", "0", "--slots", "1"]);
    let process = Process::start(&mut dev, home.join("dev.log"))?;
    for _ in 0..600 {
        let log = process.log();
        if log.contains("Ctrl-C ends all") {
            let url = log.split(',').next().context("no URL")?.to_owned();
            return Ok((process, url));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("it does not come up: {}", process.log())
}

/// Runs one map-only job and returns how it ended.
fn submit(home: &Path, url: &str, argv: &[&str], more: &Value) -> Result<String> {
    let mut command = json!({ "mapper": argv });
    for (name, value) in more.as_object().into_iter().flatten() {
        command[name] = value.clone();
    }
    if argv == ["./lost.py"] {
        command["mapper"] = json!([home.join("lost.py")]);
    }
    // Shorter than the five seconds that what a program leaves behind has to end: those are not its own.
    let spec = json!({ "name": "poison", "inputs": ["file:///"], "attempts": 1, "progress_timeout_ms": 4000,
        "steps": [{ "command": command, "reduce": false }] });
    std::fs::write(home.join("spec.json"), spec.to_string())?;
    let output = as_nobody(home, &["submit", "--spec", "spec.json", "input.txt"]).env("GRISTMILL_URL", url).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() { format!("succeeded {said}") } else { said })
}

/// A directory where every command's user may write, and its sandbox does not let it: the build's own, if that is not itself
/// where all may write.
fn fenced_off() -> Option<tempfile::TempDir> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let places = [Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR"))), Some(PathBuf::from("/run")), home];
    let open = ["/tmp", "/var/tmp", "/dev/shm"];
    let mut fenced = places.into_iter().flatten().filter(|place| !open.iter().any(|open| place.starts_with(open)));
    fenced.find_map(|place| tempfile::Builder::new().prefix("poison-").tempdir_in(place).ok())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "processes need time to be gone")]
fn every_program_of_the_corpus_ends_with_its_reason_and_leaves_nothing() -> Result<()> {
    if !Path::new("/usr/bin/python3").exists() {
        println!("SKIPPED: there is no /usr/bin/python3");
        return Ok(());
    }
    let home = tempfile::Builder::new().prefix("gristmill-poison-").tempdir()?;
    let path = home.path();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(path.join("input.txt"), "a line of poison\n".repeat(100_000))?;
    std::fs::write(path.join("lost.py"), "#!/no/such/interpreter\n")?;
    std::fs::set_permissions(path.join("lost.py"), std::fs::Permissions::from_mode(0o755))?;
    let Some(elsewhere) = fenced_off() else {
        println!("SKIPPED: no directory outside of /tmp where this user may write");
        return Ok(());
    };
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
        chown(elsewhere.path(), Some(NOBODY), Some(NOBODY))?;
    }
    let readable = as_nobody(path, &["--version"]).output().is_ok_and(|output| output.status.success());
    if !readable {
        println!("SKIPPED: an ordinary user cannot run {}", fixture::BINARY);
        return Ok(());
    }
    let (process, url) = start_cluster(path)?;
    let mut wrong = Vec::new();
    let fenced = gristmill_worker::sandbox::is_supported();
    println!("{:24} {:40} got", "program", "expected");
    for (name, argv, more, expected) in corpus(elsewhere.path()) {
        if FENCED.contains(&name) && !fenced {
            println!("SKIPPED: {name}: this kernel has no Landlock");
            continue;
        }
        let got = submit(path, &url, &argv, &more)?;
        let begun = Instant::now();
        while !strays(path).is_empty() && begun.elapsed() < GONE_WITHIN {
            std::thread::sleep(Duration::from_millis(50));
        }
        let left = strays(path);
        let next = submit(path, &url, &["cat"], &json!({}))?;
        let line = got.lines().find(|line| line.contains(expected)).map(|line| line.trim().chars().take(150).collect());
        println!("{name:24} {expected:40} {}", line.as_ref().unwrap_or(&got));
        if line.is_none() || !left.is_empty() || !next.starts_with("succeeded") {
            wrong.push(format!("{name}: expected {expected}, got {got}\nleft: {left:?}, next: {next}"));
        }
    }
    ensure!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), process.log());
    Ok(())
}
