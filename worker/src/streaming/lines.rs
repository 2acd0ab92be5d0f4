//! Cuts what a program prints into lines. They end at line feeds only; the last one may lack it.

use gristmill_common::{Reason, limits};
use memchr::{memchr, memchr_iter};

/// The beginning of a line whose end was not printed yet.
#[derive(Default)]
pub(super) struct LineCutter {
    carry: Vec<u8>,
}

impl LineCutter {
    /// Gives each line that ends in the block to the function, without its line feed.
    #[inline]
    pub(super) fn cut(&mut self, block: &[u8], mut line: impl FnMut(&[u8])) -> Result<(), Reason> {
        let mut start = 0;
        if !self.carry.is_empty() {
            let Some(end) = memchr(b'\n', block) else { return self.keep(block) };
            self.keep(&block[..end])?;
            line(&self.carry);
            self.carry.clear();
            start = end + 1;
        }
        let block = &block[start..];
        start = 0;
        for end in memchr_iter(b'\n', block) {
            line(&block[start..end]);
            start = end + 1;
        }
        self.keep(&block[start..])
    }

    /// Gives a last line without a line feed to the function.
    pub(super) fn finish(&mut self, line: impl FnOnce(&[u8])) {
        if !self.carry.is_empty() {
            line(&self.carry);
            self.carry.clear();
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        if self.carry.len() + bytes.len() > limits::LINE_BYTES {
            let message = format!("the program printed a line of more than {} bytes", limits::LINE_BYTES);
            return Err(Reason::Limit { message, at: None });
        }
        self.carry.extend_from_slice(bytes);
        Ok(())
    }
}
