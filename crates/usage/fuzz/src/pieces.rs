//! Bytes in pieces whose lengths the input says.

/// Bytes of an input that say lengths.
pub const LENGTHS: usize = 4;

/// The lengths of pieces, taken in turns; 0 is a piece without bytes.
#[derive(Clone, Copy, Debug)]
pub struct Lengths([u8; LENGTHS]);

impl Lengths {
    /// The lengths that `bytes` are; the last of them takes at least one byte.
    pub fn new([a, b, c, d]: [u8; LENGTHS]) -> Self {
        Self([a, b, c, d.max(1)])
    }

    /// All of `bytes`, in pieces.
    pub fn cut<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut lengths = self.0.into_iter().cycle();
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let length = usize::from(lengths.next()?).min(rest.len());
            let (piece, after) = rest.split_at(length);
            let is_over = rest.is_empty();
            rest = after;
            (!is_over).then_some(piece)
        })
    }
}
