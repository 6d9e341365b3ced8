//! The closed set of verbs of which every layout is made.
//!
//! A verb selects exactly one place, does nothing when it was done before, and refuses when the place is no longer what it was at
//! the start. There is no shell, no regular expression and no template inside of a file. Paths of files are relative to the
//! experiment's directory and cannot leave it.

use crate::gitops::edit::{Document, Path, Value};
use crate::gitops::promote::{Fields, Workload};

/// What an experiment writes, where the layouts' own verbs do not fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    /// What brings the candidate's content to the baseline.
    pub promote: Vec<Verb>,
    /// What removes the experiment, whatever its outcome is.
    pub cleanup: Vec<Verb>,
    /// What is further done when the baseline stays.
    pub discard: Vec<Verb>,
}

/// One edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Parts of the pod template go from one manifest to another.
    Copy {
        /// The candidate's manifest.
        from: Place,
        /// The baseline's manifest.
        to: Place,
        /// What goes.
        fields: Fields,
        /// Images, by their place in the candidate's manifest, that the baseline's manifest gets instead of the candidate's: where a
        /// kustomization says which build runs.
        images: Vec<(Path, String)>,
    },
    /// A place gets a value.
    Set {
        /// The place.
        to: Spot,
        /// The value.
        value: Source,
        /// What happens when the place is not there.
        missing: OnMissing,
    },
    /// An entry of a kustomization's `images` gets a build: `newTag` or `digest`, and `newName` where it is another image.
    KustomizeImage {
        /// The kustomization.
        file: String,
        /// The entry's `name`.
        name: String,
        /// The image.
        image: ImageSource,
    },
    /// Every leaf with the comment `# {"$iter8": "MARKER:PART"}` gets a part of an image.
    SetMarked {
        /// The files; `*` in the last name stands for any text.
        files: String,
        /// The marker's name.
        marker: String,
        /// The image.
        image: ImageSource,
    },
    /// Files go. One that is not there is told as missing.
    RemoveFiles(Vec<String>),
    /// Items of a list go.
    RemoveListItem {
        /// The list.
        list: Spot,
        /// The items: their text or, with `key`, what they have under that key.
        items: Vec<String>,
        /// What tells the items apart when they are mappings.
        key: Option<String>,
    },
    /// An entry of a mapping goes.
    RemoveKey(Spot),
}

/// A workload's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The workload in it.
    pub workload: Workload,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file.
    pub file: String,
    /// The document in it.
    pub document: Document,
    /// The place in the document.
    pub path: Path,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is written in the experiment.
    Literal(Value),
    /// Another place.
    Spot(Spot),
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// This reference.
    Literal(String),
    /// The one that a container of a manifest runs, after the kustomizations around it.
    Container {
        /// The manifest.
        place: Place,
        /// The container; none for the only one.
        container: Option<String>,
    },
}

/// What happens when a place to set is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissing {
    /// The plan fails.
    #[default]
    Fail,
    /// Nothing.
    Skip,
    /// The place is made, with the mappings on the way to it.
    Add,
}
