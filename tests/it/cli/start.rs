//! `reiter8 start` as a pipeline calls it: against a real git server over HTTP, and against repositories on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::git_server::{Mode, Server, TOKEN};
use crate::support::gitops::{self, commit, files};
use git2::Repository;
use reiter8::api::Experiment;
use reiter8::gitops::forge::{LocalForge, PullState};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

const APP: &str = "apps/productpage";
/// Longest wait for anything here; a start takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(120);

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples/bookinfo").join(name)).unwrap()
}

/// An environment repository with a baseline and with templates, on this machine and perhaps at a server.
struct World {
    root: TempDir,
    server: Option<Server>,
}

impl World {
    fn local() -> Self {
        let root = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(root.path().join("env.git")).unwrap();
        repository.set_head("refs/heads/main").unwrap();
        let mut all = BTreeMap::from([("README.md".to_owned(), b"The environment.\n".to_vec())]);
        all.insert(format!("{APP}/productpage.yaml"), sample("productpage.yaml"));
        all.insert(format!("{APP}/routing.yaml"), sample("routing.yaml"));
        all.insert("templates/productpage/experiment.yaml".into(), sample("start/experiment.yaml"));
        all.insert("templates/productpage/fortio.yaml".into(), sample("start/fortio.yaml"));
        commit(&repository, "main", "Before", &all);
        Self { root, server: None }
    }

    async fn served() -> Self {
        let world = Self::local();
        let server = Server::start(world.root.path()).await;
        Self { server: Some(server), ..world }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("env.git")
    }

    fn repository(&self) -> Repository {
        Repository::open_bare(self.path()).unwrap()
    }

    fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        commit(&self.repository(), "main", "Put", &[(path.to_owned(), content.as_ref().to_vec())].into());
    }

    /// Commits what the clean-up request does.
    fn remove(&self, paths: &[&str]) {
        let repository = self.repository();
        let parent = repository.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
        let mut update = git2::build::TreeUpdateBuilder::new();
        for path in paths {
            update.remove(format!("{APP}/{path}"));
        }
        let tree = update.create_updated(&repository, &parent.tree().unwrap()).unwrap();
        let (tree, who) = (repository.find_tree(tree).unwrap(), parent.author());
        repository.commit(Some("refs/heads/main"), &who, &who, "Clean up", &tree, &[&parent]).unwrap();
    }

    fn text(&self, branch: &str, name: &str) -> String {
        String::from_utf8(files(&self.repository(), branch)[&format!("{APP}/{name}")].clone()).unwrap()
    }

    fn names(&self, branch: &str) -> Vec<String> {
        let all = files(&self.repository(), branch);
        all.keys().filter_map(|path| path.strip_prefix(&format!("{APP}/")).map(ToOwned::to_owned)).collect()
    }

    fn experiment(&self, branch: &str) -> Experiment {
        serde_saphyr::from_str(&self.text(branch, "experiment.yaml")).unwrap()
    }

    /// The commits of `main`, newest first.
    fn log(&self) -> Vec<String> {
        let repository = self.repository();
        let mut walk = repository.revwalk().unwrap();
        walk.push_ref("refs/heads/main").unwrap();
        walk.map(|id| repository.find_commit(id.unwrap()).unwrap().summary().unwrap().unwrap().to_owned()).collect()
    }

    /// The arguments that every call has, without an image.
    fn bare(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reiter8"));
        command.args(["start", "--path", APP, "--repository"]);
        match &self.server {
            Some(server) => command.arg(server.url("env.git")).args(["--allow-http-host", "127.0.0.1"]),
            None => command.arg(self.path()),
        };
        if !more.contains(&"--local-templates") {
            command.args(["--templates", "templates/productpage"]);
        }
        command.args(more).env("REITER8_TOKEN", TOKEN).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs one start of `image` to its end.
    async fn start(&self, image: &str, more: &[&str]) -> Ended {
        ended(self.bare(&[&["--image", image, "-o", "json"], more].concat())).await
    }
}

/// How a call ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    document: Value,
    said: String,
}

async fn ended(mut command: Command) -> Ended {
    let output: Output = tokio::time::timeout(PATIENCE, command.output()).await.expect("a start hangs").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains(TOKEN) && !String::from_utf8_lossy(&output.stdout).contains(TOKEN), "{said}");
    let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Ended { code: output.status.code().unwrap(), document, said }
}

fn codes(all: &[Ended]) -> BTreeMap<i32, usize> {
    let mut codes = BTreeMap::new();
    for ended in all {
        *codes.entry(ended.code).or_default() += 1;
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn one_commit_holds_all_that_begins_an_experiment_and_nothing_else() {
    let world = World::served().await;
    let before = files(&world.repository(), "main");
    let ended = world.start("reiter8.dev/productpage:v2", &["--load-generator", "fortio.yaml"]).await;
    assert_eq!(ended.code, 0, "{}", ended.said);
    let name = ended.document["experiment"].as_str().unwrap().to_owned();
    assert_eq!(name.len(), "productpage-".len() + 5, "{name}");
    let head = world.repository().refname_to_id("refs/heads/main").unwrap().to_string();
    assert_eq!(ended.document["commit"], head.as_str());
    assert_eq!(ended.document["branch"], "main");
    assert_eq!(ended.document["pullRequest"], Value::Null);
    let told: Vec<(&str, &str)> = ended.document["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["change"].as_str().unwrap(), file["path"].as_str().unwrap()))
        .collect();
    let added = ["experiment.yaml", "fortio.yaml", "productpage-candidate.yaml"].map(|name| format!("{APP}/{name}"));
    assert_eq!(told, added.iter().map(|path| ("add", path.as_str())).collect::<Vec<_>>());
    assert_eq!(world.log(), [format!("Start {name}: try reiter8.dev/productpage:v2"), "Before".into()]);

    let mut after = files(&world.repository(), "main");
    after.retain(|path, _| !added.contains(path));
    assert_eq!(after, before, "other files changed");

    // The template's text, comments and all, but for the placeholder and the file that the clean-up must remove too.
    let template = String::from_utf8(sample("start/experiment.yaml")).unwrap();
    let expected = template.replace("productpage-${SUFFIX}", &name) + "    remove: [fortio.yaml]\n";
    assert_eq!(world.text("main", "experiment.yaml"), expected);
    // The baseline's text but for name, labels and image.
    let baseline = String::from_utf8(sample("productpage.yaml")).unwrap();
    let derived = baseline
        .replace("name: productpage\n", "name: productpage-candidate\n")
        .replace("version: stable", "version: candidate")
        .replace("productpage:v1", "productpage:v2");
    let candidate = world.text("main", "productpage-candidate.yaml");
    assert_eq!(candidate.split_once('\n').unwrap().1, derived);
    assert!(world.text("main", "fortio.yaml").contains(&format!("name: load-{name} ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_at_once_start_one_and_the_others_are_told() {
    let world = World::served().await;
    let all = futures::future::join_all((0..10).map(|_| world.start("reiter8.dev/productpage:v2", &[]))).await;
    assert_eq!(codes(&all), BTreeMap::from([(0, 1), (3, 9)]), "{all:?}");
    assert_eq!(world.log().len(), 2);
    let winner = all.iter().find(|ended| ended.code == 0).unwrap();
    assert_eq!(world.experiment("main").metadata.name.as_deref(), winner.document["experiment"].as_str());
    for refused in all.iter().filter(|ended| ended.code == 3) {
        assert_eq!(refused.document["reason"], "Running", "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_at_once_that_supersede_leave_one_experiment_and_no_lost_commit() {
    let world = World::served().await;
    let images: Vec<String> = (0..10).map(|n| format!("reiter8.dev/productpage:b{n}")).collect();
    let all =
        futures::future::join_all(images.iter().map(|image| world.start(image, &["--on-running", "supersede"]))).await;
    let committed: Vec<&Ended> = all.iter().filter(|ended| ended.code == 0).collect();
    assert!(!committed.is_empty() && all.iter().all(|ended| matches!(ended.code, 0 | 5)), "{all:?}");
    // Each commit that a call told of is in the history, and no other.
    let log = world.log();
    assert_eq!(log.len(), committed.len() + 1, "{log:?}");
    for ended in &committed {
        let name = ended.document["experiment"].as_str().unwrap();
        assert_eq!(log.iter().filter(|line| line.starts_with(&format!("Start {name}:"))).count(), 1, "{log:?}");
    }
    // The last one is there, whole: its candidate has its image.
    let (name, image) = log[0].strip_prefix("Start ").unwrap().split_once(": try ").unwrap();
    assert_eq!(world.experiment("main").metadata.name.as_deref(), Some(name));
    assert!(world.text("main", "productpage-candidate.yaml").contains(image));
    assert_eq!(
        world.names("main"),
        ["experiment.yaml", "productpage-candidate.yaml", "productpage.yaml", "routing.yaml"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_applications_at_once_are_all_started() {
    let world = World::served().await;
    let template = String::from_utf8(sample("start/experiment.yaml")).unwrap();
    let mut all = BTreeMap::new();
    for n in 0..10 {
        all.insert(format!("apps/p{n}/productpage.yaml"), sample("productpage.yaml"));
        let own = template.replace("apps/productpage", &format!("apps/p{n}"));
        let own = own.replace("bookinfo/productpage  ", &format!("bookinfo/p{n}  "));
        all.insert(format!("templates/p{n}/experiment.yaml"), own.into_bytes());
    }
    commit(&world.repository(), "main", "More", &all);
    let calls = (0..10).map(|n| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reiter8"));
        command.args(["start", "--path", &format!("apps/p{n}"), "--templates", &format!("templates/p{n}")]);
        command.args(["--repository", &world.server.as_ref().unwrap().url("env.git"), "--image", "x/y:v2"]);
        command.args(["--allow-http-host", "127.0.0.1"]).env("REITER8_TOKEN", TOKEN).kill_on_drop(true);
        ended(command)
    });
    let ended = futures::future::join_all(calls).await;
    assert_eq!(codes(&ended), BTreeMap::from([(0, 10)]), "{ended:?}");
    assert_eq!(world.log().len(), 12);
    let after = files(&world.repository(), "main");
    for n in 0..10 {
        assert!(after.contains_key(&format!("apps/p{n}/experiment.yaml")));
        // No DestinationRule there: the version's name is the label.
        let candidate = String::from_utf8(after[&format!("apps/p{n}/productpage-candidate.yaml")].clone()).unwrap();
        assert!(candidate.contains("version: candidate") && !candidate.contains("version: stable"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_commits_nothing_until_the_target_is_free() {
    let world = World::served().await;
    let first = world.start("reiter8.dev/productpage:v2", &[]).await;
    assert_eq!(first.code, 0, "{first:?}");
    let timed_out = world.start("reiter8.dev/productpage:v3", &["--on-running", "wait", "--timeout", "2s"]).await;
    assert_eq!((timed_out.code, world.log().len()), (4, 2), "{timed_out:?}");
    let told = format!("waiting for experiment {}", first.document["experiment"].as_str().unwrap());
    assert!(timed_out.said.contains(&told), "{timed_out:?}");

    let mut waiting =
        world.bare(&["--image", "reiter8.dev/productpage:v3", "--on-running", "wait", "--poll", "500ms", "-o", "json"]);
    let mut child = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stderr.take().unwrap()));
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains(&told), "{line}");
    // Somebody else's commit is no reason to start; neither is a short outage.
    world.put("README.md", "Another one.\n");
    world.server.as_ref().unwrap().set(Mode::Status(503));
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("503"), "{line}");
    world.server.as_ref().unwrap().set(Mode::Serve);
    assert!(child.try_wait().unwrap().is_none());
    assert_eq!(world.log().len(), 3);
    world.remove(&["experiment.yaml", "productpage-candidate.yaml"]);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(world.experiment("main").metadata.name.as_deref(), document["experiment"].as_str());
    assert_eq!(world.log().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_the_push_is_found_out() {
    let world = World::served().await;
    world.server.as_ref().unwrap().set(Mode::LosePushAnswer);
    let ended = world.start("reiter8.dev/productpage:v2", &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(world.log().len(), 2);
    assert_eq!(world.experiment("main").metadata.name.as_deref(), ended.document["experiment"].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_server_have_names() {
    let world = World::served().await;
    for (mode, reason) in [(401, "AuthenticationFailed"), (403, "PermissionDenied"), (404, "RepositoryNotFound")] {
        world.server.as_ref().unwrap().set(Mode::Status(mode));
        let ended = world.start("reiter8.dev/productpage:v2", &[]).await;
        assert_eq!((ended.code, ended.document["reason"].as_str()), (1, Some(reason)), "{ended:?}");
    }
    world.server.as_ref().unwrap().set(Mode::Serve);
    let hook = world.path().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho 'Not allowed to push to protected branch main' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ended = world.start("reiter8.dev/productpage:v2", &[]).await;
    assert_eq!((ended.code, ended.document["reason"].as_str()), (1, Some("ProtectedBranch")), "{ended:?}");
    assert!(ended.said.contains("--pull-request"), "{ended:?}");
    assert_eq!(world.log(), ["Before"]);
}

#[tokio::test]
async fn superseding_replaces_every_file_of_the_running_one() {
    let world = World::local();
    let first = world.start("reiter8.dev/productpage:v2", &["--load-generator", "fortio.yaml"]).await;
    let second = world.start("reiter8.dev/productpage:v3", &["--on-running", "supersede"]).await;
    assert_eq!((first.code, second.code), (0, 0), "{second:?}");
    assert_eq!(second.document["superseded"][0], first.document["experiment"]);
    assert_eq!(
        world.names("main"),
        ["experiment.yaml", "productpage-candidate.yaml", "productpage.yaml", "routing.yaml"]
    );
    assert!(world.text("main", "productpage-candidate.yaml").contains("productpage:v3"));

    // One of several candidates, which was committed by hand, takes the manifests of all of them with it.
    let several = world.text("main", "experiment.yaml").replace(
        "promote: {from: productpage-candidate.yaml,",
        "promote: {from: productpage-candidate.yaml, fromEach: {other: productpage-other.yaml},",
    );
    world.put(&format!("{APP}/experiment.yaml"), several);
    world.put(&format!("{APP}/productpage-other.yaml"), world.text("main", "productpage-candidate.yaml"));
    let third = world.start("reiter8.dev/productpage:v5", &["--on-running", "supersede"]).await;
    assert_eq!(third.code, 0, "{third:?}");
    assert!(!world.names("main").contains(&"productpage-other.yaml".to_owned()), "{:?}", world.names("main"));

    // An experiment of another target keeps its files.
    let other =
        world.text("main", "experiment.yaml").replace("target: bookinfo/productpage ", "target: bookinfo/other ");
    world.put(&format!("{APP}/experiment.yaml"), other);
    for how in ["fail", "supersede"] {
        let refused = world.start("reiter8.dev/productpage:v4", &["--on-running", how]).await;
        assert_eq!((refused.code, refused.document["reason"].as_str()), (1, Some("FileExists")), "{refused:?}");
    }
}

#[tokio::test]
async fn one_request_is_open_for_a_target() {
    let world = World::local();
    let forge = LocalForge::new(&world.path());
    let first = world.start("reiter8.dev/productpage:v2", &["--pull-request"]).await;
    assert_eq!((first.code, world.log().len()), (0, 1), "{first:?}");
    assert_eq!(first.document["pullRequest"]["number"], 1);
    let branch = first.document["branch"].as_str().unwrap().to_owned();
    assert_eq!(world.experiment(&branch).metadata.name.as_deref(), first.document["experiment"].as_str());

    let second = world.start("reiter8.dev/productpage:v3", &["--pull-request"]).await;
    assert_eq!(second.code, 3, "{second:?}");
    assert!(second.said.contains("pull request #1"), "{second:?}");
    let third = world.start("reiter8.dev/productpage:v3", &["--pull-request", "--on-running", "supersede"]).await;
    assert_eq!((third.code, &third.document["pullRequest"]["number"]), (0, &Value::from(1)), "{third:?}");
    assert_eq!(third.document["branch"], branch.as_str());
    let pulls = forge.list().unwrap();
    assert_eq!(pulls.len(), 1);
    assert!(pulls[0].title.contains(third.document["experiment"].as_str().unwrap()), "{}", pulls[0].title);
    assert!(world.text(&branch, "productpage-candidate.yaml").contains("productpage:v3"));

    // Merged: the experiment runs. Gone: the branch that stayed behind is no obstacle.
    forge.merge(1, &gitops::author(), gitops::TIME).unwrap();
    assert_eq!(world.start("reiter8.dev/productpage:v4", &["--pull-request"]).await.code, 3);
    world.remove(&["experiment.yaml", "productpage-candidate.yaml"]);
    let last = world.start("reiter8.dev/productpage:v4", &["--pull-request"]).await;
    assert_eq!((last.code, &last.document["pullRequest"]["number"]), (0, &Value::from(2)), "{last:?}");
    let states: Vec<bool> = forge.list().unwrap().iter().map(|pull| pull.pull.state == PullState::Open).collect();
    assert_eq!(states, [false, true]);
}

#[tokio::test]
async fn a_candidate_may_have_a_template_and_a_baseline_neighbours() {
    let world = World::local();
    for (path, bytes) in gitops::fixture("before") {
        world.put(&path, bytes);
    }
    world.remove(&["routing.yaml"]);
    let ended = world.start("example/productpage:v1.3.0", &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let candidate = world.text("main", "productpage-candidate.yaml");
    assert!(!candidate.contains("kind: Service") && !candidate.contains("stable"), "{candidate}");
    assert!(candidate.contains("image: \"example/productpage:v1.3.0\"  # pinned by the release team\n"), "{candidate}");
    assert!(candidate.ends_with("  progressDeadlineSeconds: 120\n"), "{candidate}");

    let template = String::from_utf8(sample("productpage-candidate.yaml")).unwrap();
    let template =
        template.replace("value: v2}", "value: ${TAG}} # ${NAME}").replace("reiter8.dev/productpage:v2", "${IMAGE}");
    world.put("templates/productpage/productpage-candidate.yaml", &template);
    let ended = world.start("example/productpage:v7", &["--on-running", "supersede", "--set", "TAG=v7"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let expected = template.replace("${TAG}", "v7").replace("${IMAGE}", "example/productpage:v7");
    let expected = expected.replace("${NAME}", ended.document["experiment"].as_str().unwrap());
    assert_eq!(world.text("main", "productpage-candidate.yaml"), expected);
}

#[tokio::test]
async fn a_dry_run_shows_the_commit_and_pushes_nothing() {
    let world = World::local();
    let ended = world.start("reiter8.dev/productpage:v2", &["--dry-run"]).await;
    assert_eq!((ended.code, &ended.document["commit"]), (0, &Value::Null), "{ended:?}");
    let diff = ended.document["diff"].as_str().unwrap();
    assert!(diff.contains("+        image: reiter8.dev/productpage:v2\n"), "{diff}");
    assert_eq!(world.log(), ["Before"]);
    let text = ended_text(world.bare(&["--image", "reiter8.dev/productpage:v2", "--dry-run"])).await;
    assert!(
        text.contains("Would start productpage-") && text.contains("+++ b/apps/productpage/experiment.yaml"),
        "{text}"
    );
}

async fn ended_text(mut command: Command) -> String {
    String::from_utf8(command.output().await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn what_could_not_end_well_is_not_begun() {
    type Break = (&'static str, &'static str, &'static str, &'static str, &'static str);
    // What is wrong, the file, what is replaced in it by what, and what is said.
    let table: [Break; 15] = [
        ("a typo", "t", "  strategy:", "  stratgy:", "stratgy"),
        ("another directory", "t", "path: apps/productpage", "path: apps/other", "spec.gitops.path"),
        ("an escape", "t", "from: productpage-candidate.yaml", "from: ../x.yaml", "write a relative path"),
        ("git's own", "t", "from: productpage-candidate.yaml", "from: .git/x.yaml", "write a relative path"),
        ("an absolute path", "t", "from: productpage-candidate.yaml", "from: /x.yaml", "write a relative path"),
        ("the baseline itself", "t", "from: productpage-candidate.yaml", "from: productpage.yaml", "different files"),
        ("no baseline", "t", "to: productpage.yaml", "to: none.yaml", "none.yaml: not found"),
        ("another namespace", "t", "target: bookinfo/", "target: other/", "spec.target"),
        ("a limit that is none", "t", "upperLimit: 1%", "upperLimit: 1 apple", "upperLimit"),
        (
            "a file that is missing",
            "t",
            "fields: Template}",
            "fields: Template}\n    remove: [gone.yaml]",
            "gone.yaml is to be removed and is not there; name its template with --load-generator",
        ),
        ("a placeholder", "t", "bookinfo\n", "bookinfo\n  labels: {team: \"${TEAM}\"}\n", "--set TEAM=VALUE"),
        (
            "several candidates",
            "t",
            "    candidates:\n",
            "    candidates:\n    - {name: other, workload: {name: productpage-other}, destination: {subset: other}}\n",
            "2 candidates, and `start` brings one",
        ),
        ("another kind", "t", "kind: Experiment", "kind: Deployment", "is not an Experiment"),
        (
            "no version label",
            "b",
            "matchLabels: {app: productpage, version: stable}",
            "matchLabels: {app: productpage}",
            "no candidate can be derived",
        ),
        ("no YAML", "b", "spec:", "spec: [", "productpage.yaml: failed to parse YAML"),
    ];
    let world = World::local();
    for (what, file, old, new, said) in table {
        let (path, name) = match file {
            "t" => ("templates/productpage/experiment.yaml".to_owned(), "start/experiment.yaml"),
            _ => (format!("{APP}/productpage.yaml"), "productpage.yaml"),
        };
        let text = String::from_utf8(sample(name)).unwrap();
        assert!(text.contains(old), "{what}");
        world.put(&path, text.replacen(old, new, 1));
        let commits = world.log().len();
        let ended = world.start("reiter8.dev/productpage:v2", &[]).await;
        assert_eq!(ended.code, 1, "{what}: {ended:?}");
        assert!(ended.said.contains(said), "{what}: {ended:?}");
        assert_eq!(world.log().len(), commits, "{what}");
        world.put(&path, text);
    }
    let same = world.start("reiter8.dev/productpage:v1", &[]).await;
    assert_eq!((same.code, same.document["reason"].as_str()), (6, Some("NothingToTry")), "{same:?}");
    let none = ended(world.bare(&[])).await;
    assert!(none.code == 1 && none.said.contains("--image"), "{none:?}");
    // What looks like an experiment and cannot be read might be one for this target.
    world.put(&format!("{APP}/odd.yaml"), "apiVersion: iter8.tools/v2alpha2\nkind: Experiment\nmetadata: [\n");
    let odd = world.start("reiter8.dev/productpage:v2", &["--on-running", "supersede"]).await;
    assert!(odd.code == 1 && odd.said.contains("odd.yaml"), "{odd:?}");
}

#[tokio::test]
async fn links_are_neither_read_nor_written() {
    let world = World::local();
    let link = |path: &str, to: &str| {
        let repository = world.repository();
        let parent = repository.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
        let mut update = git2::build::TreeUpdateBuilder::new();
        update.upsert(path, repository.blob(to.as_bytes()).unwrap(), git2::FileMode::Link);
        let tree = update.create_updated(&repository, &parent.tree().unwrap()).unwrap();
        let (tree, who) = (repository.find_tree(tree).unwrap(), parent.author());
        repository.commit(Some("refs/heads/main"), &who, &who, "Link", &tree, &[&parent]).unwrap();
    };
    link(&format!("{APP}/productpage-candidate.yaml"), "../../secret.yaml");
    link("apps/elsewhere", "productpage");
    for (how, more) in [
        ("a file", vec![]),
        ("superseding", vec!["--on-running", "supersede"]),
        ("a directory", vec!["--templates", "apps/elsewhere"]),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reiter8"));
        command.args(["start", "--path", APP, "--image", "x/y:v2", "-o", "json", "--repository"]).arg(world.path());
        command
            .args(if how == "a directory" { vec![] } else { vec!["--templates", "templates/productpage"] })
            .args(more);
        let ended = ended(command).await;
        assert_eq!((ended.code, ended.document["reason"].as_str()), (1, Some("UnsupportedEntry")), "{how}: {ended:?}");
    }
    assert_eq!(world.log().len(), 3);
}

#[tokio::test]
async fn wrong_arguments_are_code_2_and_repeat_no_secret() {
    let call = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reiter8"));
        command.arg("start").args(args).env_remove("REITER8_TOKEN").env_remove("REITER8_REPOSITORY");
        ended(command)
    };
    let good = ["--path", APP, "--templates", "t"];
    let address = "https://git.example.com/o/r.git";
    let token_file = |content: &str| {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, content).unwrap();
        path
    };
    let (empty, large) = (token_file(" \n"), token_file(&"x".repeat(100_000)));
    let table: [(&[&str], &str); 16] = [
        (&["--repository", &format!("https://u:{TOKEN}@git.example.com/o/r.git")], "holds credentials"),
        (&["--repository", &format!("https://{TOKEN}@git.example.com/o/r.git")], "holds credentials"),
        (&["--repository", "http://git.example.com/o/r.git"], "plain http"),
        (&["--repository", "git@git.example.com:o/r.git"], "--repository"),
        (&["--repository", "file:///tmp/r.git"], "--repository"),
        (&["--repository", address, "--token-env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
        (&["--repository", address, "--token-file", "/does/not/exist"], "/does/not/exist"),
        (&["--repository", address, "--token-file", empty.path().to_str().unwrap()], "empty"),
        (&["--repository", address, "--token-file", large.path().to_str().unwrap()], "no token"),
        (&["--repository", address, "--image", "a b"], "--image"),
        (&["--repository", address, "--set", "TAG=a: b"], "one word"),
        (&["--repository", address, "--set", "NAME=x"], "NAME"),
        (&["--repository", address, "--experiment", "../x.yaml"], "--experiment"),
        (&["--repository", address, "--load-generator", "a/b.yaml"], "--load-generator"),
        (&["--repository", address, "--on-running", "panic"], "--on-running"),
        (&["--repository", address, "--timeout", "soon"], "--timeout"),
    ];
    for (args, said) in table {
        let ended = call(&[&good, args].concat()).await;
        assert_eq!(ended.code, 2, "{args:?}: {ended:?}");
        assert!(ended.said.contains(said), "{args:?}: {ended:?}");
    }
    for path in ["..", "/apps", "apps/../x", "apps/.git", ".git/hooks", "apps//x", "-x", "a\\b", ""] {
        let args = ["--repository", address, "--templates", "t", &format!("--path={path}")];
        assert_eq!(call(&args).await.code, 2, "{path}");
    }
    assert_eq!(call(&["--repository", address, "--path", APP]).await.code, 2);
    assert!(Path::new(empty.path()).exists());
}
