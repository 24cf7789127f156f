//! What the documents of a stream begin with, read once: most of an event is what the one before it began with.
//!
//! Where the beginnings of two documents agree, the reader's state is kept as of the last key or element in them. A
//! document that begins with the same bytes is read on from there.

use std::fmt;

use crate::document::{Document, Halt};
use crate::readings::Sink;

/// Bytes of a beginning that are kept; chats have about 220 before their text, services in between some more.
const BEGINNING_BYTES_MAX: usize = 384;

/// Shorter beginnings are not worth the copies.
const BEGINNING_BYTES_MIN: usize = 32;

/// Documents in a row whose beginnings are compared: the first of a stream are often different from the others.
const LEARNT_MAX: u8 = 4;

/// A sink that can go back to what a document's beginning has made of it.
pub(crate) trait Recall: Sink {
    /// What a document has changed, as far as the next one undoes it.
    type Memory: Copy;

    /// What the present document has changed; `None` when it cannot be repeated so.
    fn memory(&self) -> Option<Self::Memory>;

    /// Changes what a document with this beginning would.
    fn recall(&mut self, memory: Self::Memory);
}

/// The beginning of the last documents.
pub(crate) struct Memo<M> {
    /// `bytes[..length]` are the beginning of the last document that was compared.
    bytes: [u8; BEGINNING_BYTES_MAX],
    length: usize,
    known: Option<Known<M>>,
    learnt: u8,
}

/// The reader's state after `read` bytes of the beginning.
#[derive(Clone, Copy, Debug)]
struct Known<M> {
    read: usize,
    halt: Halt,
    memory: M,
}

impl<M: Copy> Memo<M> {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; BEGINNING_BYTES_MAX], length: 0, known: None, learnt: 0 }
    }

    /// Reads the document's first bytes, of which `line` has all that are on its first line if it `is_whole`; returns
    /// how many were read.
    pub(crate) fn begin<S: Recall<Memory = M>>(
        &mut self,
        line: &[u8],
        is_whole: bool,
        document: &mut Document,
        sink: &mut S,
    ) -> usize {
        if self.learnt == LEARNT_MAX {
            if let Some(Known { read, halt, memory }) = self.known
                && line.starts_with(&self.bytes[..read])
            {
                document.resume(halt);
                sink.recall(memory);
                return read;
            }
            self.learnt = if is_whole { 0 } else { LEARNT_MAX };
        }
        if is_whole { self.learn(line, document, sink) } else { 0 }
    }

    /// Reads as much as agrees with the last document's beginning.
    fn learn<S: Recall<Memory = M>>(&mut self, line: &[u8], document: &mut Document, sink: &mut S) -> usize {
        let kept = &self.bytes[..self.length];
        let common = kept.iter().zip(line).take_while(|(one, other)| one == other).count();
        let mut read = 0;
        self.known = None;
        if common >= BEGINNING_BYTES_MIN {
            while read < common {
                read += document.step(&line[read..], sink);
                // What was read beyond what agrees may be different the next time.
                if (BEGINNING_BYTES_MIN..=common).contains(&read)
                    && let (Some(halt), Some(memory)) = (document.halt(), sink.memory())
                {
                    self.known = Some(Known { read, halt, memory });
                }
            }
        }
        self.length = line.len().min(BEGINNING_BYTES_MAX);
        self.bytes[..self.length].copy_from_slice(&line[..self.length]);
        self.learnt += 1;
        read
    }
}

/// Without the bytes, which are someone's.
impl<M: fmt::Debug> fmt::Debug for Memo<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes: _, length, known, learnt } = self;
        f.debug_struct("Memo").field("length", length).field("known", known).field("learnt", learnt).finish()
    }
}
