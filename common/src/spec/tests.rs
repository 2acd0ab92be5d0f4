use super::*;
use crate::problem::Code;

fn spec(change: &str) -> Result<JobSpec, Problem> {
    let mut value: serde_json::Value = serde_json::json!({
        "name": "count", "inputs": ["store://a"], "steps": [{ "native": "word-count" }]
    });
    let change: serde_json::Value = serde_json::from_str(change).expect("a JSON object");
    for (key, change) in change.as_object().expect("a JSON object") {
        value[key] = change.clone();
    }
    JobSpec::from_json(value.to_string().as_bytes())
}

#[test]
fn the_least_spec_has_the_defaults() {
    let least = spec("{}").expect("valid");
    assert_eq!(
        least,
        JobSpec::new("count", vec![Input::Url("store://a".into())], vec![StepSpec::native("word-count")])
    );
    assert_eq!(least.steps[0].reduces(), limits::DEFAULT_PARTITIONS);
    assert_eq!(StepSpec::native(TOP_K).reduces(), 1, "more than one would each print their best");
}

#[test]
fn inputs_read_back_as_they_were_written() {
    let json = r#"["store://a",{"url":"store://b","tag":"right"},{"generate":5}]"#;
    let inputs: Vec<Input> = serde_json::from_str(json).expect("inputs");
    assert_eq!(inputs[1], Input::of("store://b".to_owned(), Some(RIGHT)));
    assert_eq!(
        inputs.iter().map(Input::url).collect::<Vec<_>>(),
        [Some(("store://a", None)), Some(("store://b", Some("right"))), None]
    );
    assert_eq!(serde_json::to_string(&inputs).expect("JSON"), json);
}

#[test]
fn every_mistake_is_named_with_its_pointer() {
    let cases = [
        (r#"{"name":""}"#, "/name"),
        (r#"{"name":"a\nb"}"#, "/name"),
        (r#"{"inputs":[]}"#, "/inputs"),
        (r#"{"inputs":["ftp://x"]}"#, "/inputs/0"),
        (r#"{"inputs":["store://a",{"generate":5}]}"#, "/inputs"),
        (r#"{"inputs":[{"generate":0}]}"#, "/inputs/0/generate"),
        (r#"{"inputs":[7]}"#, "/inputs/0"),
        (r#"{"inputs":[{"url":"ftp://x","tag":"a"}]}"#, "/inputs/0/url"),
        (r#"{"inputs":[{"url":"store://a","tag":""}]}"#, "/inputs/0/tag"),
        (r#"{"inputs":[{"url":"store://a","tag":"a\nb"}]}"#, "/inputs/0/tag"),
        (r#"{"inputs":[{"url":"store://a"}]}"#, "/inputs/0"),
        (r#"{"steps":[{"native":"join"}]}"#, "/inputs/0"),
        (r#"{"steps":[{"native":"join"}],"inputs":[{"url":"store://a","tag":"left"}]}"#, "/inputs"),
        (r#"{"steps":[{"native":"a"},{"native":"join"}]}"#, "/steps/1"),
        (r#"{"steps":[]}"#, "/steps"),
        (r#"{"steps":[{"native":"a/b"}]}"#, "/steps/0/native"),
        (r#"{"steps":[{"native":"a","partitions":0}]}"#, "/steps/0/partitions"),
        (r#"{"steps":[{"native":"a","partitions":2,"reduce":false}]}"#, "/steps/0/partitions"),
        (r#"{"steps":[{"native":"a","executable":"x"}]}"#, "/steps/0/executable"),
        (r#"{"steps":[{"native":"a","partitions":-1}]}"#, "/steps/0/partitions"),
        (r#"{"split":{"bytes":0}}"#, "/split/bytes"),
        (r#"{"steps":[{"args":["a"]}]}"#, "/steps/0"),
        (r#"{"split":{"words":5}}"#, "/split/words"),
        (r#"{"split":{"lines":0}}"#, "/split/lines"),
        (r#"{"split":{"lines":1,"bytes":9}}"#, "/split/lines"),
        (r#"{"attempts":0}"#, "/attempts"),
        (r#"{"input_format":"csv"}"#, "/input_format/csv"),
        (r#"{"input_format":{"lines":{"delimiter":""}}}"#, "/input_format/lines/delimiter"),
        (r#"{"input_format":{"fixed":{"bytes":0}}}"#, "/input_format/fixed/bytes"),
        (r#"{"input_format":{"fixed":{"bytes":-5}}}"#, "/input_format/fixed/bytes"),
        (r#"{"input_format":{"fixed":{"bytes":100000000}}}"#, "/input_format/fixed/bytes"),
        (r#"{"input_format":{"key_value":{"separator":"\n"}}}"#, "/input_format/key_value/separator"),
        (r#"{"input_format":{"csv":{"delimiter":";;"}}}"#, "/input_format/csv/delimiter"),
        (r#"{"input_format":{"csv":{"delimiter":"\""}}}"#, "/input_format/csv/quote"),
        (r#"{"input_format":{"csv":{"delimiter":"é"}}}"#, "/input_format/csv/delimiter"),
        (r#"{"input_format":{"csv":{"colour":1}}}"#, "/input_format/csv/colour"),
        (r#"{"input_format":{"ndjson":{}},"inputs":[{"generate":5}]}"#, "/input_format"),
        (r#"{"input_format":{"csv":{}},"split":{"lines":5}}"#, "/split/lines"),
        (r#"{"input_format":{"whole_file":{}},"steps":[{"command":{"reducer":["cat"]}}]}"#, "/steps/0"),
        (r#"{"attempts":1000}"#, "/attempts"),
        (r#"{"priority":5000}"#, "/priority"),
        (r#"{"progress_timeout_ms":1}"#, "/progress_timeout_ms"),
        (r#"{"sort_budget_bytes":1}"#, "/sort_budget_bytes"),
        (r#"{"on_bad_record":{"skip":0}}"#, "/on_bad_record/skip"),
        (r#"{"on_bad_record":{"skip":5},"attempts":2}"#, "/attempts"),
        (r#"{"on_nondeterminism":"hope"}"#, "/on_nondeterminism"),
        (r#"{"output":{"url":"relative"}}"#, "/output/url"),
        (r#"{"output":{"url":"store://"}}"#, "/output/url"),
        (r#"{"output":{"overwrite":true}}"#, "/output/overwrite"),
        (r#"{"user":""}"#, "/user"),
        (r#"{"max_running":0}"#, "/max_running"),
        (r#"{"requires":{"labels":{"gpu":""}}}"#, "/requires/labels"),
        (r#"{"requires":{"disk":5}}"#, "/requires/disk"),
        (r#"{"steps":[{"command":{}}]}"#, "/steps/0/command"),
        (r#"{"steps":[{"command":{"mapper":["a"],"output_bytes":1}}]}"#, "/steps/0/command/output_bytes"),
        (
            r#"{"steps":[{"command":{"mapper":["a"],"streaming":{"order":{"fields":{"options":"-q","separator":"."}}}}}]}"#,
            "/steps/0/command/streaming/order/fields/options",
        ),
        (r#"{"steps":[{"native":"a","order":{}}]}"#, "/steps/0/order"),
        (r#"{"steps":[{"native":"sort","order":{},"reduce":false}]}"#, "/steps/0/order"),
        (r#"{"steps":[{"native":"a"},{"native":"sort","order":{}}]}"#, "/steps/1/order"),
        (r#"{"steps":[{"native":"sort","order":{"key":{"bytes":0}}}]}"#, "/steps/0/order/key/bytes"),
        (r#"{"steps":[{"native":"sort","order":{"key":{"columns":[{"name":"a"}]}}}]}"#, "/steps/0/order/key/columns"),
        (
            r#"{"steps":[{"native":"sort","order":{"key":{"columns":[{"name":"a"}]}}}],"input_format":{"csv":{"rows":"tsv"}}}"#,
            "/steps/0/order/key/columns",
        ),
        (
            r#"{"steps":[{"native":"sort","order":{"key":{"fields":{"options":"-n","separator":""}}}}],"input_format":{"ndjson":{}}}"#,
            "/steps/0/order/key/fields",
        ),
        (r#"{"steps":[{"native":"sort","order":{}}],"input_format":{"whole_file":{}}}"#, "/steps/0/order"),
        (r#"{"steps":[{"native":"sort"}]}"#, "/steps/0"),
        (r#"{"steps":[{"native":"top-k","partitions":2}]}"#, "/steps/0/partitions"),
        (
            r#"{"steps":[{"native":"sort","order":{"key":{"columns":[{"name":"a"}]}}}],"input_format":{"csv":{}}}"#,
            "/steps/0/order/key/columns",
        ),
        (r#"{"steps":[{"native":"a","columns":[{"name":"a"}]}],"input_format":{"csv":{}}}"#, "/steps/0/columns"),
        (r#"{"steps":[{"native":"a","columns":[{"name":"a"}]}]}"#, "/steps/0/columns"),
        (r#"{"steps":[{"native":"a","columns":[{}]}],"input_format":{"ndjson":{}}}"#, "/steps/0/columns/0"),
        (r#"{"steps":[{"native":"a"},{"native":"b","columns":[{"name":"a"}]}]}"#, "/steps/1/columns"),
        (r#"{"colour":"red"}"#, "/colour"),
    ];
    for (change, pointer) in cases {
        let problem = spec(change).expect_err(change);
        assert_eq!((problem.code, problem.pointer.as_deref()), (Code::Invalid, Some(pointer)), "{change}: {problem}");
    }
}

#[test]
fn what_is_not_built_says_so() {
    let problem = spec(r#"{"inputs":["s3://bucket/a"]}"#).expect_err("not built");
    assert_eq!(problem.code, Code::Unsupported);
}

#[test]
fn text_that_is_not_json_is_refused() {
    for text in ["", "{", "[]", "null", "{\"name\":\"a\"}", "\u{0}"] {
        let problem = JobSpec::from_json(text.as_bytes()).expect_err(text);
        assert_eq!(problem.code, Code::Invalid, "{text}");
        assert!(problem.pointer.is_some(), "{text}");
    }
}

#[test]
fn memory_says_how_many_attempts_fit_and_what_the_least_is() {
    const MIB: u64 = 1 << 20;
    let inputs = || vec![Input::Generated(Generated { generate: 1 })];
    let mut sort =
        JobSpec::new("sort", inputs(), vec![StepSpec { order: Some(Box::default()), ..StepSpec::native("s") }]);
    let (fits, least) = sort.slots_in(512 * MIB);
    assert_eq!((fits, least.div_ceil(MIB)), (3, 174));
    assert_eq!((sort.slots_in(least - 1).0, sort.slots_in(least).0), (0, 1));
    sort.sort_budget_bytes = MIB;
    assert_eq!(sort.slots_in(16 * MIB).0, 1);
    let table = JobSpec::new("count", inputs(), vec![StepSpec::native("c")]);
    assert_eq!(table.slots_in(512 * MIB), (0, limits::WORKER_BYTES + table.attempt_bytes(0)));
    assert!(table.attempt_bytes(0) > 5 * 128 * MIB - MIB && table.attempt_bytes(1) == 0);
    // What sorts nothing needs nothing for it, and what has no combiner no table.
    let step = |text: &str| serde_json::from_str::<StepSpec>(text).expect(text);
    let of = |steps: Vec<StepSpec>| JobSpec::new("m", inputs(), steps).attempt_bytes(0);
    let plain = r#"{"command": {"mapper": ["cat"], "reducer": ["cat"]}}"#;
    assert_eq!(of(vec![step(r#"{"command": {"mapper": ["cat"]}, "reduce": false}"#)]), limits::ATTEMPT_BYTES);
    assert_eq!(of(vec![step(plain)]).div_ceil(MIB), 160 + 6);
    // The reduces of a step may run the maps of the next one, which sort beside the merge.
    assert_eq!(of(vec![step(plain), StepSpec::native("c")]).div_ceil(MIB), 704 + 6);
    assert_eq!(of(vec![step(plain), StepSpec { fuse: false, ..StepSpec::native("c") }]).div_ceil(MIB), 160 + 6);
}

#[test]
fn a_join_reads_fields() {
    let read = |format: &str| {
        let inputs = r#"[{"url": "store://l", "tag": "left"}, {"url": "store://r", "tag": "right"}]"#;
        let steps = r#"[{"native": "join"}]"#;
        let text = format!(r#"{{"name": "j", "inputs": {inputs}, "steps": {steps}, "input_format": {format}}}"#);
        JobSpec::from_json(text.as_bytes()).map_err(|problem| problem.pointer.unwrap_or_default())
    };
    for fields in [r#"{"lines": {}}"#, r#"{"csv": {"rows": "tsv"}}"#, r#"{"key_value": {}}"#] {
        assert!(read(fields).is_ok(), "{fields}: {:?}", read(fields));
    }
    for none in [r#"{"csv": {}}"#, r#"{"ndjson": {}}"#, r#"{"fixed": {"bytes": 8}}"#] {
        assert_eq!(read(none), Err("/input_format".to_owned()), "{none}");
    }
}
