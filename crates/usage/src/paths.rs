//! The paths that are looked at, merged into a tree so that a key is compared once.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use tollgate_core::Pointer;

use crate::dialect::{Api, Dialect, TEXTS};
use crate::readings::Part;

/// Objects and arrays on the way to a field, the document itself included: as many as the tokens of a pointer. The longest
/// path of a dialect, `choices[].delta.content[].thinking[].text`, has 8.
pub(crate) const PATH_LEVELS_MAX: usize = Pointer::TOKENS_MAX;

/// In a dialect's path, every element of an array.
pub(crate) const EACH: &str = "[]";

/// One step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// The value of a key; in a given path also the element of this index.
    Key(&'a str),
    /// Every element of an array.
    Each,
}

/// A path, and what is wanted there.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) path: Vec<Step<'a>>,
    pub(crate) what: What,
}

/// As what a field is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Amount(Take),
    Text(Text),
    Mark(Mark),
}

/// Who wants a field, and as what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take {
    pub(crate) dialect: Dialect,
    pub(crate) part: Part,
    /// In an array, where each element gives its share.
    pub(crate) is_element: bool,
}

/// The strings that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// The model's name.
    Model,
    /// A document in base64, wrapped in a frame.
    Wrapped,
    /// What the model says in a stream.
    Answer,
    /// The same, where Ollama answers a prompt.
    Generated,
    /// The name of a tool that the model calls.
    Call,
    /// What the model thinks.
    Reasoning,
    /// The same under its other name.
    ReasoningContent,
    /// What the answer is called.
    Id,
    /// What a document of a stream is.
    Kind,
    /// Why the answer, or a choice of it, has ended.
    Reason,
}

/// What is noted of a place besides usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The array of a chat's choices.
    Choices,
    /// One of its elements.
    Choice,
    /// Usage, whatever it says.
    Usage,
    /// Which part of the answer a document is about.
    Index,
    /// Which choice of a chat it is about.
    ChoiceIndex,
    /// When the answer was begun.
    Created,
    /// The number of an event.
    Sequence,
    /// A part of the answer that is open.
    Opened,
    /// A part of the answer that has ended.
    Closed,
}

/// A place in a document: a node's position in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u16);

/// What is wanted of a document.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

/// Where a step leads.
#[derive(Debug)]
struct Child {
    /// `None` for every element of an array.
    key: Option<Box<str>>,
    /// From an object, or as every element of an array.
    place: Place,
    /// From an array, if the key is an index: what is wanted of every element is wanted of this one too.
    element: Place,
}

/// A place in a document that is, or leads to, a wanted field.
#[derive(Debug, Default)]
pub(crate) struct Node {
    children: Vec<Child>,
    /// One bit per length that a child's key has: most keys of a document have none of them.
    key_lengths: u64,
    /// A child is every element of an array.
    has_each: bool,
    /// A key of a child may be an element's index.
    has_indices: bool,
    takes: Vec<Take>,
    text: Option<Text>,
    mark: Option<Mark>,
}

/// The tree of a document.
#[derive(Clone, Debug)]
pub(crate) enum Paths {
    Known(&'static Tree),
    Given(Arc<Tree>),
}

/// One tree for each operation, so that no document is taken apart for what cannot be in it.
static TREES: LazyLock<[Tree; Api::ALL.len()]> =
    LazyLock::new(|| Api::ALL.map(|api| Tree::new(known(api.dialects()).collect())));

/// The same with what only streams have.
static STREAM_TREES: LazyLock<[Tree; Api::ALL.len()]> = LazyLock::new(|| {
    let streams = |api: Api| api.dialects().iter().flat_map(|dialect| dialect.stream_wanted());
    Api::ALL.map(|api| Tree::new(known(api.dialects()).chain(streams(api)).collect()))
});

fn known(dialects: &'static [Dialect]) -> impl Iterator<Item = Wanted<'static>> {
    let fields = dialects.iter().flat_map(|dialect| dialect.wanted());
    fields.chain(TEXTS.iter().map(|&(path, text)| Wanted::new(path, What::Text(text))))
}

impl Paths {
    /// Those of the answer to `api`.
    pub(crate) fn of(api: Api) -> Self {
        Self::Known(&TREES[api as usize])
    }

    /// Those of the documents of a stream that is the answer to `api`.
    pub(crate) fn stream_of(api: Api) -> Self {
        Self::Known(&STREAM_TREES[api as usize])
    }
}

impl Deref for Paths {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        match self {
            Self::Known(tree) => tree,
            Self::Given(tree) => tree,
        }
    }
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(path: &[&'a str], what: What) -> Self {
        let step = |&key| if key == EACH { Step::Each } else { Step::Key(key) };
        Self { path: path.iter().map(step).collect(), what }
    }
}

impl Tree {
    pub(crate) const ROOT: Place = Place(0);

    /// A tree of `wanted`, whose paths have [`PATH_LEVELS_MAX`] steps at most. Of several texts at one place, and of
    /// several marks, the last is taken.
    pub(crate) fn new(wanted: Vec<Wanted<'_>>) -> Self {
        let mut tree = Self { nodes: Vec::new() };
        tree.add(&wanted.iter().collect::<Vec<_>>(), 0);
        tree
    }

    /// Adds the node where all of `wanted` lead after `depth` steps.
    fn add(&mut self, wanted: &[&Wanted<'_>], depth: usize) -> Place {
        // The paths are the program's own or a route's few pointers: they are far less than 65536 together.
        let place = Place(u16::try_from(self.nodes.len()).unwrap_or(u16::MAX));
        let mut node = Node::default();
        for here in wanted.iter().filter(|wanted| wanted.path.len() == depth) {
            match here.what {
                What::Amount(take) => node.takes.push(take),
                What::Text(text) => node.text = Some(text),
                What::Mark(mark) => node.mark = Some(mark),
            }
        }
        self.nodes.push(node);
        let mut steps: Vec<Step<'_>> = Vec::new();
        for step in wanted.iter().filter_map(|wanted| wanted.path.get(depth)) {
            if !steps.contains(step) {
                steps.push(*step);
            }
        }
        for step in steps {
            let below = |leads: fn(Step<'_>, Step<'_>) -> bool| -> Vec<&Wanted<'_>> {
                let leads =
                    |wanted: &&Wanted<'_>| wanted.path.get(depth).is_some_and(|next| leads(*next, step));
                wanted.iter().copied().filter(leads).collect()
            };
            let (own, all) = (below(|next, step| next == step), below(leads_as_element));
            let child = self.add(&own, depth + 1);
            let element = if all.len() == own.len() { child } else { self.add(&all, depth + 1) };
            if let Some(node) = self.nodes.get_mut(usize::from(place.0)) {
                node.lead_to(child, element, step);
            }
        }
        place
    }

    pub(crate) fn node(&self, Place(place): Place) -> &Node {
        &self.nodes[usize::from(place)]
    }

    /// Where `key` leads from the object at `place`, if anywhere.
    pub(crate) fn child(&self, place: Place, key: &[u8]) -> Option<Place> {
        let node = self.node(place);
        if node.key_lengths & length_bit(key.len()) == 0 {
            return None;
        }
        let has_key = |child: &&Child| child.key.as_ref().is_some_and(|known| known.as_bytes() == key);
        node.children.iter().find(has_key).map(|child| child.place)
    }

    /// Where the element `index` of the array at `place` leads, if anywhere.
    pub(crate) fn element(&self, place: Place, index: u32) -> Option<Place> {
        let node = self.node(place);
        let of_index = |child: &&Child| match &child.key {
            Some(key) => node.has_indices && Pointer::index(key) == Some(index),
            None => false,
        };
        let each = || node.children.iter().find(|child| child.key.is_none());
        node.children.iter().find(of_index).or_else(each).map(|child| child.element)
    }
}

/// Whether the next step of a path is `step` in an array, which every element is for its own index.
fn leads_as_element(next: Step<'_>, step: Step<'_>) -> bool {
    match (next, step) {
        (Step::Each, Step::Key(key)) => Pointer::index(key).is_some(),
        (next, step) => next == step,
    }
}

impl Node {
    fn lead_to(&mut self, place: Place, element: Place, step: Step<'_>) {
        let key = match step {
            Step::Each => {
                self.has_each = true;
                None
            }
            Step::Key(key) => {
                self.key_lengths |= length_bit(key.len());
                self.has_indices |= Pointer::index(key).is_some();
                Some(key.into())
            }
        };
        self.children.push(Child { key, place, element });
    }

    /// Whether this is an object with wanted fields below, if it is one.
    pub(crate) fn is_object(&self) -> bool {
        self.key_lengths != 0
    }

    /// Whether this is an array with wanted fields below, if it is one.
    pub(crate) fn is_array(&self) -> bool {
        self.has_each || self.has_indices
    }

    /// Who wants the value here.
    pub(crate) fn takes(&self) -> &[Take] {
        &self.takes
    }

    /// As what the string here is wanted.
    pub(crate) fn text(&self) -> Option<Text> {
        self.text
    }

    /// As what the place is noted.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.mark
    }
}

/// Lengths beyond 63 share a bit.
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::KEY_BYTES_MAX;

    fn deepest(tree: &Tree, place: Place) -> usize {
        1 + tree.node(place).children.iter().map(|child| deepest(tree, child.place)).max().unwrap_or(0)
    }

    fn check(tree: &Tree) {
        for node in &tree.nodes {
            assert!(node.children.len() == 1 || !node.has_each);
            // A string may be wanted where others have an object or an array.
            assert!(node.children.is_empty() || node.takes.is_empty());
            assert!(node.text.is_none() || node.mark.is_none());
            assert!(!node.has_indices);
        }
    }

    #[test]
    fn the_bounds_hold_every_path() {
        // The leaves are no objects.
        assert!(deepest(&Paths::stream_of(Api::Any), Tree::ROOT) - 1 <= PATH_LEVELS_MAX);
        // Each byte of a key may be written as an escape of six.
        let fields = Dialect::ALL.iter().flat_map(|dialect| dialect.fields()).map(|&(path, _)| path);
        let streams = Dialect::ALL.iter().flat_map(|dialect| dialect.stream()).map(|&(path, _)| path);
        for path in fields.chain(streams).chain(TEXTS.iter().map(|&(path, _)| path)) {
            assert!(path.iter().all(|key| 6 * key.len() <= KEY_BYTES_MAX), "{path:?}");
        }
    }

    #[test]
    fn dialects_have_the_places_of_their_array() {
        for (place, dialect) in Dialect::ALL.into_iter().enumerate() {
            assert_eq!(dialect as usize, place, "{dialect:?}");
        }
    }

    #[test]
    fn a_known_place_is_an_object_an_array_or_a_value() {
        Api::ALL
            .into_iter()
            .flat_map(|api| [Paths::of(api), Paths::stream_of(api)])
            .for_each(|paths| check(&paths));
    }

    #[test]
    fn shared_paths_are_merged() {
        let tree = Paths::of(Api::Any);
        let usage = tree.child(Tree::ROOT, b"usage").unwrap();
        assert_eq!(tree.node(tree.child(usage, b"input_tokens").unwrap()).takes().len(), 2);
        assert!(tree.child(usage, b"tokens_").is_none());
    }
}
