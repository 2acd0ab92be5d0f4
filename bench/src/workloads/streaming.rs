//! W6: word count by two Python programs, beside the same two in a pipe.

use std::fs;

use anyhow::Result;

use crate::bench::{Bench, size};
use crate::contender::{Contender, Equal};
use crate::report::Report;

const MAPPER: &str = r"#!/usr/bin/env python3
import sys
write = sys.stdout.buffer.write
for line in sys.stdin.buffer:
    for word in line.split():
        write(word + b'\t1\n')
";

const REDUCER: &str = r"#!/usr/bin/env python3
import sys
write = sys.stdout.buffer.write
last, count = None, 0
for line in sys.stdin.buffer:
    word, n = line.split(b'\t')
    if word != last:
        if last is not None:
            write(last + b'\t%d\n' % count)
        last, count = word, 0
    count += int(n)
if last is not None:
    write(last + b'\t%d\n' % count)
";

/// 100 MiB of English text.
pub(crate) fn python(bench: &Bench) -> Result<Report> {
    let bytes = bench.args.size.unwrap_or(100 << 20);
    let input = bench.data.english(bytes)?;
    let programs = bench.data.directory.join("programs");
    fs::create_dir_all(&programs)?;
    let [mapper, reducer] = [("mapper.py", MAPPER), ("reducer.py", REDUCER)].map(|(name, text)| {
        let path = programs.join(name);
        fs::write(&path, text).map(|()| path)
    });
    let (mapper, reducer) = (mapper?, reducer?);
    let python = &bench.args.python;
    let [map, reduce] = [&mapper, &reducer].map(|program| format!("{python} {}", program.display()));
    let arguments = ["--mapper".as_ref(), map.as_ref(), "--reducer".as_ref(), reduce.as_ref(), input.as_os_str()];
    let mut all = vec![Contender::gristmill("gristmill", bench, Equal::Lines, &arguments)];
    if bench.wants("gnu") || bench.wants("yardstick") {
        let script = format!(r#"{map} < "$1" | sort --parallel=2 -S 4G | {reduce} > "$2""#);
        all.push(Contender::shell("yardstick", bench, Equal::Lines, &script, &input));
    }
    bench.add_with(&mut all, Equal::Lines, &input);
    bench.rounds("W6", &format!("{} of English text", size(bytes)), &all)
}
