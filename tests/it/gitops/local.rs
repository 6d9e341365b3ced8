//! The write-back against a bare repository on this machine, as the embedded world uses it.

use std::collections::BTreeMap;

use crate::support::gitops::{APP, TIME, author, commit, environment, files, fixture, spec, text};
use reiter8::gitops::forge::{Forge, ForgeError, LocalForge, NewPull, PullState};
use reiter8::gitops::plan::{
    Change, FileOp, Missing, PlanError, Spec, baseline_template, candidate_template, plan_cleanup, plan_promote,
};
use reiter8::gitops::repository::{Lease, PushError, Remote, Session};
use reiter8::gitops::transport::Limits;
use reiter8::gitops::tree::{Blob, BlobId, Entry, EntryKind, Files, RepoPath, TreeError, read};

fn open(folder: &std::path::Path) -> Session {
    Session::open(&Remote::Local(folder.to_owned()), "main", Limits::default()).unwrap()
}

fn request(branch: &str) -> NewPull {
    NewPull { head: branch.into(), base: "main".into(), title: "Title".into(), body: "Body".into(), draft: false }
}

#[tokio::test]
async fn promote_and_clean_up_restore_the_directory_with_the_new_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let remote = environment(folder.path());
    let forge = LocalForge::new(folder.path());
    let mut session = open(folder.path());

    let change = plan_promote(&session.files().unwrap(), &spec()).unwrap();
    assert_eq!((change.files.len(), change.unpromoted.len()), (1, 0));
    let tested = candidate_template(&session.files().unwrap(), &spec()).unwrap();
    for (branch, expected_files) in [("iter8/promote", 6), ("iter8/cleanup", 3)] {
        let change = if branch == "iter8/promote" {
            change.clone()
        } else {
            plan_cleanup(&session.files().unwrap(), &spec()).unwrap()
        };
        let commit = session.commit(session.head(), &change, text("Message", &author())).unwrap();
        session.push(&commit, branch, &Lease::Absent).unwrap();
        let pull = Forge::Local(forge.clone()).open(&request(branch)).await.unwrap();
        assert_eq!((pull.state, pull.head, pull.mergeable), (PullState::Open, Some(commit), Some(true)));
        let merged = forge.merge(pull.number, &author(), TIME).unwrap();
        assert_eq!(session.refresh().unwrap(), &merged);
        assert_eq!(files(&remote, "main").len(), expected_files, "{:?}", files(&remote, "main").keys());
    }

    let mut wanted = fixture("before");
    wanted.extend(fixture("promoted"));
    wanted.insert("README.md".into(), b"The environment.\n".to_vec());
    assert_eq!(files(&remote, "main"), wanted);
    let mut live = baseline_template(&session.files().unwrap(), &spec()).unwrap();
    live["metadata"]["labels"]["version"] = "candidate".into();
    assert_eq!(live, tested, "the baseline runs what was tested, identity aside");
    let pulls = forge.list().unwrap();
    assert!(pulls.iter().all(|pull| matches!(pull.pull.state, PullState::Merged { commit: Some(_) })));
    assert_eq!(plan_cleanup(&session.files().unwrap(), &spec()).unwrap().missing.len(), 3);
}

#[test]
fn the_same_decision_gives_the_same_commit_and_a_repeated_push_is_a_success() {
    let folder = tempfile::tempdir().unwrap();
    let remote = environment(folder.path());
    let (one, two) = (open(folder.path()), open(folder.path()));
    let change = plan_promote(&one.files().unwrap(), &spec()).unwrap();
    let first = one.commit(one.head(), &change, text("Message", &author())).unwrap();
    assert_eq!(first, two.commit(two.head(), &change, text("Message", &author())).unwrap());
    assert_ne!(first, one.commit(one.head(), &change, text("Other", &author())).unwrap());

    assert_eq!(one.ls_remote("b").unwrap(), None);
    one.push(&first, "b", &Lease::Absent).unwrap();
    assert_eq!(one.ls_remote("b").unwrap().as_ref(), Some(&first));
    two.push(&first, "b", &Lease::Absent).unwrap();

    let second = one.commit(one.head(), &change, text("Second", &author())).unwrap();
    let foreign = commit(&remote, "b", "A person's", &BTreeMap::from([("x".into(), b"y".to_vec())]));
    for lease in [Lease::Absent, Lease::At(first.clone())] {
        let lost = one.push(&second, "b", &lease).unwrap_err();
        assert!(
            matches!(&lost, PushError::LeaseLost { found: Some(found) } if found.to_string() == foreign.to_string()),
            "{lost:?}"
        );
        assert_eq!(one.delete_branch("b", &lease).unwrap_err().cause().word(), "BranchEdited");
    }
    one.push(&second, "b", &Lease::At(foreign.into())).unwrap();
    one.delete_branch("b", &Lease::At(second)).unwrap();
    one.delete_branch("b", &Lease::At(first)).unwrap();
    assert_eq!(one.ls_remote("b").unwrap(), None);
}

#[test]
fn a_commit_is_refused_when_its_base_moved() {
    let folder = tempfile::tempdir().unwrap();
    let remote = environment(folder.path());
    let mut session = open(folder.path());
    let change = plan_promote(&session.files().unwrap(), &spec()).unwrap();
    commit(
        &remote,
        "main",
        "Somebody else",
        &BTreeMap::from([(format!("{APP}/productpage.yaml"), b"kind: X\n".to_vec())]),
    );
    session.refresh().unwrap();
    let refused = session.commit(session.head(), &change, text("Message", &author())).unwrap_err();
    assert_eq!(refused.cause().word(), "BaseMoved");
    assert_eq!(
        Session::open(&Remote::Local(folder.path().to_owned()), "nope", Limits::default()).unwrap_err().cause().word(),
        "BaseBranchMissing"
    );
    for branch in ["-x", "a..b", "a b", "", "x:y", "a/.lock", "@{1}"] {
        assert_eq!(session.ls_remote(branch).unwrap_err().cause().word(), "InvalidBranch", "{branch:?}");
    }
}

/// A snapshot without git.
struct Map(BTreeMap<String, (EntryKind, Vec<u8>)>);

impl Files for Map {
    fn list(&self, directory: Option<&RepoPath>) -> Result<Vec<Entry>, TreeError> {
        let prefix = directory.map_or_else(String::new, |directory| format!("{directory}/"));
        let mut entries = BTreeMap::new();
        for (path, (kind, content)) in &self.0 {
            if let Some(rest) = path.strip_prefix(&prefix) {
                let (name, kind) = rest.split_once('/').map_or((rest, *kind), |(name, _)| (name, EntryKind::Directory));
                entries.insert(name.to_owned(), Entry { name: name.to_owned(), kind, id: BlobId::of(content)? });
            }
        }
        Ok(entries.into_values().collect())
    }

    fn content(&self, id: &BlobId) -> Result<Vec<u8>, TreeError> {
        let found = self.0.values().find(|(_, content)| BlobId::of(content).as_ref() == Ok(id));
        found.map(|(_, content)| content.clone()).ok_or_else(|| TreeError::TooLarge { path: id.to_string() })
    }
}

fn started(edit: impl FnOnce(&mut BTreeMap<String, (EntryKind, Vec<u8>)>)) -> Map {
    let mut map = fixture("started").into_iter().map(|(path, content)| (path, (EntryKind::File, content))).collect();
    edit(&mut map);
    Map(map)
}

fn put(map: &mut BTreeMap<String, (EntryKind, Vec<u8>)>, name: &str, kind: EntryKind, content: &[u8]) {
    map.insert(format!("{APP}/{name}"), (kind, content.to_vec()));
}

fn paths(change: &Change) -> Vec<&str> {
    change.files.iter().map(|file| file.path.strip_prefix("apps/productpage/").unwrap()).collect()
}

#[test]
fn clean_up_removes_the_experiments_files_and_nothing_else() {
    let change = plan_cleanup(&started(|_| ()), &spec()).unwrap();
    assert_eq!(paths(&change), ["experiment.yaml", "fortio.yaml", "productpage-candidate.yaml"]);
    assert!(change.files.iter().all(|file| matches!(file.op, FileOp::Remove { .. })));

    // Found by its content, whatever its name; gone files are facts, not errors.
    let renamed = started(|map| {
        let content = map.remove(&format!("{APP}/experiment.yaml")).unwrap();
        map.insert(format!("{APP}/zz.yml"), content);
        map.remove(&format!("{APP}/fortio.yaml"));
    });
    let change = plan_cleanup(&renamed, &spec()).unwrap();
    assert_eq!(
        (paths(&change), change.missing.clone()),
        (vec!["productpage-candidate.yaml", "zz.yml"], vec![Missing::Place(format!("{APP}/fortio.yaml"))])
    );
    let framed = started(|map| {
        let content = map.remove(&format!("{APP}/experiment.yaml")).unwrap().1;
        put(map, "experiment.yaml", EntryKind::File, &[b"---\n", content.as_slice(), b"---\n"].concat());
    });
    assert_eq!(plan_cleanup(&framed, &spec()).unwrap().files.len(), 3);
    let other = plan_cleanup(&started(|_| ()), &Spec { name: "another".into(), ..spec() }).unwrap();
    assert_eq!(
        (paths(&other), other.missing.clone()),
        (vec!["fortio.yaml", "productpage-candidate.yaml"], vec![Missing::Experiment("bookinfo/another".to_owned())])
    );
}

#[test]
fn what_cannot_be_planned_is_refused_by_name() {
    let reason = |result: Result<Change, PlanError>| result.unwrap_err().cause().word();
    let cleanup = |map: Map| reason(plan_cleanup(&map, &spec()));
    let experiment = fixture("started")[&format!("{APP}/experiment.yaml")].clone();
    let shared = [experiment.as_slice(), b"---\nkind: ConfigMap\nmetadata: {name: x}\n"].concat();
    assert_eq!(cleanup(started(|map| put(map, "experiment.yaml", EntryKind::File, &shared))), "SharedFile");
    assert_eq!(cleanup(started(|map| put(map, "second.yaml", EntryKind::File, &experiment))), "Ambiguous");
    assert_eq!(cleanup(started(|map| put(map, "kustomization.yaml", EntryKind::File, b""))), "UnsupportedLayout");
    assert_eq!(cleanup(started(|map| put(map, "fortio.yaml", EntryKind::Link, b"../other.yaml"))), "UnsupportedEntry");
    assert_eq!(
        cleanup(started(|map| put(
            map,
            "experiment.yaml",
            EntryKind::File,
            b"kind: Experiment\nmetadata: {name: productpage-x7k2p}\nx: {{ .Values.x }}\n"
        ))),
        "TemplateFile"
    );
    let baseline = fixture("started")[&format!("{APP}/productpage.yaml")].clone();
    assert_eq!(cleanup(started(|map| put(map, "fortio.yaml", EntryKind::File, &baseline))), "SharedFile");

    let changed = |file: &str| Spec {
        expected: BTreeMap::from([(format!("{APP}/{file}"), BlobId::of(b"other").unwrap())]),
        ..spec()
    };
    assert_eq!(reason(plan_cleanup(&started(|_| ()), &changed("fortio.yaml"))), "FileChanged");
    assert_eq!(reason(plan_promote(&started(|_| ()), &changed("productpage-candidate.yaml"))), "CandidateSuperseded");
    assert_eq!(reason(plan_promote(&started(|_| ()), &changed("productpage.yaml"))), "BaselineChanged");
    // One that holds the promotion already is not in its way: a request that was closed while it was merged.
    let promoted = &fixture("promoted")[&format!("{APP}/productpage.yaml")];
    let merged = started(|map| put(map, "productpage.yaml", EntryKind::File, promoted));
    assert_eq!(plan_promote(&merged, &changed("productpage.yaml")).unwrap().files, []);

    let spec_with = |edit: fn(&mut Spec)| {
        let mut spec = spec();
        edit(&mut spec);
        reason(plan_promote(&started(|_| ()), &spec))
    };
    assert_eq!(spec_with(|spec| spec.from = "nope.yaml".into()), "FileMissing");
    assert_eq!(spec_with(|spec| spec.candidate.name = "nope".into()), "DocumentMissing");
    for path in [
        "../x.yaml",
        "/x.yaml",
        "a//b",
        ".git/config",
        "a/.GIT/x",
        "a\\b",
        "a:b",
        "a b",
        "",
        "a/./b",
        "x\u{200d}",
        "-x",
        ".git.",
    ] {
        let refused = plan_promote(&started(|_| ()), &Spec { to: path.into(), ..spec() }).unwrap_err();
        assert_eq!(refused.cause().word(), "InvalidPath", "{path:?}");
    }
    let link = started(|map| put(map, "productpage.yaml", EntryKind::Link, b"/etc/passwd"));
    assert_eq!(reason(plan_promote(&link, &spec())), "UnsupportedEntry");
    let submodule = started(|map| put(map, "sub", EntryKind::Other, b""));
    assert_eq!(
        read(&submodule, &format!("{APP}/sub/x").parse().unwrap()).unwrap_err().cause().word(),
        "UnsupportedEntry"
    );
}

#[test]
fn links_in_a_git_tree_are_never_followed() {
    let folder = tempfile::tempdir().unwrap();
    let remote = environment(folder.path());
    let head = remote.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
    let mut update = git2::build::TreeUpdateBuilder::new();
    update.upsert("link", remote.blob(APP.as_bytes()).unwrap(), git2::FileMode::Link);
    let tree = remote.find_tree(update.create_updated(&remote, &head.tree().unwrap()).unwrap()).unwrap();
    let signature = head.author();
    remote.commit(Some("refs/heads/main"), &signature, &signature, "link", &tree, &[&head]).unwrap();
    let session = open(folder.path());
    let refused = plan_promote(&session.files().unwrap(), &Spec { path: "link".into(), ..spec() }).unwrap_err();
    assert_eq!(refused.cause().word(), "UnsupportedEntry");
    let found: Option<Blob> = read(&session.files().unwrap(), &"apps/none/x".parse().unwrap()).unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn a_local_request_lives_as_at_a_forge() {
    let folder = tempfile::tempdir().unwrap();
    let remote = environment(folder.path());
    let local = LocalForge::new(folder.path());
    let forge = Forge::Local(local.clone());
    assert_eq!(forge.open(&request("a")).await, Err(ForgeError::NotFound));
    remote.reference("refs/heads/same", remote.refname_to_id("refs/heads/main").unwrap(), false, "").unwrap();
    assert_eq!(forge.open(&request("same")).await, Err(ForgeError::NoChanges));
    assert_eq!(forge.find("a", "main").await, Ok(None));

    let base = remote.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
    for branch in ["a", "b", "c"] {
        remote.reference(&format!("refs/heads/{branch}"), base.id(), false, "").unwrap();
        commit(&remote, branch, branch, &BTreeMap::from([("README.md".into(), branch.as_bytes().to_vec())]));
    }
    let (a, b, c) = (
        forge.open(&request("a")).await.unwrap(),
        forge.open(&request("b")).await.unwrap(),
        forge.open(&request("c")).await.unwrap(),
    );
    assert_eq!(forge.open(&request("a")).await.unwrap(), a, "opening twice gives the same request");
    assert_eq!([a.number, b.number, c.number], [1, 2, 3]);

    forge.update_text(a.number, Some("New"), "Text").await.unwrap();
    forge.comment(a.number, "Hello").await.unwrap();
    local.merge(a.number, &author(), TIME).unwrap();
    assert_eq!(local.merge(a.number, &author(), TIME), Err(ForgeError::AlreadyMerged));
    assert_eq!(forge.close(a.number).await, Err(ForgeError::AlreadyMerged));
    let conflicting = forge.find("b", "main").await.unwrap().unwrap();
    assert_eq!(conflicting.mergeable, Some(false));
    assert_eq!(local.merge(b.number, &author(), TIME).unwrap_err().cause().word(), "RequestRefused");

    forge.close(b.number).await.unwrap();
    forge.close(b.number).await.unwrap();
    let moved = commit(&remote, "c", "more", &BTreeMap::from([("x".into(), b"y".to_vec())]));
    assert_eq!(forge.get(c.number).await.unwrap().unwrap().head.unwrap().to_string(), moved.to_string());
    remote.find_reference("refs/heads/c").unwrap().delete().unwrap();
    let states: Vec<_> = local.list().unwrap().into_iter().map(|pull| pull.pull.state).collect();
    assert!(matches!(&states[..], [PullState::Merged { .. }, PullState::Closed, PullState::Closed]), "{states:?}");
    let text = &local.list().unwrap()[0];
    assert_eq!(
        (text.title.as_str(), text.body.as_str(), text.comments.as_slice()),
        ("New", "Text", ["Hello".to_owned()].as_slice())
    );
    let reopened = forge.open(&request("b")).await.unwrap();
    assert_eq!((reopened.number, forge.find("b", "main").await.unwrap().unwrap().number), (4, 4));
}
