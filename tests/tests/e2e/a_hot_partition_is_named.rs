//! A partition with many times what others have is named by the command that ran the job, and later by `job show`, `explain`
//! and the API.

use anyhow::Result;
use gristmill_tests::Cluster;

use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn by_run_and_by_a_cluster() -> Result<()> {
    let mut cluster = Cluster::start(fixture::BINARY, &[]).await?;
    cluster.start_worker(2, "w", &[])?;
    let lines: String = (0..50_000_u32)
        .map(|i| if i % 5 == 0 { format!("{:08}\n", i.wrapping_mul(2_654_435_761)) } else { "3 the same\n".to_owned() })
        .collect();
    let file = cluster.path("lines.txt");
    std::fs::write(&file, lines)?;
    let said = |args: &[&str]| -> Result<[String; 2]> {
        let output = cluster.command().args(args).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok([output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()))
    };
    let file = file.to_str().unwrap_or_default();
    let hot = |text: &str| {
        let line = text.lines().find(|line| line.contains("is hot: its reduce read 4") && line.contains("of step 0"));
        assert!(line.is_some(), "{text}");
    };
    let args = ["sort", "--partitions", "4", file];
    hot(&said(&[&["run"][..], &args].concat())?[1]);
    hot(&said(&[&["submit"][..], &args].concat())?[1]);
    let [shown, _] = said(&["job", "show", "last"])?;
    hot(&shown);
    assert!(shown.contains("partitions step 0: ") && shown.contains("of 4; most in partition"), "{shown}");
    hot(&said(&["job", "explain", "last"])?[0]);
    let [json, _] = said(&["job", "show", "last", "--format", "json"])?;
    let view: serde_json::Value = serde_json::from_str(&json)?;
    let spread = &view["stages"][1]["spread"];
    assert!(spread["hottest"]["records"].as_u64() > Some(40_000) && spread["partitions"] == 4, "{spread}");
    let even = said(&["run", "word-count", file])?;
    assert!(!even[1].contains("is hot"), "a combiner takes the weight off: {}", even[1]);
    Ok(())
}
