//! A snapshot of the environment repository's files, and the names by which it is addressed.
//!
//! Reads go through [`Files`], so that planning is the same over a git tree and over a test's map. Paths are checked before use,
//! and only plain files below plain directories are ever read: no links, submodules or pointers. Called by [`super::plan`].

use std::fmt;
use std::str::FromStr;

use super::edit::MAX_BYTES;
use super::plan::{Change, FileOp};
use crate::engine::Cause;

/// Longest path that is accepted, in bytes.
const MAX_PATH: usize = 1024;

/// Why the snapshot cannot be read as wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Not a relative path of the accepted characters.
    #[error("invalid path {path:?}: write a relative path of letters, digits and ._/@+-")]
    PathRefused {
        /// The text.
        path: String,
    },
    /// A link, a submodule, or a directory where a file should be (or the reverse).
    #[error("failed to use {path}: it is {found}")]
    NotAFile {
        /// The path.
        path: String,
        /// What is there.
        found: EntryKind,
    },
    /// Two entries of one name: readers differ in which of them they take.
    #[error("failed to use {path}: its directory has this name twice")]
    Twice {
        /// The path.
        path: String,
    },
    /// Larger than any file that is edited.
    #[error("failed to read {path}: it is larger than {MAX_BYTES} bytes")]
    TooLarge {
        /// The path or blob.
        path: String,
    },
    /// Not an object id.
    #[error("failed to parse the object id {text:?}")]
    BadId {
        /// The text.
        text: String,
    },
    /// The store could not be read.
    #[error("failed to read the repository: {message}")]
    Store {
        /// The store's words.
        message: String,
    },
}

impl TreeError {
    /// The stable word for this error.
    pub fn cause(&self) -> Cause {
        match self {
            Self::PathRefused { .. } => Cause::InvalidPath,
            Self::NotAFile { .. } | Self::Twice { .. } => Cause::UnsupportedEntry,
            Self::TooLarge { .. } => Cause::FileTooLarge,
            Self::BadId { .. } => Cause::InvalidObjectId,
            Self::Store { .. } => Cause::RepositoryUnreadable,
        }
    }

    /// The same of a path, where only the blob was known.
    pub(super) fn at(self, path: &RepoPath) -> Self {
        match self {
            Self::TooLarge { .. } => Self::TooLarge { path: path.to_string() },
            Self::PathRefused { .. }
            | Self::NotAFile { .. }
            | Self::Twice { .. }
            | Self::BadId { .. }
            | Self::Store { .. } => self,
        }
    }
}

/// The id of a git object: 40 lower-case hexadecimal digits.
macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(git2::Oid);

        impl $name {
            pub(super) fn oid(&self) -> git2::Oid {
                self.0
            }
        }

        impl From<git2::Oid> for $name {
            fn from(oid: git2::Oid) -> Self {
                Self(oid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = TreeError;

            fn from_str(text: &str) -> Result<Self, TreeError> {
                let bad = || TreeError::BadId { text: text.chars().take(64).collect() };
                let digits = text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                if !digits || text.bytes().all(|byte| byte == b'0') {
                    return Err(bad());
                }
                git2::Oid::from_str(text).map(Self).map_err(|_| bad())
            }
        }

        impl TryFrom<String> for $name {
            type Error = TreeError;

            fn try_from(text: String) -> Result<Self, TreeError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

object_id! {
    /// The id of a commit: 40 lower-case hexadecimal digits.
    CommitId
}

object_id! {
    /// The id of a file's content: 40 lower-case hexadecimal digits.
    BlobId
}

impl BlobId {
    /// The id that this content has in every git repository.
    pub fn of(content: &[u8]) -> Result<Self, TreeError> {
        git2::Oid::hash_object(git2::ObjectType::Blob, content)
            .map(Self)
            .map_err(|error| TreeError::Store { message: error.message().to_owned() })
    }
}

/// A path in the repository, safe to use: relative, without `..` or `.git`, of harmless characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(String);

impl RepoPath {
    /// The path as text, with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A path below this one.
    pub fn join(&self, relative: &str) -> Result<Self, TreeError> {
        relative.parse::<Self>()?;
        format!("{}/{relative}", self.0).parse()
    }
}

impl FromStr for RepoPath {
    type Err = TreeError;

    fn from_str(text: &str) -> Result<Self, TreeError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._/@+-".contains(c);
        // `.git~1` and trailing dots are other spellings of `.git` on some file systems; `~` is not accepted at all.
        let part_ok = |part: &str| {
            !matches!(part, "" | "." | "..")
                && !part.ends_with('.')
                && !part.eq_ignore_ascii_case(".git")
                && !part.starts_with('-')
        };
        if text.len() <= MAX_PATH && text.chars().all(allowed) && text.split('/').all(part_ok) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TreeError::PathRefused { path: text.chars().take(200).collect() })
        }
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a tree's entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file, executable or not.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A submodule, or something newer than this code.
    Other,
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Link => "a symbolic link",
            Self::Other => "neither file nor directory",
        })
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the directory.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its content, for files.
    pub id: BlobId,
}

/// A file's content and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The id of `bytes`.
    pub id: BlobId,
    /// The content, at most [`MAX_BYTES`].
    pub bytes: Vec<u8>,
}

/// The files of one commit.
pub trait Files {
    /// The entries of a directory; `None` is the root. An absent directory has none.
    fn list(&self, directory: Option<&RepoPath>) -> Result<Vec<Entry>, TreeError>;

    /// The content of a blob, refused above [`MAX_BYTES`].
    fn content(&self, id: &BlobId) -> Result<Vec<u8>, TreeError>;
}

/// The file at `path`, `None` if nothing is there. Every directory on the way must be one.
pub fn read(files: &dyn Files, path: &RepoPath) -> Result<Option<Blob>, TreeError> {
    let mut parent: Option<RepoPath> = None;
    let parts: Vec<&str> = path.as_str().split('/').collect();
    for (index, part) in parts.iter().enumerate() {
        let mut entries = files.list(parent.as_ref())?.into_iter().filter(|entry| entry.name == *part);
        let Some(entry) = entries.next() else { return Ok(None) };
        let here = parent.map_or_else(|| part.parse(), |parent| parent.join(part))?;
        if entries.next().is_some() {
            return Err(TreeError::Twice { path: here.to_string() });
        }
        let last = index + 1 == parts.len();
        match (entry.kind, last) {
            (EntryKind::File, true) => {
                let bytes = files.content(&entry.id).map_err(|error| error.at(&here))?;
                return Ok(Some(Blob { bytes, id: entry.id }));
            }
            (EntryKind::Directory, false) => parent = Some(here),
            (EntryKind::File | EntryKind::Directory | EntryKind::Link | EntryKind::Other, _) => {
                return Err(TreeError::NotAFile { path: here.to_string(), found: entry.kind });
            }
        }
    }
    Ok(None)
}

/// The files of a commit as a change would leave them.
pub struct Overlay<'f> {
    files: &'f dyn Files,
    change: &'f Change,
}

impl<'f> Overlay<'f> {
    /// The files with the change.
    pub fn new(files: &'f dyn Files, change: &'f Change) -> Self {
        Self { files, change }
    }
}

impl Files for Overlay<'_> {
    fn list(&self, directory: Option<&RepoPath>) -> Result<Vec<Entry>, TreeError> {
        let prefix = directory.map_or_else(String::new, |directory| format!("{directory}/"));
        let changed = |entry: Entry| {
            let path = format!("{prefix}{}", entry.name);
            match self.change.files.iter().find(|file| file.path == path).map(|file| &file.op) {
                Some(FileOp::Remove { .. }) => None,
                Some(FileOp::Edit { after, .. }) => Some(Entry { id: after.clone(), ..entry }),
                None => Some(entry),
            }
        };
        Ok(self.files.list(directory)?.into_iter().filter_map(changed).collect())
    }

    fn content(&self, id: &BlobId) -> Result<Vec<u8>, TreeError> {
        let edited = self.change.files.iter().find_map(|file| match &file.op {
            FileOp::Edit { after, bytes, .. } if after == id => Some(bytes.clone()),
            FileOp::Edit { .. } | FileOp::Remove { .. } => None,
        });
        edited.map_or_else(|| self.files.content(id), Ok)
    }
}
