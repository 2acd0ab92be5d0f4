//! `hadoop jar hadoop-streaming.jar`: a mapper and a reducer that were written for Hadoop give the right result, a failure
//! is told in Hadoop's words, and an output that exists is refused.

use std::path::Path;
use std::process::Output;

use anyhow::Result;
use gristmill_tests::Cluster;

use crate::fixture;

const JAR: &str = "/nowhere/hadoop-streaming-3.3.6.jar";

/// Starts a coordinator and two slots that take commands, with the texts in `books`.
async fn cluster() -> Result<Cluster> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(2, "worker", &["--allow-commands"])?;
    for (name, text) in ["ernest.txt", "metamorphosis.txt"].iter().zip(fixture::texts()?) {
        cluster.upload(&[(&format!("hadoop/user/ann/books/{name}"), text.as_slice())]).await?;
    }
    Ok(cluster)
}

fn hadoop(cluster: &Cluster, line: &[&str]) -> Result<Output> {
    let mut command = cluster.command();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    Ok(command.env("HADOOP_USER_NAME", "ann").current_dir(scripts).arg("hadoop").args(line).output()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_count_in_two_scripts_is_right() -> Result<()> {
    let cluster = cluster().await?;
    let line = [
        "jar",
        JAR,
        "-D",
        "mapreduce.job.reduces=3",
        "-D",
        "mapreduce.input.fileinputformat.split.maxsize=65536",
        "-files",
        "mapper.sh,reducer.sh#go",
        "-input",
        "books",
        "-output",
        "out",
        "-mapper",
        "mapper.sh",
        "-combiner",
        "go",
        "-reducer",
        "go",
    ];
    let output = hadoop(&cluster, &line)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for part in [
        " INFO impl.YarnClientImpl: Submitted application application_",
        " INFO mapreduce.Job: Running job: job_",
        " INFO mapreduce.Job:  map 100% reduce 100%",
        " INFO mapreduce.Job: Counters: ",
        "\n\t\tMap input records=",
        " INFO streaming.StreamJob: Output directory: hdfs:///user/ann/out\n",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let listed = String::from_utf8(hadoop(&cluster, &["fs", "-ls", "out"])?.stdout)?;
    let names: Vec<_> = listed.lines().skip(1).filter_map(|line| line.rsplit('/').next()).collect();
    assert_eq!(names, ["_SUCCESS", "part-00000", "part-00001", "part-00002"]);
    let counted = hadoop(&cluster, &["fs", "-cat", "out/part-*"])?.stdout;
    let mut lines: Vec<&[u8]> = counted.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    assert!(lines.concat() == fixture::expected()?, "another word count");

    let again = hadoop(&cluster, &line)?;
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success(), "{said}");
    assert!(said.contains("Output directory hdfs:///user/ann/out already exists"), "{said}");
    assert!(said.contains("Streaming Command Failed!"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_reducers_there_is_a_part_for_each_map() -> Result<()> {
    let cluster = cluster().await?;
    let small = "mapreduce.input.fileinputformat.split.maxsize=65536";
    let (input, output) = ("books/e*.txt,books/m*.txt", "out");
    let line = ["jar", JAR, "-D", small, "-input", input, "-output", output, "-mapper", "cat", "-reducer", "NONE"];
    let output = hadoop(&cluster, &line)?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let parts = String::from_utf8(hadoop(&cluster, &["fs", "-ls", "out/part-*"])?.stdout)?;
    assert!(parts.lines().count() >= 2, "{parts}");
    let copied = hadoop(&cluster, &["fs", "-cat", "out/part-*"])?.stdout;
    let lines = |text: &[u8]| text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(lines(&copied), fixture::texts()?.iter().map(|text| lines(text)).sum::<usize>());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_found_as_hadoop_finds_them() -> Result<()> {
    let cluster = cluster().await?;
    let packed = |text: &[u8], program: &str| -> Result<Vec<u8>> {
        let plain = cluster.path("plain");
        std::fs::write(&plain, text)?;
        Ok(std::process::Command::new(program).arg("-c").arg(&plain).output()?.stdout)
    };
    let (gz, bz2) = (packed(b"packed\n", "gzip")?, packed(b"tight\n", "bzip2")?);
    let files: [(&str, &[u8]); 7] = [
        ("in/one.txt", b"one\n"),
        ("in/_logs", b"no\n"),
        ("in/.hidden", b"no\n"),
        ("in/two.gz", &gz),
        ("more/three.bz2", &bz2),
        ("more/four.txt", b"four"),
        ("other/five.txt", b"five\r\n"),
    ];
    for (name, text) in files {
        cluster.upload(&[(&format!("hadoop/user/ann/{name}"), text)]).await?;
    }
    let line = ["jar", JAR, "-input", "in,more/*.txt", "-input", "{more/three*,/user/ann/oth?r}"];
    let output = hadoop(&cluster, &[&line[..], &["-output", "out", "-mapper", "cat", "-reducer", "cat"]].concat())?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = hadoop(&cluster, &["fs", "-cat", "out/part-*"])?.stdout;
    assert_eq!(String::from_utf8(read)?, "five\t\nfour\t\none\t\npacked\t\ntight\t\n");
    let missing = hadoop(&cluster, &["jar", JAR, "-input", "nothing", "-output", "out2", "-mapper", "cat"])?;
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(
        !missing.status.success() && said.contains("Input path does not exist: hdfs:///user/ann/nothing"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_script_is_told_with_the_end_of_its_stderr() -> Result<()> {
    let cluster = cluster().await?;
    let script = "cat > /dev/null; echo 'the disk is made of cheese' >&2; exit 3";
    let mapper = format!("sh -c '{}'", script.replace('\'', r"'\''"));
    let line =
        ["jar", JAR, "-D", "mapreduce.map.maxattempts=1", "-input", "books", "-output", "out", "-mapper", &mapper];
    let output = hadoop(&cluster, &line)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "Task Id : attempt_",
        ", Status : FAILED\nError: ",
        "the disk is made of cheese",
        "Streaming Command Failed!\n",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(!hadoop(&cluster, &["fs", "-test", "-e", "out"])?.status.success(), "nothing of the output is there");
    Ok(())
}
