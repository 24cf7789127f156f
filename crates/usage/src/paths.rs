//! The paths that dialects look at, merged into one tree so that a key is compared once.

use std::sync::LazyLock;

use crate::dialect::Dialect;
use crate::readings::Part;

/// Objects on the way to a field, the document itself included: `response.usage.input_tokens_details` has 4.
pub(crate) const PATH_OBJECTS_MAX: usize = 4;

/// A place in a document that is, or leads to, a wanted field.
#[derive(Debug, Default)]
pub(crate) struct Node {
    key: &'static str,
    children: Vec<Node>,
    takes: Vec<Take>,
}

/// Who wants a field, and as what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take {
    pub(crate) dialect: Dialect,
    pub(crate) part: Part,
}

static TREE: LazyLock<Node> = LazyLock::new(|| {
    let mut root = Node::default();
    for dialect in Dialect::ALL {
        for &(path, part) in dialect.fields() {
            let leaf = path.iter().fold(&mut root, |node, key| node.child_or_new(key));
            leaf.takes.push(Take { dialect, part });
        }
    }
    root
});

impl Node {
    /// The document itself.
    pub(crate) fn root() -> &'static Self {
        &TREE
    }

    /// Where `key` leads, if anywhere.
    pub(crate) fn child(&self, key: &[u8]) -> Option<&Self> {
        self.children.iter().find(|node| node.key.as_bytes() == key)
    }

    /// Whether wanted fields are below.
    pub(crate) fn is_inner(&self) -> bool {
        !self.children.is_empty()
    }

    /// Who wants the value here.
    pub(crate) fn takes(&self) -> &[Take] {
        &self.takes
    }

    fn child_or_new(&mut self, key: &'static str) -> &mut Self {
        let at = self.children.iter().position(|node| node.key == key).unwrap_or_else(|| {
            self.children.push(Node { key, ..Node::default() });
            self.children.len() - 1
        });
        &mut self.children[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::KEY_BYTES_MAX;

    fn deepest(node: &Node) -> usize {
        1 + node.children.iter().map(deepest).max().unwrap_or(0)
    }

    #[test]
    fn the_bounds_hold_every_path() {
        // The leaves are no objects.
        assert!(deepest(Node::root()) - 1 <= PATH_OBJECTS_MAX);
        // Each byte of a key may be written as an escape of six.
        for (path, _) in Dialect::ALL.iter().flat_map(|dialect| dialect.fields()) {
            assert!(path.iter().all(|key| 6 * key.len() <= KEY_BYTES_MAX), "{path:?}");
        }
    }

    #[test]
    fn shared_paths_are_merged() {
        assert_eq!(Node::root().children.len(), 3);
        let usage = Node::root().child(b"usage").unwrap();
        assert_eq!(usage.child(b"input_tokens").unwrap().takes().len(), 2);
        assert!(usage.child(b"tokens").is_none());
    }
}
