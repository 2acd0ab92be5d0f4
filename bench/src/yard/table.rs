//! A hash table from words to counts: 32 bytes a slot, words of up to 16 bytes inside it.

/// A word. Up to 16 bytes are in `low` and `high`; of a longer one they are hashes, and its text is at `offset`.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct Word {
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) length: u32,
    pub(super) count: u32,
    pub(super) offset: u64,
}

impl Word {
    /// Makes the word at `start`; `load_wide` says that 16 bytes from there are readable.
    #[inline(always)]
    pub(super) fn at(text: &[u8], start: usize, length: usize) -> Self {
        let (low, high) =
            if length > 16 { hash_long(&text[start..start + length]) } else { inline(text, start, length) };
        Self { low, high, length: length as u32, count: 1, offset: start as u64 }
    }

    #[inline(always)]
    pub(super) fn hash(&self) -> u64 {
        let product = u128::from(self.low ^ 0x9E37_79B9_7F4A_7C15)
            * u128::from((self.high ^ u64::from(self.length)) ^ 0xD6E8_FEB8_6659_FD93);
        let folded = (product as u64) ^ (product >> 64) as u64;
        folded ^ (folded >> 32)
    }

    pub(super) fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.offset as usize..][..self.length as usize]
    }

    #[inline(always)]
    fn is(&self, other: &Self, text: &[u8]) -> bool {
        (self.low, self.high, self.length) == (other.low, other.high, other.length)
            && (self.length <= 16 || self.text(text) == other.text(text))
    }
}

#[inline(always)]
fn inline(text: &[u8], start: usize, length: usize) -> (u64, u64) {
    let wide = match text.get(start..start + 16) {
        Some(bytes) => {
            let mut array = [0; 16];
            array.copy_from_slice(bytes);
            // A word has at least one byte.
            u128::from_le_bytes(array) & (u128::MAX >> (128 - 8 * length as u32))
        }
        None => {
            let mut array = [0; 16];
            array[..length].copy_from_slice(&text[start..start + length]);
            u128::from_le_bytes(array)
        }
    };
    (wide as u64, (wide >> 64) as u64)
}

fn hash_long(word: &[u8]) -> (u64, u64) {
    word.chunks(8).fold((1, 2), |(low, high), chunk| {
        let mut array = [0; 8];
        array[..chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_le_bytes(array);
        let mixed = Word { low: low ^ bits, high, length: 77, ..Word::default() }.hash();
        (mixed, Word { low: high, high: bits, length: 99, ..Word::default() }.hash())
    })
}

/// Words and their counts. A slot with count 0 is free; at most half of the slots are used.
pub(super) struct Table {
    slots: Vec<Word>,
    pub(super) used: usize,
}

impl Table {
    pub(super) fn new(slots: usize) -> Self {
        Self { slots: vec![Word::default(); slots], used: 0 }
    }

    /// Returns the place of the slot that a hash is looked for first.
    #[inline(always)]
    pub(super) fn slot(&self, hash: u64) -> *const Word {
        &raw const self.slots[hash as usize & (self.slots.len() - 1)]
    }

    #[inline(always)]
    pub(super) fn add(&mut self, text: &[u8], hash: u64, word: Word) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.count == 0 {
                *slot = word;
                self.used += 1;
                break;
            }
            if slot.is(&word, text) {
                slot.count += word.count;
                return;
            }
            at = (at + 1) & mask;
        }
        if self.used * 2 > self.slots.len() {
            self.grow(text);
        }
    }

    #[cold]
    fn grow(&mut self, text: &[u8]) {
        let larger = Self::new(self.slots.len() * 4);
        let old = std::mem::replace(self, larger);
        self.merge(text, &old);
    }

    pub(super) fn merge(&mut self, text: &[u8], other: &Self) {
        for word in other.words() {
            self.add(text, word.hash(), *word);
        }
    }

    pub(super) fn words(&self) -> impl Iterator<Item = &Word> {
        self.slots.iter().filter(|word| word.count > 0)
    }
}
