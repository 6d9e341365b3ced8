//! Why a file is not edited.

use crate::engine::Cause;

/// Why a file is not edited. Nothing is ever written after one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Larger than [`super::MAX_BYTES`].
    #[error("the file has {bytes} bytes, the limit is {}", super::MAX_BYTES)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Nested deeper than [`super::MAX_DEPTH`].
    #[error("the file is nested deeper than {}", super::MAX_DEPTH)]
    TooDeep,
    /// More nodes than [`super::MAX_NODES`].
    #[error("the file has more than {} nodes", super::MAX_NODES)]
    TooManyNodes,
    /// A mapping or sequence has more than [`super::MAX_WIDTH`] children.
    #[error("the collection at line {line} has more than {} entries", super::MAX_WIDTH)]
    TooWide {
        /// Where it begins, from 1.
        line: usize,
    },
    /// Not UTF-8.
    #[error("the file is not UTF-8 text")]
    NotText,
    /// A pointer of Git LFS instead of the content.
    #[error("the file is a Git LFS pointer")]
    LfsPointer,
    /// Encrypted by SOPS: an edit would break its checksum.
    #[error("the file is encrypted with SOPS")]
    Encrypted,
    /// Not YAML.
    #[error("failed to parse YAML: {message}")]
    Syntax {
        /// The parser's words.
        message: String,
    },
    /// Holds `{{`: a template of Helm or of another tool, not a manifest.
    #[error("the file holds {{{{: it is a template, not a manifest")]
    Template,
    /// A tab in the indentation.
    #[error("line {line} is indented with a tab")]
    Tab {
        /// The line, from 1.
        line: usize,
    },
    /// A line ends with a lone carriage return, or with a character that only some parsers take for a line's end.
    #[error("line {line} has a line break that is neither LF nor CRLF")]
    LineBreak {
        /// The line, from 1.
        line: usize,
    },
    /// A mapping has a key twice.
    #[error("line {line} repeats the key {key:?}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The line of the second one, from 1.
        line: usize,
    },
    /// A key that is not a plain or quoted scalar followed by a colon.
    #[error("line {line} has a key that is no plain or quoted text")]
    ComplexKey {
        /// The line, from 1.
        line: usize,
    },
    /// An explicit tag such as `!!str`.
    #[error("line {line} has an explicit tag")]
    Tagged {
        /// The line, from 1.
        line: usize,
    },
    /// An anchor or alias is part of what would change, so other places would change too.
    #[error("an anchor or alias is involved at {path}")]
    AliasInvolved {
        /// The place.
        path: String,
    },
    /// No document has this kind and name.
    #[error("failed to find {kind} {name}")]
    DocumentMissing {
        /// The wanted kind.
        kind: String,
        /// The wanted name.
        name: String,
    },
    /// More than one document has this kind and name.
    #[error("failed to choose between several documents that are {kind} {name}")]
    DocumentAmbiguous {
        /// The wanted kind.
        kind: String,
        /// The wanted name.
        name: String,
    },
    /// A document was to be the only one, or there are fewer than the wanted one's position.
    #[error("failed to choose a document: the file holds {found}")]
    DocumentCount {
        /// How many have content.
        found: usize,
    },
    /// Not a path of the grammar.
    #[error("failed to parse the path {path:?}")]
    BadPath {
        /// The text.
        path: String,
    },
    /// Nothing is at this path.
    #[error("failed to find {path}")]
    PathNotFound {
        /// The place.
        path: String,
    },
    /// More than one item is at this path.
    #[error("failed to choose: {path} selects several items")]
    Ambiguous {
        /// The place.
        path: String,
    },
    /// Not a leaf that can be set in place.
    #[error("{path} is not a scalar on its line")]
    NotScalar {
        /// The place.
        path: String,
    },
    /// The node shares its line with another one (`- - a`).
    #[error("{path} shares its line with another node")]
    SharedLine {
        /// The place.
        path: String,
    },
    /// The neighbours in `[a, b]` or `{a: b}` are separated by more than a comma.
    #[error("failed to remove {path}: comments or anchors stand between it and its neighbours")]
    FlowGap {
        /// The place.
        path: String,
    },
    /// The only entry of a document, or of a collection that cannot become an empty one where it stands.
    #[error("failed to remove {path}: nothing would be left of what holds it")]
    LastEntry {
        /// The place.
        path: String,
    },
    /// The source lacks the labels by which the target's selector finds its pods.
    #[error("{path} would lose the labels that the selector needs")]
    IdentityLost {
        /// The place.
        path: String,
    },
    /// A field that is never promoted: identity, selector, replicas, or anything outside of the pod template.
    #[error("failed to promote {path}: only the pod template is promoted, without identity labels")]
    NotPromotable {
        /// The place.
        path: String,
    },
    /// Two splices touch the same bytes.
    #[error("two changes overlap")]
    Overlap,
    /// The two parsers disagree about the file, or the result means something else than it should.
    #[error("the result does not mean what was wanted")]
    Disagreement,
}

impl EditError {
    /// The stable word for this error.
    pub fn cause(&self) -> Cause {
        match self {
            Self::TooLarge { .. } => Cause::FileTooLarge,
            Self::TooDeep => Cause::FileTooDeep,
            Self::TooManyNodes | Self::TooWide { .. } => Cause::FileTooComplex,
            Self::NotText => Cause::NotText,
            Self::LfsPointer => Cause::LfsPointer,
            Self::Encrypted => Cause::Encrypted,
            Self::Syntax { .. } => Cause::InvalidYaml,
            Self::Template => Cause::TemplateFile,
            Self::Tab { .. } => Cause::TabIndentation,
            Self::DuplicateKey { .. } => Cause::DuplicateKey,
            Self::ComplexKey { .. }
            | Self::Tagged { .. }
            | Self::NotScalar { .. }
            | Self::SharedLine { .. }
            | Self::FlowGap { .. }
            | Self::LastEntry { .. }
            | Self::LineBreak { .. } => Cause::UnsupportedYaml,
            Self::AliasInvolved { .. } => Cause::AliasInvolved,
            Self::DocumentMissing { .. } => Cause::DocumentMissing,
            Self::DocumentAmbiguous { .. } | Self::DocumentCount { .. } | Self::Ambiguous { .. } => Cause::Ambiguous,
            Self::BadPath { .. } => Cause::InvalidPath,
            Self::PathNotFound { .. } => Cause::PathNotFound,
            Self::IdentityLost { .. } => Cause::SelectorWouldChange,
            Self::NotPromotable { .. } => Cause::NotPromotable,
            Self::Overlap | Self::Disagreement => Cause::EditNotVerified,
        }
    }
}
