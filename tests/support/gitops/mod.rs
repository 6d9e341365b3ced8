//! A bookinfo-like environment repository for the tests of the write-back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use git2::{Repository, Signature, Time};
use reiter8::gitops::layout::Layout;
use reiter8::gitops::plan::Spec;
use reiter8::gitops::promote::{Fields, Workload};
use reiter8::gitops::repository::{Author, CommitText};

/// The directory of the manifests in the repository.
pub(crate) const APP: &str = "apps/productpage";
/// The time of every commit here.
pub(crate) const TIME: i64 = 1_700_000_000;

/// The files of one fixture, by path in the repository.
pub(crate) fn fixture(state: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gitops").join(state);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .map(|entry| (format!("{APP}/{}", entry.file_name().to_str().unwrap()), std::fs::read(entry.path()).unwrap()))
        .collect()
}

/// Makes a bare repository at `path` whose `main` goes from the state before the experiment to the one with its files.
pub(crate) fn environment(path: &Path) -> Repository {
    let repository = Repository::init_bare(path).unwrap();
    repository.set_head("refs/heads/main").unwrap();
    let mut readme = fixture("before");
    readme.insert("README.md".into(), b"The environment.\n".to_vec());
    commit(&repository, "main", "Before", &readme);
    commit(&repository, "main", "Start the experiment", &fixture("started"));
    repository
}

/// Adds files to a branch of a bare repository.
pub(crate) fn commit(
    repository: &Repository,
    branch: &str,
    message: &str,
    files: &BTreeMap<String, Vec<u8>>,
) -> git2::Oid {
    let name = format!("refs/heads/{branch}");
    let parent = repository.find_reference(&name).ok().map(|reference| reference.peel_to_commit().unwrap());
    let empty = repository.treebuilder(None).unwrap().write().unwrap();
    let base = parent.as_ref().map_or_else(|| repository.find_tree(empty).unwrap(), |parent| parent.tree().unwrap());
    let mut update = git2::build::TreeUpdateBuilder::new();
    for (path, content) in files {
        update.upsert(path.as_str(), repository.blob(content).unwrap(), git2::FileMode::Blob);
    }
    let tree = repository.find_tree(update.create_updated(repository, &base).unwrap()).unwrap();
    let signature = Signature::new("ci", "ci@example.test", &Time::new(TIME, 0)).unwrap();
    repository.commit(Some(&name), &signature, &signature, message, &tree, &parent.iter().collect::<Vec<_>>()).unwrap()
}

/// Every file of a branch.
pub(crate) fn files(repository: &Repository, branch: &str) -> BTreeMap<String, Vec<u8>> {
    let tree = repository.find_reference(&format!("refs/heads/{branch}")).unwrap().peel_to_tree().unwrap();
    let mut files = BTreeMap::new();
    tree.walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
        if let Ok(blob) = repository.find_blob(entry.id()) {
            files.insert(format!("{folder}{}", entry.name().unwrap()), blob.content().to_vec());
        }
        git2::TreeWalkResult::Ok
    })
    .unwrap();
    files
}

/// What the fixture's experiment asks for.
pub(crate) fn spec() -> Spec {
    Spec {
        path: APP.into(),
        layout: Layout::Flat,
        from: "productpage-candidate.yaml".into(),
        to: "productpage.yaml".into(),
        fields: Fields::Template,
        remove: vec!["fortio.yaml".into()],
        namespace: "bookinfo".into(),
        name: "productpage-x7k2p".into(),
        baseline: Workload { kind: "Deployment".into(), name: "productpage".into() },
        candidate: Workload { kind: "Deployment".into(), name: "productpage-candidate".into() },
        rivals: vec![],
        subset_labels: BTreeSet::from(["version".into()]),
        expected: BTreeMap::new(),
    }
}

/// The controller's identity.
pub(crate) fn author() -> Author {
    Author { name: "Reiter8".into(), email: "reiter8@example.test".into() }
}

/// A commit text at [`TIME`].
pub(crate) fn text<'a>(message: &'a str, author: &'a Author) -> CommitText<'a> {
    CommitText { message, author, time_seconds: TIME }
}
