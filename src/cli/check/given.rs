//! What was given to `reiter8 check`: the documents, and the cluster that they would make.
//!
//! Finds objects among them and judges nothing. Called by [`super::rules`] and [`super::hints`].

use std::path::{Path, PathBuf};

use kube::Client;

use super::cluster;
use super::source::Document;

/// Everything that was given.
pub(super) struct Given {
    documents: Vec<Document>,
    client: Client,
    rehearse: bool,
}

impl Given {
    pub(super) fn new(documents: Vec<Document>) -> Self {
        let objects = documents.iter().map(|d| d.value.clone()).collect();
        Self { client: cluster::client(objects), documents, rehearse: true }
    }

    /// Without a rehearsal: for those who show the outcomes by other means, or why they cannot.
    pub(super) fn unrehearsed(self) -> Self {
        Self { rehearse: false, ..self }
    }

    /// Whether the outcomes are rehearsed.
    pub(super) fn is_rehearsed(&self) -> bool {
        self.rehearse
    }

    /// A client that reads these objects as if they were applied.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The objects of a kind that may be in a namespace.
    pub(super) fn of<'a>(&'a self, kind: &'a str, namespace: &'a str) -> impl Iterator<Item = &'a Document> {
        self.documents.iter().filter(move |d| d.kind().2 == kind && d.namespace().is_none_or(|own| own == namespace))
    }

    pub(super) fn has(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.of(kind, namespace).any(|d| d.name() == name)
    }
}

/// The application's folder, if a folder is it or is in it. Elsewhere, in a template's folder say, nothing is known about the repository.
pub(super) fn application(folder: &Path, path: &str) -> Option<PathBuf> {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.ancestors().find(|folder| folder.ends_with(Path::new(path))).map(ToOwned::to_owned)
}
