//! W9: the same word count by `run` and by a coordinator with two one-slot workers, inputs read in place. W9z: of millions of
//! distinct words, so that much is shuffled.

use std::path::Path;

use anyhow::Result;

use crate::bench::{Bench, size};
use crate::contender::{Contender, Equal};
use crate::report::Report;

/// Starts a cluster, submits, and ends it. `$0` is the program; workers that share a state directory share files. Killed, not
/// asked to stop: workers would wait for the coordinator to take what they hold.
const SCRIPT: &str = r#"
d=$(mktemp -d); export XDG_STATE_HOME=$d HOME=$d
trap 'kill -9 $(jobs -p) 2> /dev/null; wait; rm -rf "$d"' EXIT
in=$(dirname "$1"); out=$(dirname "$2")
"$G" coordinator --port 0 --data-dir "$d/data" --allow-path "$in" --allow-path "$out" > "$d/log" 2>&1 &
until url=$(grep -o 'http://127.0.0.1:[0-9]*' "$d/log" | head -1) && [ -n "$url" ]; do sleep 0.02; done
export GRISTMILL_URL=$url
for i in 1 2; do "$G" worker --join "$url#.$(cat "$d/data/worker.token")" --slots 1 $LISTEN --state-dir "$d/state$S" --allow-path "$in" > "$d/w$i" 2>&1 & S=${SEPARATE:+$i}; done
until [ "$("$G" worker ls 2> /dev/null | grep -c live)" = 2 ]; do sleep 0.02; done
"$G" submit word-count "$1" -o "$2" --quiet
"#;

/// 1 GiB of English text.
pub(crate) fn words(bench: &Bench) -> Result<Report> {
    let bytes = bench.args.size.unwrap_or(1 << 30);
    let input = bench.data.english(bytes)?;
    rounds(bench, "W9", &input, &format!("{} of English text", size(bytes)))
}

/// 1 GiB of Zipf words.
pub(crate) fn zipf(bench: &Bench) -> Result<Report> {
    let bytes = bench.args.size.unwrap_or(1 << 30);
    let input = bench.data.zipf(bytes)?;
    rounds(bench, "W9z", &input, &format!("{} of Zipf words", size(bytes)))
}

fn rounds(bench: &Bench, workload: &str, input: &Path, what: &str) -> Result<Report> {
    let arguments = ["word-count".as_ref(), input.as_os_str()];
    let all = [
        Contender::gristmill("yardstick", bench, Equal::Bytes, &arguments),
        cluster("cluster, same host", bench, "", input),
        cluster("cluster, direct", bench, "SEPARATE=1; LISTEN='--shuffle-listen 127.0.0.1:0';", input),
        cluster("cluster, relay", bench, "SEPARATE=1;", input),
    ];
    bench.rounds(workload, &format!("{what}; the yardstick is `run`"), &all)
}

fn cluster(name: &str, bench: &Bench, set: &str, input: &Path) -> Contender {
    let script = format!("G='{}'; {set} {SCRIPT}", bench.gristmill.display());
    Contender::shell(name, bench, Equal::Bytes, &script, input)
}
