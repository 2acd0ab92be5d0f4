//! For each word, the files it is in: `word TAB file,file,…`. A word is a longest run of letters.

use std::collections::BTreeSet;

use gristmill_sdk::prelude::*;

#[derive(Default)]
struct Words {
    file: String,
}

impl Mapper for Words {
    type Key = str;
    type Value = String;

    fn start(&mut self, start: &Start<'_>) -> Result<()> {
        let name = start.name.rsplit('/').next().unwrap_or(start.name);
        name.clone_into(&mut self.file);
        Ok(())
    }

    fn map(&mut self, line: &[u8], out: &mut Emit<'_, str, String>) -> Result<()> {
        let line = String::from_utf8_lossy(line);
        for word in line.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()) {
            out.emit(word, &self.file);
        }
        Ok(())
    }
}

/// Keeps each file once, so that a map output holds a word's files and not its occurrences.
struct Distinct;

impl Combiner<String> for Distinct {
    type Acc = Vec<String>;
    type Output = Vec<String>;

    fn zero(&self) -> Vec<String> {
        Vec::new()
    }

    fn add(&self, files: &mut Vec<String>, file: String) {
        if !files.contains(&file) {
            files.push(file);
        }
    }

    fn merge(&self, files: &mut Vec<String>, later: Vec<String>) {
        for file in later {
            self.add(files, file);
        }
    }

    fn finish(&self, files: Vec<String>) -> Vec<String> {
        let sorted: BTreeSet<String> = files.into_iter().collect();
        sorted.into_iter().collect()
    }
}

fn main() -> ExitCode {
    App::new().job("inverted-index", Job::map(|_| Words::default()).combine(Distinct)).run()
}
