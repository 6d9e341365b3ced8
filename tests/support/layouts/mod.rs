//! Environment repositories in several layouts, before an experiment, with it, and after its promotion.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reiter8::api::{Experiment, Provider, Repository, RepositorySpec};
use reiter8::controller::resolve::{Referred, resolve};
use reiter8::gitops::plan::{Change, FileOp, Spec};
use reiter8::gitops::tree::{BlobId, Entry, EntryKind, Files, RepoPath, TreeError};

/// The layouts that have a case of their own. Each brings the file of its experiment.
pub(crate) const CASES: [(&str, &str); 5] = [
    ("kustomize", "started/apps/reviews/experiment.yaml"),
    ("component", "started/apps/reviews/experiment/experiment.yaml"),
    ("overlay", "started/envs/prod/experiment.yaml"),
    ("helm", "experiment.yaml"),
    ("edits", "started/apps/experiment.yaml"),
];

/// The files of a repository, by their paths.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

fn folder(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gitops/layouts").join(case)
}

fn read(root: &Path, folder: &Path, tree: &mut Tree) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            read(root, &entry, tree);
        } else {
            let path = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            tree.insert(path, std::fs::read(&entry).unwrap());
        }
    }
}

/// A state of a case: `before`, `started` or `promoted`. The latter two are what differs from the first.
pub(crate) fn tree(case: &str, state: &str) -> Tree {
    let mut tree = Tree::new();
    for state in ["before", state] {
        let root = folder(case).join(state);
        read(&root, &root, &mut tree);
    }
    tree
}

/// What the case's experiment asks for, by the controller's own rules.
pub(crate) fn spec(case: &str) -> Spec {
    let (_, file) = CASES.into_iter().find(|(name, _)| *name == case).unwrap();
    let spec = parse(&std::fs::read_to_string(folder(case).join(file)).unwrap());
    match case {
        // As its kustomization renders it.
        "overlay" => Spec { name: format!("prod-{}", spec.name), namespace: "prod".into(), ..spec },
        _ => spec,
    }
}

/// What an experiment asks for.
pub(crate) fn parse(experiment: &str) -> Spec {
    let experiment: Experiment = serde_saphyr::from_str(experiment).unwrap();
    let url = "https://git.example.com/platform/environment.git";
    let open =
        RepositorySpec { allowed_namespaces: vec!["*".into()], ..RepositorySpec::new(url, Provider::Gitea, "none") };
    let referred = Referred { repository: Some(Repository::new("environment", open)), ..Referred::default() };
    resolve(&experiment, &referred).map_err(|refusal| refusal.to_string()).unwrap().write.unwrap().spec
}

/// A snapshot without git.
pub(crate) struct Snapshot<'t>(pub(crate) &'t Tree);

impl Files for Snapshot<'_> {
    fn list(&self, directory: Option<&RepoPath>) -> Result<Vec<Entry>, TreeError> {
        let prefix = directory.map_or_else(String::new, |directory| format!("{directory}/"));
        let mut entries = BTreeMap::new();
        for (path, content) in self.0 {
            if let Some(rest) = path.strip_prefix(&prefix) {
                let (name, kind) =
                    rest.split_once('/').map_or((rest, EntryKind::File), |(name, _)| (name, EntryKind::Directory));
                entries.insert(name.to_owned(), Entry { name: name.to_owned(), kind, id: BlobId::of(content)? });
            }
        }
        Ok(entries.into_values().collect())
    }

    fn content(&self, id: &BlobId) -> Result<Vec<u8>, TreeError> {
        let found = self.0.values().find(|content| BlobId::of(content).as_ref() == Ok(id));
        found.cloned().ok_or_else(|| TreeError::Store { message: format!("{id} is not there") })
    }
}

/// The files after a change, which has to fit.
pub(crate) fn after(tree: &Tree, change: &Change) -> Tree {
    let mut tree = tree.clone();
    for file in &change.files {
        let (FileOp::Edit { before, .. } | FileOp::Remove { before }) = &file.op;
        assert_eq!(&BlobId::of(&tree[&file.path]).unwrap(), before, "{}", file.path);
        match &file.op {
            FileOp::Edit { bytes, .. } => tree.insert(file.path.clone(), bytes.clone()),
            FileOp::Remove { .. } => tree.remove(&file.path),
        };
    }
    tree
}

/// Compares as texts, so that a difference can be read.
pub(crate) fn assert_same(found: &Tree, wanted: &Tree, what: &str) {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "{what}");
    for (path, content) in found {
        let text = |content: &[u8]| String::from_utf8_lossy(content).replace('\r', "\\r");
        assert!(*content == wanted[path], "{what}: {path} is\n{}\nand not\n{}", text(content), text(&wanted[path]));
    }
}
