//! Bytes that were read and haven't been understood yet. The memory is lent by the thread's own stock and goes back to
//! it, so that a connection which has nothing to say holds none.

use std::cell::RefCell;

use crate::stock::Stock;

/// Enough for nearly every head, and for the whole of a small message.
pub(crate) const SMALL_BYTES: usize = 8 * 1024;
/// Small reads nearly double what a large body costs.
pub(crate) const LARGE_BYTES: usize = 64 * 1024;

/// Pieces of each size that a thread keeps for the next: 1 MiB and 2 MiB at most.
const SMALL_KEPT: usize = 128;
const LARGE_KEPT: usize = 32;

thread_local! {
    static KEPT: RefCell<Kept> = const {
        RefCell::new(Kept { small: Stock::of(SMALL_KEPT), large: Stock::of(LARGE_KEPT) })
    };
}

#[derive(Debug)]
struct Kept {
    small: Stock<Box<[u8]>>,
    large: Stock<Box<[u8]>>,
}

/// A window onto a piece of memory: what was read and hasn't been consumed.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How much it could hold without more memory.
    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Takes bytes off the front.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Where the next bytes are read to: never empty, and as large as the memory allows. An empty buffer takes as much
    /// memory as is asked for; one that is full grows to twice its size, so whoever reads minds how full it may be.
    pub(crate) fn space(&mut self, wanted: usize) -> &mut [u8] {
        if self.is_empty() && self.memory.len() < wanted {
            give_back(std::mem::replace(&mut self.memory, memory(wanted)));
        } else if self.end == self.memory.len() && self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else if self.end == self.memory.len() {
            let mut more = memory(self.memory.len() * 2);
            more[..self.end].copy_from_slice(&self.memory);
            give_back(std::mem::replace(&mut self.memory, more));
        }
        &mut self.memory[self.end..]
    }

    /// So many bytes have been written to the space.
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.memory.len());
    }

    /// Gives the memory back, if there is nothing in it.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() && !self.memory.is_empty() {
            give_back(std::mem::take(&mut self.memory));
            (self.start, self.end) = (0, 0);
        }
    }

    #[cfg(test)]
    pub(crate) fn holding(bytes: &[u8]) -> Self {
        let mut buffer = Self::default();
        buffer.extend(bytes);
        buffer
    }

    #[cfg(test)]
    pub(crate) fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space(SMALL_BYTES);
            let part = space.len().min(bytes.len());
            space[..part].copy_from_slice(&bytes[..part]);
            self.filled(part);
            bytes = &bytes[part..];
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.memory.is_empty() {
            give_back(std::mem::take(&mut self.memory));
        }
    }
}

/// At least so many bytes, whatever they hold.
fn memory(bytes: usize) -> Box<[u8]> {
    let (kept, size) = KEPT.with_borrow_mut(|kept| {
        if bytes <= SMALL_BYTES {
            (kept.small.take(), SMALL_BYTES)
        } else if bytes <= LARGE_BYTES / 2 {
            // What grows, such as a long head, takes no more than it needs.
            (None, bytes.next_power_of_two())
        } else if bytes <= LARGE_BYTES {
            (kept.large.take(), LARGE_BYTES)
        } else {
            (None, bytes)
        }
    });
    kept.unwrap_or_else(|| vec![0; size].into())
}

fn give_back(memory: Box<[u8]>) {
    // While a thread ends its stock may be gone already; then so is the memory.
    let _ = KEPT.try_with(|kept| {
        let Ok(mut kept) = kept.try_borrow_mut() else {
            return;
        };
        match memory.len() {
            SMALL_BYTES => kept.small.keep(memory),
            LARGE_BYTES => kept.large.keep(memory),
            _ => {}
        }
    });
}

/// Drops what of the thread's stock nobody has asked for since it was called last.
pub(crate) fn shed() {
    KEPT.with_borrow_mut(|kept| {
        kept.small.shed();
        kept.large.shed();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_comes_out_in_order_however_it_is_consumed() {
        let mut buffer = Buffer::default();
        let bytes: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut seen = Vec::new();
        for (piece, consume) in bytes.chunks(777).zip([0, 500, 2000, 1].into_iter().cycle()) {
            buffer.extend(piece);
            let part = consume.min(buffer.len());
            seen.extend_from_slice(&buffer.bytes()[..part]);
            buffer.consume(part);
        }
        seen.extend_from_slice(buffer.bytes());
        assert_eq!(seen, bytes);
    }

    #[test]
    fn memory_goes_back_to_where_it_came_from() {
        let kept = || KEPT.with_borrow(|kept| (kept.small.len(), kept.large.len()));
        let before = kept();
        let mut small = Buffer::holding(b"x");
        assert_eq!(small.capacity(), SMALL_BYTES);
        small.rest();
        assert_eq!(small.capacity(), SMALL_BYTES, "it isn't empty");
        small.consume(1);
        small.rest();
        assert_eq!(small.capacity(), 0);
        let mut large = Buffer::default();
        assert_eq!(large.space(LARGE_BYTES).len(), LARGE_BYTES);
        drop(large);
        let after = kept();
        assert_eq!((after.0.max(1), after.1.max(1)), after, "{before:?}");
        assert_eq!(Buffer::default().space(1).len(), SMALL_BYTES);
    }
}
