//! The write-back against real forges: clone, push and the life of pull requests.
//!
//! One suite, over Gitea as it is and over a front that makes a GitHub of it. Starts Gitea alone, with the code of `hack/stack`, and
//! stops it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::github::front::Front;
use crate::support::github::openapi;
use crate::support::gitops::{self, author, environment, spec, text};
use crate::support::stack;
use jiff::Timestamp;
use reiter8::api::{Provider, RepositorySpec};
use reiter8::engine::{
    self, Handover, Look, News, Outcome, Planned, Reason, Report, Request, RequestSeen, Reviewed, Running, Seen, Stage,
    StageQuestion, StageSeen, TextSeen,
};
use reiter8::gitops::forge::{
    Extras, Forge, ForgeError, GitHub, Gitea, Merge, Merging, NewPull, Permissions, PullState,
};
use reiter8::gitops::plan::{Change, plan_cleanup, plan_promote};
use reiter8::gitops::repository::{Lease, Remote, Session};
use reiter8::gitops::transport::{Limits, Token};
use reiter8::gitops::tree::CommitId;
use reiter8::gitops::{Credential, WriteBack, WriteTarget, blocking};
use serde_json::{Value, json};

/// A Gitea of its own.
struct Server {
    site: stack::Site,
    url: String,
    token: String,
}

impl Server {
    fn start(name: &str) -> Self {
        let dir = format!("/var/tmp/reiter8-test-{name}-{}", std::process::id()).into();
        let site = stack::Site { dir, bin: stack::binaries(), node: "unused".into() };
        let (port, token, _) = stack::parts::gitea(&site).unwrap();
        Self { site, url: format!("http://127.0.0.1:{port}"), token }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = stack::down(&self.site.dir);
    }
}

/// A new repository at a Gitea server, holding the fixture's environment.
struct World {
    client: reqwest::Client,
    api: String,
    /// Where the forge under test says the repository is.
    url: String,
    provider: Provider,
    remote: Remote,
    forge: Forge,
    token: String,
}

impl World {
    /// `front` is the address of the forge under test, which has `server` behind it.
    async fn new(server: &str, token: &str, provider: Provider, front: &str) -> Self {
        let client = reiter8::http::client().build().unwrap();
        let name =
            format!("env-{}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos());
        let world = Self {
            client,
            api: format!("{server}/api/v1"),
            url: String::new(),
            provider,
            remote: Remote::Local("unused".into()),
            forge: Forge::Local(reiter8::gitops::forge::LocalForge::new("unused".as_ref())),
            token: token.to_owned(),
        };
        let made = world.call("POST", "/user/repos", json!({"name": name, "default_branch": "main"})).await.1;
        let full_name = made["full_name"].as_str().unwrap();
        let url = format!("{front}/{full_name}.git");
        let token = Token::new(token);
        let seed = tempfile::tempdir().unwrap();
        environment(seed.path());
        let pushed = tokio::process::Command::new("git")
            .args([
                "-C",
                seed.path().to_str().unwrap(),
                "-c",
                &format!("http.extraHeader=Authorization: token {}", world.token),
                "push",
                "-q",
                &url,
                "refs/heads/main",
            ])
            .output()
            .await
            .unwrap();
        assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
        let world = Self {
            api: format!("{}/repos/{full_name}", world.api),
            forge: forge(provider, &url, &token),
            url: url.clone(),
            remote: Remote::Http { url, credentials: Some(token), allow_http: true, ca: None },
            ..world
        };
        // The server learns of a first push a moment after it answered it.
        eventually(async || world.call("GET", "/branches/main", Value::Null).await.0 == 200).await;
        world
    }

    /// What a person does at the server.
    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self
            .client
            .request(method.parse().unwrap(), format!("{}{path}", self.api))
            .header("authorization", format!("token {}", self.token));
        let response = request.json(&body).send().await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Pushes a planned change to a branch, from a fresh clone.
    async fn propose(&self, branch: &'static str, plan: fn(&Session) -> Change) -> CommitId {
        let remote = self.remote.clone();
        blocking(move || {
            let session = Session::open(&remote, "main", Limits::default())?;
            let commit = session.commit(session.head(), &plan(&session), text("Change", &author()))?;
            session.push(&commit, branch, &Lease::Absent).unwrap();
            Ok::<_, reiter8::gitops::repository::RepositoryError>(commit)
        })
        .await
        .unwrap()
    }

    async fn merge(&self, number: u64) {
        eventually(async || self.forge.get(number).await.unwrap().unwrap().mergeable == Some(true)).await;
        let (status, answer) = self
            .call("POST", &format!("/pulls/{number}/merge"), json!({"Do": "merge", "delete_branch_after_merge": true}))
            .await;
        assert_eq!(status, 200, "{answer}");
    }
}

/// The client under test.
fn forge(provider: Provider, url: &str, token: &Token) -> Forge {
    match provider {
        Provider::Gitea => Forge::Gitea(Gitea::new(url, Some(token.clone()), true).unwrap()),
        Provider::GitHub => Forge::GitHub(GitHub::new(url, Some(token), true).unwrap()),
    }
}

/// Waits until a condition holds, for at most 20 seconds.
async fn eventually(condition: impl AsyncFn() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !condition().await {
        assert!(std::time::Instant::now() < until, "the condition never held");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn request(branch: &str) -> NewPull {
    NewPull { head: branch.into(), base: "main".into(), title: "Title".into(), body: "Body".into(), draft: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_live_and_die_at_gitea_as_the_interface_says() {
    let server = Server::start("gitea");
    let world = World::new(&server.url, &server.token, Provider::Gitea, &server.url).await;
    write_back(&World::new(&server.url, &server.token, Provider::Gitea, &server.url).await).await;
    upkeep(&World::new(&server.url, &server.token, Provider::Gitea, &server.url).await).await;
    merges(&World::new(&server.url, &server.token, Provider::Gitea, &server.url).await).await;
    let warnings = suite(&world).await;
    assert!(warnings.len() == 1 && warnings[0].contains("`not-there` does not exist"), "{warnings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_live_and_die_at_github_as_the_interface_says() {
    let server = Server::start("github");
    let (front, address) = Front::start(&server.url).await;
    let world = World::new(&server.url, &server.token, Provider::GitHub, &address).await;
    write_back(&World::new(&server.url, &server.token, Provider::GitHub, &address).await).await;
    upkeep(&World::new(&server.url, &server.token, Provider::GitHub, &address).await).await;
    merges(&World::new(&server.url, &server.token, Provider::GitHub, &address).await).await;
    // GitHub makes the label that is missing.
    assert_eq!(suite(&world).await, Vec::<String>::new());
    assert_eq!(front.findings(), Vec::<String>::new());
    let used = [
        "issues/add-labels",
        "issues/create-comment",
        "pulls/create",
        "pulls/get",
        "pulls/list",
        "pulls/merge",
        "pulls/request-reviewers",
        "pulls/update",
        "repos/get",
    ];
    assert_eq!(front.used(), used);
}

#[test]
fn the_excerpt_is_what_github_published() {
    let package = stack::binaries().parent().unwrap().join("parts").join(openapi::PACKAGE);
    for variant in openapi::VARIANTS {
        let whole = std::fs::read(package.join(format!("{variant}.json"))).expect("run hack/parts/install");
        let cut = openapi::written(&openapi::excerpt(&serde_json::from_slice(&whole).unwrap()));
        let file = openapi::file(variant);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &cut).unwrap();
        }
        assert!(std::fs::read_to_string(&file).unwrap() == cut, "{} differs from the package", file.display());
    }
}

/// The life of requests, the same at every forge. Returns what was said about labels that do not exist.
async fn suite(world: &World) -> Vec<String> {
    let forge = &world.forge;
    assert_eq!(forge.permissions().await, Ok(Permissions { can_push: true, can_pull: true }));
    assert_eq!(forge.find("iter8/promote", "main").await, Ok(None));
    assert_eq!(forge.get(1).await, Ok(None));
    assert_eq!(forge.open(&request("iter8/promote")).await, Err(ForgeError::NotFound));
    assert_eq!(forge.open(&request("main")).await, Err(ForgeError::NoChanges));

    // Promote: opened once, found in every state.
    let commit =
        world.propose("iter8/promote", |session| plan_promote(&session.files().unwrap(), &spec()).unwrap()).await;
    let pull = forge.open(&request("iter8/promote")).await.unwrap();
    assert_eq!(
        (pull.number, &pull.state, pull.head.as_ref(), pull.head_branch.as_str()),
        (1, &PullState::Open, Some(&commit), "iter8/promote")
    );
    assert_eq!(forge.open(&request("iter8/promote")).await.unwrap().number, 1, "opening twice gives the same request");
    assert_eq!(forge.find("iter8/promote", "main").await.unwrap().unwrap().number, 1);
    forge.update_text(1, Some("New title"), "New body").await.unwrap();
    forge.comment(1, "A comment").await.unwrap();
    let issue = world.call("GET", "/issues/1", Value::Null).await.1;
    assert_eq!(
        (issue["title"].as_str(), issue["body"].as_str(), issue["comments"].as_u64()),
        (Some("New title"), Some("New body"), Some(1))
    );
    let about_labels = annotate(world).await;
    world.merge(1).await;
    let merged = forge.find("iter8/promote", "main").await.unwrap().unwrap();
    assert!(matches!(merged.state, PullState::Merged { commit: Some(_) }), "{merged:?}");
    assert_eq!(
        (merged.head.as_ref(), merged.head_branch.as_str(), merged.mergeable),
        (Some(&commit), "iter8/promote", None)
    );
    assert_eq!(forge.get(1).await.unwrap().unwrap(), merged);
    assert_eq!(forge.close(1).await, Err(ForgeError::AlreadyMerged));

    // Clean-up: closed by a person, opened again on the same branch, merged.
    let commit =
        world.propose("iter8/cleanup", |session| plan_cleanup(&session.files().unwrap(), &spec()).unwrap()).await;
    let first = forge.open(&request("iter8/cleanup")).await.unwrap();
    forge.close(first.number).await.unwrap();
    forge.close(first.number).await.unwrap();
    assert_eq!(forge.find("iter8/cleanup", "main").await.unwrap().unwrap().state, PullState::Closed);
    let second = forge.open(&request("iter8/cleanup")).await.unwrap();
    assert_ne!(first.number, second.number);
    let found = forge.find("iter8/cleanup", "main").await.unwrap().unwrap();
    assert_eq!((found.number, found.state, found.head), (second.number, PullState::Open, Some(commit)));
    world.merge(second.number).await;

    let remote = world.remote.clone();
    let listed = blocking(move || {
        let session = Session::open(&remote, "main", Limits::default())?;
        let names = reiter8::gitops::tree::Files::list(&session.files()?, Some(&gitops::APP.parse().unwrap())).unwrap();
        Ok::<_, reiter8::gitops::repository::RepositoryError>(
            names.into_iter().map(|entry| entry.name).collect::<Vec<_>>(),
        )
    });
    assert_eq!(listed.await.unwrap(), ["istio.yaml", "productpage.yaml"]);

    // Refusals.
    let stranger = self::forge(world.provider, &world.url, &Token::new("0000000000000000000000000000000000000000"));
    assert_eq!(stranger.permissions().await, Err(ForgeError::AuthenticationFailed));
    let elsewhere = self::forge(world.provider, &world.url.replace("/env-", "/no-env-"), &Token::new(&world.token));
    assert_eq!(elsewhere.permissions().await, Err(ForgeError::NotFound));
    assert_eq!(elsewhere.find("iter8/promote", "main").await, Err(ForgeError::NotFound));
    let protection = json!({"rule_name": "iter8/**", "enable_push": false});
    assert_eq!(world.call("POST", "/branch_protections", protection).await.0, 201);
    let remote = world.remote.clone();
    let refused = blocking(move || {
        let session = Session::open(&remote, "main", Limits::default())?;
        let commit = session.commit(session.head(), &Change::default(), text("Empty", &author()))?;
        Ok::<_, reiter8::gitops::repository::RepositoryError>(session.push(&commit, "iter8/protected", &Lease::Absent))
    });
    let refused = refused.await.unwrap().unwrap_err();
    assert_eq!(refused.cause().word(), "ProtectedBranch", "{refused}");
    let archived = world.call("PATCH", "", json!({"archived": true})).await;
    assert_eq!(archived.0, 200, "{}", archived.1);
    assert_eq!(forge.permissions().await, Err(ForgeError::RepositoryArchived));
    about_labels
}

/// Labels and reviewers: what is right is there, what is wrong is told, and doing it again changes nothing.
async fn annotate(world: &World) -> Vec<String> {
    assert_eq!(world.call("POST", "/labels", json!({"name": "reiter8", "color": "#00aabb"})).await.0, 201);
    assert_eq!(world.call("PUT", "/collaborators/reviewer", json!({"permission": "write"})).await.0, 204);
    let all = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let extras = Extras {
        labels: all(&["reiter8", "not-there"]),
        reviewers: all(&["nobody-such", "reviewer", "bot"]),
        draft: false,
    };
    let mut about_labels = Vec::new();
    for _ in 0..2 {
        let (people, labels): (Vec<_>, Vec<_>) =
            world.forge.annotate(1, &extras).await.into_iter().partition(|line| line.starts_with("reviewers "));
        // The second is not a user, the third the author.
        assert_eq!(people.len(), 2, "{people:?}");
        assert!(
            people[0].starts_with("reviewers nobody-such: ") && people[1].starts_with("reviewers bot: "),
            "{people:?}"
        );
        about_labels = labels;
        let pull = world.call("GET", "/pulls/1", Value::Null).await.1;
        let names = |list: &str, key: &str| -> Vec<String> {
            pull[list].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
        };
        assert!(names("labels", "name").contains(&"reiter8".to_owned()), "{pull}");
        assert_eq!(names("requested_reviewers", "login"), ["reviewer"]);
    }
    assert_eq!(world.forge.annotate(1, &Extras::default()).await, Vec::<String>::new());
    about_labels
}

/// Merges without a person: what a required check, another head and the forge's own counting do to them.
async fn merges(world: &World) {
    let forge = &world.forge;
    let rule =
        json!({"rule_name": "main", "enable_push": true, "enable_status_check": true, "status_check_contexts": ["ci"]});
    assert_eq!(world.call("POST", "/branch_protections", rule).await.0, 201);
    let commit =
        world.propose("iter8/promote", |session| plan_promote(&session.files().unwrap(), &spec()).unwrap()).await;
    let number = forge.open(&request("iter8/promote")).await.unwrap().number;
    let of = |head: &CommitId| Merge { head: head.clone(), author: author(), time_seconds: 0 };
    let not_yet = |merging: Merging| matches!(merging, Merging::NotYet { .. });
    // The check has not passed, nor has it after it was computed whether the request can be merged at all.
    assert!(not_yet(forge.merge(number, &of(&commit)).await.unwrap()));
    eventually(async || forge.get(number).await.unwrap().unwrap().mergeable == Some(true)).await;
    assert!(not_yet(forge.merge(number, &of(&commit)).await.unwrap()));
    let passed = json!({"context": "ci", "state": "success"});
    assert_eq!(world.call("POST", &format!("/statuses/{commit}"), passed.clone()).await.0, 201);
    let main = world.call("GET", "/branches/main", Value::Null).await.1["commit"]["id"].as_str().unwrap().to_owned();
    assert!(not_yet(forge.merge(number, &of(&main.parse().unwrap())).await.unwrap()), "its head is another one");
    assert_eq!(forge.get(number).await.unwrap().unwrap().state, PullState::Open);
    eventually(async || forge.merge(number, &of(&commit)).await.unwrap() == Merging::Done).await;
    assert!(matches!(forge.get(number).await.unwrap().unwrap().state, PullState::Merged { .. }));

    // Somebody adds a commit of their own, whose checks pass: what was pushed is not what would be merged.
    let commit =
        world.propose("iter8/cleanup", |session| plan_cleanup(&session.files().unwrap(), &spec()).unwrap()).await;
    let draft = forge.open(&NewPull { draft: true, ..request("iter8/cleanup") }).await.unwrap();
    assert!(draft.draft);
    let number = draft.number;
    let foreign = json!({"branch": "iter8/cleanup", "content": "eA==", "message": "More"});
    assert_eq!(world.call("POST", "/contents/more.txt", foreign).await.0, 201);
    let moved = async || forge.get(number).await.unwrap().unwrap().head.unwrap();
    eventually(async || moved().await != commit).await;
    let theirs = moved().await;
    assert_eq!(world.call("POST", &format!("/statuses/{theirs}"), passed).await.0, 201);
    // Nobody merges a draft before a person marks it as ready.
    assert!(not_yet(forge.merge(number, &of(&theirs)).await.unwrap()));
    assert_eq!(world.call("PATCH", &format!("/pulls/{number}"), json!({"title": "Title"})).await.0, 201);
    assert!(!forge.get(number).await.unwrap().unwrap().draft);
    eventually(async || forge.get(number).await.unwrap().unwrap().mergeable == Some(true)).await;
    assert!(not_yet(forge.merge(number, &of(&commit)).await.unwrap()));
    assert_eq!(forge.get(number).await.unwrap().unwrap().state, PullState::Open);
    eventually(async || forge.merge(number, &of(&theirs)).await.unwrap() == Merging::Done).await;
}

/// A promotion as the engine asks for it.
fn promotion() -> Request {
    let decided_at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let running = |name: &str, workload: &str| Running { name: name.into(), workload: workload.into(), images: vec![] };
    let report = Report {
        namespace: "bookinfo".into(),
        name: "productpage-x7k2p".into(),
        uid: "0a1b".into(),
        target: "bookinfo/productpage".into(),
        baseline: running("stable", "productpage"),
        candidate: running("next", "productpage-candidate"),
        others: vec![],
        race: None,
        outcome: Outcome::Promote,
        reason: Reason::Proven,
        sentence: "The candidate is proven.".into(),
        weight: 50,
        seconds: 90,
        decided_at,
        rows: vec![],
        news: News { waits: "WaitingForReview".into(), guard: None },
    };
    Request {
        stage: Stage::Promote,
        key: "0a1b2c3d".into(),
        branch: "iter8/whole/promote".into(),
        base_branch: "main".into(),
        handover: Handover::TwoPullRequests,
        decided_at,
        blobs: BTreeMap::new(),
        candidate: 0,
        report,
    }
}

/// The write-back as the controller makes it and the engine uses it, git and requests at the forge's own address: each step twice.
async fn write_back(world: &World) {
    let repository = RepositorySpec::new(&world.url, world.provider, "forge");
    assert_eq!(world.call("POST", "/labels", json!({"name": "reiter8", "color": "#00aabb"})).await.0, 201);
    assert_eq!(world.call("PUT", "/collaborators/reviewer", json!({"permission": "write"})).await.0, 204);
    let extras = Extras {
        labels: vec!["reiter8".into()],
        reviewers: vec!["nobody-such".into(), "reviewer".into()],
        draft: false,
    };
    let target = WriteTarget { repository, spec: spec(), extras };
    let refused = WriteBack::new(target.clone(), None, &[], &Arc::default()).err().unwrap();
    assert_eq!(refused.cause.word(), "RepositoryAddressRefused");
    let write_back = WriteBack::new(
        target,
        Some(Credential::Token(Token::new(&world.token))),
        &["127.0.0.1".to_owned()],
        &Arc::default(),
    )
    .unwrap();
    write_back.preflight().await.unwrap();

    let request = promotion();
    let look = |look| StageQuestion { request: request.clone(), look, twins: false };
    let StageSeen::Plan(Planned::Commit(work)) = write_back.stage(&look(Look::Plan)).await.unwrap() else {
        panic!("a plan")
    };
    for first in [true, false] {
        write_back.push(&request, &work.base, &work.commit).await.unwrap();
        let (seen, lacks) = published(write_back.stage(&look(Look::Publish)).await);
        assert_eq!((seen.branch.as_ref(), seen.head.as_ref()), (Some(&work.commit), Some(&work.base)));
        if first {
            // A process that opened it died before it gave it a label and its reviewers.
            world.forge.open(&self::request(&request.branch)).await.unwrap();
            let (_, lacks) = published(write_back.stage(&look(Look::Publish)).await);
            assert_eq!(lacks, ["label reiter8", "reviewer nobody-such", "reviewer reviewer"]);
        } else {
            // What the forge takes is there; a wrong name stays away.
            assert_eq!(lacks, ["reviewer nobody-such"]);
        }
        let told = write_back.open(&request, &work.base).await.unwrap();
        assert!(told.len() == 1 && told[0].message.contains("reviewers nobody-such: "), "{told:?}");
    }
    let pull = published(write_back.stage(&look(Look::Publish)).await).0.pull.unwrap();
    assert_eq!(pull.state, engine::PullState::Open);
    world.merge(pull.number).await;
    let merged = reviewed(write_back.stage(&look(Look::Review(pull.number))).await).request.pull.unwrap();
    let main = world.call("GET", "/branches/main", Value::Null).await.1["commit"]["id"].clone();
    assert_eq!(merged.state, engine::PullState::Merged(engine::CommitId(main.as_str().unwrap().to_owned())));
    let engine::PullState::Merged(commit) = merged.state else { unreachable!() };
    write_back.expected(&commit).await.unwrap();
    for _ in 0..2 {
        write_back.close(pull.number, "it is not wanted").await.unwrap();
    }
    // A request that ended is not opened again.
    write_back.open(&request, &work.base).await.unwrap();
    assert_eq!(world.forge.get(pull.number + 1).await, Ok(None));
}

/// The answer to a look at what is published, with what the request lacks.
fn published(seen: Seen<StageSeen>) -> (RequestSeen, Vec<String>) {
    let StageSeen::Publish { request, lacks } = seen.unwrap() else { panic!("another answer") };
    (request, lacks)
}

/// The answer to a look at a request that waits.
fn reviewed(seen: Seen<StageSeen>) -> Reviewed {
    let StageSeen::Review(reviewed) = seen.unwrap() else { panic!("another answer") };
    reviewed
}

/// What is done about a request that is open, and about what it leaves: its text, a second one, its branch.
async fn upkeep(world: &World) {
    let repository = RepositorySpec::new(&world.url, world.provider, "forge");
    let target = WriteTarget { repository, spec: spec(), extras: Extras::default() };
    let token = Some(Credential::Token(Token::new(&world.token)));
    let write_back = WriteBack::new(target, token, &["127.0.0.1".to_owned()], &Arc::default()).unwrap();
    let request = promotion();
    let look = |look, twins| StageQuestion { request: request.clone(), look, twins };
    let review = async |number| reviewed(write_back.stage(&look(Look::Review(number), true)).await);
    let StageSeen::Plan(Planned::Commit(work)) = write_back.stage(&look(Look::Plan, false)).await.unwrap() else {
        panic!("a plan")
    };
    write_back.push(&request, &work.base, &work.commit).await.unwrap();
    write_back.open(&request, &work.base).await.unwrap();

    // Its text follows the news, until a person changes it.
    let ours = |news: &str, at| Some(TextSeen::Ours { news: news.into(), at });
    let text = async || review(1).await.request.pull.unwrap().text;
    assert_eq!(text().await, ours("WaitingForReview", request.decided_at));
    let mut edited = request.clone();
    edited.report.news.waits = "RequestEdited".into();
    let at: Timestamp = "2026-01-02T04:00:00Z".parse().unwrap();
    for _ in 0..2 {
        write_back.rewrite(&edited, &work.base, 1, at).await.unwrap();
        assert_eq!(text().await, ours("RequestEdited", at));
    }
    let issue = world.call("GET", "/issues/1", Value::Null).await.1;
    let body = issue["body"].as_str().unwrap();
    assert!(body.contains("Others pushed commits of their own") && body.contains("edit `apps/"), "{body}");
    let changed = body.replace("Others", "They").replace('\n', "\r\n");
    assert_eq!(world.call("PATCH", "/pulls/1", json!({"title": "Ours", "body": changed})).await.0, 201);
    assert_eq!(text().await, Some(TextSeen::Edited));
    write_back.rewrite(&request, &work.base, 1, at).await.unwrap();
    let kept = world.call("GET", "/issues/1", Value::Null).await.1;
    assert_eq!((kept["title"].as_str(), kept["body"].as_str()), (Some("Ours"), Some(changed.as_str())));

    // A second request from the branch: made while the first one is closed, which then is opened again.
    assert_eq!(review(1).await.twins, []);
    assert_eq!(world.call("PATCH", "/pulls/1", json!({"state": "closed"})).await.0, 201);
    let again = json!({"head": request.branch, "base": "main", "title": "Again", "body": body});
    assert_eq!(world.call("POST", "/pulls", again).await.1["number"], 2);
    assert_eq!(world.call("PATCH", "/pulls/1", json!({"state": "open"})).await.0, 201);
    let twins = review(1).await.twins;
    assert_eq!(twins.iter().map(|twin| twin.number).collect::<Vec<_>>(), [2]);
    let oldest = published(write_back.stage(&look(Look::Publish, false)).await).0.pull.unwrap();
    assert_eq!(oldest.number, 1, "the oldest");
    for _ in 0..2 {
        write_back.close(2, "request #1 was opened from the same branch before it").await.unwrap();
    }
    let comments = world.call("GET", "/issues/2/comments", Value::Null).await.1;
    assert!(
        comments[0]["body"].as_str().unwrap().contains("`request #1 was opened from the same branch"),
        "{comments}"
    );
    let seen = review(1).await;
    assert_eq!((seen.twins.len(), seen.request.pull.unwrap().state), (0, engine::PullState::Open));
    // A request of somebody else's from the branch is theirs.
    let theirs = json!({"title": "Theirs", "body": "Mine.", "state": "open"});
    assert_eq!(world.call("PATCH", "/pulls/2", theirs).await.0, 201);
    assert_eq!(review(1).await.twins, []);

    // Its branch goes when it has ended, unless it is protected or holds what others pushed.
    write_back.close(1, "it is not wanted").await.unwrap();
    let branch = async || review(1).await.request.branch;
    write_back.delete(&request.branch, &work.base).await.unwrap();
    assert_eq!(branch().await.as_ref(), Some(&work.commit), "it is not at that commit");
    let protection = json!({"rule_name": "iter8/**", "enable_push": true});
    assert_eq!(world.call("POST", "/branch_protections", protection).await.0, 201);
    write_back.delete(&request.branch, &work.commit).await.unwrap();
    assert_eq!(branch().await.as_ref(), Some(&work.commit), "it is protected");
    assert_eq!(world.call("DELETE", "/branch_protections/iter8%2F**", Value::Null).await.0, 204);
    for _ in 0..2 {
        write_back.delete(&request.branch, &work.commit).await.unwrap();
        assert_eq!(branch().await, None);
    }
}
