//! `gristmill dev`: one process serves `put`, `get`, `store` and `submit` of its user, and leaves nothing behind at the end.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};
use gristmill_tests::Process;

use crate::fixture;

struct Dev {
    home: tempfile::TempDir,
    process: Process,
    url: String,
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(fixture::BINARY);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).env("XDG_STATE_HOME", home.join("xdg")).env("TMPDIR", home).current_dir(home);
    command.args(args).stdin(Stdio::null());
    command
}

impl Dev {
    fn start(args: &[&str]) -> Result<Self> {
        Self::start_in(tempfile::Builder::new().prefix("gristmill-e2e-").tempdir()?, args)
    }

    fn start_in(home: tempfile::TempDir, args: &[&str]) -> Result<Self> {
        let mut dev = command(home.path(), &["dev", "--port", "0", "--slots", "2"]);
        let process = Process::start(dev.args(args), home.path().join("dev.log"))?;
        for _ in 0..600 {
            let log = process.log();
            if log.contains("Ctrl-C ends all") {
                let url = log.split(',').next().context("no URL")?.to_owned();
                return Ok(Self { home, process, url });
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        anyhow::bail!("it does not come up: {}", process.log())
    }

    fn run(&self, args: &[&str]) -> Result<Output> {
        Ok(command(self.home.path(), args).env("GRISTMILL_URL", &self.url).output()?)
    }

    fn says(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args)?;
        anyhow::ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

#[test]
fn files_go_up_are_counted_and_come_down() -> Result<()> {
    let mut dev = Dev::start(&[])?;
    let home = dev.home.path().to_path_buf();
    std::fs::create_dir_all(home.join("texts/more"))?;
    std::fs::write(home.join("texts/a.txt"), "to be or\n")?;
    std::fs::write(home.join("texts/more/b.txt"), "not to be\n")?;
    assert_eq!(dev.says(&["put", "texts", "store://up/"])?, "store://up/a.txt\nstore://up/more/b.txt\n");
    assert_eq!(dev.says(&["submit", "word-count", "store://up/**"])?, "be\t2\nnot\t1\nor\t1\nto\t2\n");
    assert_eq!(dev.says(&["submit", "word-count", "texts/a.txt"])?, "be\t1\nor\t1\nto\t1\n", "read in place");
    assert_eq!(dev.says(&["get", "store://up/a.txt"])?, "to be or\n");
    dev.says(&["get", "store://up/", "down"])?;
    assert_eq!(std::fs::read_to_string(home.join("down/more/b.txt"))?, "not to be\n");
    assert_eq!(dev.says(&["store", "ls", "--format", "quiet"])?, "store://up/a.txt\nstore://up/more/b.txt\n");
    let refused = dev.run(&["store", "rm", "store://up/"])?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--recursive") && refused.status.code() == Some(2));
    dev.says(&["store", "rm", "-r", "store://up/"])?;
    assert_eq!(dev.says(&["store", "ls", "--format", "json"])?.trim(), "[]");

    dev.process.signal("INT")?;
    assert_eq!(dev.process.wait()?, Some(0), "{}", dev.process.log());
    let left: Vec<_> = std::fs::read_dir(&home)?.flatten().map(|entry| entry.file_name()).collect();
    let is_state = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with("gristmill-");
    assert_eq!(left.iter().find(is_state), None, "its state is gone");
    Ok(())
}

#[test]
fn what_is_to_be_kept_is_there_the_next_time() -> Result<()> {
    let mut dev = Dev::start(&["--data-dir", "mill"])?;
    std::fs::write(dev.home.path().join("a.txt"), "x\n")?;
    dev.says(&["submit", "word-count", "a.txt", "--name", "kept"])?;
    dev.process.signal("INT")?;
    dev.process.wait()?;
    std::fs::remove_file(&dev.process.log)?;
    let dev = Dev::start_in(dev.home, &["--data-dir", "mill"])?;
    assert!(dev.says(&["job", "ls"])?.contains("kept"));
    assert_eq!(dev.says(&["output"])?, "x\t1\n");
    Ok(())
}
