//! Slows processes down by stopping and continuing them: a machine that gets a part of its time.

use std::time::Duration;

use anyhow::Result;

/// How long a process runs and stands still, together.
const PERIOD: Duration = Duration::from_millis(250);

/// Lets a process and its children run `percent` of the time, until `is_over`.
///
/// # Errors
/// If there is no `kill` command.
pub fn slow_down(pid: u32, percent: u32, is_over: &dyn Fn() -> bool) -> Result<()> {
    let run = PERIOD * percent / 100;
    while !is_over() {
        signal("STOP", pid)?;
        std::thread::sleep(PERIOD.saturating_sub(run));
        signal("CONT", pid)?;
        std::thread::sleep(run);
    }
    Ok(())
}

fn signal(name: &str, pid: u32) -> Result<()> {
    let pids = std::iter::once(pid).chain(children(pid)).map(|pid| pid.to_string());
    // A child may end meanwhile.
    std::process::Command::new("kill")
        .arg(format!("-{name}"))
        .args(pids)
        .stderr(std::process::Stdio::null())
        .status()?;
    Ok(())
}

/// The processes whose parent this is.
fn children(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    let parent = format!("PPid:\t{pid}");
    let is_child = |child: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{child}/status"));
        status.is_ok_and(|status| status.lines().any(|line| line == parent))
    };
    pids.filter(is_child).collect()
}
