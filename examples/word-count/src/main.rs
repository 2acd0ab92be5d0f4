//! Counts words: the whole program that a user writes. Try `cargo run --release -- run word-count-example FILES…`.

use gristmill_sdk::prelude::*;

struct Words;

impl Mapper for Words {
    type Key = [u8];
    type Value = u64;

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, [u8], u64>) -> Result<()> {
        for word in line.split(|byte| b" \t\n\x0b\x0c\r".contains(byte)).filter(|word| !word.is_empty()) {
            out.emit(word, &1);
        }
        Ok(())
    }
}

/// Prints each word with its sum.
struct Totals;

impl Reducer for Totals {
    type Key = [u8];
    type Value = u64;

    fn reduce(&mut self, word: &[u8], counts: &mut Values<'_, u64>, out: &mut Lines<'_>) -> Result<()> {
        out.emit(word, counts.sum::<u64>());
        Ok(())
    }
}

fn main() -> ExitCode {
    App::new().job("word-count-example", Job::map(|_| Words).combine(Sum).reduce(|_| Totals)).run()
}
