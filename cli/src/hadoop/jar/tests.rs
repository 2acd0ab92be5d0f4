//! Command lines and the jobs they are.

use serde_json::{Value, json};

use super::*;

fn drafted(line: &str) -> Result<Draft, String> {
    let options = Options::parse(&split_command_line(line, Backslash::Hadoop).expect(line))?;
    let properties = Properties::new(options.properties.clone());
    draft(&options, &properties, "ann")
}

const LEAST: &str = "-input in -output out -mapper ./m.py";

/// Returns the JSON of the job that `LEAST` and more options are.
fn job(more: &str) -> Value {
    let draft = drafted(&format!("{LEAST} {more}")).expect(more);
    let mut spec = draft.spec;
    spec.inputs = vec![gristmill_common::spec::Input::Url("store://x".to_owned())];
    spec.check_for_tests(more);
    serde_json::to_value(&spec).expect("JSON")
}

trait CheckForTests {
    fn check_for_tests(&self, line: &str);
}

impl CheckForTests for JobSpec {
    /// What the coordinator would refuse is no job, whatever may not be built yet.
    fn check_for_tests(&self, line: &str) {
        if let Err(problem) = self.check() {
            assert_eq!(problem.code, gristmill_common::Code::Unsupported, "{line}: {problem}");
        }
    }
}

#[test]
fn options_and_properties_shape_the_job() {
    let command = "/steps/0/command";
    let streaming = "/steps/0/command/streaming";
    let fields = |options: &str, separator: &str| json!({ "fields": { "options": options, "separator": separator } });
    let partitioner = "-partitioner org.apache.hadoop.mapred.lib.KeyFieldBasedPartitioner";
    let comparator = "-D mapreduce.job.output.key.comparator.class=org.apache.hadoop.mapreduce.lib.partition.KeyFieldBasedComparator";
    let cases: Vec<(String, String, Value)> = vec![
        ("".into(), format!("{command}/mapper"), json!(["./m.py"])),
        ("".into(), "/steps/0/partitions".into(), json!(1)),
        ("".into(), "/output/url".into(), json!("store://hadoop/user/ann/out/")),
        ("".into(), "/name".into(), json!("streamjob.jar")),
        ("".into(), format!("{streaming}/partition"), json!("java")),
        ("-numReduceTasks 3".into(), "/steps/0/partitions".into(), json!(3)),
        ("-D mapred.reduce.tasks=5".into(), "/steps/0/partitions".into(), json!(5)),
        ("-Dmapreduce.job.reduces=6".into(), "/steps/0/partitions".into(), json!(6)),
        ("-jobconf mapreduce.job.reduces=0".into(), "/steps/0/reduce".into(), json!(false)),
        ("-reducer NONE".into(), "/steps/0/reduce".into(), json!(false)),
        ("-reducer NONE -combiner c".into(), format!("{command}/combiner"), Value::Null),
        ("-reducer aggregate".into(), format!("{command}/reducer"), json!(["aggregate"])),
        ("-reducer \"r.py --x 'a b'\"".into(), format!("{command}/reducer"), json!(["r.py", "--x", "a b"])),
        ("-combiner wc".into(), format!("{command}/combiner"), json!(["wc"])),
        ("-mapper org.apache.hadoop.mapred.lib.IdentityMapper".into(), format!("{command}/mapper"), json!(["cat"])),
        ("-mapper IdentityMapper -reducer wc".into(), format!("{command}/mapper"), Value::Null),
        ("-reducer org.apache.hadoop.mapred.lib.IdentityReducer".into(), format!("{command}/reducer"), Value::Null),
        ("-mapper /home/ann/m.py -file /home/ann/m.py".into(), format!("{command}/mapper"), json!(["m.py"])),
        ("-mapper /home/ann/m.py -files /home/ann/m.py#go".into(), format!("{command}/mapper"), json!(["go"])),
        ("-cmdenv A=b=c -cmdenv D=".into(), format!("{command}/env"), json!({ "A": "b=c", "D": "" })),
        (
            "-D my.own=1".into(),
            format!("{command}/properties"),
            json!({ "my.own": "1", "mapreduce.job.name": "streamjob.jar" }),
        ),
        ("-D mapreduce.job.name=counts".into(), "/name".into(), json!("counts")),
        ("-D mapreduce.map.maxattempts=9".into(), "/attempts".into(), json!(9)),
        ("-D mapred.task.timeout=5000".into(), "/progress_timeout_ms".into(), json!(5000)),
        ("-D mapreduce.task.timeout=0".into(), "/progress_timeout_ms".into(), json!(TIMEOUT_MAX_MS)),
        ("-D mapreduce.job.priority=HIGH".into(), "/priority".into(), json!(100)),
        (
            "-D mapreduce.map.memory.mb=64 -D mapreduce.reduce.memory.mb=128".into(),
            format!("{command}/memory_bytes"),
            json!(128 << 20),
        ),
        ("-D stream.num.map.output.key.fields=2".into(), format!("{streaming}/map_output_key_fields"), json!(2)),
        ("-D stream.map.output.field.separator=.".into(), format!("{streaming}/map_output_separator"), json!(".")),
        ("-D stream.map.input.field.separator=;".into(), format!("{streaming}/map_input_separator"), json!(";")),
        ("-D stream.reduce.input.field.separator=,".into(), format!("{streaming}/reduce_input_separator"), json!(",")),
        (
            "-D stream.reduce.output.field.separator=,".into(),
            format!("{streaming}/reduce_output_separator"),
            json!(","),
        ),
        ("-D stream.num.reduce.output.fields=3".into(), format!("{streaming}/reduce_output_key_fields"), json!(3)),
        ("-D mapred.textoutputformat.separator=:".into(), format!("{streaming}/output_separator"), json!(":")),
        ("-D stream.non.zero.exit.is.failure=false".into(), format!("{streaming}/ignore_exit_code"), json!(true)),
        ("-D gristmill.strict=true".into(), format!("{streaming}/strict"), json!(true)),
        (
            "-inputformat org.apache.hadoop.mapred.KeyValueTextInputFormat".into(),
            format!("{streaming}/input"),
            json!("key_value"),
        ),
        (
            "-inputformat org.apache.hadoop.mapred.lib.NLineInputFormat".into(),
            format!("{streaming}/input"),
            json!("offset_line"),
        ),
        ("-inputformat NLineInputFormat".into(), "/split/lines".into(), json!(1)),
        (
            "-inputformat NLineInputFormat -D mapreduce.input.lineinputformat.linespermap=7".into(),
            "/split/lines".into(),
            json!(7),
        ),
        ("-D mapred.max.split.size=1048576".into(), "/split/bytes".into(), json!(1 << 20)),
        (partitioner.into(), format!("{streaming}/partition"), fields("-k1", "\t")),
        (
            format!("{partitioner} -D mapreduce.partition.keypartitioner.options=-k1,1"),
            format!("{streaming}/partition"),
            fields("-k1,1", "\t"),
        ),
        (
            format!("{partitioner} -D num.key.fields.for.partition=2 -D map.output.key.field.separator=."),
            format!("{streaming}/partition"),
            fields("-k1,2", "."),
        ),
        (
            format!("{comparator} -D mapreduce.partition.keycomparator.options='-k1,1 -k2,2nr'"),
            format!("{streaming}/order"),
            fields("-k1,1 -k2,2nr", "\t"),
        ),
        ("-partitioner HashPartitioner".into(), format!("{streaming}/order"), json!("bytes")),
        (
            "-D mapreduce.map.speculative=false -D mapreduce.reduce.speculative=false".into(),
            "/backups".into(),
            json!(false),
        ),
    ];
    for (more, pointer, expected) in cases {
        let job = job(&more);
        assert_eq!(job.pointer(&pointer).cloned().unwrap_or_default(), expected, "{more}: {pointer} in {job:#}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_its_option() {
    let cases = [
        ("-io typedbytes", "-io typedbytes"),
        ("-inputformat org.apache.hadoop.mapred.SequenceFileInputFormat", "TextInputFormat"),
        ("-inputformat com.example.TextInputFormat", "no Java class"),
        ("-outputformat org.apache.hadoop.mapred.lib.MultipleTextOutputFormat", "TextOutputFormat"),
        ("-partitioner com.example.Mine", "KeyFieldBasedPartitioner"),
        ("-mapper com.example.MyMapper", "no Java class"),
        ("-reducer org.apache.hadoop.mapred.lib.LongSumReducer", "IdentityReducer"),
        ("-D mapreduce.job.output.key.comparator.class=com.example.Mine", "KeyFieldBasedComparator"),
        ("-inputreader StreamXmlRecord", "-inputreader"),
        ("-nonsense x", "Unrecognized option: -nonsense"),
        ("-mapper", "Missing argument for option: mapper"),
        ("stray", "Unexpected stray"),
        ("-D novalue", "-D novalue"),
        ("-numReduceTasks many", "whole number"),
        ("-file a/x -file b/x", "two files"),
        ("-files x#a/b", "one name"),
        ("-output file:///tmp/out", "hadoop fs -get"),
        ("-output s3://bucket/out", "No FileSystem for scheme"),
        ("-reducer \"'open\"", "never closed"),
    ];
    for (more, part) in cases {
        let error = drafted(&format!("{LEAST} {more}")).expect_err(more);
        assert!(error.contains(part), "{more}: {error}");
    }
    assert!(drafted("-output out -mapper m").expect_err("no input").contains("-input"));
    assert!(drafted("-input in -mapper m").expect_err("no output").contains("-output"));
}

#[test]
fn what_has_no_meaning_is_said_and_the_job_runs() {
    let lines = [
        "-libjars a.jar,b.jar",
        "-mapdebug x",
        "-lazyOutput",
        "-fs hdfs://namenode",
        "-D mapreduce.output.fileoutputformat.compress=true",
        "-D mapreduce.map.failures.maxpercent=5",
    ];
    for more in lines {
        let draft = drafted(&format!("{LEAST} {more}")).expect(more);
        assert_eq!(draft.warnings.len(), 1, "{more}: {:?}", draft.warnings);
    }
    assert_eq!(drafted(LEAST).expect("plain").warnings, [""; 0]);
}

#[test]
fn inputs_are_lists_globs_and_files_of_this_machine() {
    let draft =
        drafted("-input a,hdfs:///b/*.gz -input /c/{x,y}/z -input file:///tmp/t -output out -mapper m").expect("ok");
    let urls: Vec<_> = draft
        .inputs
        .iter()
        .map(|input| match input {
            Where::Store(place) => place.url(),
            Where::Local(path) => path.display().to_string(),
        })
        .collect();
    let expected = [
        "store://hadoop/user/ann/a",
        "store://hadoop/b/*.gz",
        "store://hadoop/c/x/z",
        "store://hadoop/c/y/z",
        "/tmp/t",
    ];
    assert_eq!(urls, expected);
}

#[test]
fn what_is_shipped_is_local_unless_it_has_a_scheme() {
    let line =
        "-files hdfs:///w/mr_x.py#mr_x.py,lib.py -archives x.tgz#x,hdfs:///y.zip -file a/b.txt -cacheFile /c/d#e";
    let draft = drafted(&format!("{LEAST} {line}")).expect("ok");
    let shipped: Vec<_> = draft
        .shipped
        .iter()
        .map(|(file, at)| (file.name.as_str(), file.archive, matches!(at, Where::Store(_))))
        .collect();
    let expected = [
        ("mr_x.py", false, true),
        ("lib.py", false, false),
        ("x", true, false),
        ("y.zip", true, true),
        ("b.txt", false, false),
        ("e", false, true),
    ];
    assert_eq!(shipped, expected);
}

#[test]
fn the_line_that_mrjob_writes_is_understood() {
    let line = "-files hdfs:///user/ann/tmp/mrjob/j/files/wd/mr.py#mr.py,hdfs:///user/ann/tmp/mrjob/j/files/wd/setup-wrapper.sh#setup-wrapper.sh \
        -D mapreduce.job.name=j -D mapreduce.partition.keypartitioner.options=-k1,1 -D stream.num.map.output.key.fields=2 \
        -partitioner org.apache.hadoop.mapred.lib.KeyFieldBasedPartitioner -input hdfs:///user/ann/tmp/mrjob/j/files/a.txt \
        -output hdfs:///user/ann/tmp/mrjob/j/output -mapper '/bin/sh -ex setup-wrapper.sh python3 mr.py --step-num=0 --mapper' \
        -reducer '/bin/sh -ex setup-wrapper.sh python3 mr.py --step-num=0 --reducer'";
    let draft = drafted(line).expect("understood");
    let command = draft.spec.steps[0].command.as_ref().expect("a command");
    let mapper = ["/bin/sh", "-ex", "setup-wrapper.sh", "python3", "mr.py", "--step-num=0", "--mapper"];
    assert_eq!(command.mapper.as_deref().expect("a mapper"), mapper);
    assert_eq!(draft.output.qualified(), "hdfs:///user/ann/tmp/mrjob/j/output");
    assert_eq!(draft.warnings, [""; 0]);
}

/// Every option that Hadoop Streaming has, and whether it is taken, taken with a warning, or refused.
#[test]
fn no_option_of_hadoop_is_unknown() {
    let taken = [
        "-combiner wc",
        "-file a/b.txt",
        "-files a,b#c",
        "-archives x.tgz#x",
        "-cacheFile /c/d#e",
        "-cacheArchive /c/d.zip#e",
        "-inputformat TextInputFormat",
        "-inputformat org.apache.hadoop.mapred.TextInputFormat",
        "-inputformat KeyValueTextInputFormat",
        "-inputformat NLineInputFormat",
        "-outputformat TextOutputFormat",
        "-partitioner HashPartitioner",
        "-numReduceTasks 2",
        "-jobconf a=b",
        "-D a=b",
        "-cmdenv a=b",
        "-io text",
        "-background",
        "-verbose",
        "-debug",
        "-conf my.xml",
    ];
    for more in taken {
        let draft = drafted(&format!("{LEAST} {more}")).expect(more);
        assert!(draft.warnings.is_empty(), "{more}: {:?}", draft.warnings);
    }
    for more in ["-lazyOutput", "-mapdebug x", "-reducedebug x", "-fs local", "-jt local", "-libjars a.jar"] {
        assert_eq!(drafted(&format!("{LEAST} {more}")).expect(more).warnings.len(), 1, "{more}");
    }
    let comma = "-D mapreduce.input.keyvaluelinerecordreader.key.value.separator=,";
    for (more, part) in [
        ("-inputreader x".to_owned(), "-inputreader"),
        ("-io rawbytes".to_owned(), "-io rawbytes"),
        (format!("-inputformat KeyValueTextInputFormat {comma}"), "tabs only"),
        ("-outputformat SequenceFileOutputFormat".to_owned(), "TextOutputFormat"),
    ] {
        let error = drafted(&format!("{LEAST} {more}")).expect_err(&more);
        assert!(error.contains(part), "{more}: {error}");
    }
}
