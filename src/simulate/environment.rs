//! The temporary environment repository: a baseline, then the commit that starts the experiment.

use std::path::Path;

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Repository, Signature, Time};

use super::SimulateError;

/// The branch that is synced.
pub(super) const BRANCH: &str = "main";
/// What CI commits for each further file that the experiment names in `gitops.remove`: here, what sends the requests.
const LOAD: &str = "# Sends requests while the candidate is tried; goes with the experiment.
apiVersion: batch/v1
kind: Job
metadata: {name: fortio, namespace: bookinfo}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: fortio, image: \"fortio/fortio:1.60\", args: [load, -t, 1h, \"http://productpage:9080\"]}
";

/// An application in the repository: one of the directories of `samples/`.
pub(super) struct Sample {
    /// Its directory.
    pub(super) app: &'static str,
    /// What it is called in commits.
    called: &'static str,
    /// The baseline's Deployment.
    pub(super) baseline: &'static str,
    /// The baseline's manifest.
    pub(super) manifest: &'static str,
    /// Files that are there before the experiment, with their texts.
    before: &'static [(&'static str, &'static str)],
    /// The candidates' manifests come with the experiment and go with it.
    candidates: &'static [(&'static str, &'static str)],
    /// The experiment.
    pub(super) experiment: &'static str,
    /// The metrics that the cluster has beside the built-in ones.
    pub(super) metrics: &'static [&'static str],
}

/// One candidate.
pub(super) const BOOKINFO: Sample = Sample {
    app: "apps/productpage",
    called: "product page",
    baseline: "productpage",
    manifest: "productpage.yaml",
    before: &[
        ("productpage.yaml", include_str!("../../samples/bookinfo/productpage.yaml")),
        ("routing.yaml", include_str!("../../samples/bookinfo/routing.yaml")),
    ],
    candidates: &[("productpage-candidate.yaml", include_str!("../../samples/bookinfo/productpage-candidate.yaml"))],
    experiment: include_str!("../../samples/bookinfo/experiment.yaml"),
    metrics: METRICS,
};

/// Two candidates in a race.
pub(super) const REVIEWS: Sample = Sample {
    app: "apps/reviews",
    called: "reviews",
    baseline: "reviews",
    manifest: "reviews.yaml",
    before: &[
        ("reviews.yaml", include_str!("../../samples/reviews/reviews.yaml")),
        ("routing.yaml", include_str!("../../samples/reviews/routing.yaml")),
    ],
    candidates: &[
        ("reviews-black.yaml", include_str!("../../samples/reviews/reviews-black.yaml")),
        ("reviews-red.yaml", include_str!("../../samples/reviews/reviews-red.yaml")),
    ],
    experiment: include_str!("../../samples/reviews/experiment.yaml"),
    metrics: METRICS,
};

const METRICS: &[&str] = &[include_str!("../../samples/reviews/revenue.yaml")];

/// The branch's whole name.
pub(super) fn reference() -> String {
    format!("refs/heads/{BRANCH}")
}

/// Makes the bare repository with the baseline alone.
pub(super) fn create(sample: &Sample, folder: &Path, time: i64) -> Result<Repository, SimulateError> {
    let repository = Repository::init_bare(folder)?;
    repository.set_head(&format!("refs/heads/{BRANCH}"))?;
    commit(&repository, &format!("The {}", sample.called), time, sample.app, sample.before)?;
    Ok(repository)
}

/// Copies a bare repository to a folder that does not exist yet.
pub(super) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            std::fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// What CI commits to start an experiment; `further` files come and go with it.
pub(super) fn start(
    repository: &Repository,
    sample: &Sample,
    (experiment, further): (&str, &[String]),
    time: i64,
) -> Result<Oid, SimulateError> {
    let mut files = sample.candidates.to_vec();
    files.push(("experiment.yaml", experiment));
    files.extend(further.iter().map(|file| (file.as_str(), LOAD)));
    commit(repository, &format!("Try the next {}", sample.called), time, sample.app, &files)
}

fn commit(
    repository: &Repository,
    message: &str,
    time: i64,
    app: &str,
    files: &[(&str, &str)],
) -> Result<Oid, SimulateError> {
    let name = format!("refs/heads/{BRANCH}");
    let parent = repository.find_reference(&name).and_then(|r| r.peel_to_commit()).ok();
    let empty = repository.treebuilder(None)?.write()?;
    let base = match &parent {
        Some(parent) => parent.tree()?,
        None => repository.find_tree(empty)?,
    };
    let mut update = TreeUpdateBuilder::new();
    for (file, text) in files {
        update.upsert(format!("{app}/{file}"), repository.blob(text.as_bytes())?, FileMode::Blob);
    }
    let tree = repository.find_tree(update.create_updated(repository, &base)?)?;
    let signature = Signature::new("CI", "ci@example.com", &Time::new(time, 0))?;
    let parents: Vec<_> = parent.iter().collect();
    Ok(repository.commit(Some(&name), &signature, &signature, message, &tree, &parents)?)
}

/// A person adds lines to a file of a branch.
pub(super) fn append(
    repository: &Repository,
    branch: &str,
    path: &str,
    lines: &str,
    time: i64,
) -> Result<(), SimulateError> {
    let name = format!("refs/heads/{branch}");
    let parent = repository.find_reference(&name)?.peel_to_commit()?;
    let tree = parent.tree()?;
    let before = tree.get_path(Path::new(path))?.to_object(repository)?;
    let mut text = before.as_blob().map(|blob| blob.content().to_vec()).unwrap_or_default();
    text.extend_from_slice(lines.as_bytes());
    let mut update = TreeUpdateBuilder::new();
    update.upsert(path, repository.blob(&text)?, FileMode::Blob);
    let tree = repository.find_tree(update.create_updated(repository, &tree)?)?;
    let signature = Signature::new("A person", "person@example.com", &Time::new(time, 0))?;
    repository.commit(Some(&name), &signature, &signature, "A word of my own", &tree, &[&parent])?;
    Ok(())
}

/// A person commits the files of an earlier commit to the base branch.
pub(super) fn restore(repository: &Repository, commit: Oid, time: i64) -> Result<(), SimulateError> {
    let name = format!("refs/heads/{BRANCH}");
    let parent = repository.find_reference(&name)?.peel_to_commit()?;
    let tree = repository.find_commit(commit)?.tree()?;
    let signature = Signature::new("A person", "person@example.com", &Time::new(time, 0))?;
    repository.commit(Some(&name), &signature, &signature, "Take that back", &tree, &[&parent])?;
    Ok(())
}

/// Id and first line of each commit on the branch, the oldest first.
pub(super) fn commits(repository: &Repository) -> Result<Vec<String>, SimulateError> {
    let mut walk = repository.revwalk()?;
    walk.push_ref(&format!("refs/heads/{BRANCH}"))?;
    walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::TIME | git2::Sort::REVERSE)?;
    walk.map(|id| {
        let id = id?;
        let commit = repository.find_commit(id)?;
        Ok(format!("{id} {}", commit.summary()?.unwrap_or_default()))
    })
    .collect()
}

/// Every file of the branch, sorted, with its text.
pub(super) fn files(repository: &Repository) -> Result<Vec<(String, String)>, SimulateError> {
    let tree = repository.find_reference(&format!("refs/heads/{BRANCH}"))?.peel_to_tree()?;
    let mut found = vec![];
    tree.walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
        if let (Ok(name), Ok(object)) = (entry.name(), entry.to_object(repository))
            && let Some(blob) = object.as_blob()
        {
            found.push((format!("{folder}{name}"), String::from_utf8_lossy(blob.content()).into_owned()));
        }
        git2::TreeWalkResult::Ok
    })?;
    found.sort();
    Ok(found)
}

/// What a branch changes on the base, as a unified diff.
pub(super) fn diff(repository: &Repository, base: &str, head: &str) -> Result<String, SimulateError> {
    let tree = |id: &str| repository.find_commit(Oid::from_str(id)?)?.tree();
    let diff = repository.diff_tree_to_tree(Some(&tree(base)?), Some(&tree(head)?), None)?;
    let mut text = String::new();
    diff.print(git2::DiffFormat::Patch, |_, _, line| {
        if matches!(line.origin(), '+' | '-' | ' ') {
            text.push(line.origin());
        }
        text.push_str(&String::from_utf8_lossy(line.content()));
        true
    })?;
    Ok(text)
}
