//! The pages of a column, read one after the other, each checked against what it claims before memory is taken for it.

use gristmill_common::limits;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::Page;

use crate::Fetch;
use crate::error::{Error, damaged};
use crate::thrift::{BOOL_FALSE, BOOL_TRUE, Compact, Field, I32, Malformed, STRUCT};
use crate::unpack::unpacked;

/// A page's header is some dozen bytes, and its statistics.
const HEADER_BYTES: u64 = 1 << 20;
/// First look at a header, in bytes.
const HEADER_GUESS: u64 = 4 << 10;

/// The pages of one column in one row group.
pub(crate) struct Pages {
    compression: Compression,
    /// Offset of the next page's header.
    at: u64,
    end: u64,
    /// What was read of the file, from this offset on.
    held: Vec<u8>,
    held_at: u64,
    /// Bytes read at a time.
    window: u64,
}

/// What a page's header says.
#[derive(Clone, Copy, Default, Debug)]
struct Header {
    kind: i64,
    unpacked: i64,
    packed: i64,
    values: i64,
    nulls: i64,
    rows: i64,
    encoding: i64,
    definitions: i64,
    repetitions: i64,
    definition_bytes: i64,
    repetition_bytes: i64,
    is_plain: bool,
}

const DATA: i64 = 0;
const INDEX: i64 = 1;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;

impl Pages {
    pub(crate) fn new(compression: Compression, start: u64, end: u64, window: u64) -> Self {
        Self { compression, at: start, end, held: Vec::new(), held_at: start, window }
    }

    /// Offset of the next page.
    pub(crate) fn offset(&self) -> u64 {
        self.at
    }

    /// Reads the next page that has values or is a dictionary; `None` behind the last one.
    pub(crate) fn next(&mut self, fetch: &mut Fetch<'_>) -> Result<Option<Page>, Error> {
        while self.at < self.end {
            let at = self.at;
            let (header, length) = self.header(fetch)?;
            let packed = bounded(header.packed, limits::PARQUET_PAGE_BYTES);
            let size = bounded(header.unpacked, limits::PARQUET_PAGE_BYTES);
            let (Some(packed), Some(size)) = (packed, size) else {
                let what = format!("a page says that it has {} bytes, packed {}", header.unpacked, header.packed);
                return damaged(at, format!("{what}: {} are allowed", limits::PARQUET_PAGE_BYTES));
            };
            let body = at + length;
            self.at = body + packed as u64;
            if self.at > self.end {
                return damaged(at, "a page goes beyond its column");
            }
            if header.kind == INDEX {
                continue;
            }
            let compression = self.compression;
            let bytes = self.hold(body, packed, fetch)?;
            match page(compression, &header, bytes, size) {
                Ok(page) => return Ok(Some(page)),
                Err(why) => return damaged(at, format!("a page cannot be read: {why}")),
            }
        }
        Ok(None)
    }

    fn header(&mut self, fetch: &mut Fetch<'_>) -> Result<(Header, u64), Error> {
        let (at, left) = (self.at, self.end - self.at);
        let mut look = HEADER_GUESS.min(left);
        loop {
            let bytes = self.hold(at, look as usize, fetch)?;
            match header(bytes) {
                Ok((header, length)) => return Ok((header, length as u64)),
                Err(Malformed::Short) if look < left.min(HEADER_BYTES) => {
                    look = (look * 16).min(left).min(HEADER_BYTES);
                }
                Err(error) => return damaged(at, format!("a page's header is damaged: {error}")),
            }
        }
    }

    /// Returns so many bytes at this offset, which are in the column.
    fn hold(&mut self, at: u64, length: usize, fetch: &mut Fetch<'_>) -> Result<&[u8], Error> {
        let end = at + length as u64;
        if at < self.held_at || end > self.held_at + self.held.len() as u64 {
            let until = end.max((at + self.window).min(self.end));
            self.held = fetch(at, (until - at) as usize)?;
            self.held_at = at;
        }
        let start = (at - self.held_at) as usize;
        match self.held.get(start..start + length) {
            Some(bytes) => Ok(bytes),
            None => damaged(at, "the file ends early"),
        }
    }
}

fn bounded(size: i64, most: usize) -> Option<usize> {
    usize::try_from(size).ok().filter(|size| *size <= most)
}

fn header(bytes: &[u8]) -> Result<(Header, usize), Malformed> {
    let mut from = Compact::new(bytes);
    let mut header = Header { kind: -1, ..Header::default() };
    let mut last = 0;
    while let Some(field) = from.field(&mut last)? {
        match field {
            Field { id: 1, kind: I32 } => header.kind = from.int()?,
            Field { id: 2, kind: I32 } => header.unpacked = from.int()?,
            Field { id: 3, kind: I32 } => header.packed = from.int()?,
            Field { id: 5 | 7 | 8, kind: STRUCT } => inner(&mut from, field.id, &mut header)?,
            Field { kind, .. } => from.skip(kind)?,
        }
    }
    Ok((header, from.length()))
}

/// The part of the header that is for one kind of page.
fn inner(from: &mut Compact<'_>, of: i16, header: &mut Header) -> Result<(), Malformed> {
    const V1: i16 = 5;
    const V2: i16 = 8;
    let mut last = 0;
    while let Some(field) = from.field(&mut last)? {
        let target = match (of, field.id, field.kind) {
            (V2, 7, BOOL_TRUE | BOOL_FALSE) => {
                header.is_plain = field.kind == BOOL_FALSE;
                continue;
            }
            (_, 1, I32) => &mut header.values,
            (V2, 2, I32) => &mut header.nulls,
            (V2, 3, I32) => &mut header.rows,
            (V2, 4, I32) => &mut header.encoding,
            (V2, 5, I32) => &mut header.definition_bytes,
            (V2, 6, I32) => &mut header.repetition_bytes,
            (_, 2, I32) => &mut header.encoding,
            (V1, 3, I32) => &mut header.definitions,
            (V1, 4, I32) => &mut header.repetitions,
            _ => {
                from.skip(field.kind)?;
                continue;
            }
        };
        *target = from.int()?;
    }
    Ok(())
}

fn page(compression: Compression, header: &Header, bytes: &[u8], size: usize) -> Result<Page, String> {
    let count = |value: i64| u32::try_from(value).map_err(|_| format!("{value} values"));
    let num_values = count(header.values)?;
    let encoding = encoding(header.encoding)?;
    match header.kind {
        DATA => {
            let buf = unpacked(compression, bytes, size)?.into();
            let def_level_encoding = self::encoding(header.definitions)?;
            let rep_level_encoding = self::encoding(header.repetitions)?;
            Ok(Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics: None })
        }
        DICTIONARY => {
            let buf = unpacked(compression, bytes, size)?.into();
            Ok(Page::DictionaryPage { buf, num_values, encoding, is_sorted: false })
        }
        DATA_V2 => {
            let (definitions, repetitions) = (count(header.definition_bytes)?, count(header.repetition_bytes)?);
            let levels = definitions as usize + repetitions as usize;
            let (Some((plain, packed)), Some(left)) = (bytes.split_at_checked(levels), size.checked_sub(levels)) else {
                return Err("its levels are longer than it".to_owned());
            };
            let compression = if header.is_plain { Compression::UNCOMPRESSED } else { compression };
            let values = if left == 0 { Vec::new() } else { unpacked(compression, packed, left)? };
            Ok(Page::DataPageV2 {
                buf: [plain, &values].concat().into(),
                num_values,
                encoding,
                num_nulls: count(header.nulls)?,
                num_rows: count(header.rows)?,
                def_levels_byte_len: definitions,
                rep_levels_byte_len: repetitions,
                is_compressed: false,
                statistics: None,
            })
        }
        kind => Err(format!("it is of an unknown kind ({kind})")),
    }
}

fn encoding(number: i64) -> Result<Encoding, String> {
    Ok(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        // Said of levels that are not there.
        #[expect(deprecated, reason = "what old writers say")]
        4 => Encoding::BIT_PACKED,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        _ => return Err(format!("it is encoded in a way that is not built ({number})")),
    })
}
