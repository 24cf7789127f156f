//! The paths that dialects look at, merged into a tree so that a key is compared once.

use std::sync::LazyLock;

use crate::dialect::{Api, Dialect, Path, TEXTS};
use crate::readings::Part;

/// Objects and arrays on the way to a field, the document itself included:
/// `choices[].delta.content[].thinking[].text` has 8.
pub(crate) const PATH_LEVELS_MAX: usize = 8;

/// In a path, every element of an array.
pub(crate) const EACH: &str = "[]";

/// A place in a document that is, or leads to, a wanted field.
#[derive(Debug, Default)]
pub(crate) struct Node {
    key: &'static str,
    children: Vec<Node>,
    /// One bit per length that a child's key has: most keys of a document have none of them.
    key_lengths: u64,
    takes: Vec<Take>,
    text: Option<Text>,
    mark: Option<Mark>,
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

/// What a stream has besides usage.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    Text(Text),
    Mark(Mark),
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

/// One tree for each operation, so that no document is taken apart for what cannot be in it.
static TREES: LazyLock<[Node; Api::ALL.len()]> = LazyLock::new(|| Api::ALL.map(|api| tree(api.dialects())));

/// The same with what only streams have.
static STREAM_TREES: LazyLock<[Node; Api::ALL.len()]> =
    LazyLock::new(|| Api::ALL.map(|api| stream_tree(api.dialects())));

fn tree(dialects: &[Dialect]) -> Node {
    let mut root = Node::default();
    for &dialect in dialects {
        for &(path, part) in dialect.fields() {
            let is_element = path.contains(&EACH);
            root.leaf(path).takes.push(Take { dialect, part, is_element });
        }
    }
    for &(path, text) in TEXTS {
        root.leaf(path).text = Some(text);
    }
    root
}

fn stream_tree(dialects: &[Dialect]) -> Node {
    let mut root = tree(dialects);
    for &(path, wanted) in dialects.iter().flat_map(|dialect| dialect.stream()) {
        match wanted {
            Wanted::Text(text) => root.leaf(path).text = Some(text),
            Wanted::Mark(mark) => root.leaf(path).mark = Some(mark),
        }
    }
    root
}

impl Node {
    /// A document of which only these places are of interest.
    pub(crate) fn of_marks(marks: &[(Path, Mark)]) -> Self {
        let mut root = Self::default();
        for &(path, mark) in marks {
            root.leaf(path).mark = Some(mark);
        }
        root
    }

    /// A document that is the answer to `api`.
    pub(crate) fn root(api: Api) -> &'static Self {
        &TREES[api as usize]
    }

    /// A document of the stream that is the answer to `api`.
    pub(crate) fn stream_root(api: Api) -> &'static Self {
        &STREAM_TREES[api as usize]
    }

    /// Where `key` leads, if anywhere.
    pub(crate) fn child(&self, key: &[u8]) -> Option<&Self> {
        if self.key_lengths & length_bit(key.len()) == 0 {
            return None;
        }
        // Most that are as long begin otherwise, which is seen without a call.
        let is_it = |own: &[u8]| own.first() == key.first() && own == key;
        self.children.iter().find(|node| is_it(node.key.as_bytes()))
    }

    /// Whether this is an object with wanted fields below.
    pub(crate) fn is_object(&self) -> bool {
        !self.children.is_empty() && !self.is_array()
    }

    /// Whether this is an array with wanted fields below.
    pub(crate) fn is_array(&self) -> bool {
        self.element().is_some()
    }

    /// Each element of the array that this is.
    pub(crate) fn element(&self) -> Option<&Self> {
        self.children.first().filter(|node| node.key == EACH)
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

    fn leaf(&mut self, path: Path) -> &mut Self {
        path.iter().fold(self, |node, key| node.child_or_new(key))
    }

    fn child_or_new(&mut self, key: &'static str) -> &mut Self {
        let at = self.children.iter().position(|node| node.key == key).unwrap_or_else(|| {
            self.key_lengths |= length_bit(key.len());
            self.children.push(Node { key, ..Node::default() });
            self.children.len() - 1
        });
        &mut self.children[at]
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

    fn deepest(node: &Node) -> usize {
        1 + node.children.iter().map(deepest).max().unwrap_or(0)
    }

    fn check(node: &Node) {
        assert!(node.children.len() == 1 || node.children.iter().all(|child| child.key != EACH));
        // A string may be wanted where others have an object or an array.
        assert!(node.children.is_empty() || node.takes.is_empty());
        assert!(node.text.is_none() || node.mark.is_none());
        node.children.iter().for_each(check);
    }

    #[test]
    fn the_bounds_hold_every_path() {
        // The leaves are no objects.
        assert!(deepest(Node::stream_root(Api::Any)) - 1 <= PATH_LEVELS_MAX);
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
    fn a_place_is_an_object_an_array_or_a_value() {
        Api::ALL.into_iter().flat_map(|api| [Node::root(api), Node::stream_root(api)]).for_each(check);
    }

    #[test]
    fn shared_paths_are_merged() {
        let usage = Node::root(Api::Any).child(b"usage").unwrap();
        assert_eq!(usage.child(b"input_tokens").unwrap().takes().len(), 2);
        assert!(usage.child(b"tokens_").is_none());
    }
}
