//! Memory of what is over, kept for what comes next: as many pieces as were lately in use at one time, and no more than
//! a fixed number. So a flood's memory goes when the flood has gone.

/// Pieces of one kind.
#[derive(Debug)]
pub(crate) struct Stock<T> {
    pieces: Vec<T>,
    most: usize,
    /// The fewest that there were since the last look: those at the bottom, which nobody has taken.
    untaken: usize,
}

impl<T> Stock<T> {
    pub(crate) const fn of(most: usize) -> Self {
        Self {
            pieces: Vec::new(),
            most,
            untaken: 0,
        }
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        let piece = self.pieces.pop();
        self.untaken = self.untaken.min(self.pieces.len());
        piece
    }

    pub(crate) fn keep(&mut self, piece: T) {
        if self.pieces.len() < self.most {
            self.pieces.push(piece);
        }
    }

    /// Drops the pieces that nobody has taken since it was called last.
    pub(crate) fn shed(&mut self) {
        self.pieces.drain(..self.untaken);
        self.untaken = self.pieces.len();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_kept_as_were_lately_in_use() {
        let mut stock = Stock::of(100);
        (0..10).for_each(|piece| stock.keep(piece));
        stock.shed();
        assert_eq!(stock.len(), 10, "those have only just come");

        let three: Vec<_> = (0..3).filter_map(|_| stock.take()).collect();
        three.into_iter().for_each(|piece| stock.keep(piece));
        stock.shed();
        assert_eq!(stock.len(), 3);

        stock.shed();
        assert_eq!(stock.len(), 0);
        assert_eq!(stock.take(), None);
    }

    #[test]
    fn no_more_are_kept_than_that() {
        let mut stock = Stock::of(2);
        (0..10).for_each(|piece| stock.keep(piece));
        assert_eq!(stock.len(), 2);
    }
}
