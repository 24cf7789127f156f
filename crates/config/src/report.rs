//! Collects the mistakes of one file while it is read, and turns byte offsets into lines and columns.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    path::Path,
};

use toml::{Spanned, de::DeTable};

use crate::{Mistake, Position};

/// More mistakes than anyone reads at once; a hostile file must not fill memory with messages.
const MISTAKES_MAX: usize = 1000;

/// What is wrong with a value, without the place: pure readers return it, the caller knows where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) suggestion: Option<String>,
}

impl Flaw {
    pub(crate) fn new(message: impl Into<String>, suggestion: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: Some(suggestion.into()) }
    }

    /// With a suggestion only if there is one.
    pub(crate) fn with(message: impl Into<String>, suggestion: Option<String>) -> Self {
        Self { message: message.into(), suggestion }
    }
}

/// The mistakes of one file so far.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    file: String,
    text: &'a str,
    /// Byte offset of each line's first character.
    lines: Vec<usize>,
    mistakes: RefCell<Vec<Mistake>>,
    /// How many were not kept.
    dropped: Cell<usize>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &Path, text: &'a str) -> Self {
        let starts = text.bytes().zip(1..).filter(|(byte, _)| *byte == b'\n').map(|(_, next)| next);
        let lines = std::iter::once(0).chain(starts).collect();
        Self {
            file: file.display().to_string(),
            text,
            lines,
            mistakes: RefCell::default(),
            dropped: Cell::new(0),
        }
    }

    /// The file's tree; `None` after recording what is wrong with its syntax, at most once per line.
    pub(crate) fn tree(&self) -> Option<Spanned<DeTable<'a>>> {
        let (tree, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return Some(tree);
        }
        let mut last_line = 0;
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = self.position(span.start).line;
            if line != last_line {
                self.mistake("", span, Flaw::with(format!("not TOML: {}", error.message()), None));
                last_line = line;
            }
        }
        None
    }

    /// Records a mistake at `span`.
    pub(crate) fn mistake(&self, key: &str, span: Range<usize>, flaw: Flaw) {
        let Flaw { message, suggestion } = flaw;
        let mistake = Mistake {
            file: self.file.clone(),
            at: Some(self.position(span.start)),
            key: key.to_owned(),
            message,
            suggestion,
        };
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MISTAKES_MAX {
            mistakes.push(mistake);
        } else {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    pub(crate) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        let dropped = self.dropped.get();
        if dropped > 0 {
            mistakes.push(Mistake {
                file: self.file,
                at: None,
                key: String::new(),
                message: format!("{dropped} more mistakes are not shown"),
                suggestion: Some("correct the others first".to_owned()),
            });
        }
        mistakes
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or("");
        Position { line, column: before.chars().count() + 1 }
    }
}
