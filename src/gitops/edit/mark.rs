//! Leaves that carry a marker in the comment behind them, by which their file says that they may be set.

use serde_json::Value as Json;

use super::node::{Kind, Node};
use super::path::{Path, Segment};
use super::{Document, File, Selector};

/// The key of a marker.
const KEY: &str = "$iter8";

/// A leaf with a marker such as `# {"$iter8": "reviews-app:tag"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The leaf.
    pub at: Selector,
    /// What the marker says behind the colon, `image` without one.
    pub part: String,
}

impl File<'_> {
    /// The leaves whose marker has this name, in the file's order.
    pub fn marked(&self, name: &str) -> Vec<Marked> {
        let mut found = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            walk(self.text, node, &Path::default(), &mut |path, comment| {
                if let Some(part) = part(comment, name) {
                    found.push(Marked { at: Selector { document: Document::At(index), path: path.clone() }, part });
                }
            });
        }
        found
    }
}

/// Tells every leaf that has a comment behind it on its line.
fn walk(text: &str, node: &Node, path: &Path, tell: &mut impl FnMut(&Path, &str)) {
    match &node.kind {
        Kind::Scalar { .. } => {
            let rest = text.get(node.range.end..).and_then(|rest| rest.lines().next()).unwrap_or_default();
            if let Some(comment) = rest.trim().strip_prefix('#') {
                tell(path, comment);
            }
        }
        Kind::Map { entries, .. } => {
            for entry in entries {
                walk(text, &entry.value, &path.key(&entry.key), tell);
            }
        }
        Kind::List { items, .. } => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| walk(text, item, &path.join(Segment::Index(index)), tell));
        }
        Kind::Alias(_) => {}
    }
}

/// The part that a comment asks for, if it is a marker of this name.
fn part(comment: &str, name: &str) -> Option<String> {
    let marker: Json = serde_json::from_str(comment.trim()).ok()?;
    let marker = marker.get(KEY)?.as_str()?;
    let (own, part) = marker.split_once(':').unwrap_or((marker, "image"));
    (own == name).then(|| part.to_owned())
}
