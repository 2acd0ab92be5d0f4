//! `hadoop fs`: what scripts put, make, move and remove is what they list, in the words and columns they take apart.

use std::process::{Command, Output, Stdio};

use anyhow::Result;
use gristmill_tests::Cluster;

use crate::fixture;

struct Hadoop<'a>(&'a Cluster);

impl Hadoop<'_> {
    fn command(&self, line: &str) -> Command {
        let mut command = self.0.command();
        command.env("HADOOP_USER_NAME", "ann").current_dir(self.0.dir.path()).arg("hadoop").args(line.split(' '));
        command
    }

    /// Runs a command that must work; returns its stdout.
    fn ok(&self, line: &str) -> Result<String> {
        let Output { status, stdout, stderr } = self.command(line).stdin(Stdio::null()).output()?;
        assert!(status.success() && stderr.is_empty(), "{line}: {status}, {}", String::from_utf8_lossy(&stderr));
        Ok(String::from_utf8(stdout)?)
    }

    /// Runs a command that must fail as Hadoop's does; returns its stderr.
    fn fails(&self, line: &str) -> Result<String> {
        let Output { status, stderr, .. } = self.command(line).stdin(Stdio::null()).output()?;
        assert_eq!(status.code(), Some(1), "{line}: {}", String::from_utf8_lossy(&stderr));
        Ok(String::from_utf8(stderr)?)
    }

    /// Runs `fs -ls` and returns the paths that it lists, directories with a slash.
    fn ls(&self, line: &str) -> Result<Vec<String>> {
        let path = |line: &str| {
            let slash = if line.starts_with('d') { "/" } else { "" };
            line.split_whitespace().nth(7).map(|path| format!("{path}{slash}"))
        };
        Ok(self.ok(line)?.lines().filter(|line| !line.starts_with("Found")).filter_map(path).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_listed_read_and_removed() -> Result<()> {
    let cluster = Cluster::start(fixture::BINARY, &[]).await?;
    let hadoop = Hadoop(&cluster);
    std::fs::create_dir_all(cluster.path("local/deep"))?;
    std::fs::write(cluster.path("local/a.txt"), "one\ntwo\n")?;
    std::fs::write(cluster.path("local/deep/b%20.txt"), "three\n")?;

    assert!(hadoop.ok("version")?.starts_with("Hadoop 3."));
    hadoop.ok("fs -mkdir -p hdfs:///user/ann/tmp/x/files/")?;
    assert!(hadoop.fails("fs -mkdir tmp")?.contains("mkdir: `tmp': File exists"));
    hadoop.ok("fs -put local/a.txt hdfs:///user/ann/tmp/x/files/a.txt")?;
    assert!(hadoop.fails("fs -put local/a.txt tmp/x/files/a.txt")?.contains("File exists"));
    hadoop.ok("fs -put -f local/a.txt tmp/x/files/a.txt")?;
    hadoop.ok("fs -copyFromLocal local /user/ann/tmp/x")?;
    hadoop.ok("fs -touchz tmp/x/empty")?;

    let listed = hadoop.ok("fs -ls tmp/x")?;
    assert!(listed.starts_with("Found 3 items\n"), "{listed}");
    assert_eq!(hadoop.ls("fs -ls tmp/x")?, ["tmp/x/empty", "tmp/x/files/", "tmp/x/local/"]);
    let all = ["empty", "files/", "files/a.txt", "local/", "local/a.txt", "local/deep/", "local/deep/b%20.txt"];
    let all: Vec<_> = all.iter().map(|name| format!("hdfs:///user/ann/tmp/x/{name}")).collect();
    assert_eq!(hadoop.ls("fs -ls -R hdfs:///user/ann/tmp/x/")?, all);
    assert_eq!(hadoop.ls("fs -ls /user/*/tmp/x/{files,local}/a*")?.len(), 2);
    assert!(hadoop.fails("fs -ls hdfs:///none")?.starts_with("ls: `hdfs:///none': No such file or directory"));

    assert_eq!(hadoop.ok("fs -cat tmp/x/*/a.txt")?, "one\ntwo\none\ntwo\n");
    assert!(hadoop.fails("fs -cat tmp/x")?.contains("cat: `tmp/x': Is a directory"));
    let sizes: u64 =
        hadoop.ok("fs -du tmp/x")?.lines().filter_map(|line| line.split(' ').next()?.parse::<u64>().ok()).sum();
    assert_eq!(sizes, 8 + 8 + 6);
    assert!(hadoop.ok("fs -du -s tmp/x")?.starts_with("22  22  tmp/x"));
    for (holds, line) in [
        (true, "fs -test -e tmp/x"),
        (true, "fs -test -d tmp/x"),
        (false, "fs -test -d tmp/x/empty"),
        (true, "fs -test -z tmp/x/empty"),
        (false, "fs -test -e tmp/none"),
    ] {
        assert_eq!(hadoop.command(line).output()?.status.success(), holds, "{line}");
    }

    hadoop.ok("fs -mv tmp/x/local moved")?;
    assert_eq!(hadoop.ls("fs -ls -R moved")?, ["moved/a.txt", "moved/deep/", "moved/deep/b%20.txt"]);
    hadoop.ok("fs -get moved back")?;
    assert_eq!(std::fs::read_to_string(cluster.path("back/deep/b%20.txt"))?, "three\n");
    hadoop.ok("fs -getmerge moved merged.txt")?;
    assert_eq!(std::fs::read_to_string(cluster.path("merged.txt"))?, "one\ntwo\n");

    assert!(hadoop.fails("fs -rm tmp/x")?.contains("rm: `tmp/x': Is a directory"));
    assert_eq!(hadoop.ok("fs -rm -R -f -skipTrash hdfs:///user/ann/tmp/x")?, "Deleted hdfs:///user/ann/tmp/x\n");
    hadoop.ok("fs -rm -R -f -skipTrash hdfs:///user/ann/tmp/x")?;
    assert!(hadoop.fails("fs -rm -R tmp/x")?.contains("rm: `tmp/x': No such file or directory"));
    assert!(hadoop.fails("fs -frobnicate x")?.contains("-frobnicate: Unknown command"));
    Ok(())
}
