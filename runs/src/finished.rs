//! Finished files: parts as the user gets them, with nothing around their bytes.
//!
//! Nothing in such a file says what it is, so its length and checksum travel in the report of the attempt that wrote it. The
//! checksum is made of each buffer before it is written. It is a CRC-64/NVME: quick, and checksums of neighbours make the
//! checksum of both without reading them again.

use std::fmt;
use std::io::{self, Read, Write};

use crc_fast::{CrcAlgorithm, Digest, checksum_combine};

use crate::error::RunError;

/// Bytes gathered before they are written, and read at a time.
const BUFFER_BYTES: usize = 256 << 10;
/// The state of a CRC-64/NVME before the first byte; it is also what the last state is turned around with.
const START: u64 = u64::MAX;

/// Length and CRC-64/NVME of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    state: u64,
    bytes: u64,
}

impl Default for Checksum {
    fn default() -> Self {
        Self { state: START, bytes: 0 }
    }
}

impl Checksum {
    /// Word before the digits where checksums of several kinds are written.
    pub const NAME: &'static str = "crc64nvme";

    /// Takes a checksum that was made elsewhere.
    #[must_use]
    pub fn new(crc: u64, bytes: u64) -> Self {
        Self { state: crc ^ START, bytes }
    }

    /// Makes the checksum of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut checksum = Self::default();
        checksum.update(bytes);
        checksum
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Nvme, self.state);
        digest.update(bytes);
        self.state = digest.get_state();
        self.bytes += bytes.len() as u64;
    }

    /// Returns the checksum of these bytes and those of the other one behind them.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        if next.bytes == 0 {
            return self;
        }
        let crc = checksum_combine(CrcAlgorithm::Crc64Nvme, self.crc(), next.crc(), next.bytes);
        Self::new(crc, self.bytes + next.bytes)
    }

    /// Returns the CRC.
    #[must_use]
    pub fn crc(self) -> u64 {
        self.state ^ START
    }

    /// Returns how many bytes there are.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// Reads to the end, gives each piece to the function, and compares what was read with this.
    ///
    /// # Errors
    /// [`RunError::Corrupt`] when it is not what this is the checksum of, [`RunError::Io`] when it cannot be read, and what
    /// the function returns.
    pub fn check(
        self,
        mut from: impl Read,
        mut each: impl FnMut(&[u8]) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let mut found = Self::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            found.update(&buffer[..read]);
            // What is longer is damaged, and may be much longer.
            if found.bytes > self.bytes {
                break;
            }
            each(&buffer[..read])?;
        }
        if found == self {
            return Ok(());
        }
        Err(RunError::corrupt(format!("{found} was read, {self} was written"), found.bytes))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {}:{:016x}", self.bytes, Self::NAME, self.crc())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes a finished file: gathers bytes, and makes their checksum before they are written.
pub struct FileWriter<W: Write> {
    out: W,
    buffer: Vec<u8>,
    checksum: Checksum,
}

impl<W: Write> FileWriter<W> {
    /// Starts an empty file. The writer needs no buffer of its own.
    pub fn new(out: W) -> Self {
        Self { out, buffer: Vec::with_capacity(BUFFER_BYTES), checksum: Checksum::default() }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.empty()?;
        }
        // More than a buffer holds makes it grow once, and leaves it so: a line of that length seldom comes alone.
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    #[inline(never)]
    fn empty(&mut self) -> io::Result<()> {
        self.checksum.update(&self.buffer);
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file; gives back what was written to. Nothing is synced.
    ///
    /// # Errors
    /// When what is left cannot be written.
    pub fn finish(mut self) -> io::Result<(Checksum, W)> {
        self.empty()?;
        self.out.flush()?;
        Ok((self.checksum, self.out))
    }
}

impl<W: Write> Write for FileWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.empty()?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_never_changes() {
        // The check value of the catalogue of CRCs.
        assert_eq!(Checksum::of(b"123456789").crc(), 0xae8b_1486_0a79_9888);
        assert_eq!((Checksum::default().crc(), Checksum::default().bytes()), (0, 0));
        assert_eq!(Checksum::of(b"ab").to_string(), format!("2 bytes of crc64nvme:{:016x}", Checksum::of(b"ab").crc()));
    }

    #[test]
    fn what_is_written_has_the_checksum_of_what_was_pushed() {
        let line = [7; 1_000];
        let mut writer = FileWriter::new(Vec::new());
        for _ in 0..1_000 {
            writer.push(&line).expect("pushed");
        }
        writer.push(&vec![1; 3 * BUFFER_BYTES]).expect("pushed");
        let (checksum, bytes) = writer.finish().expect("finished");
        assert_eq!((checksum, bytes.len()), (Checksum::of(&bytes), 1_000_000 + 3 * BUFFER_BYTES));
        let mut seen = Vec::new();
        let all = checksum.check(bytes.as_slice(), |piece| {
            seen.extend_from_slice(piece);
            Ok(())
        });
        all.expect("whole");
        assert!(seen == bytes);
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_found() {
        let bytes: Vec<u8> = (0..200).collect();
        let checksum = Checksum::new(Checksum::of(&bytes).crc(), 200);
        checksum.check(bytes.as_slice(), |_| Ok(())).expect("whole");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(checksum.check(damaged.as_slice(), |_| Ok(())).is_err_and(|error| error.is_corrupt()), "bit {bit}");
        }
        for length in 0..bytes.len() {
            checksum.check(&bytes[..length], |_| Ok(())).expect_err("cut");
        }
        checksum.check([bytes.as_slice(), b"x"].concat().as_slice(), |_| Ok(())).expect_err("longer");
    }

    proptest! {
        #[test]
        fn checksums_of_neighbours_make_the_checksum_of_both(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
            let joined = pieces.iter().fold(Checksum::default(), |all, piece| all.then(Checksum::of(piece)));
            prop_assert_eq!(joined, Checksum::of(&pieces.concat()));
        }
    }
}
