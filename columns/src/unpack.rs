//! Pages as the bytes that were packed. The size that a page is to have is known, bounded, and checked.

use std::io::Read as _;

use parquet::basic::Compression;

/// Unpacks the bytes, of which there are to be so many.
///
/// # Errors
/// Why that cannot be.
pub(crate) fn unpacked(compression: Compression, packed: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut out = match compression {
        Compression::UNCOMPRESSED => packed.to_vec(),
        Compression::SNAPPY => {
            let length = snap::raw::decompress_len(packed).map_err(|error| error.to_string())?;
            let mut out = vec![0; sized(length, size)?];
            snap::raw::Decoder::new().decompress(packed, &mut out).map_err(|error| error.to_string())?;
            out
        }
        Compression::GZIP(_) => {
            let mut out = Vec::with_capacity(size);
            let read = flate2::read::MultiGzDecoder::new(packed).take(size as u64 + 1).read_to_end(&mut out);
            read.map_err(|error| error.to_string())?;
            out
        }
        Compression::ZSTD(_) => zstd::bulk::decompress(packed, size).map_err(|error| error.to_string())?,
        Compression::LZ4_RAW => lz4_block(packed, size)?,
        Compression::LZ4 => lz4_of_hadoop(packed, size).map_or_else(|| lz4_block(packed, size), Ok)?,
        other => {
            return Err(format!("pages packed with {other} cannot be read; write the file with zstd, snappy or lz4"));
        }
    };
    sized(out.len(), size)?;
    out.shrink_to_fit();
    Ok(out)
}

fn sized(length: usize, size: usize) -> Result<usize, String> {
    if length == size { Ok(size) } else { Err(format!("it unpacks to {length} bytes, and should to {size}")) }
}

fn lz4_block(packed: &[u8], size: usize) -> Result<Vec<u8>, String> {
    lz4_flex::block::decompress(packed, size).map_err(|error| error.to_string())
}

/// Blocks of LZ4, each after its sizes unpacked and packed: what Hadoop calls LZ4. `None` if the bytes are none.
fn lz4_of_hadoop(mut packed: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while let [a, b, c, d, e, f, g, h, rest @ ..] = packed {
        let unpacked = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let length = u32::from_be_bytes([*e, *f, *g, *h]) as usize;
        let block = rest.get(..length)?;
        if out.len() + unpacked > size {
            return None;
        }
        out.extend(lz4_block(block, unpacked).ok().filter(|block| block.len() == unpacked)?);
        packed = &rest[length..];
    }
    (packed.is_empty() && out.len() == size).then_some(out)
}
