//! Samples the keys of a sort for its split points: records at fixed places of the pinned inputs, which depend on their
//! sizes alone.
//!
//! The places are spread evenly, each moved by a fixed pseudo-random step, so that neither sorted nor periodic input fools
//! them. A packed file is read from its beginning. What is read is bounded by `SAMPLES` times `SAMPLE_BYTES`.

use std::io::{Read, Seek as _, SeekFrom};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use futures_util::TryStreamExt as _;
use gristmill_common::format::InputFormat;
use gristmill_common::order::{SortRule, SplitPoint, TotalOrder, split_points};
use gristmill_common::plan::{Compression, PinnedFile, Splits};
use gristmill_common::{Problem, limits};
use gristmill_storage::{Location, Roots, StorageError, open_pinned};
use lz4_flex::frame::FrameDecoder;

use super::misplaced;
use super::sampled::Taker;
use crate::store::{Store, blocking};

/// A stretch of a file that is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    file: usize,
    /// First byte; of a plain file the one before the first line that may be taken.
    start: u64,
    end: u64,
}

/// Returns the points between `parts` parts.
pub(super) async fn points(
    order: &TotalOrder,
    format: &InputFormat,
    parts: u32,
    files: &[PinnedFile],
    splits: &Splits,
    store: &Store,
    roots: &Roots,
) -> Result<Vec<SplitPoint>, Problem> {
    let rule = SortRule::of(order).map_err(|error| Problem::at("/steps/0/order", error.to_string()))?;
    let key_of = |record: &[u8]| {
        let mut key = Vec::new();
        rule.key(record, &mut key);
        key
    };
    let mut keys = Vec::new();
    if let Splits::Generated { records, .. } = splits {
        let count = (*records).min(limits::SAMPLES * limits::SAMPLE_RECORDS as u64);
        let number = |i: u64| (u128::from(*records) * u128::from(i) / u128::from(count)) as u64;
        keys.extend((0..count).map(|i| key_of(number(i).to_string().as_bytes())));
    }
    let (mut taker, mut begun) = (Taker::new(format), None);
    for place in places(files) {
        let failed = |error| misplaced(&error, "/inputs".to_owned());
        let file = &files[place.file];
        if taker.needs_beginning() && begun != Some(place.file) {
            taker.begin(&beginning(file, limits::SAMPLE_BYTES, store, roots).await.map_err(failed)?);
            begun = Some(place.file);
        }
        let bytes = read(file, place, store, roots).await.map_err(failed)?;
        taker.each(&bytes, place.start, &mut |record| keys.push(key_of(record)));
    }
    Ok(split_points(keys, parts))
}

/// Chooses the places: each file laid end to end with the others.
fn places(files: &[PinnedFile]) -> Vec<Place> {
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let count = total.div_ceil(limits::SAMPLE_BYTES).min(limits::SAMPLES);
    let stride = total / count.max(1);
    let mut places: Vec<Place> = Vec::new();
    let (mut file, mut base) = (0, 0);
    for i in 0..count {
        let slack = stride.saturating_sub(limits::SAMPLE_BYTES);
        let step = if slack == 0 { 0 } else { scatter(i) % slack };
        let at = (u128::from(total) * u128::from(i) / u128::from(count)) as u64 + step;
        while let Some(pinned) = files.get(file).filter(|pinned| at >= base + pinned.bytes) {
            base += pinned.bytes;
            file += 1;
        }
        let Some(pinned) = files.get(file) else { break };
        let from = if pinned.compression == Compression::None { at - base } else { 0 };
        let end = (from + limits::SAMPLE_BYTES).min(pinned.bytes);
        let place = Place { file, start: from.saturating_sub(1), end };
        if places.last() != Some(&place) {
            places.push(place);
        }
    }
    places
}

/// A number without pattern (SplitMix64).
fn scatter(i: u64) -> u64 {
    let mut z = i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Reads the first bytes of a file, unpacked; of a packed one it may be more.
pub(super) async fn beginning(
    file: &PinnedFile,
    bytes: u64,
    store: &Store,
    roots: &Roots,
) -> Result<Vec<u8>, StorageError> {
    let place = Place { file: 0, start: 0, end: file.bytes.min(bytes) };
    read(file, place, store, roots).await
}

async fn read(file: &PinnedFile, place: Place, store: &Store, roots: &Roots) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::with_capacity(limits::SAMPLE_BYTES as usize + 1);
    if let Location::File(_) = Location::parse(&file.url)? {
        let (pinned, roots) = (file.clone(), roots.clone());
        bytes = blocking(move || {
            let failed = |error| StorageError::io("read", pinned.url.as_ref(), error);
            let mut opened = open_pinned(&pinned, &roots)?;
            opened.seek(SeekFrom::Start(place.start)).map_err(failed)?;
            opened.take(place.end - place.start).read_to_end(&mut bytes).map_err(failed)?;
            Ok::<_, StorageError>(bytes)
        })
        .await?;
    } else {
        let path = Location::parse_store(&file.url)?;
        let (_, mut body) = store.files().open(&path, Some(place.start..place.end), Some(&file.version)).await?;
        while let Some(chunk) = body.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(match file.compression {
        Compression::None => bytes,
        Compression::Gzip => unpacked(MultiGzDecoder::new(&*bytes)),
        Compression::Bzip2 => unpacked(MultiBzDecoder::new(&*bytes)),
        Compression::Zstd | Compression::Pzstd => {
            zstd::stream::read::Decoder::new(&*bytes).map(unpacked).unwrap_or_default()
        }
        Compression::Lz4 => unpacked(FrameDecoder::new(&*bytes)),
    })
}

/// Unpacks what the beginning of a packed file holds: it ends in the middle, which is no error, and a damaged one is found by
/// the map that reads all of it.
fn unpacked(mut decoder: impl Read) -> Vec<u8> {
    let mut text = Vec::new();
    let mut chunk = [0; 4 << 10];
    while let Ok(length @ 1..) = decoder.read(&mut chunk) {
        text.extend_from_slice(&chunk[..length]);
        if text.len() as u64 >= 8 * limits::SAMPLE_BYTES {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: u64, compression: Compression) -> PinnedFile {
        PinnedFile { url: "file:///f".into(), bytes, version: "1".into(), compression, tag: None }
    }

    #[test]
    fn places_are_spread_over_all_files_and_bounded() {
        let files = [file(0, Compression::None), file(1 << 40, Compression::None), file(1 << 39, Compression::None)];
        let found = places(&files);
        assert_eq!(found.len() as u64, limits::SAMPLES);
        assert!(found.iter().all(|place| place.end - place.start <= limits::SAMPLE_BYTES + 1));
        let share = found.iter().filter(|place| place.file == 1).count();
        assert!((330..350).contains(&share), "{share}");
        assert!(found.windows(2).all(|pair| (pair[0].file, pair[0].start) < (pair[1].file, pair[1].start)));
        assert_eq!(found, places(&files));
    }

    #[test]
    fn a_small_input_is_read_whole_and_a_packed_one_from_its_beginning() {
        let small = [file(20_000, Compression::None), file(5, Compression::None)];
        let covered: u64 = places(&small).iter().map(|place| place.end - place.start).sum();
        assert!(covered >= 20_000, "{:?}", places(&small));
        let packed = [file(1 << 30, Compression::Gzip), file(10, Compression::Gzip)];
        let found = places(&packed);
        assert_eq!(found[0], Place { file: 0, start: 0, end: limits::SAMPLE_BYTES });
        assert!(found.len() <= 2, "{found:?}");
        assert_eq!(places(&[]), []);
    }
}
