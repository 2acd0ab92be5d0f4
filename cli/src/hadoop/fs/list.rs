//! `-ls`, `-du`, `-count`, `-test`: what is there, in columns that scripts take apart at spaces.

use std::fmt::Write as _;

use anyhow::Result;
use gristmill_sdk::app::progress;

use super::{Shell, print};
use crate::hadoop::tree::{self, Found};

impl Shell<'_> {
    pub(super) async fn ls(&mut self, paths: &[String]) -> Result<()> {
        let deep = self.has('R') || self.verb == "lsr";
        for found in self.find(&here_unless(paths)).await? {
            if !found.is_directory || self.has('d') {
                print(table(&[found], &self.user).as_bytes())?;
                continue;
            }
            let inside = tree::list(self.client, &found.place, deep).await?;
            if !deep && !inside.is_empty() {
                print(format!("Found {} items\n", inside.len()).as_bytes())?;
            }
            print(table(&inside, &self.user).as_bytes())?;
        }
        Ok(())
    }

    pub(super) async fn du(&mut self, paths: &[String]) -> Result<()> {
        let whole = self.has('s') || self.verb == "dus";
        let mut all = Vec::new();
        for found in self.find(&here_unless(paths)).await? {
            if whole || !found.is_directory {
                all.push(found);
            } else {
                all.extend(tree::list(self.client, &found.place, false).await?);
            }
        }
        let size = |bytes| if self.has('h') { progress::size(bytes).replace("iB", "") } else { bytes.to_string() };
        let width = all.iter().map(|found| size(found.bytes).len()).max().unwrap_or_default();
        let row = |found: &Found| {
            let size = size(found.bytes);
            // Size, and size with all copies: the store keeps one.
            format!("{size:<width$}  {size:<width$}  {}\n", found.place.shown)
        };
        print(all.iter().map(row).collect::<String>().as_bytes())
    }

    pub(super) async fn count(&mut self, paths: &[String]) -> Result<()> {
        for found in self.find(paths).await? {
            let inside =
                if found.is_directory { tree::list(self.client, &found.place, true).await? } else { Vec::new() };
            let directories =
                inside.iter().filter(|inside| inside.is_directory).count() + usize::from(found.is_directory);
            let files = inside.iter().filter(|inside| !inside.is_directory).count() + usize::from(!found.is_directory);
            let line = format!("{directories:>12} {files:>12} {:>18} {}\n", found.bytes, found.place.shown);
            print(line.as_bytes())?;
        }
        Ok(())
    }

    pub(super) async fn test(&mut self, paths: &[String]) -> Result<()> {
        for path in paths {
            let Some(place) = self.place(path) else { return Ok(()) };
            let found = tree::matching(self.client, &place).await?;
            let holds = found.first().is_some_and(|found| {
                (!self.has('d') || found.is_directory)
                    && (!self.has('f') || !found.is_directory)
                    && (!self.has('z') || found.bytes == 0)
                    && (!self.has('s') || found.bytes > 0)
            });
            self.failed |= !holds;
        }
        Ok(())
    }
}

/// The home directory when no path is given.
fn here_unless(paths: &[String]) -> Vec<String> {
    if paths.is_empty() { vec![".".to_owned()] } else { paths.to_vec() }
}

/// Writes rows as Hadoop does: permissions, copies, owner, group, size, day, minute, path.
fn table(found: &[Found], owner: &str) -> String {
    let width = found.iter().map(|found| size(found).to_string().len()).max().unwrap_or_default().max(10);
    found.iter().fold(String::new(), |mut text, found| {
        let kind = if found.is_directory { "drwxr-xr-x   -" } else { "-rw-r--r--   1" };
        let (day, minute) = minute(&found.modified_at);
        let (size, path) = (size(found), &found.place.shown);
        let _ = writeln!(text, "{kind} {owner} supergroup {size:>width$} {day} {minute} {path}");
        text
    })
}

/// Hadoop's directories have no size.
fn size(found: &Found) -> u64 {
    if found.is_directory { 0 } else { found.bytes }
}

/// Takes the day and the minute, `HH:MM`, out of a time in RFC 3339.
fn minute(at: &str) -> (&str, &str) {
    at.split_once('T').and_then(|(day, time)| Some((day, time.get(..5)?))).unwrap_or(("1970-01-01", "00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hadoop::place::Where;

    #[test]
    fn rows_are_what_mrjob_takes_apart() {
        let found = |path: &str, is_directory, bytes, modified_at: &str| {
            let Ok(Where::Store(place)) = Where::parse(path, "ann") else { panic!("{path}") };
            Found { place, is_directory, bytes, modified_at: modified_at.to_owned() }
        };
        let rows = [
            found("hdfs:///user/ann/a b", false, 3276, "2010-01-13T14:00:59.123Z"),
            found("hdfs:///user/ann/d", true, 99, ""),
        ];
        let expected = "\
-rw-r--r--   1 ann supergroup       3276 2010-01-13 14:00 hdfs:///user/ann/a b
drwxr-xr-x   - ann supergroup          0 1970-01-01 00:00 hdfs:///user/ann/d
";
        assert_eq!(table(&rows, "ann"), expected);
    }
}
