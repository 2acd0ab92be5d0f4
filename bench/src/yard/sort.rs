//! Sorts 100-byte records by their first 10 bytes: buckets by the first byte, then each bucket by (key, number).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;

const RECORD: usize = crate::data::RECORD_BYTES as usize;
const BUCKETS: usize = 256;

/// The first 8 bytes of a key as a number, and its last 2 before the record's number.
type Item = (u64, u64);
/// A bucket and where it goes in the output.
type Job = (u64, Vec<Item>);

/// Writes the records in order; equal keys keep their order.
pub(super) fn sort(bytes: &[u8], output: &Path) -> Result<()> {
    let count = bytes.len() / RECORD;
    let file = File::create(output)?;
    file.set_len((count * RECORD) as u64)?;
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| buckets(bytes, 0, count / 2));
        let second = buckets(bytes, count / 2, count);
        (first.join().unwrap_or_default(), second)
    });
    let mut at = 0;
    let mut jobs: Vec<Job> = Vec::new();
    for (mut bucket, more) in first.into_iter().zip(second) {
        bucket.extend(more);
        let length = (bucket.len() * RECORD) as u64;
        jobs.push((at, bucket));
        at += length;
    }
    let jobs = Mutex::new(jobs);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| write_all(bytes, &jobs, &file));
        write_all(bytes, &jobs, &file)?;
        other.join().unwrap_or_else(|_| Err(std::io::Error::other("a thread panicked")))
    })?;
    Ok(())
}

fn buckets(bytes: &[u8], from: usize, to: usize) -> Vec<Vec<Item>> {
    let mut buckets: Vec<Vec<Item>> = vec![Vec::new(); BUCKETS];
    for number in from..to {
        let record = &bytes[number * RECORD..][..10];
        let mut key = [0; 8];
        key.copy_from_slice(&record[..8]);
        let last = u64::from(record[8]) << 56 | u64::from(record[9]) << 48 | number as u64;
        buckets[usize::from(record[0])].push((u64::from_be_bytes(key), last));
    }
    buckets
}

fn write_all(bytes: &[u8], jobs: &Mutex<Vec<Job>>, file: &File) -> std::io::Result<()> {
    let next = || jobs.lock().ok().and_then(|mut jobs| jobs.pop());
    let mut out = Vec::new();
    while let Some((at, mut items)) = next() {
        items.sort_unstable();
        out.clear();
        for (_, last) in items {
            let number = (last & 0xFFFF_FFFF_FFFF) as usize;
            out.extend_from_slice(&bytes[number * RECORD..][..RECORD]);
        }
        file.write_all_at(&out, at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_in_order() {
        let mut random = crate::random::Random(3);
        let mut records: Vec<Vec<u8>> = (0..2_000)
            .map(|number| {
                let key: Vec<u8> = (0..10).map(|_| b'a' + random.below(3) as u8).collect();
                let mut record = key;
                record.extend(format!("{number:089}\n").bytes());
                record
            })
            .collect();
        let dir = tempfile::tempdir().expect("a directory");
        let output = dir.path().join("sorted");
        sort(&records.concat(), &output).expect("sorted");
        records.sort_by(|a, b| a[..10].cmp(&b[..10]));
        assert!(std::fs::read(output).expect("written") == records.concat());
    }
}
