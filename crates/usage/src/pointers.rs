//! Fields that a route names by pointers, where the shape of its responses is not known.

use std::sync::Arc;

use tollgate_core::Pointer;

use crate::dialect::{Dialect, TEXTS};
use crate::paths::{Paths, Step, Take, Text, Tree, Wanted, What};
use crate::readings::Part;

/// Where the usage is in each document of a response. A later document replaces what an earlier one said; the elements
/// that [`Pointer::EACH`] names are added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointers {
    /// All that was read; alone, it is the whole.
    pub input: Option<Pointer>,
    /// All that was written.
    pub output: Option<Pointer>,
    /// Both together, or whatever else is charged.
    pub total: Option<Pointer>,
    /// The part of the input that came from a cache.
    pub cached_read: Option<Pointer>,
    /// The part of the input that was written to a cache.
    pub cache_write: Option<Pointer>,
    /// The part of the output that the client does not see.
    pub reasoning: Option<Pointer>,
    /// The model; without a pointer it is looked for where dialects have it.
    pub model: Option<Pointer>,
}

/// [`Pointers`] made ready for any number of scanners, once for each configuration; a copy is cheap.
#[derive(Clone, Debug)]
pub struct Shape {
    tree: Arc<Tree>,
    stream_tree: Arc<Tree>,
    is_input_all: bool,
}

impl Pointers {
    /// Makes them ready.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let Self { input, output, total, cached_read, cache_write, reasoning, model } = self;
        let parts = [
            (input, Part::Input),
            (output, Part::Output),
            (total, Part::Total),
            (cached_read, Part::CachedRead),
            (cache_write, Part::CacheWrite),
            (reasoning, Part::Reasoning),
        ];
        let mut wanted: Vec<Wanted<'_>> = texts(Text::Wrapped).chain(Dialect::Faults.wanted()).collect();
        wanted.extend(parts.into_iter().filter_map(|(pointer, part)| Some(amount(pointer.as_ref()?, part))));
        match model {
            Some(pointer) => wanted.push(Wanted { path: path(pointer), what: What::Text(Text::Model) }),
            None => wanted.extend(texts(Text::Model)),
        }
        let tree = Arc::new(Tree::new(wanted.clone()));
        let writes = output.is_some() || total.is_some();
        let stream_tree = if writes { Arc::new(stream_tree(wanted)) } else { Arc::clone(&tree) };
        Shape { tree, stream_tree, is_input_all: input.is_some() && !writes }
    }
}

/// What a stream writes is told by the texts of every dialect, so that it can be held to a limit before it says its usage.
/// Where the route names one of these places, that holds.
fn stream_tree(wanted: Vec<Wanted<'_>>) -> Tree {
    let streams = Dialect::OF_BODIES.iter().flat_map(|dialect| dialect.stream_wanted());
    Tree::new(streams.chain(wanted).collect())
}

impl Shape {
    pub(crate) fn paths(&self) -> Paths {
        Paths::Given(Arc::clone(&self.tree))
    }

    pub(crate) fn stream_paths(&self) -> Paths {
        Paths::Given(Arc::clone(&self.stream_tree))
    }

    pub(crate) fn is_input_all(&self) -> bool {
        self.is_input_all
    }
}

fn amount(pointer: &Pointer, part: Part) -> Wanted<'_> {
    let is_element = pointer.tokens().any(|token| token == Pointer::EACH);
    Wanted { path: path(pointer), what: What::Amount(Take { dialect: Dialect::Given, part, is_element }) }
}

/// Where `text` is in every dialect.
fn texts<'a>(text: Text) -> impl Iterator<Item = Wanted<'a>> {
    TEXTS.iter().filter(move |known| known.1 == text).map(|&(path, text)| Wanted::new(path, What::Text(text)))
}

fn path(pointer: &Pointer) -> Vec<Step<'_>> {
    pointer.tokens().map(|token| if token == Pointer::EACH { Step::Each } else { Step::Key(token) }).collect()
}
